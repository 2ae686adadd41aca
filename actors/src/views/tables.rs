//! Tables: rows, as they are. Sealed values and hashes of tokens are not shown.

use data_encoding::HEXLOWER;
use panther_cluster::door::change;
use panther_cluster::state::read::{self, Query};
use panther_proto::v1::{
    RowKey, TableGetAnswer, TableGetRequest, TableRow, TableScanAnswer, TableScanRequest,
    TableView, TablesAnswer,
};

use super::Views;
use crate::api::ApiError;
use crate::components::alerts_api::cursor;

impl Views<'_> {
    pub(super) async fn all_tables(&self) -> Result<TablesAnswer, ApiError> {
        let specs = self.door.read(|store| read::tables(store)).await?;
        let shown = specs.into_iter().map(|spec| TableView {
            name: spec.name,
            indexes: spec.indexes.into_iter().map(|index| index.name).collect(),
            ttl: spec.ttl_attribute,
            feed: {
                let queues: Vec<String> = spec.feeds.into_iter().map(|feed| feed.queue).collect();
                Some(queues.join(", ")).filter(|queues| !queues.is_empty())
            },
        });
        Ok(TablesAnswer {
            tables: shown.collect(),
        })
    }

    pub(super) async fn row_of(&self, get: TableGetRequest) -> Result<TableGetAnswer, ApiError> {
        let key = change::key_range(get.hash, get.range.unwrap_or_default());
        let row = self.door.get(&get.table, &key).await?;
        Ok(TableGetAnswer {
            row: row.as_ref().map(|row| super::json::row(row).into()),
        })
    }

    pub(super) async fn scan(&self, scan: TableScanRequest) -> Result<TableScanAnswer, ApiError> {
        let after = scan.cursor.as_deref().map(cursor).transpose()?;
        let page = self
            .door
            .query(Query {
                table: scan.table,
                limit: super::at_most(scan.limit, 50).clamp(1, 1_000),
                after,
                ..Query::default()
            })
            .await?;
        let rows = page.rows.into_iter().map(|(key, row)| TableRow {
            row: Some(super::json::row(&row).into()),
            key: Some(RowKey {
                hash: key.hash,
                range: key.range,
            }),
        });
        Ok(TableScanAnswer {
            rows: rows.collect(),
            cursor: page.next.map(|next| HEXLOWER.encode(&next)),
        })
    }
}
