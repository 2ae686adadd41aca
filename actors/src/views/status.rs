//! One look at everything; each component by itself.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Views;
use crate::api::{ApiCall, ApiError};
use crate::catalogue::{Built, Component, catalogue};
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

impl Views<'_> {
    pub(super) async fn status(&self) -> Result<Value, ApiError> {
        let group = self.door.group().status();
        let globals = self
            .door
            .read(|store| panther_cluster::state::read::globals(store))
            .await?;
        let counts = self.door.all_counts().await?;
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
        let states = self.supervisor.states();
        let of_state = |state| {
            states
                .values()
                .filter(|component| component.state == state)
                .count()
        };
        let raised = self.alarms.list(false).await?;
        let mut problems: Vec<String> = raised
            .iter()
            .map(|alarm| match alarm.node {
                Some(node) if group.members.len() > 1 => {
                    format!("{} (node {node}): {}", alarm.name, alarm.reason)
                }
                _ => format!("{}: {}", alarm.name, alarm.reason),
            })
            .collect();
        problems.extend(group.fault.clone());
        problems.extend(self.door.clock_fault());
        problems.extend(self.door.group().store().fault());
        let running = self.live.running();
        let health = match () {
            () if group.fault.is_some() || group.leader.is_none() => "failing",
            () if !problems.is_empty() || of_state(RunState::Open) > 0 => "degraded",
            () => "ok",
        };
        let disk = self.door.group().store().disk_bytes().unwrap_or(0);
        Ok(json!({
            "version": self.identity.version,
            "node": {"id": self.door.node(), "name": self.identity.name, "session": format!("{:016x}", self.door.session()),
                "uptime_ms": u64::try_from(self.identity.started.elapsed().as_millis()).unwrap_or(u64::MAX), "data_dir": self.identity.data_dir},
            "cluster": {"leader": group.leader, "term": group.term, "voters": group.voters, "applied": group.applied, "last_log": group.last_log,
                "snapshot": group.snapshot, "hash": format!("{:016x}", globals.hash), "time_ms": globals.clock_ms, "format": globals.format,
                "log_bytes": self.door.group().log_bytes(), "state_bytes": disk, "fault": group.fault},
            "health": health,
            "problems": problems,
            "components": {"running": of_state(RunState::Running), "restarting": of_state(RunState::Restarting), "open": of_state(RunState::Open),
                "not_built": catalogue().components.iter().filter(|component| component.built == Built::No).count()},
            "queues": {"waiting": waiting, "in_flight": in_flight, "dead_letters": dead},
            "alarms_raised": raised.len(),
            "pack": running.as_ref().map(|running| json!({"version": running.pack.version,
                "rules": running.pack.detections.iter().filter(|detection| detection.kind == panther_detections::pack::DetectionKind::Rule && detection.enabled).count(),
                "policies": running.pack.detections.iter().filter(|detection| detection.kind == panther_detections::pack::DetectionKind::Policy).count()})),
            "detections": self.live.counted(),
            "unenforced": self.live.unenforced(),
            "python": running.as_ref().map(|running| running.engine.load_report().python.clone()),
        }))
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
        let alarms: Vec<Value> = self
            .alarms
            .list(all)
            .await?
            .into_iter()
            .map(|alarm| json!({"name": alarm.name, "component": alarm.component, "node": alarm.node, "state": alarm.state, "reason": alarm.reason, "since_ms": alarm.since_ms, "changed_ms": alarm.since_ms, "times_raised": alarm.times_raised}))
            .collect();
        Ok(json!({"alarms": alarms}))
    }
}
