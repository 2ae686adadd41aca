//! One look at everything; each component by itself.

use std::path::PathBuf;

use panther_cluster::door::Local;
use panther_cluster::membership::known_leader;
use panther_cluster::state::read;
use panther_detections::pack::DetectionKind;
use panther_proto::v1::{
    AlarmView, AlarmsAnswer, ClusterState, ComponentTotals, ComponentView, ComponentsAnswer, Json,
    NodeState, PackState, QueueTotals, StatusAnswer,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::Views;
use crate::alarms::{self, Alarm};
use crate::api::ApiError;
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

/// What a node is and knows, apart from its components.
struct Known {
    shown: StatusAnswer,
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
        let shown = StatusAnswer {
            version: identity.version.clone(),
            local: behind.is_some(),
            local_reason: behind.map(str::to_owned),
            node: Some(NodeState {
                id: local.node(),
                name: identity.name.clone(),
                uptime_ms: u64::try_from(identity.started.elapsed().as_millis())
                    .unwrap_or(u64::MAX),
                data_dir: identity.data_dir.display().to_string(),
                session: None,
            }),
            cluster: Some(ClusterState {
                leader,
                term: group.term,
                voters: group.voters.clone(),
                applied: group.applied,
                last_log: group.last_log,
                last_term: group.last_term,
                snapshot: group.snapshot,
                hash: format!("{:016x}", globals.hash),
                time_ms: globals.clock_ms,
                format: globals.format,
                log_bytes: local.group().log_bytes(),
                state_bytes: disk,
                fault: group.fault.clone(),
            }),
            queues: Some(QueueTotals {
                waiting,
                in_flight,
                dead_letters: dead,
            }),
            alarms_raised: super::count(alarms.len()),
            ..StatusAnswer::default()
        };
        Ok(Self {
            shown,
            problems,
            failing: group.fault.is_some() || leader.is_none(),
        })
    }

    fn shown(self, degraded: bool) -> StatusAnswer {
        let health = match () {
            () if self.failing => "failing",
            () if degraded || !self.problems.is_empty() => "degraded",
            () => "ok",
        };
        StatusAnswer {
            health: health.to_owned(),
            problems: self.problems,
            ..self.shown
        }
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
) -> Result<StatusAnswer, ApiError> {
    let mut raised = alarms::written(local).await.map_err(unreadable)?;
    raised.retain(|alarm| alarm.state == "raised");
    let known = Known::of(local, identity, &raised, Some(behind)).await?;
    Ok(known.shown(true))
}

/// Alarms as a node lists them. `behind` says why they may be behind.
pub(super) fn listed(alarms: Vec<Alarm>, behind: Option<&str>) -> AlarmsAnswer {
    let alarms = alarms.into_iter().map(|alarm| AlarmView {
        name: alarm.name,
        component: alarm.component,
        node: alarm.node,
        state: alarm.state,
        reason: alarm.reason,
        since_ms: alarm.since_ms,
        changed_ms: alarm.since_ms,
        times_raised: alarm.times_raised,
    });
    AlarmsAnswer {
        alarms: alarms.collect(),
        local: behind.is_some(),
        local_reason: behind.map(str::to_owned),
    }
}

impl Views<'_> {
    pub(super) async fn node_status(&self) -> Result<StatusAnswer, ApiError> {
        let behind = self.door.fresh().await.err();
        let states = self.supervisor.states();
        let of_state = |state| {
            // Background loops are no components of the run book; their failures show as alarms.
            let components = states.iter().filter(|(name, _)| !name.ends_with("/loop"));
            components
                .filter(|(_, component)| component.state == state)
                .count()
        };
        let raised = self.alarms.list_here(false).await.map_err(unreadable)?;
        let local = self.door.local();
        let mut known = Known::of(local, self.identity, &raised, behind.as_deref()).await?;
        known.problems.extend(self.door.clock_fault());
        let running = self.live.running();
        let mut shown = known.shown(of_state(RunState::Open) > 0);
        if let Some(node) = &mut shown.node {
            node.session = Some(format!("{:016x}", self.door.session()));
        }
        let not_built = catalogue()
            .components
            .iter()
            .filter(|component| component.built == Built::No);
        shown.components = Some(ComponentTotals {
            running: super::count(of_state(RunState::Running)),
            restarting: super::count(of_state(RunState::Restarting)),
            open: super::count(of_state(RunState::Open)),
            not_built: super::count(not_built.count()),
        });
        shown.paused_since_ms = self.pause.since();
        shown.pack = match &running {
            Some(running) => {
                let detections = || running.pack.detections.iter();
                let rules = detections()
                    .filter(|one| one.kind == DetectionKind::Rule && one.enabled)
                    .count();
                let policies = detections()
                    .filter(|one| one.kind == DetectionKind::Policy)
                    .count();
                Some(PackState {
                    version: running.pack.version.clone(),
                    rules: Some(super::count(rules)),
                    policies: Some(super::count(policies)),
                    ..PackState::default()
                })
            }
            // A pack that cannot be loaded is not the same as no pack.
            None => self
                .live
                .pointer_here()
                .await
                .map_err(unreadable)?
                .map(|live| PackState {
                    version: live.version,
                    object: Some(live.object),
                    loaded: Some(false),
                    ..PackState::default()
                }),
        };
        let counted = self.live.counted();
        shown.detections = counted
            .into_iter()
            .map(|(state, count)| (state.to_owned(), count))
            .collect();
        shown.unenforced = Some(json!(self.live.unenforced()).into());
        shown.python = running
            .as_ref()
            .map(|running| running.engine.load_report().python.to_string());
        Ok(shown)
    }

    pub(super) fn all_components(&self) -> ComponentsAnswer {
        let components = catalogue().components.iter();
        ComponentsAnswer {
            components: components
                .map(|component| self.component(component))
                .collect(),
        }
    }

    fn component(&self, component: &Component) -> ComponentView {
        let states = self.supervisor.states();
        let mut shown = ComponentView {
            name: component.name.clone(),
            kind: word(&component.kind),
            built: word(&component.built),
            state: "not built".to_owned(),
            ..ComponentView::default()
        };
        if let Some(state) = states.get(&component.identity()) {
            shown.state = word(&state.state);
            shown.restarts = state.restarts;
            shown.handled = state.work.handled;
            shown.failed = state.work.failed;
            shown.in_flight = state.work.in_flight;
            shown.last_error = state.work.last_error.clone();
        }
        shown
    }

    pub(super) fn entry(&self, name: &str) -> Result<Json, ApiError> {
        let component = catalogue()
            .find(name)
            .map_err(|error| ApiError::NotFound(error.to_string()))?;
        let mut entry = serde_json::to_value(component)
            .map_err(|error| ApiError::Internal(error.to_string()))?;
        entry["state"] = self.component(component).state.into();
        Ok(entry.into())
    }

    pub(super) async fn alarm_list(&self, all: bool) -> Result<AlarmsAnswer, ApiError> {
        let behind = self.door.fresh().await.err();
        let alarms = self.alarms.list_here(all).await.map_err(unreadable)?;
        Ok(listed(alarms, behind.as_deref()))
    }
}

/// The word that a value has in JSON.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}
