//! The 64 components of the run book, each declared once: what it is, what its failure does, what brings it back, and how
//! far it is built. The supervisor, the alarms, the run book and `pantherctl describe` are all made from this.

mod declare;
mod runbook;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

pub use declare::{DECLARATIONS, declarations};
pub use runbook::markdown;

/// What kind of thing a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Kind {
    Topic,
    Function,
    Table,
    Queue,
    Dlq,
    Gateway,
    Graphql,
    StateMachine,
    Web,
}

impl Kind {
    /// As it stands behind the slash of an identity.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Function => "function",
            Self::Table => "table",
            Self::Queue => "queue",
            Self::Dlq => "dlq",
            Self::Gateway => "gateway",
            Self::Graphql => "graphql",
            Self::StateMachine => "state-machine",
            Self::Web => "web",
        }
    }
}

/// How far a component is built in this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Built {
    Yes,
    Partly,
    No,
}

/// When an alarm is raised: the statistic over a period is above the threshold in so many periods in a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlarmSpec {
    /// What is measured.
    pub metric: String,
    /// How a period's values become one.
    pub statistic: String,
    /// What must not be exceeded.
    pub threshold: f64,
    /// Periods in a row.
    pub periods: u32,
    /// Seconds of a period.
    pub period_seconds: u64,
}

/// Attributes of a queue or dead letter queue; times in seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueAttributes {
    /// Time for which a received message is hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility_seconds: Option<u64>,
    /// Time after which a message is removed.
    pub retention_seconds: u64,
    /// Failures after which a message goes to `dlq`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_receive_count: Option<u32>,
    /// Delay of every message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_seconds: Option<u64>,
    /// Age of the oldest message above which the alarm is raised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_age_alarm_seconds: Option<u64>,
    /// Its dead letter queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dlq: Option<String>,
    /// Of a dead letter queue: whose dead letters it keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters_of: Option<String>,
    /// A remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What the run book's own version had, where it differs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub run_book: BTreeMap<String, u64>,
}

/// How a function is run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkAttributes {
    /// Deadline of one run.
    pub timeout_seconds: u64,
    /// Memory that the original gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u64>,
    /// queue, feed, call or schedule.
    pub trigger: String,
    /// The queue or feed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Messages at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// Time for which a batch may wait to fill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<u64>,
    /// Period of a schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_seconds: Option<u64>,
    /// A remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What the run book's own version had, where it differs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub run_book: BTreeMap<String, u64>,
}

/// An index of a table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IndexAttributes {
    /// Its name.
    pub name: String,
    /// Hash attribute.
    pub hash: String,
    /// Range attribute.
    pub range: String,
    /// At most one row per hash value.
    pub unique: bool,
}

/// Attributes of a table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TableAttributes {
    /// Name of the hash key.
    pub hash: String,
    /// Name of the range key; empty if there is none.
    pub range: String,
    /// Indexes.
    pub indexes: Vec<IndexAttributes>,
    /// Attribute that ends a row's life, in unix seconds.
    pub ttl_attribute: String,
    /// The feed that its changes fill.
    pub feed: String,
    /// A remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Whom a topic reaches: a queue, and what attributes of a message must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopicFilter {
    /// The subscriber.
    pub queue: String,
    /// Values of the attribute `type`; empty = any.
    #[serde(rename = "type")]
    pub kinds: Vec<String>,
    /// Values of the attribute `id`; empty = any.
    #[serde(rename = "id")]
    pub ids: Vec<String>,
}

/// Attributes of a topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopicAttributes {
    /// Subscribers.
    pub filters: Vec<TopicFilter>,
    /// A remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Attributes of a state machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StateMachineAttributes {
    /// How often it looks whether a running step has ended.
    pub poll_seconds: u64,
}

/// One component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Its run-book name.
    pub name: String,
    /// Its kind; name and kind together are unique.
    pub kind: Kind,
    /// What it is for.
    pub function: String,
    /// What stops while it fails.
    #[serde(default)]
    pub failure_impact: Vec<String>,
    /// What brings everything back, in order.
    #[serde(default)]
    pub recovery: Vec<String>,
    /// What it takes from or asks.
    #[serde(default)]
    pub reads: Vec<String>,
    /// What it changes or sends to.
    #[serde(default)]
    pub writes: Vec<String>,
    /// What it touches outside the system.
    #[serde(default)]
    pub outside: Vec<String>,
    /// How far it is built.
    pub built: Built,
    /// What is missing, or with what it comes.
    #[serde(default)]
    pub built_note: String,
    /// Its alarms.
    #[serde(default)]
    pub alarms: Vec<AlarmSpec>,
    /// Of a queue or dead letter queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueAttributes>,
    /// Of a function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<WorkAttributes>,
    /// Of a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableAttributes>,
    /// Of a topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<TopicAttributes>,
    /// Of a state machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_machine: Option<StateMachineAttributes>,
}

impl Component {
    /// `name/kind`, which is unique.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("{}/{}", self.name, self.kind.as_str())
    }
}

/// All components and the internal queues and tables beside them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The 64 of the run book.
    #[serde(rename = "component")]
    pub components: Vec<Component>,
    /// Queues and tables of our own.
    #[serde(rename = "internal")]
    pub internal: Vec<Component>,
}

const SOURCE: &str = include_str!("components.toml");

/// The catalogue.
#[must_use]
#[expect(
    clippy::expect_used,
    reason = "the catalogue is part of the program, and a test reads it"
)]
pub fn catalogue() -> &'static Catalogue {
    static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
    CATALOGUE.get_or_init(|| toml::from_str(SOURCE).expect("components.toml is well-formed"))
}

/// Why a name finds no component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// Nothing of that name.
    #[error("there is no component {name}{}", near.as_ref().map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    Unknown {
        /// What was looked for.
        name: String,
        /// What is nearest.
        near: Option<String>,
    },
    /// Two kinds share the name.
    #[error("{name} stands for several components: say {}", identities.join(" or "))]
    Ambiguous {
        /// What was looked for.
        name: String,
        /// What it may mean.
        identities: Vec<String>,
    },
}

impl Catalogue {
    /// Components and internals.
    pub fn all(&self) -> impl Iterator<Item = &Component> {
        self.components.iter().chain(&self.internal)
    }

    /// The component of a name, or of `name/kind`.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn find(&self, name: &str) -> Result<&Component, FindError> {
        let found: Vec<&Component> = self
            .all()
            .filter(|component| component.name == name || component.identity() == name)
            .collect();
        match found[..] {
            [one] => Ok(one),
            [] => {
                let near = self
                    .all()
                    .map(|component| &component.name)
                    .filter(|candidate| {
                        candidate.contains(name) || name.contains(candidate.as_str())
                    })
                    .min_by_key(|candidate| candidate.len());
                Err(FindError::Unknown {
                    name: name.to_owned(),
                    near: near.cloned(),
                })
            }
            _ => Err(FindError::Ambiguous {
                name: name.to_owned(),
                identities: found.iter().map(|component| component.identity()).collect(),
            }),
        }
    }

    /// The dead letter queue of a queue, if it has one.
    #[must_use]
    pub fn dlq_of(&self, queue: &str) -> Option<&str> {
        self.all()
            .find(|component| component.name == queue && component.kind == Kind::Queue)
            .and_then(|component| component.queue.as_ref()?.dlq.as_deref())
    }

    /// The function that consumes a queue or feed.
    #[must_use]
    pub fn consumer_of(&self, queue: &str) -> Option<&Component> {
        self.all().find(|component| {
            component
                .work
                .as_ref()
                .and_then(|work| work.source.as_deref())
                == Some(queue)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_64_components_stand_in_it_once() {
        let catalogue = catalogue();
        assert_eq!(catalogue.components.len(), 64);
        let mut identities: Vec<String> = catalogue.all().map(Component::identity).collect();
        let count = identities.len();
        identities.sort_unstable();
        identities.dedup();
        assert_eq!(identities.len(), count);
    }

    #[test]
    fn every_component_says_what_it_is_for_and_what_brings_it_back() {
        for component in &catalogue().components {
            assert!(!component.function.is_empty(), "{}", component.identity());
            assert!(
                !component.failure_impact.is_empty() && !component.recovery.is_empty(),
                "{}",
                component.identity()
            );
            assert!(
                component.built == Built::Yes || !component.built_note.is_empty(),
                "{} says nothing of what is missing",
                component.identity()
            );
        }
    }

    #[test]
    fn every_queue_has_a_dead_letter_queue_that_names_it() {
        let catalogue = catalogue();
        // What was deleted is handled by no component, and so cannot fail.
        let handled = catalogue.all().filter(|component| {
            component.kind == Kind::Queue && component.name != crate::views::queues::DELETED
        });
        for queue in handled {
            let dlq = catalogue
                .find(catalogue.dlq_of(&queue.name).unwrap())
                .unwrap();
            assert_eq!(
                dlq.queue.as_ref().unwrap().dead_letters_of.as_deref(),
                Some(queue.name.as_str())
            );
        }
    }

    #[test]
    fn a_bare_name_is_taken_where_it_is_unique_and_refused_with_the_choices_where_it_is_not() {
        let catalogue = catalogue();
        assert!(catalogue.find("panther-alerts-queue").is_ok());
        let error = catalogue.find("panther-analysis-api").unwrap_err();
        assert!(
            error.to_string().contains("panther-analysis-api/function"),
            "{error}"
        );
        assert!(catalogue.find("panther-analysis-api/gateway").is_ok());
        assert!(matches!(
            catalogue.find("panther-alert"),
            Err(FindError::Unknown { near: Some(_), .. })
        ));
    }
}
