//! Built-in log types and those that users have added, as rows of `panther-logtypes`.

use std::sync::Arc;

use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::state::read::Query;
use panther_logs::{LogTypes, SchemaError};
use panther_proto::v1::PutSchemaAnswer;
use parking_lot::Mutex;

use crate::call_context::CallContext;

/// The table of users' log types.
pub const TABLE: &str = "panther-logtypes";
/// The row whose count changes with every schema, so that nodes see that theirs are old.
const REVISION: &str = "@revision";

/// The log types that are known now; clones share the cache.
#[derive(Clone)]
pub struct LogTypeRegistry {
    door: Door,
    /// The revision that was read, and what it held.
    cache: Arc<Mutex<Option<Cached>>>,
}

type Cached = (i64, Arc<LogTypes>);

/// Why log types could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The schema is wrong.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// There is no leader.
    #[error(transparent)]
    Door(#[from] DoorError),
}

impl LogTypeRegistry {
    /// Behind this door.
    #[must_use]
    pub fn new(door: Door) -> Self {
        Self {
            door,
            cache: Arc::default(),
        }
    }

    async fn revision(&self) -> Result<i64, DoorError> {
        Ok(self
            .door
            .get(TABLE, &change::key(REVISION))
            .await?
            .and_then(|row| row.int("revision"))
            .unwrap_or(0))
    }

    /// All log types as of now.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn current(&self) -> Result<Arc<LogTypes>, DoorError> {
        let revision = self.revision().await?;
        if let Some((cached, types)) = &*self.cache.lock()
            && *cached == revision
        {
            return Ok(types.clone());
        }
        let mut types = LogTypes::builtin();
        for (key, row) in self
            .door
            .query_all(Query {
                table: TABLE.to_owned(),
                ..Query::default()
            })
            .await?
        {
            let Some(yaml) = row.text("logSpec") else {
                continue;
            };
            types = match types.clone().with_schema(yaml) {
                Ok(more) => more,
                Err(error) => {
                    tracing::error!(log_type = key.hash, %error, "a stored schema is no longer valid; it is left out");
                    types
                }
            };
        }
        let types = Arc::new(types);
        *self.cache.lock() = Some((revision, types.clone()));
        Ok(types)
    }

    /// Adds or replaces a user's log type; its name.
    ///
    /// # Errors
    /// The schema is wrong, or there is no leader.
    pub async fn put(
        &self,
        yaml: &str,
        context: &CallContext,
    ) -> Result<PutSchemaAnswer, RegistryError> {
        let before: Vec<Arc<str>> = LogTypes::builtin().names().cloned().collect();
        let with = LogTypes::builtin().with_schema(yaml)?;
        let log_type = with
            .names()
            .find(|name| !before.contains(name))
            .map(ToString::to_string)
            .unwrap_or_default();
        let now_ms = self.door.now_ms();
        let schema = Change::update(TABLE, change::key(&log_type))
            .set("logSpec", yaml)
            .set("updatedAt", now_ms)
            .add("revision", 1);
        let revision = Change::update(TABLE, change::key(REVISION)).add("revision", 1);
        let transact = context.transact(now_ms, vec![schema.done(), revision.done()]);
        let answer = PutSchemaAnswer { log_type };
        Ok(context.commit(&self.door, transact, answer).await?)
    }
}
