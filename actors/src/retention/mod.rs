//! How long objects and alerts are kept, and the removal of what is older.
//!
//! Without a setting everything is kept. A setting is a row for each kind of data, or for one log type of a kind, so that all nodes go by the same one.
//! `panther-storage-collector` removes the rows of what is too old ([`collect`]), and objects without a row a day after they were written ([`sweep`]).

pub mod collect;
pub mod sweep;

use std::collections::BTreeMap;

use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::state::read::Query;
use panther_proto::v1::{RowChange, Transact};
use serde::{Deserialize, Serialize};

use crate::components::objects::table_name;

/// The table of settings.
pub const TABLE: &str = "panther-retention";
/// The queue that keeps a dead letter which an operator has deleted.
pub(crate) const DELETED: &str = "panther-deleted-messages";
/// Longest time that can be set, in days.
pub const MOST_DAYS: u32 = 36_500;

/// A kind of data with a time of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kept {
    /// What sources sent, as it came.
    Raw,
    /// Events, by log type.
    Events,
    /// Matched events, by log type.
    Matches,
    /// Events with which a rule failed, by log type.
    Errors,
    /// Records that no log type took.
    Quarantine,
    /// Alerts, with their history.
    Alerts,
}

impl Kept {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Raw,
        Self::Events,
        Self::Matches,
        Self::Errors,
        Self::Quarantine,
        Self::Alerts,
    ];

    /// The name, as settings spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Events => "events",
            Self::Matches => "matches",
            Self::Errors => "errors",
            Self::Quarantine => "quarantine",
            Self::Alerts => "alerts",
        }
    }

    /// The folder of its objects; alerts are rows.
    #[must_use]
    pub const fn folder(self) -> Option<&'static str> {
        match self {
            Self::Raw => Some("raw"),
            Self::Events => Some("logs"),
            Self::Matches => Some("rules"),
            Self::Errors => Some("rule_errors"),
            Self::Quarantine => Some("quarantine"),
            Self::Alerts => None,
        }
    }

    /// Whether its objects lie in a folder for each log type.
    #[must_use]
    pub const fn has_log_types(self) -> bool {
        matches!(self, Self::Events | Self::Matches | Self::Errors)
    }

    /// The kind of an object, and the folder below it: a log type's, or a source's.
    #[must_use]
    pub fn of_object(name: &str) -> Option<(Self, &str)> {
        let (folder, rest) = name.split_once('/')?;
        let kind = Self::ALL
            .into_iter()
            .find(|kind| kind.folder() == Some(folder))?;
        Some((kind, rest.split_once('/').map_or("", |(below, _)| below)))
    }
}

/// How long everything is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Periods {
    days: BTreeMap<(Kept, String), u32>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Period {
    /// What it is for.
    pub kind: Kept,
    /// The log type's folder; empty: all that have no setting of their own.
    pub log_type: String,
    /// Days; `None`: for ever.
    pub days: Option<u32>,
}

impl Periods {
    /// As they are set.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn read(door: &Door) -> Result<Self, DoorError> {
        let rows = door
            .query_all(Query {
                table: TABLE.to_owned(),
                ..Query::default()
            })
            .await?;
        let days = rows.into_iter().filter_map(|(key, row)| {
            let kind = Kept::ALL
                .into_iter()
                .find(|kind| kind.as_str() == key.hash)?;
            let days = row.int("days").and_then(|days| u32::try_from(days).ok())?;
            Some(((kind, key.range), days))
        });
        Ok(Self {
            days: days.collect(),
        })
    }

    /// All settings.
    #[must_use]
    pub fn all(&self) -> Vec<Period> {
        let own = self.days.iter().map(|((kind, log_type), days)| Period {
            kind: *kind,
            log_type: log_type.clone(),
            days: (*days > 0).then_some(*days),
        });
        let unset = Kept::ALL
            .into_iter()
            .filter(|kind| !self.days.contains_key(&(*kind, String::new())))
            .map(|kind| Period {
                kind,
                log_type: String::new(),
                days: None,
            });
        let mut all: Vec<Period> = own.chain(unset).collect();
        all.sort_by(|one, other| (one.kind, &one.log_type).cmp(&(other.kind, &other.log_type)));
        all
    }

    /// Whether no time is set at all.
    #[must_use]
    pub fn keep_everything(&self) -> bool {
        self.days.values().all(|days| *days == 0)
    }

    /// Days for which data of a kind and log type's folder are kept; `None`: for ever.
    #[must_use]
    pub fn days(&self, kind: Kept, folder: &str) -> Option<u32> {
        let own = self.days.get(&(kind, folder.to_owned()));
        let days = own.or_else(|| self.days.get(&(kind, String::new())));
        days.copied().filter(|days| *days > 0)
    }

    /// The row of a setting. Zero days: for ever, also where the kind has a time.
    #[must_use]
    pub fn row(kind: Kept, log_type: &str, days: u32) -> RowChange {
        Change::put(
            TABLE,
            change::key_range(kind.as_str(), table_name(log_type)),
        )
        .set("days", u64::from(days))
        .done()
    }

    /// Writes a setting as part of `base`.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn set(
        door: &Door,
        mut base: Transact,
        kind: Kept,
        log_type: &str,
        days: u32,
    ) -> Result<(), DoorError> {
        base.changes.push(Self::row(kind, log_type, days));
        door.transact(base).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn periods(days: &[(Kept, &str, u32)]) -> Periods {
        let days = days.iter();
        Periods {
            days: days
                .map(|(kind, folder, days)| ((*kind, (*folder).to_owned()), *days))
                .collect(),
        }
    }

    #[test]
    fn a_log_type_goes_before_its_kind_and_zero_is_for_ever() {
        let set = periods(&[
            (Kept::Events, "", 90),
            (Kept::Events, "aws_vpcflow", 7),
            (Kept::Events, "okta_systemlog", 0),
        ]);
        assert_eq!(set.days(Kept::Events, "aws_cloudtrail"), Some(90));
        assert_eq!(set.days(Kept::Events, "aws_vpcflow"), Some(7));
        assert_eq!(set.days(Kept::Events, "okta_systemlog"), None);
        assert_eq!(set.days(Kept::Raw, "any"), None);
        assert_eq!(set.all().len(), 3 + 5);
        assert!(!set.keep_everything());
        assert!(periods(&[(Kept::Events, "", 0)]).keep_everything());
    }

    #[test]
    fn an_object_is_of_its_folder() {
        let name = "logs/aws_vpcflow/year=2026/month=03/day=05/hour=14/x.json.gz";
        assert_eq!(Kept::of_object(name), Some((Kept::Events, "aws_vpcflow")));
        let raw = Kept::of_object("raw/source/file");
        assert_eq!(raw, Some((Kept::Raw, "source")));
        assert_eq!(Kept::of_object("packs/1.json.gz"), None);
        assert_eq!(Kept::of_object("raw"), None);
    }
}
