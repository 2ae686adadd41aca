//! Log sources as rows of `panther-source-integrations`.

use std::collections::BTreeMap;

use panther_cluster::door::change::{self, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::state::read::Query;
use panther_proto::v1::Row;
use serde::{Deserialize, Serialize};

/// The table of sources.
pub const TABLE: &str = "panther-source-integrations";
/// The table of what came of each source's lines, per hour.
pub const LEDGER: &str = "panther-sources-ledger";
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
            log_types: row.items("logTypes").to_vec(),
            path: text("path"),
            prefix: text("prefix"),
            token_hash: text("tokenHash"),
            created_at: text("createdAtTime"),
            last_event_ms: row
                .int("lastEventReceived")
                .and_then(|ms| u64::try_from(ms).ok()),
        })
    }
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
