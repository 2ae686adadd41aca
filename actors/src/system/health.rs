//! What raises alarms: queues that grow old, dead letters, circuits that open, errors of components, the clock, the disk.

use std::sync::{Arc, Weak};
use std::time::Duration;

use panther_cluster::door::Door;
use panther_cluster::state::read;
use panther_cluster::storage::room;
use tokio::sync::watch;

use super::Inner;
use crate::alarms::Alarms;
use crate::catalogue::{Component, Kind};
use crate::supervision::RunState;
use crate::worker::WorkerStatus;

/// How often a queue is measured.
const MEASURE: Duration = Duration::from_secs(2);
/// How often components and the node are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Percent below a limit at which an alarm of the disk clears: it is raised once, not each time a file comes and goes.
const SLACK: u64 = 2;

/// The loop of a queue's, table's or topic's actor.
pub(super) async fn watch_component(
    component: &'static Component,
    door: Door,
    alarms: Alarms,
    status: Arc<WorkerStatus>,
    mut stop: watch::Receiver<bool>,
) {
    let mut ticks = tokio::time::interval(MEASURE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! { _ = ticks.tick() => {}, _ = stop.changed() => return }
        if !matches!(component.kind, Kind::Queue | Kind::Dlq) {
            continue; // tables and topics have no measure of their own: their errors are their callers'
        }
        let name = component.name.clone();
        let measured = door
            .read(move |store| Ok((read::counts(store, &name)?, read::oldest_ms(store, &name)?)))
            .await;
        let (counts, oldest) = match measured {
            Ok(measured) => measured,
            Err(error) => {
                status.node_fault(&error.to_string());
                continue;
            }
        };
        if component.kind == Kind::Dlq {
            let letters = counts.waiting + counts.delayed + counts.in_flight;
            let of = component
                .queue
                .as_ref()
                .and_then(|queue| queue.dead_letters_of.clone())
                .unwrap_or_default();
            let reason = format!(
                "{letters} dead letter(s); `pantherctl queue peek {}` shows why, `pantherctl requeue {of}` puts them back",
                component.name
            );
            alarms
                .set(
                    &component.name,
                    "visible_messages",
                    (letters > 0).then_some(&*reason),
                )
                .await;
        } else if let Some(limit) = component
            .queue
            .as_ref()
            .and_then(|queue| queue.oldest_age_alarm_seconds)
        {
            let age = oldest.map_or(0, |oldest| door.now_ms().saturating_sub(oldest) / 1000);
            let reason = format!(
                "its oldest message is {age} s old, more than {limit} s: its consumer does not keep up"
            );
            alarms
                .set(
                    &component.name,
                    "oldest_message_age_seconds",
                    (age > limit).then_some(&*reason),
                )
                .await;
        }
    }
}

/// Looks at all components and at the node itself.
pub(super) async fn watch(inner: Weak<Inner>, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failed_before = std::collections::BTreeMap::new();
    let mut raised = [false; 2];
    loop {
        tokio::select! { _ = ticks.tick() => {}, _ = stop.changed() => return }
        let Some(inner) = inner.upgrade() else { return };
        let alarms = &inner.alarms;
        for (identity, state) in inner.supervisor.states() {
            let component = identity.split('/').next().unwrap_or_default();
            let reason = format!(
                "it ended too often and receives nothing for now: {}",
                state
                    .work
                    .last_error
                    .as_deref()
                    .unwrap_or("no reason is known")
            );
            alarms
                .set(
                    component,
                    "circuit_open",
                    (state.state == RunState::Open).then_some(&*reason),
                )
                .await;
            // Failures since the last look; the alarm clears after a while without any.
            let failures = state.work.failed + state.work.node_faults;
            let entry = failed_before
                .entry(identity.clone())
                .or_insert((failures, None));
            if failures > entry.0 {
                *entry = (failures, Some(tokio::time::Instant::now()));
            }
            let recent = entry
                .1
                .is_some_and(|at| at.elapsed() < Duration::from_secs(300));
            let reason = format!(
                "errors in the last five minutes; the last: {}",
                state.work.last_error.as_deref().unwrap_or_default()
            );
            alarms
                .set(component, "execution_errors", recent.then_some(&*reason))
                .await;
        }
        disk(&inner, &mut raised).await;
        alarms
            .set(
                "node",
                "clock",
                inner.settings.door.clock_fault().as_deref(),
            )
            .await;
        alarms
            .set(
                "node",
                "state_disk",
                inner.settings.door.group().store().fault().as_deref(),
            )
            .await;
        alarms
            .set(
                "node",
                "group",
                inner.settings.door.group().status().fault.as_deref(),
            )
            .await;
    }
}

/// The disk, at its two limits.
async fn disk(inner: &Inner, raised: &mut [bool; 2]) {
    let disk = inner.disk.clone();
    let used = match tokio::task::spawn_blocking(move || disk.look()).await {
        Ok(Ok(used)) => used,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the disk cannot be asked how full it is");
            return;
        }
        Err(_) => return, // the node is stopping
    };
    let limits = [
        (room::NEARLY_FULL, "disk_nearly_full"),
        (room::FULL, "disk_full"),
    ];
    for ((limit, metric), raised) in limits.into_iter().zip(raised) {
        *raised = used >= limit || *raised && used + SLACK >= limit;
        let reason = format!(
            "the disk of data_dir or objects is {used} % full; from {} % on new logs are refused: make room",
            room::FULL
        );
        inner
            .alarms
            .set("node", metric, raised.then_some(&*reason))
            .await;
    }
}
