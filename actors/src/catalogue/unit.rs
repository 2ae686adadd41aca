//! The form of a component's file: one function with its queue, dead letter queue, tables and topics. What is the same for all components of a
//! kind is filled in here, so that a file holds only what is its own.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::alarm;
use super::{Built, Component, Kind, QueueAttributes, TopicAttributes, Trigger, WorkAttributes};

/// Failures after which a message is a dead letter, as most of the original's queues had it.
const MAX_RECEIVE_COUNT: u32 = 10;
/// Age of a queue's oldest message above which the original raised an alarm.
const OLDEST_AGE_SECONDS: u64 = 900;
/// How long a scheduled run waits: four days, as the original's queues by default.
const RUN_SECONDS: i64 = 4 * 86_400;
/// Failures after which a scheduled run is a dead letter: the next period brings another run.
const RUN_FAILURES: i64 = 3;
/// How long a dead letter is kept: 14 days.
const DEAD_LETTER_SECONDS: u64 = 14 * 86_400;

/// Why a component's file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// A file is not of the form.
    #[error("{file}: {section}: {reason}")]
    Form {
        /// The file.
        file: String,
        /// The section in it.
        section: String,
        /// What is wrong there.
        reason: String,
    },
    /// Two files describe one component.
    #[error("{0} is described twice")]
    Twice(String),
}

/// What every section may hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Entry {
    name: Option<String>,
    about: String,
    failure_impact: Option<Vec<String>>,
    recovery: Option<Vec<String>>,
    reads: Vec<String>,
    writes: Vec<String>,
    outside: Vec<String>,
    built: Option<Built>,
    built_note: Option<String>,
    internal: bool,
}

/// The keys of [`Entry`]; all others of a section are attributes of its kind.
const ENTRY: [&str; 10] = [
    "name",
    "about",
    "failure_impact",
    "recovery",
    "reads",
    "writes",
    "outside",
    "built",
    "built_note",
    "internal",
];

const KINDS: [(&str, Kind); 9] = [
    ("function", Kind::Function),
    ("queue", Kind::Queue),
    ("dlq", Kind::Dlq),
    ("table", Kind::Table),
    ("topic", Kind::Topic),
    ("gateway", Kind::Gateway),
    ("state_machine", Kind::StateMachine),
    ("graphql", Kind::Graphql),
    ("web", Kind::Web),
];

/// A queue's own keys in a file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueKeys {
    visibility_seconds: u64,
    retention_seconds: u64,
    #[serde(default = "max_receive_count")]
    max_receive_count: u32,
    #[serde(default = "oldest_age")]
    oldest_age_alarm_seconds: u64,
    /// False: what fails is not kept apart, because no function handles the queue.
    #[serde(default = "yes")]
    dead_letters: bool,
    #[serde(default)]
    fair: bool,
    #[serde(default)]
    subscribes: Vec<super::TopicFilter>,
    note: Option<String>,
}

const fn max_receive_count() -> u32 {
    MAX_RECEIVE_COUNT
}

const fn oldest_age() -> u64 {
    OLDEST_AGE_SECONDS
}

const fn yes() -> bool {
    true
}

/// One file while it is read.
struct Unit<'a> {
    file: &'a str,
    built: Built,
    built_note: String,
    /// Name of the function, which consumes the queue.
    function: Option<String>,
    /// Name of the first queue.
    queue: Option<String>,
    dlq: Option<String>,
    sections: BTreeMap<&'static str, Vec<Table>>,
}

/// The components that a file describes.
pub(super) fn read(file: &str, text: &str) -> Result<Vec<Component>, UnitError> {
    let fault = |section: &str, reason: String| UnitError::Form {
        file: file.to_owned(),
        section: section.to_owned(),
        reason,
    };
    let mut whole: Table =
        toml::from_str(text).map_err(|error| fault("file", error.to_string()))?;
    let built = match whole.remove("built") {
        Some(built) => built
            .try_into()
            .map_err(|error: toml::de::Error| fault("built", error.to_string()))?,
        None => Built::Yes,
    };
    let built_note = match whole.remove("built_note") {
        Some(Value::String(note)) => note,
        Some(_) => return Err(fault("built_note", "it must be a text".to_owned())),
        None => String::new(),
    };
    let mut sections: BTreeMap<&'static str, Vec<Table>> = BTreeMap::new();
    for (key, value) in whole {
        let Some((section, _)) = KINDS.iter().find(|(section, _)| *section == key) else {
            return Err(fault(&key, "there is no kind of this name".to_owned()));
        };
        let tables = match value {
            Value::Table(one) => vec![one],
            Value::Array(several) => several
                .into_iter()
                .map(|one| match one {
                    Value::Table(one) => Ok(one),
                    _ => Err(fault(section, "it must be a table".to_owned())),
                })
                .collect::<Result<_, _>>()?,
            _ => return Err(fault(section, "it must be a table".to_owned())),
        };
        sections.insert(section, tables);
    }
    Unit::of(file, built, built_note, sections).components()
}

/// The queue of a function with a schedule: a message in it is one run.
fn runs(function: &str, sections: &BTreeMap<&'static str, Vec<Table>>) -> Option<Table> {
    let first = sections.get("function")?.first()?;
    first.get("trigger")?.get("schedule_seconds")?;
    let text = |text: String| Value::String(text);
    let deadline = first.get("deadline_seconds")?.clone();
    Some(Table::from_iter([
        ("name".to_owned(), text(format!("{function}-runs"))),
        (
            "about".to_owned(),
            text(format!(
                "The runs of `{function}` that are due: the leader sends one message per period."
            )),
        ),
        ("internal".to_owned(), Value::Boolean(true)),
        ("visibility_seconds".to_owned(), deadline),
        ("retention_seconds".to_owned(), Value::Integer(RUN_SECONDS)),
        ("max_receive_count".to_owned(), Value::Integer(RUN_FAILURES)),
    ]))
}

impl<'a> Unit<'a> {
    fn of(
        file: &'a str,
        built: Built,
        built_note: String,
        mut sections: BTreeMap<&'static str, Vec<Table>>,
    ) -> Self {
        let name = |section: &str| -> Option<String> {
            let first = sections.get(section)?.first()?;
            Some(first.get("name")?.as_str()?.to_owned())
        };
        let (function, mut queue, named) = (name("function"), name("queue"), name("dlq"));
        if let (None, Some(function)) = (&queue, &function)
            && let Some(runs) = runs(function, &sections)
        {
            sections.insert("queue", vec![runs]);
            queue = Some(format!("{function}-runs"));
        }
        // Every queue that a function handles has a dead letter queue, also if the file does not mention it.
        let dead_letters = sections
            .get("queue")
            .and_then(|queues| queues.first())
            .is_some_and(|queue| queue.get("dead_letters") != Some(&Value::Boolean(false)));
        let dlq = queue
            .as_ref()
            .filter(|_| dead_letters)
            .map(|queue| named.unwrap_or_else(|| format!("{queue}-dlq")));
        if dlq.is_some() {
            sections.entry("dlq").or_insert_with(|| vec![Table::new()]);
        }
        Self {
            file,
            built,
            built_note,
            function,
            queue,
            dlq,
            sections,
        }
    }

    fn fault(&self, section: &str, reason: impl ToString) -> UnitError {
        UnitError::Form {
            file: self.file.to_owned(),
            section: section.to_owned(),
            reason: reason.to_string(),
        }
    }

    fn parse<T: DeserializeOwned>(&self, section: &str, table: Table) -> Result<T, UnitError> {
        Value::Table(table)
            .try_into()
            .map_err(|error: toml::de::Error| self.fault(section, error.message()))
    }

    fn components(&self) -> Result<Vec<Component>, UnitError> {
        let mut components = Vec::new();
        for (section, kind) in KINDS {
            for table in self.sections.get(section).into_iter().flatten() {
                components.push(self.component(section, kind, table.clone())?);
            }
        }
        Ok(components)
    }

    fn component(&self, section: &str, kind: Kind, table: Table) -> Result<Component, UnitError> {
        let (entry, attributes): (Table, Table) = table
            .into_iter()
            .partition(|(key, _)| ENTRY.contains(&key.as_str()));
        let entry: Entry = self.parse(section, entry)?;
        let mut component = Component {
            name: entry.name.unwrap_or_default(),
            kind,
            function: entry.about,
            failure_impact: entry.failure_impact.unwrap_or_default(),
            recovery: entry.recovery.unwrap_or_default(),
            reads: entry.reads,
            writes: entry.writes,
            outside: entry.outside,
            built: entry.built.unwrap_or(self.built),
            built_note: entry.built_note.unwrap_or_else(|| self.built_note.clone()),
            internal: entry.internal,
            file: self.file.to_owned(),
            alarms: Vec::new(),
            queue: None,
            work: None,
            table: None,
            topic: None,
            state_machine: None,
        };
        match kind {
            Kind::Function => {
                let mut work: WorkAttributes = self.parse(section, attributes)?;
                work.source = match work.trigger {
                    Trigger::Queue | Trigger::ScheduleSeconds(_) => self.queue.clone(),
                    Trigger::Call => None,
                };
                component.work = Some(work);
            }
            Kind::Queue => self.queue(&mut component, self.parse(section, attributes)?),
            Kind::Dlq if attributes.is_empty() => self.dead_letters(&mut component),
            Kind::Table => component.table = Some(self.parse(section, attributes)?),
            Kind::Topic => {
                let topic: TopicAttributes = self.parse(section, attributes)?;
                component.topic = Some(topic);
            }
            Kind::StateMachine => component.state_machine = Some(self.parse(section, attributes)?),
            Kind::Dlq | Kind::Gateway | Kind::Graphql | Kind::Web => {
                if let Some(key) = attributes.keys().next() {
                    return Err(self.fault(section, format!("a {section} has no key {key}")));
                }
            }
        }
        if component.name.is_empty() || component.function.is_empty() {
            return Err(self.fault(section, "it has no name, or says nothing about itself"));
        }
        component.alarms = alarm::of(&component);
        Ok(component)
    }

    fn queue(&self, component: &mut Component, keys: QueueKeys) {
        let dlq = self.dlq.clone().filter(|_| keys.dead_letters);
        if component.recovery.is_empty() && dlq.is_some() {
            component.recovery = vec![format!(
                "Mend the cause, then `pantherctl requeue {}` puts back what its dead letter queue holds.",
                component.name
            )];
        }
        component.writes = dlq.clone().into_iter().collect();
        component.queue = Some(QueueAttributes {
            visibility_seconds: Some(keys.visibility_seconds),
            retention_seconds: keys.retention_seconds,
            max_receive_count: dlq.as_ref().map(|_| keys.max_receive_count),
            oldest_age_alarm_seconds: dlq.as_ref().map(|_| keys.oldest_age_alarm_seconds),
            dlq,
            dead_letters_of: None,
            fair: keys.fair,
            subscribes: keys.subscribes,
            note: keys.note,
        });
    }

    fn dead_letters(&self, component: &mut Component) {
        let of = self.queue.clone().unwrap_or_default();
        let consumer = self.function.clone().unwrap_or_else(|| of.clone());
        component.name = self.dlq.clone().unwrap_or_default();
        component.internal = self
            .sections
            .get("queue")
            .and_then(|queues| queues.first())
            .is_some_and(|queue| queue.get("internal") == Some(&Value::Boolean(true)));
        component.function = format!(
            "Keeps the messages of `{of}` that `{consumer}` could not handle, each with its reason, failure count and trace id, until an operator puts them back or purges them."
        );
        if component.failure_impact.is_empty() {
            component.failure_impact = vec![
                format!(
                    "A message in it is work of `{consumer}` that was not done; nothing else is affected."
                ),
                "What lies here longer than 14 days is removed by retention, and counted as such."
                    .to_owned(),
            ];
        }
        if component.recovery.is_empty() {
            component.recovery = vec![
                format!(
                    "Read the reasons with `pantherctl queue peek {}` and mend the cause.",
                    component.name
                ),
                format!("Put the messages back with `pantherctl requeue {of}`."),
            ];
        }
        component.writes = vec![of.clone()];
        component.queue = Some(QueueAttributes {
            retention_seconds: DEAD_LETTER_SECONDS,
            dead_letters_of: Some(of),
            ..QueueAttributes::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
[function]
name = 'f'
about = 'Handles.'
trigger = 'queue'
deadline_seconds = 5
concurrency = { processors = 2, more = 1 }
[queue]
name = 'q'
about = 'Holds.'
visibility_seconds = 5
retention_seconds = 60
";

    #[test]
    fn what_a_file_does_not_say_comes_from_the_kind() {
        let all = read("f/component.toml", FILE).unwrap();
        let names: Vec<String> = all.iter().map(Component::identity).collect();
        assert_eq!(names, ["f/function", "q/queue", "q-dlq/dlq"]);
        assert_eq!(all[0].work.as_ref().unwrap().source.as_deref(), Some("q"));
        let queue = all[1].queue.as_ref().unwrap();
        assert_eq!(queue.max_receive_count, Some(MAX_RECEIVE_COUNT));
        assert_eq!(queue.dlq.as_deref(), Some("q-dlq"));
        assert!(all[2].function.contains("`f` could not handle"));
        assert_eq!(all[1].alarms[0].metric, "oldest_message_age_seconds");
    }

    #[test]
    fn a_key_that_a_kind_does_not_have_is_refused_with_its_file_and_section() {
        let typo = FILE.replace("visibility_seconds", "visibility_second");
        let error = read("f/component.toml", &typo).unwrap_err().to_string();
        assert!(
            error.starts_with("f/component.toml: queue: ") && error.contains("visibility_second"),
            "{error}"
        );
        let error = read("g", "[quue]\nname = 'q'").unwrap_err().to_string();
        assert!(error.contains("quue"), "{error}");
    }
}
