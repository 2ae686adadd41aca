//! `panther-rules-engine`: processed events in, matches and alerts out.
//!
//! Matches of a message are grouped by (rule, dedup string, match or error). Each group opens or extends an alert by a
//! change of its row in `panther-log-alert-dedup`, conditional on the row as it was read. Match objects carry the id of
//! their alert, so they are part of the plan. Rows, key-value changes and the message's end are one command.

mod decisions;
mod matches;
mod store;
pub mod trial;

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::objects::Objects;
use panther_detections::alerting::{self, AlertKind, DedupRow, Generated, Step};
use panther_detections::engine::EventInput;
use panther_proto::v1::{Message, Row};
use tracing::Instrument as _;

use super::alerts_api::EVENTS;
use super::log_processor::TOPIC;
use super::notifications::{self, Notification};
use super::objects;

use super::pack::LivePack;
use crate::api::ApiError;
use crate::component::{Deps, Place};
use crate::destinations::OutputCache;
use crate::supervision::Part;
use crate::worker::{Context, Failure, Handler, Plan, PlanContext, PlannedObject};

pub use decisions::Decisions;
pub use matches::{Group, GroupKey, Groups};
pub use store::KeyValueTable;

/// The table that deduplicates alerts.
pub const DEDUP: &str = "panther-log-alert-dedup";
/// The queue of processed objects.
pub const QUEUE: &str = "panther-rules-engine-queue";
/// Rows of one command; a message with more is split.
const ROWS: usize = 900;
/// Attributes of a part of an object: its first line and the line after its last.
const LINES: [&str; 2] = ["fromLine", "toLine"];

/// The handler.
pub struct RulesEngine {
    /// Where objects lie.
    pub objects: Objects,
    /// The live pack.
    pub live: LivePack,
    /// Destinations, for names in `destinations()`.
    pub outputs: OutputCache,
    /// What is decided about rules that cannot go on as they are.
    pub decisions: Decisions,
}

/// What came of a message's events.
pub enum Evaluated {
    /// There is nothing to do: no pack, or no rule for these events.
    Nothing,
    /// Too much for one command: parts of the object, as ranges of lines.
    Parts(Vec<(usize, usize)>),
    /// Groups of matches.
    Groups(Box<Groups>),
}

/// The function.
///
/// # Errors
/// None.
pub fn build(deps: &Deps, place: Place<'_>) -> Result<Part, ApiError> {
    Ok(place.worker(deps, RulesEngine::new(deps)))
}

impl Handler for RulesEngine {
    type Work = Evaluated;

    /// Loading a big pack takes seconds.
    async fn ready(&self) -> Result<(), Failure> {
        self.live.current().await?;
        Ok(())
    }

    async fn work(&self, message: &Message, context: &Context) -> Result<Self::Work, Failure> {
        self.evaluate(message, context).await
    }

    async fn plan(
        evaluated: &Self::Work,
        message: &Message,
        context: &PlanContext,
    ) -> Result<Plan, Failure> {
        match evaluated {
            Evaluated::Nothing => Ok(Plan {
                what: "no rule for these events".to_owned(),
                ..Plan::default()
            }),
            Evaluated::Parts(parts) => Ok(split(message, parts)),
            Evaluated::Groups(groups) => plan_groups(groups, context).await,
        }
    }
}

fn split(message: &Message, parts: &[(usize, usize)]) -> Plan {
    let sends = parts.iter().map(|(from, to)| {
        let mut send = change::to_queue(QUEUE, message.body.clone());
        send.attributes.clone_from(&message.attributes);
        for (name, line) in LINES.into_iter().zip([from, to]) {
            send.attributes.insert(name.to_owned(), line.to_string());
        }
        send
    });
    Plan {
        what: format!("too much for one command: split into {} parts", parts.len()),
        sends: sends.collect(),
        ..Plan::default()
    }
}

impl RulesEngine {
    /// The handler of a node.
    #[must_use]
    pub fn new(deps: &Deps) -> Self {
        Self {
            objects: deps.objects.clone(),
            live: deps.live.clone(),
            outputs: OutputCache::new(deps.door.clone(), deps.sealer.clone()),
            decisions: Decisions {
                objects: deps.objects.clone(),
                live: deps.live.clone(),
                alarms: deps.alarms.clone(),
            },
        }
    }

    async fn evaluate(&self, message: &Message, context: &Context) -> Result<Evaluated, Failure> {
        let named = match notifications::notification(&message.body) {
            Ok(Notification::Object(named)) => named,
            Ok(Notification::Ignored(_)) => return Ok(Evaluated::Nothing),
            Ok(Notification::Several(_)) => {
                return Err(Failure::message(
                    "a notification of processed events names one object",
                ));
            }
            Err(reason) => return Err(Failure::message(reason)),
        };
        let Some(log_type) = message.attributes.get("id").cloned() else {
            return Err(Failure::message(
                "the notification has no attribute `id`, which holds the log type: publish it with its attributes",
            ));
        };
        let Some(loaded) = self.live.current().await? else {
            return Ok(Evaluated::Nothing);
        };
        if loaded.engine.rules(&log_type) == 0 {
            return Ok(Evaluated::Nothing);
        }
        let content = self.objects.get(&named.key).await?;
        let key = named.key.clone();
        let lines = tokio::task::spawn_blocking(move || objects::unpack(&content))
            .await
            .map_err(|error| Failure::Node(error.to_string()))?
            .map_err(|error| {
                Failure::message(format!("{key} is no packed object of events: {error}"))
            })?;
        let lines = Bytes::from(lines);
        let bound = |name: &str| {
            message
                .attributes
                .get(name)
                .and_then(|line| line.parse::<usize>().ok())
        };
        let (from, to) = (
            bound(LINES[0]).unwrap_or(0),
            bound(LINES[1]).unwrap_or(usize::MAX),
        );
        let events: Vec<EventInput> = lines
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .skip(from)
            .take(to.saturating_sub(from))
            .map(|line| EventInput {
                log_type: log_type.clone(),
                json: lines.slice_ref(line),
            })
            .collect();
        let now = UNIX_EPOCH + Duration::from_millis(context.received_ms);
        let table = KeyValueTable::new(context.door.clone());
        let mut evaluation = loaded
            .engine
            .evaluate(&events, now, &table)
            .instrument(tracing::debug_span!(
                "evaluate",
                log_type,
                events = events.len()
            ))
            .await
            .map_err(|fault| Failure::Node(fault.to_string()))?;
        table.widen(&mut evaluation.effects);
        for &place in &evaluation.suspended {
            if let Some(detection) = loaded.pack.detections.get(place) {
                self.decisions.suspend(detection).await?;
            }
        }
        for difference in &evaluation.differences {
            if let Some(detection) = loaded.pack.detections.get(difference.detection) {
                let event = events.get(difference.event).map(|event| &event.json);
                let event = event.map_or(&[][..], |json| json);
                self.decisions
                    .leave_to_python(detection, difference, event, context.received_ms)
                    .await?;
            }
        }
        let outputs = self.outputs.current().await?;
        let mut groups = Groups::of(&loaded.pack, &log_type, &events, evaluation, &outputs);
        if groups.rows() > ROWS && events.len() > 1 {
            let middle = from + events.len() / 2;
            return Ok(Evaluated::Parts(vec![
                (from, middle),
                (middle, from + events.len()),
            ]));
        }
        groups.from = named.key;
        Ok(Evaluated::Groups(Box::new(groups)))
    }
}

/// Opens or extends the alert of each group, and stores its matches.
async fn plan_groups(groups: &Groups, context: &PlanContext) -> Result<Plan, Failure> {
    let now = i64::try_from(context.received_ms / 1000).unwrap_or(0);
    let mut plan = Plan {
        changes: store::changes(&groups.store),
        ..Plan::default()
    };
    let mut steps: BTreeMap<&GroupKey, Option<Step>> = BTreeMap::new();
    for (key, group) in &groups.groups {
        if !group.opens_alert {
            steps.insert(key, None);
            continue;
        }
        let row_key = alerting::dedup_key(&key.rule, &key.dedup, key.kind);
        let row = context.tables.get(DEDUP, &change::key(&row_key)).await?;
        let dedup_row = row.as_ref().and_then(dedup_row);
        let log_types = [groups.log_type.clone()].into();
        let about = alerting::Group {
            rule_id: &key.rule,
            dedup: &key.dedup,
            kind: key.kind,
            matches: group.matches(),
            log_types: &log_types,
        };
        let step = alerting::decide(dedup_row.as_ref(), &about, group.dedup_minutes, now);
        plan.changes.push(
            dedup_change(
                &row_key,
                key,
                group,
                &step,
                dedup_row.as_ref(),
                &groups.pack_version,
            )
            .done(),
        );
        steps.insert(key, Some(step));
    }
    for (kind, folder, message_type) in [
        (AlertKind::Rule, "rules", "RuleMatches"),
        (AlertKind::RuleError, "rule_errors", "RuleErrors"),
    ] {
        let lines = groups.lines(kind, &steps);
        if lines.is_empty() {
            continue;
        }
        let (content, hash) = packed(lines).await?;
        // By its content: a plan that differs names another object.
        let unique = format!("{}-{}", context.attempt, &hash[..16]);
        let name = objects::partitioned(folder, &groups.log_type, context.received_ms, &unique);
        let written = objects::Written {
            name,
            bytes: content.len() as u64,
            hash,
        };
        plan.objects.push(PlannedObject {
            name: written.name.clone(),
            content,
        });
        plan.changes
            .push(written.row_from(context.received_ms, &groups.from));
        plan.sends.push(objects::processed(
            TOPIC,
            message_type,
            &groups.log_type,
            &written,
        ));
        for (key, group) in groups.groups.iter().filter(|(key, _)| key.kind == kind) {
            if let Some(Some(step)) = steps.get(key) {
                let row = Change::put(EVENTS, change::key_range(step.alert_id(), &written.name))
                    .set("count", group.matches())
                    .set("time", context.received_ms);
                plan.changes.push(row.done());
            }
        }
    }
    plan.what = groups.words();
    Ok(plan)
}

/// Compresses lines on a blocking thread. Returns the content and the hash of it.
async fn packed(lines: Vec<u8>) -> Result<(Bytes, String), Failure> {
    let pack = move || {
        let content = objects::pack(&lines)?;
        let hash = objects::Written::of(String::new(), &content).hash;
        Ok::<_, std::io::Error>((content, hash))
    };
    tokio::task::spawn_blocking(pack)
        .await
        .map_err(|error| Failure::Node(error.to_string()))?
        .map_err(|error| Failure::Node(error.to_string()))
}

/// The part of a deduplication row that decides.
pub fn dedup_row(row: &Row) -> Option<DedupRow> {
    let count = |name: &str| row.int(name).and_then(|count| u64::try_from(count).ok());
    Some(DedupRow {
        alert_count: count("alertCount")?,
        alert_creation_time: row.int("alertCreationTime")?,
        alert_update_time: row.int("alertUpdateTime")?,
        event_count: count("eventCount")?,
        log_types: row.items("logTypes").iter().cloned().collect(),
    })
}

fn dedup_change(
    row_key: &str,
    key: &GroupKey,
    group: &Group,
    step: &Step,
    read: Option<&DedupRow>,
    pack_version: &str,
) -> Change {
    let mut change = Change::update(DEDUP, change::key(row_key));
    change = match read {
        None => change.if_absent("alertCount"),
        Some(row) => change
            .if_equals("alertCount", row.alert_count)
            .if_equals("alertCreationTime", row.alert_creation_time),
    };
    match step {
        Step::Open { row, alert_id } => {
            let text = |text: &Option<String>| text.as_ref().map(String::from);
            let Generated {
                title,
                description,
                reference,
                runbook,
                severity,
            } = &group.generated;
            change
                .set("ruleId", &key.rule)
                .set("dedup", &key.dedup)
                .set("type", key.kind.as_str())
                .set("alertId", alert_id)
                .set("alertCount", row.alert_count)
                .set("alertCreationTime", row.alert_creation_time)
                .set("alertUpdateTime", row.alert_update_time)
                .set("eventCount", row.event_count)
                .set(
                    "logTypes",
                    row.log_types.iter().cloned().collect::<Vec<_>>(),
                )
                .set("ruleVersion", &group.rule_version)
                .set("packVersion", pack_version)
                .set("engine", "python")
                .set("threshold", group.threshold)
                .set_or_remove("title", text(title))
                .set_or_remove("description", text(description))
                .set_or_remove("reference", text(reference))
                .set_or_remove("runbook", text(runbook))
                .set_or_remove("severity", severity.map(|severity| severity.as_str()))
                .set_or_remove("context", group.context.clone().map(change::json))
                .set_or_remove(
                    "destinations",
                    group
                        .destinations
                        .as_ref()
                        .map(|ids| change::json(serde_json::Value::from(ids.clone()).to_string())),
                )
                .set("ruleDisplayName", &group.display_name)
                .set(
                    "outputIds",
                    change::json(serde_json::Value::from(group.output_ids.clone()).to_string()),
                )
                .set(
                    "tags",
                    change::json(serde_json::Value::from(group.tags.clone()).to_string()),
                )
        }
        Step::Extend { matches, row, .. } => change
            .add("eventCount", i64::try_from(*matches).unwrap_or(i64::MAX))
            .union("logTypes", row.log_types.iter().cloned())
            .max("alertUpdateTime", row.alert_update_time),
    }
}
