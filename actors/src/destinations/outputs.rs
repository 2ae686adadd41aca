//! The table of destinations. Their configuration holds secrets and is sealed before it is proposed.

use std::str::FromStr;

use panther_cluster::door::change::{self, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::state::read::Query;
use panther_detections::alerting::{AlertKind, Output};
use panther_detections::pack::Severity;
use panther_proto::v1::Row;

use super::configured::ConfiguredDestination;
use crate::sealing::{SealError, Sealer};

/// The table.
pub const TABLE: &str = "panther-outputs";

/// Reads destinations for routing and delivery; clones share the door.
#[derive(Clone)]
pub struct OutputCache {
    door: Door,
    sealer: Sealer,
}

impl OutputCache {
    /// Behind this door, with the key that opens configurations.
    #[must_use]
    pub fn new(door: Door, sealer: Sealer) -> Self {
        Self { door, sealer }
    }

    /// What routing knows of all destinations.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn current(&self) -> Result<Vec<Output>, DoorError> {
        let rows = self
            .door
            .query_all(Query {
                table: TABLE.to_owned(),
                ..Query::default()
            })
            .await?;
        Ok(rows
            .iter()
            .map(|(key, row)| routed(&key.hash, row))
            .collect())
    }

    /// How one destination is reached, or why it is not.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn config(
        &self,
        id: &str,
    ) -> Result<Result<ConfiguredDestination, Unreachable>, DoorError> {
        let row = self.door.get(TABLE, &change::key(id)).await?;
        Ok(match row {
            Some(row) => self.open(id, &row),
            None => Err(Unreachable::Gone),
        })
    }

    /// The names of destinations whose secrets this node cannot open.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn unopened(&self) -> Result<Vec<String>, DoorError> {
        let query = Query {
            table: TABLE.to_owned(),
            ..Query::default()
        };
        let rows = self.door.query_all(query).await?;
        let unopened = rows
            .iter()
            .filter(|(key, row)| self.open(&key.hash, row).is_err());
        Ok(unopened
            .map(|(key, row)| row.text("displayName").unwrap_or(&key.hash).to_owned())
            .collect())
    }

    /// The configuration that a row holds, or why it does not open.
    pub(crate) fn open(&self, id: &str, row: &Row) -> Result<ConfiguredDestination, Unreachable> {
        let sealed = row.blob("encryptedConfig").unwrap_or_default();
        let opened = self
            .sealer
            .open(&place(id), sealed)
            .map_err(|error| Unreachable::Sealed(error.to_string()))?;
        ConfiguredDestination::from_row(&opened).map_err(|error| {
            Unreachable::Sealed(format!("its configuration does not parse: {error}"))
        })
    }

    /// A configuration as its row holds it: no secret reaches the log in the clear.
    ///
    /// # Errors
    /// The machine gives no random bytes.
    pub(crate) fn seal(
        &self,
        id: &str,
        configured: &ConfiguredDestination,
    ) -> Result<Vec<u8>, SealError> {
        self.sealer.seal(&place(id), &configured.to_row())
    }
}

/// Why a destination cannot be tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// It has no row.
    #[error("the destination was removed")]
    Gone,
    /// Its configuration does not open on this node.
    #[error("{0}; `pantherctl outputs update` gives the destination its address again")]
    Sealed(String),
}

fn place(id: &str) -> String {
    format!("{TABLE}/{id}")
}

fn routed(id: &str, row: &Row) -> Output {
    let kinds = [AlertKind::Rule, AlertKind::RuleError, AlertKind::Policy];
    Output {
        output_id: id.to_owned(),
        display_name: row.text("displayName").unwrap_or_default().to_owned(),
        default_for_severity: row
            .items("defaultForSeverity")
            .iter()
            .filter_map(|text| Severity::from_str(text).ok())
            .collect(),
        alert_types: row
            .items("alertTypes")
            .iter()
            .filter_map(|text| kinds.into_iter().find(|kind| kind.as_str() == text))
            .collect(),
    }
}
