//! Tables: rows, as they are. Sealed values and hashes of tokens are not shown.

use panther_cluster::door::change;
use panther_cluster::state::read::{self, Query};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Views;
use crate::api::{ApiCall, ApiError};
use crate::components::alerts_api::unhex;
use crate::sealing::hex;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Get {
    table: String,
    hash: String,
    #[serde(default)]
    range: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scan {
    table: String,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    cursor: Option<String>,
}

impl Views<'_> {
    pub(super) async fn tables(&self) -> Result<Value, ApiError> {
        let specs = self.door.read(|store| read::tables(store)).await?;
        let shown: Vec<Value> = specs
            .iter()
            .map(|spec| json!({"name": spec.name, "indexes": spec.indexes.iter().map(|index| index.name.clone()).collect::<Vec<_>>(), "ttl": spec.ttl_attribute, "feed": spec.feeds.iter().map(|feed| feed.queue.clone()).collect::<Vec<_>>().join(", ")}))
            .collect();
        Ok(json!({"tables": shown}))
    }

    pub(super) async fn table_get(&self, call: &ApiCall) -> Result<Value, ApiError> {
        let Get { table, hash, range } = call.input()?;
        let row = self
            .door
            .get(&table, &change::key_range(hash, range.unwrap_or_default()))
            .await?;
        Ok(json!({"row": row.as_ref().map(super::json::row)}))
    }

    pub(super) async fn table_scan(&self, call: &ApiCall) -> Result<Value, ApiError> {
        let Scan {
            table,
            limit,
            cursor,
        } = call.input()?;
        let after = cursor.as_deref().map(unhex).transpose()?;
        let page = self
            .door
            .query(Query {
                table,
                limit: limit.unwrap_or(50).clamp(1, 1_000),
                after,
                ..Query::default()
            })
            .await?;
        let rows: Vec<Value> = page.rows.iter().map(|(key, row)| json!({"key": {"hash": key.hash, "range": key.range}, "row": super::json::row(row)})).collect();
        Ok(json!({"rows": rows, "cursor": page.next.map(|next| hex(&next))}))
    }
}
