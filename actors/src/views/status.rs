//! One look at everything; each component by itself.

use std::path::PathBuf;

use panther_cluster::door::Local;
use panther_cluster::membership::known_leader;
use panther_cluster::state::read;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Views;
use crate::alarms::{self, Alarm};
use crate::api::{ApiCall, ApiError};
use crate::catalogue::{Built, Component};
use crate::components::catalogue;
use crate::supervision::RunState;

/// What the node is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The daemon's version.
    pub version: String,
    /// The node's name.
    pub name: String,
    /// Where its data lie.
    pub data_dir: PathBuf,
    /// When it started.
    pub started: std::time::Instant,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Describe {
    component: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AlarmList {
    all: bool,
}

/// What a node is and knows, apart from its components.
struct Known {
    shown: Value,
    problems: Vec<String>,
    failing: bool,
}

impl Known {
    /// Of this node's own state. `behind` says why that may be behind what the cluster knows, if it may.
    async fn of(
        local: &Local,
        identity: &Identity,
        alarms: &[Alarm],
        behind: Option<&str>,
    ) -> Result<Self, ApiError> {
        let group = local.status();
        let read = local.read(|store| Ok((read::globals(store)?, read::all_counts(store)?)));
        let (globals, counts) = read.await.map_err(unreadable)?;
        let is_dlq = |name: &str| {
            catalogue().all().any(|component| {
                component.name == name && component.kind == crate::catalogue::Kind::Dlq
            })
        };
        let (mut waiting, mut in_flight, mut dead) = (0, 0, 0);
        for (name, (counts, _)) in &counts {
            if is_dlq(name) {
                dead += counts.waiting + counts.delayed + counts.in_flight;
            } else {
                waiting += counts.waiting + counts.delayed;
                in_flight += counts.in_flight;
            }
        }
        let mut problems: Vec<String> = alarms
            .iter()
            .map(|alarm| match alarm.node {
                Some(node) if group.members.len() > 1 => {
                    format!("{} (node {node}): {}", alarm.name, alarm.reason)
                }
                _ => format!("{}: {}", alarm.name, alarm.reason),
            })
            .collect();
        problems.extend(group.fault.clone());
        problems.extend(local.group().store().fault());
        let alarmed = alarms.iter().any(|alarm| alarm.metric() == "no_leader");
        problems.extend(behind.filter(|_| !alarmed).map(str::to_owned));
        let leader = known_leader(&group, behind.is_some());
        let disk = local.group().store().disk_bytes().unwrap_or(0);
        let shown = json!({
            "version": identity.version,
            "local": behind.is_some(),
            "local_reason": behind,
            "node": {"id": local.node(), "name": identity.name,
                "uptime_ms": u64::try_from(identity.started.elapsed().as_millis()).unwrap_or(u64::MAX), "data_dir": identity.data_dir},
            "cluster": {"leader": leader, "term": group.term, "voters": group.voters, "applied": group.applied, "last_log": group.last_log, "last_term": group.last_term,
                "snapshot": group.snapshot, "hash": format!("{:016x}", globals.hash), "time_ms": globals.clock_ms, "format": globals.format,
                "log_bytes": local.group().log_bytes(), "state_bytes": disk, "fault": group.fault},
            "queues": {"waiting": waiting, "in_flight": in_flight, "dead_letters": dead},
            "alarms_raised": alarms.len(),
        });
        Ok(Self {
            shown,
            problems,
            failing: group.fault.is_some() || leader.is_none(),
        })
    }

    fn shown(self, degraded: bool) -> Value {
        let health = match () {
            () if self.failing => "failing",
            () if degraded || !self.problems.is_empty() => "degraded",
            () => "ok",
        };
        let mut shown = self.shown;
        shown["health"] = health.into();
        shown["problems"] = json!(self.problems);
        shown
    }
}

fn unreadable(error: std::io::Error) -> ApiError {
    ApiError::Internal(format!("the state cannot be read: {error}"))
}

/// A node that waits for a leader before it can start anything: what it is and knows.
///
/// # Errors
/// Its state cannot be read.
pub(super) async fn waiting(
    local: &Local,
    identity: &Identity,
    behind: &str,
) -> Result<Value, ApiError> {
    let mut raised = alarms::written(local).await.map_err(unreadable)?;
    raised.retain(|alarm| alarm.state == "raised");
    let known = Known::of(local, identity, &raised, Some(behind)).await?;
    Ok(known.shown(true))
}

/// Alarms as a node lists them. `behind` says why they may be behind.
pub(super) fn listed(alarms: Vec<Alarm>, behind: Option<&str>) -> Value {
    let alarms: Vec<Value> = alarms
        .into_iter()
        .map(|alarm| json!({"name": alarm.name, "component": alarm.component, "node": alarm.node, "state": alarm.state, "reason": alarm.reason, "since_ms": alarm.since_ms, "changed_ms": alarm.since_ms, "times_raised": alarm.times_raised}))
        .collect();
    json!({"alarms": alarms, "local": behind.is_some(), "local_reason": behind})
}

impl Views<'_> {
    pub(super) async fn status(&self) -> Result<Value, ApiError> {
        let behind = self.door.fresh().await.err();
        let states = self.supervisor.states();
        let of_state = |state| {
            states
                .values()
                .filter(|component| component.state == state)
                .count()
        };
        let raised = self.alarms.list_here(false).await.map_err(unreadable)?;
        let local = self.door.local();
        let mut known = Known::of(local, self.identity, &raised, behind.as_deref()).await?;
        known.problems.extend(self.door.clock_fault());
        let running = self.live.running();
        let mut shown = known.shown(of_state(RunState::Open) > 0);
        shown["node"]["session"] = format!("{:016x}", self.door.session()).into();
        shown["components"] = json!({"running": of_state(RunState::Running), "restarting": of_state(RunState::Restarting), "open": of_state(RunState::Open),
            "not_built": catalogue().components.iter().filter(|component| component.built == Built::No).count()});
        // A pack that cannot be loaded is not the same as no pack.
        let unloaded = self.live.pointer_here().await.map_err(unreadable)?.map_or(
            Value::Null,
            |live| json!({"version": live.version, "object": live.object, "loaded": false}),
        );
        shown["paused_since_ms"] = json!(self.pause.since());
        shown["pack"] = running.as_ref().map_or(unloaded, |running| json!({"version": running.pack.version,
            "rules": running.pack.detections.iter().filter(|detection| detection.kind == panther_detections::pack::DetectionKind::Rule && detection.enabled).count(),
            "policies": running.pack.detections.iter().filter(|detection| detection.kind == panther_detections::pack::DetectionKind::Policy).count()}));
        shown["detections"] = json!(self.live.counted());
        shown["unenforced"] = json!(self.live.unenforced());
        shown["python"] = json!(
            running
                .as_ref()
                .map(|running| running.engine.load_report().python.clone())
        );
        Ok(shown)
    }

    pub(super) fn components(&self) -> Value {
        let shown: Vec<Value> = catalogue()
            .components
            .iter()
            .map(|component| self.component(component))
            .collect();
        json!({"components": shown})
    }

    fn component(&self, component: &Component) -> Value {
        let states = self.supervisor.states();
        let state = states.get(&component.identity());
        let mut shown = json!({"name": component.name, "kind": component.kind, "built": component.built, "state": "not built", "restarts": 0, "handled": 0, "failed": 0, "in_flight": 0, "last_error": null});
        if let Some(state) = state {
            shown["state"] = json!(state.state);
            shown["restarts"] = state.restarts.into();
            shown["handled"] = state.work.handled.into();
            shown["failed"] = state.work.failed.into();
            shown["in_flight"] = state.work.in_flight.into();
            shown["last_error"] = state.work.last_error.clone().into();
        }
        shown
    }

    pub(super) fn describe(&self, call: &ApiCall) -> Result<Value, ApiError> {
        let Describe { component } = call.input()?;
        let component = catalogue()
            .find(&component)
            .map_err(|error| ApiError::NotFound(error.to_string()))?;
        let mut entry = serde_json::to_value(component)
            .map_err(|error| ApiError::Internal(error.to_string()))?;
        entry["state"] = self.component(component)["state"].clone();
        Ok(entry)
    }

    pub(super) async fn alarm_list(&self, call: &ApiCall) -> Result<Value, ApiError> {
        let AlarmList { all } = call.input()?;
        let behind = self.door.fresh().await.err();
        let alarms = self.alarms.list_here(all).await.map_err(unreadable)?;
        Ok(listed(alarms, behind.as_deref()))
    }
}
