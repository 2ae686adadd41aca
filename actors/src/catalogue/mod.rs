//! What the components of the run book are: prose for operators, attributes of queues, tables and functions, and how far each is built.
//!
//! A component is described in one file beside its code (`components/*/component.toml`). The supervisor, the declarations to the cluster, the
//! alarms, the run book and `pantherctl describe` are all derived from these files.
//!
//! * [`unit`]: the form of such a file
//! * [`alarm`]: the alarms of each kind of component
//! * [`declare`]: queues, tables and topics as they are declared to the cluster
//! * [`runbook`]: the run book as a document

mod alarm;
mod declare;
mod runbook;
mod unit;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

pub use alarm::AlarmSpec;
pub use declare::{declarations, version};
pub use runbook::markdown;
pub use unit::UnitError;

/// The kind of a component.
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
    /// The part of an identity behind the slash.
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Built {
    #[default]
    Yes,
    Partly,
    No,
}

/// Attributes of a queue or dead letter queue; times in seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueAttributes {
    /// Time for which a received message is hidden from other receivers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility_seconds: Option<u64>,
    /// Time after which a message is removed.
    pub retention_seconds: u64,
    /// Failures after which a message goes to `dlq`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_receive_count: Option<u32>,
    /// Age of the oldest message above which the alarm is raised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_age_alarm_seconds: Option<u64>,
    /// Its dead letter queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dlq: Option<String>,
    /// For a dead letter queue: the queue whose dead letters it keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters_of: Option<String>,
    /// Messages of different sources take turns.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fair: bool,
    /// The topics whose messages it receives.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscribes: Vec<TopicFilter>,
    /// A remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Which messages of a topic a queue receives.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicFilter {
    /// The topic.
    pub topic: String,
    /// For each attribute of a message the values that pass; an attribute that is not named may hold anything.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub wanted: BTreeMap<String, Vec<String>>,
}

/// What starts a function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A call of one of its operations.
    #[default]
    Call,
    /// A message in its queue.
    Queue,
    /// A message that the leader sends to its queue once per period of so many seconds.
    ScheduleSeconds(u64),
}

impl fmt::Display for Trigger {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call => to.write_str("call"),
            Self::Queue => to.write_str("queue"),
            Self::ScheduleSeconds(seconds) => write!(to, "every {seconds} s"),
        }
    }
}

impl Serialize for Trigger {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// How many messages a function handles at one time on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Concurrency {
    /// As many as this.
    Fixed(usize),
    /// As many as the node has processors, times `processors`, and `more`; at least `least`.
    #[serde(rename_all = "snake_case")]
    ByProcessors {
        /// Messages for each processor.
        processors: usize,
        /// Messages added to that.
        #[serde(default)]
        more: usize,
        /// The least number.
        #[serde(default)]
        least: usize,
    },
}

impl fmt::Display for Concurrency {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(places) => write!(to, "{places}"),
            Self::ByProcessors {
                processors,
                more,
                least,
            } => {
                write!(to, "{processors} per processor")?;
                if *more > 0 {
                    write!(to, " and {more}")?;
                }
                if *least > 0 {
                    write!(to, ", at least {least}")?;
                }
                Ok(())
            }
        }
    }
}

impl Serialize for Concurrency {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Default for Concurrency {
    fn default() -> Self {
        Self::Fixed(1)
    }
}

impl Concurrency {
    /// The number on a node with so many processors; at least 1.
    #[must_use]
    pub fn places(self, processors_here: usize) -> usize {
        match self {
            Self::Fixed(places) => places.max(1),
            Self::ByProcessors {
                processors,
                more,
                least,
            } => (processors * processors_here + more).max(least).max(1),
        }
    }
}

/// How a function is run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkAttributes {
    /// Deadline of one run or one call, in seconds.
    pub deadline_seconds: u64,
    /// What starts it.
    pub trigger: Trigger,
    /// The queue whose messages it handles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How many messages it handles at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// With a fair queue: how many of these places one source alone never gets. A source whose messages take long holds up no other, and a few such
    /// sources do not either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_for_other_turns: Option<usize>,
    /// A remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
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

/// A queue that receives a record of each change of a table's rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedAttributes {
    /// The queue.
    pub queue: String,
    /// While a record waits, a later change of the same row with equal values of these attributes is merged into it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coalesce_by: Vec<String>,
}

/// Attributes of a table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TableAttributes {
    /// Name of the hash key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hash: String,
    /// Name of the range key; empty if the key has no range.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub range: String,
    /// Indexes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<IndexAttributes>,
    /// Attribute that ends a row's life, in unix seconds; empty if rows do not expire.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ttl_attribute: String,
    /// The feeds that its changes fill.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub feeds: Vec<FeedAttributes>,
    /// A remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Attributes of a topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopicAttributes {
    /// The queues that receive its messages, if their consumer is built.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscribers: Vec<String>,
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
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Component {
    /// Its run-book name.
    pub name: String,
    /// Its kind; name and kind together are unique.
    pub kind: Kind,
    /// What it is for.
    pub function: String,
    /// What stops while it fails.
    pub failure_impact: Vec<String>,
    /// What brings everything back, in order.
    pub recovery: Vec<String>,
    /// What it reads from or calls.
    pub reads: Vec<String>,
    /// What it changes or sends to.
    pub writes: Vec<String>,
    /// What it touches outside the system.
    pub outside: Vec<String>,
    /// How far it is built.
    pub built: Built,
    /// What is missing, or with what it comes.
    pub built_note: String,
    /// It is not one of the 64 of the run book.
    #[serde(skip)]
    pub internal: bool,
    /// The file that describes it.
    #[serde(skip)]
    pub file: String,
    /// Its alarms.
    pub alarms: Vec<AlarmSpec>,
    /// Of a queue or dead letter queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueAttributes>,
    /// Of a function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work: Option<WorkAttributes>,
    /// Of a table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<TableAttributes>,
    /// Of a topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<TopicAttributes>,
    /// Of a state machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_machine: Option<StateMachineAttributes>,
}

impl Component {
    /// `name/kind`, which is unique.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("{}/{}", self.name, self.kind.as_str())
    }
}

/// All components: the 64 of the run book, and the queues and tables that they need among themselves.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// The 64 of the run book, by name.
    pub components: Vec<Component>,
    /// Queues and tables that the run book does not name.
    pub internal: Vec<Component>,
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
    /// The components that these files describe, each given by its name and its text.
    ///
    /// # Errors
    /// A file does not parse, or a component is described twice; the error names the file and the key.
    pub fn read<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, UnitError> {
        let mut all = Vec::new();
        for (file, text) in files {
            all.extend(unit::read(file, text)?);
        }
        all.sort_by_key(Component::identity);
        if let Some(twice) = all
            .windows(2)
            .find(|pair| pair[0].identity() == pair[1].identity())
        {
            return Err(UnitError::Twice(twice[0].identity()));
        }
        let subscribers: Vec<(String, String)> = all
            .iter()
            .filter_map(|component| Some((&component.name, component.queue.as_ref()?)))
            .flat_map(|(name, queue)| {
                let topics = queue.subscribes.iter();
                topics.map(move |filter| (filter.topic.clone(), name.clone()))
            })
            .collect();
        for component in &mut all {
            if let Some(topic) = &mut component.topic {
                let names = subscribers
                    .iter()
                    .filter(|(topic, _)| *topic == component.name);
                topic.subscribers = names.map(|(_, queue)| queue.clone()).collect();
            }
        }
        let (internal, components) = all.into_iter().partition(|component| component.internal);
        Ok(Self {
            components,
            internal,
        })
    }

    /// Components and internals.
    pub fn all(&self) -> impl Iterator<Item = &Component> {
        self.components.iter().chain(&self.internal)
    }

    /// The component of a name, or of `name/kind`.
    ///
    /// # Errors
    /// No component has the name, or several have.
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
        self.queue(queue)?.dlq.as_deref()
    }

    /// The attributes of a queue that is no dead letter queue.
    #[must_use]
    pub fn queue(&self, queue: &str) -> Option<&QueueAttributes> {
        self.all()
            .find(|component| component.name == queue && component.kind == Kind::Queue)
            .and_then(|component| component.queue.as_ref())
    }

    /// The function that consumes a queue.
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
