//! Log sources as rows of `panther-source-integrations`.

use std::collections::BTreeMap;
use std::io;

use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::state::read::{self, Query};
use panther_cluster::storage::StateStore;
use panther_proto::v1::{Row, Transact};
use serde::{Deserialize, Serialize};

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
    /// When its last event came.
    pub last_event_ms: Option<u64>,
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
            last_event_ms: row
                .int("lastEventReceived")
                .and_then(|ms| u64::try_from(ms).ok()),
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

/// What the nodes see wrong with sources: by source, then by node.
///
/// # Errors
/// There is no leader.
pub async fn states(
    door: &Door,
) -> Result<BTreeMap<String, BTreeMap<String, SourceState>>, DoorError> {
    let rows = door
        .query_all(Query {
            table: STATES.to_owned(),
            ..Query::default()
        })
        .await?;
    let mut states: BTreeMap<String, BTreeMap<String, SourceState>> = BTreeMap::new();
    for (key, row) in rows {
        let troubles = row
            .int("troubles")
            .and_then(|count| usize::try_from(count).ok());
        let reasons = row
            .json("reasons")
            .and_then(|reasons| serde_json::from_str(reasons).ok());
        let state = SourceState::troubled(troubles.unwrap_or(0), reasons.unwrap_or_default());
        states.entry(key.hash).or_default().insert(key.range, state);
    }
    Ok(states)
}

/// All sources, in order of their labels.
///
/// # Errors
/// There is no leader.
pub async fn all(door: &Door) -> Result<Vec<Source>, DoorError> {
    let rows = door
        .query_all(Query {
            table: TABLE.to_owned(),
            ..Query::default()
        })
        .await?;
    let mut sources: Vec<Source> = rows
        .iter()
        .filter_map(|(key, row)| Source::of(&key.hash, row))
        .collect();
    sources.sort_by(|left, right| left.label.cmp(&right.label));
    Ok(sources)
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

/// The source of an id or label.
///
/// # Errors
/// There is no leader.
pub async fn find(door: &Door, name: &str) -> Result<Option<Source>, DoorError> {
    if let Some(source) = by_id(door, name).await? {
        return Ok(Some(source));
    }
    Ok(all(door)
        .await?
        .into_iter()
        .find(|source| source.label == name))
}

/// The source of an id or label by this node's own state, which may lag behind.
///
/// # Errors
/// The state cannot be read.
pub(crate) async fn find_here(door: &Door, name: &str) -> io::Result<Option<Source>> {
    let name = name.to_owned();
    let find = move |store: &StateStore| {
        if let Some(row) = read::row(store, TABLE, &change::key(&name))? {
            return Ok(Source::of(&name, &row));
        }
        let query = Query {
            table: TABLE.to_owned(),
            limit: usize::MAX,
            ..Query::default()
        };
        let rows = read::query(store, &query)?.rows;
        let mut sources = rows
            .iter()
            .filter_map(|(key, row)| Source::of(&key.hash, row));
        Ok(sources.find(|source| source.label == name))
    };
    door.local().read(find).await
}

/// The source whose prefix is the longest that an object's name starts with.
///
/// # Errors
/// There is no leader.
pub async fn of_object(door: &Door, key: &str) -> Result<Option<Source>, DoorError> {
    let sources = all(door)
        .await?
        .into_iter()
        .filter(|source| source.kind == SourceKind::Objects && key.starts_with(&source.prefix));
    Ok(sources.max_by_key(|source| source.prefix.len()))
}

/// The hour of the ledger in which a cluster time lies.
#[must_use]
pub fn hour(now_ms: u64) -> String {
    crate::dates::date(now_ms).format("%Y-%m-%dT%H").to_string()
}

/// What came of a source's lines: received = stored + quarantined + filtered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Lines or elements that came.
    pub received: u64,
    /// Of these, what became events.
    pub stored: u64,
    /// What no log type took.
    pub quarantined: u64,
    /// Blank lines, headers, comments.
    pub filtered: u64,
}

impl Ledger {
    /// Adds another's counts.
    pub fn add(&mut self, other: Self) {
        self.received += other.received;
        self.stored += other.stored;
        self.quarantined += other.quarantined;
        self.filtered += other.filtered;
    }

    /// As a row tells.
    #[must_use]
    pub fn of(row: &Row) -> Self {
        let count = |name: &str| {
            row.int(name)
                .and_then(|count| u64::try_from(count).ok())
                .unwrap_or(0)
        };
        Self {
            received: count("received"),
            stored: count("stored"),
            quarantined: count("quarantined"),
            filtered: count("filtered"),
        }
    }
}

/// Per source, all hours together.
///
/// # Errors
/// There is no leader.
pub async fn ledgers(door: &Door) -> Result<BTreeMap<String, Ledger>, DoorError> {
    let mut sums: BTreeMap<String, Ledger> = BTreeMap::new();
    for (key, row) in door
        .query_all(Query {
            table: LEDGER.to_owned(),
            ..Query::default()
        })
        .await?
    {
        sums.entry(key.hash).or_default().add(Ledger::of(&row));
    }
    Ok(sums)
}
