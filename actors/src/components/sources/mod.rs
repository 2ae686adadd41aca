//! Log sources as rows of `panther-source-integrations`.
//!
//! * [`registry`]: finds a source by label or by the name of an object
//! * [`ledger`]: counts of each source's records, per hour and in all

pub mod ledger;
pub mod registry;

use std::collections::BTreeMap;

use panther_cluster::door::change::{self, Change, IntoValue, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::state::read::{KeyedRow, Query};
use panther_proto::v1::{Row, Transact};
use serde::{Deserialize, Serialize};

pub use ledger::{Ledger, Progress, hour, list};
pub use registry::{SourceRegistry, SourceSet};

/// The table of sources.
pub const TABLE: &str = "panther-source-integrations";
/// The table of what came of each source's lines, per hour.
pub const LEDGER: &str = "panther-sources-ledger";
/// The table of what is wrong with sources: a row for each source and node that sees something.
pub const STATES: &str = "panther-source-states";
/// The queue that tells of objects to read.
pub const INPUT_QUEUE: &str = "panther-input-data-notifications-queue";

/// Through which door a source's logs come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// `POST /ingest/<source>` with a token.
    Http,
    /// A folder on a node that is watched.
    Folder,
    /// Objects in the store that notifications name.
    Objects,
}

impl SourceKind {
    /// As rows hold it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Folder => "folder",
            Self::Objects => "objects",
        }
    }
}

/// A log source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its id.
    pub id: String,
    /// Its name, unique.
    pub label: String,
    /// Its door.
    pub kind: SourceKind,
    /// Log types that its lines may be.
    pub log_types: Vec<String>,
    /// Of a folder: its path.
    pub path: String,
    /// Of a folder: symbolic links in it are followed.
    pub follow_links: bool,
    /// Of objects: the beginning of their names.
    pub prefix: String,
    /// Of HTTP: hash of its token.
    pub token_hash: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// True if its row holds the totals of its ledger. The row of an older build holds them from its next record on.
    pub has_totals: bool,
}

impl Source {
    /// As its row tells.
    #[must_use]
    pub fn of(id: &str, row: &Row) -> Option<Self> {
        let kind = match row.text("integrationType")? {
            "http" => SourceKind::Http,
            "folder" => SourceKind::Folder,
            "objects" => SourceKind::Objects,
            _ => return None,
        };
        let text = |name: &str| row.text(name).unwrap_or_default().to_owned();
        Some(Self {
            id: id.to_owned(),
            label: text("integrationLabel"),
            kind,
            log_types: log_types(row),
            path: text("path"),
            follow_links: row.flag("followLinks").unwrap_or(false),
            prefix: text("prefix"),
            token_hash: text("tokenHash"),
            created_at: text("createdAtTime"),
            has_totals: has_totals(row),
        })
    }
}

impl Source {
    /// Whether another state of the same source has the same files read in the same way.
    pub(crate) fn is_watched_as(&self, other: &Self) -> bool {
        (self.kind, &self.path, self.follow_links, &self.log_types)
            == (
                other.kind,
                &other.path,
                other.follow_links,
                &other.log_types,
            )
    }
}

/// True if the row of a source holds the totals.
fn has_totals(row: &Row) -> bool {
    row.int("received").is_some()
}

/// Log types in the order that the user gave: of two types that take the same line, the first has it.
fn log_types(row: &Row) -> Vec<String> {
    row.json("logTypeOrder")
        .and_then(|order| serde_json::from_str(order).ok())
        // Rows of before hold a set, whose order is the alphabet's.
        .unwrap_or_else(|| row.items("logTypes").to_vec())
}

/// What one node sees of the health of a source's door.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceState {
    /// How many things are wrong.
    pub troubles: usize,
    /// The first of them, each with the file or folder, the reason and the remedy.
    pub reasons: Vec<String>,
}

impl SourceState {
    /// Most reasons that a state keeps.
    pub const REASONS: usize = 20;

    /// So many things are wrong; none of them: the source is well.
    #[must_use]
    pub fn troubled(troubles: usize, reasons: Vec<String>) -> Self {
        Self { troubles, reasons }
    }
}

/// Writes what this node sees of a source.
///
/// # Errors
/// There is no leader.
pub async fn set_state(door: &Door, source: &str, state: &SourceState) -> Result<(), DoorError> {
    let key = change::key_range(source, door.node().to_string());
    let change = if state.troubles == 0 {
        Change::delete(STATES, key)
    } else {
        let reasons = serde_json::Value::from(state.reasons.clone()).to_string();
        Change::put(STATES, key)
            .set("troubles", state.troubles as u64)
            .set("reasons", change::json(reasons))
            .set("since", door.now_ms())
    };
    let transact = Transact {
        changes: vec![change.done()],
        ..Transact::default()
    };
    door.transact(transact).await.map(drop)
}

/// What the nodes see wrong with one source, by node.
pub type NodeStates = BTreeMap<String, SourceState>;

/// What the nodes see wrong with sources, by source. There is a row only for what is wrong.
///
/// # Errors
/// There is no leader.
pub async fn states(door: &Door) -> Result<BTreeMap<String, NodeStates>, DoorError> {
    let query = Query {
        table: STATES.to_owned(),
        ..Query::default()
    };
    let mut states: BTreeMap<String, NodeStates> = BTreeMap::new();
    for row in door.query_all(query).await? {
        let (source, node, state) = state(row);
        states.entry(source).or_default().insert(node, state);
    }
    Ok(states)
}

/// What the nodes see wrong with one source.
///
/// # Errors
/// There is no leader.
pub async fn states_of(door: &Door, source: &str) -> Result<NodeStates, DoorError> {
    let query = Query {
        table: STATES.to_owned(),
        hash: Some(source.into_value()),
        ..Query::default()
    };
    let states = door.query_all(query).await?.into_iter().map(|row| {
        let (_, node, state) = state(row);
        (node, state)
    });
    Ok(states.collect())
}

fn state((key, row): KeyedRow) -> (String, String, SourceState) {
    let troubles = row
        .int("troubles")
        .and_then(|count| usize::try_from(count).ok());
    let reasons = row
        .json("reasons")
        .and_then(|reasons| serde_json::from_str(reasons).ok());
    let state = SourceState::troubled(troubles.unwrap_or(0), reasons.unwrap_or_default());
    (key.hash, key.range, state)
}

/// The source of an id.
///
/// # Errors
/// There is no leader.
pub async fn by_id(door: &Door, id: &str) -> Result<Option<Source>, DoorError> {
    Ok(door
        .get(TABLE, &change::key(id))
        .await?
        .and_then(|row| Source::of(id, &row)))
}
