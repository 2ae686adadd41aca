//! The ledger: what became of each source's records, per hour. The row of a source holds the sum of all its hours, which
//! changes in the same command as the hour.

use std::collections::BTreeMap;

use panther_cluster::door::change::{self, Change, IntoValue, RowExt};
use panther_cluster::door::{Door, DoorError, TableReader};
use panther_cluster::state::read::{KeyedRow, Query};
use panther_proto::v1::Row;
use serde::Serialize;

use super::{LEDGER, Source, TABLE, has_totals};

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

/// Changes of a ledger row; `received` stays the sum of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// As [`Ledger::received`].
    pub received: i64,
    /// As [`Ledger::stored`].
    pub stored: i64,
    /// As [`Ledger::quarantined`].
    pub quarantined: i64,
    /// As [`Ledger::filtered`].
    pub filtered: i64,
}

impl From<Ledger> for Counts {
    fn from(ledger: Ledger) -> Self {
        Self {
            received: signed(ledger.received),
            stored: signed(ledger.stored),
            quarantined: signed(ledger.quarantined),
            filtered: signed(ledger.filtered),
        }
    }
}

impl Counts {
    fn named(self) -> [(&'static str, i64); 4] {
        [
            ("received", self.received),
            ("stored", self.stored),
            ("quarantined", self.quarantined),
            ("filtered", self.filtered),
        ]
    }

    /// Adds these counts to a row.
    #[must_use]
    pub fn add_to(self, change: Change) -> Change {
        let counts = self.named().into_iter();
        counts.fold(change, |change, (name, count)| change.add(name, count))
    }

    /// Sets the counts of a row.
    #[must_use]
    pub fn set_in(self, change: Change) -> Change {
        let counts = self.named().into_iter();
        counts.fold(change, |change, (name, count)| change.set(name, count))
    }

    fn plus(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            stored: self.stored + other.stored,
            quarantined: self.quarantined + other.quarantined,
            filtered: self.filtered + other.filtered,
        }
    }
}

/// A count as a change.
#[must_use]
pub fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What a source has received so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// When its last event came.
    pub last_event_ms: Option<u64>,
    /// The sum of its ledger; `None` if its row does not hold it yet.
    pub totals: Option<Ledger>,
}

impl Progress {
    /// As a source's row tells.
    #[must_use]
    pub fn of(row: &Row) -> Self {
        Self {
            last_event_ms: row
                .int("lastEventReceived")
                .and_then(|ms| u64::try_from(ms).ok()),
            totals: has_totals(row).then(|| Ledger::of(row)),
        }
    }
}

/// All sources with their progress, in order of their labels.
///
/// # Errors
/// There is no leader.
pub async fn list(door: &Door) -> Result<Vec<(Source, Progress)>, DoorError> {
    let query = Query {
        table: TABLE.to_owned(),
        ..Query::default()
    };
    let rows = door.query_all(query).await?;
    let sources = rows
        .iter()
        .filter_map(|(key, row)| Some((Source::of(&key.hash, row)?, Progress::of(row))));
    let mut sources: Vec<(Source, Progress)> = sources.collect();
    sources.sort_by(|(left, _), (right, _)| left.label.cmp(&right.label));
    Ok(sources)
}

/// The change of a source's row that adds counts to its totals. The first one for a row without totals sets them to the
/// sum of the ledger.
///
/// # Errors
/// There is no leader.
pub async fn add_to_totals(
    tables: &TableReader,
    source: &Source,
    counts: Counts,
) -> Result<Change, DoorError> {
    let key = change::key(&source.id);
    let change = Change::update(TABLE, key.clone()).if_row_present();
    let has_totals = source.has_totals
        || tables
            .get(TABLE, &key)
            .await?
            .is_none_or(|row| has_totals(&row));
    if has_totals {
        return Ok(counts.add_to(change));
    }
    let before = sum(tables, &source.id).await?;
    let totals = Counts::from(before).plus(counts);
    Ok(totals.set_in(change.if_absent("received")))
}

/// The sum of all hours of one source.
///
/// # Errors
/// There is no leader.
pub async fn sum(tables: &TableReader, source: &str) -> Result<Ledger, DoorError> {
    let mut sum = Ledger::default();
    for (_, row) in since(tables, Some(source), "").await? {
        sum.add(Ledger::of(&row));
    }
    Ok(sum)
}

/// The rows of one source, or of all sources, from an hour on. It reads these rows, and one more for each source.
///
/// # Errors
/// There is no leader.
pub async fn since(
    tables: &TableReader,
    source: Option<&str>,
    hour: &str,
) -> Result<Vec<KeyedRow>, DoorError> {
    let query = Query {
        table: LEDGER.to_owned(),
        hash: source.map(IntoValue::into_value),
        from: Some(hour.into_value()),
        ..Query::default()
    };
    tables.query_all(query).await
}

/// The sum of the rows of each source from an hour on.
///
/// # Errors
/// There is no leader.
pub async fn sums_since(
    tables: &TableReader,
    hour: &str,
) -> Result<BTreeMap<String, Ledger>, DoorError> {
    let mut sums: BTreeMap<String, Ledger> = BTreeMap::new();
    for (key, row) in since(tables, None, hour).await? {
        sums.entry(key.hash).or_default().add(Ledger::of(&row));
    }
    Ok(sums)
}
