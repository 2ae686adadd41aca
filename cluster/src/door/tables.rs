//! Read-only access to tables.

use panther_proto::v1::{Key, Row};

use super::{Door, DoorError};
use crate::state::read::{KeyedRow, Page, Query};

/// Linearizable reads of tables, without any way to change one. Clones share one door.
///
/// ```compile_fail,E0599
/// # async fn change(tables: panther_cluster::door::TableReader) {
/// let _ = tables.transact(panther_proto::v1::Transact::default()).await;
/// # }
/// ```
#[derive(Clone)]
pub struct TableReader {
    door: Door,
}

impl Door {
    /// Reads of tables through this door.
    #[must_use]
    pub fn tables(&self) -> TableReader {
        TableReader { door: self.clone() }
    }
}

impl TableReader {
    /// One row.
    ///
    /// # Errors
    /// As [`Door::get`].
    pub async fn get(&self, table: &str, key: &Key) -> Result<Option<Row>, DoorError> {
        self.door.get(table, key).await
    }

    /// A page of rows.
    ///
    /// # Errors
    /// As [`Door::query`].
    pub async fn query(&self, query: Query) -> Result<Page, DoorError> {
        self.door.query(query).await
    }

    /// All rows of a query, which must be bounded: by its keys, or by a limit that the table enforces.
    ///
    /// # Errors
    /// As [`Door::query`].
    pub async fn query_all(&self, query: Query) -> Result<Vec<KeyedRow>, DoorError> {
        self.door.query_all(query).await
    }
}
