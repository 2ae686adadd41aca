//! The verbs, a file for each group.

mod alarms;
mod alerts;
mod backup;
mod cluster;
mod components;
mod detections;
mod ledger;
mod objects;
mod outputs;
mod quarantine;
mod queue;
mod requeue;
mod schemas;
mod sources;
mod status;
mod storage;
mod table;
mod tail;
mod trace;

use clap::{Subcommand, ValueEnum};
use panther_proto::methods::ApiRequest;
use serde_json::{Map, Value};

use crate::{
    answer::{Answer, Reply},
    client::{Call, CallError, Client},
    failure::{Exit, Failure},
    output::Screen,
};

/// What every verb works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) screen: Screen,
    /// Who does this.
    pub(crate) user: String,
}

impl Context {
    /// Calls a typed method.
    pub(crate) async fn call<R: ApiRequest>(
        &self,
        request: R,
    ) -> Result<Reply<R::Answer>, CallError> {
        self.client.call(request).await
    }

    /// Asks.
    pub(crate) async fn read(
        &self,
        component: &'static str,
        operation: &'static str,
        input: Value,
    ) -> Result<Answer, CallError> {
        self.client
            .invoke(Call::read(component, operation, input))
            .await
    }

    /// Changes.
    pub(crate) async fn change(
        &self,
        component: &'static str,
        operation: &'static str,
        input: Value,
    ) -> Result<Answer, CallError> {
        self.client
            .invoke(Call::change(component, operation, input))
            .await
    }

    /// Asks for something that only explains; without an answer there is less explained.
    pub(crate) async fn aside(
        &self,
        component: &'static str,
        operation: &'static str,
        input: Value,
    ) -> Option<Answer> {
        self.read(component, operation, input).await.ok()
    }
}

/// A verb.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// How the node, its cluster and its components are
    Status,
    /// Exit code 0 if all is well, 1 if not, with the problems
    Health,
    /// The versions of pantherctl and of the node
    Version,
    /// Take a snapshot of the state now, so that the log can be cut
    Snapshot,
    /// End the pause of a cluster that was restored with --paused
    Resume,
    /// The nodes of the cluster: look at them, invite, drain, replace and remove them
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// The cluster's state in a folder, for the day on which all nodes are gone
    #[command(subcommand)]
    Backup(backup::Backup),
    /// All components of the run book, whether they are built, and how they are
    Components(components::List),
    /// What a component is, what fails with it, and what brings it back
    Describe(components::Describe),
    /// The run book, as Markdown
    Runbook,
    /// Alarms that are raised
    Alarms(alarms::Alarms),
    /// Queues and their messages
    #[command(subcommand)]
    Queue(queue::Queue),
    /// Put dead letters back into their queue
    Requeue(requeue::Requeue),
    /// Tables and their rows
    #[command(subcommand)]
    Table(table::Table),
    /// Records that no log type took, and why
    Quarantine(quarantine::Quarantine),
    /// Alerts, their events and deliveries
    #[command(subcommand)]
    Alerts(alerts::Alerts),
    /// Write, test, upload and look at detections
    #[command(subcommand)]
    Detections(detections::Detections),
    /// Where logs come from
    #[command(subcommand)]
    Sources(sources::Sources),
    /// Log types and their schemas
    #[command(subcommand)]
    Schemas(schemas::Schemas),
    /// Where alerts go
    #[command(subcommand)]
    Outputs(outputs::Outputs),
    /// What became of everything received: stored + quarantined + filtered, per source and hour
    Ledger(ledger::Ledger),
    /// What takes the room, and how long it is kept
    #[command(subcommand)]
    Storage(storage::Storage),
    /// Stored objects, one at a time
    #[command(subcommand)]
    Objects(objects::Objects),
    /// What one event passed through
    Trace(trace::Trace),
    /// Follow alerts or alarms as they come
    Tail(tail::Tail),
}

/// Does what was asked for.
pub(crate) async fn run(command: Command, context: &Context) -> Result<Exit, Failure> {
    match command {
        Command::Status => status::status(context).await,
        Command::Health => status::health(context).await,
        Command::Version => status::version(context).await,
        Command::Snapshot => status::snapshot(context).await,
        Command::Resume => status::resume(context).await,
        Command::Cluster(verb) => verb.run(context).await,
        Command::Backup(verb) => verb.run(context).await,
        Command::Components(verb) => verb.run(context).await,
        Command::Describe(verb) => verb.run(context).await,
        Command::Runbook => components::runbook(context).await,
        Command::Alarms(verb) => verb.run(context).await,
        Command::Queue(verb) => verb.run(context).await,
        Command::Requeue(verb) => verb.run(context).await,
        Command::Table(verb) => verb.run(context).await,
        Command::Quarantine(verb) => verb.run(context).await,
        Command::Alerts(verb) => verb.run(context).await,
        Command::Detections(verb) => verb.run(context).await,
        Command::Sources(verb) => verb.run(context).await,
        Command::Schemas(verb) => verb.run(context).await,
        Command::Outputs(verb) => verb.run(context).await,
        Command::Ledger(verb) => verb.run(context).await,
        Command::Storage(verb) => verb.run(context).await,
        Command::Objects(verb) => verb.run(context).await,
        Command::Trace(verb) => verb.run(context).await,
        Command::Tail(verb) => verb.run(context).await,
    }
}

/// How much an alert matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Severity {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

/// The names of values as operations spell them.
fn names<T: ValueEnum>(values: &[T]) -> Vec<String> {
    values
        .iter()
        .filter_map(ValueEnum::to_possible_value)
        .map(|value| value.get_name().to_owned())
        .collect()
}

/// An operation's input without the keys that nobody gave: null, and empty lists.
fn given(fields: Value) -> Value {
    let Value::Object(fields) = fields else {
        return fields;
    };
    let kept: Map<String, Value> = fields
        .into_iter()
        .filter(|(_, value)| match value {
            Value::Null => false,
            Value::Array(items) => !items.is_empty(),
            _ => true,
        })
        .collect();
    Value::Object(kept)
}

/// Filters in words, such as `severity HIGH, status OPEN`; empty if there is none.
fn filters_in_words(input: &Value, ignored: &[&str]) -> String {
    let Value::Object(fields) = input else {
        return String::new();
    };
    fields
        .iter()
        .filter(|(key, _)| !ignored.contains(&key.as_str()))
        .map(|(key, value)| format!("{} {}", in_words(key), crate::answer::plain(value)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A filter as a person says it; operations have names of their own.
fn in_words(key: &str) -> &str {
    match key {
        "createdAtAfter" => "created after",
        "createdAtBefore" => "created before",
        "ruleId" => "rule",
        "types" => "type",
        "logTypes" => "log type",
        "nameContains" => "name",
        "analysisTypes" => "type",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_nobody_gave_is_not_sent() {
        let input = given(json!({"a": null, "b": [], "c": ["x"], "d": false, "e": 0}));
        assert_eq!(input, json!({"c": ["x"], "d": false, "e": 0}));
        assert_eq!(filters_in_words(&input, &["e"]), "c x, d false");
    }

    #[test]
    fn severities_are_spelled_as_operations_spell_them() {
        assert_eq!(
            names(&[Severity::Info, Severity::Critical]),
            ["INFO", "CRITICAL"]
        );
    }
}
