//! What raises alarms: queues that grow old, dead letters, circuits that open, errors of components, the clock, the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use panther_cluster::door::{Door, DoorError, HeardNode};
use panther_cluster::state::read;
use panther_cluster::storage::room;

use super::{Inner, Late};
use crate::alarms::Alarms;
use crate::callers::CallerAlarms;
use crate::catalogue::{Component, Kind};
use crate::life::Life;
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
    life: Life,
) {
    let mut ticks = life.clone().ticks(MEASURE);
    while ticks.next().await {
        if !matches!(component.kind, Kind::Queue | Kind::Dlq) {
            continue; // tables and topics have no measure of their own: their errors are their callers'
        }
        if door.local().without_leader().is_some() {
            continue; // that is the node's alarm, and no fault of this component
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
                "dead letters wait; `pantherctl queue peek {}` shows why, `pantherctl requeue {of}` puts them back",
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
                "its oldest message is older than {limit} s: it is not handled, or fails again and again; `pantherctl queue peek {}` shows why",
                component.name
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
pub(super) async fn watch(late: Late, life: Life) {
    let mut ticks = life.clone().ticks(LOOK);
    let mut failed_before = BTreeMap::new();
    let mut outage = Outage::default();
    let mut raised = [false; 2];
    let mut others = Others::default();
    let mut slow_for = 0_u32;
    let mut of_callers = CallerAlarms::default();
    while ticks.next().await {
        let Some(inner) = late.get().and_then(Weak::upgrade) else {
            continue;
        };
        let alarms = &inner.alarms;
        let of_outage = outage.look(&inner.settings.door, alarms).await;
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
                .set_here(
                    component,
                    "circuit_open",
                    (state.state == RunState::Open).then_some(&*reason),
                )
                .await;
            // Failures since the last look; the alarm clears after a while without any.
            let failures = state.work.failed + state.work.node_faults;
            let entry = failed_before.entry(identity.clone()).or_insert((0, None)); // counts failures of before a restart of this loop too
            if failures > entry.0 {
                let at = tokio::time::Instant::now();
                *entry = (failures, if of_outage { entry.1 } else { Some(at) });
            }
            let recent = entry
                .1
                .is_some_and(|at| at.elapsed() < Duration::from_secs(300));
            let reason = format!(
                "errors in the last five minutes; the last: {}",
                state.work.last_error.as_deref().unwrap_or_default()
            );
            alarms
                .set_here(component, "execution_errors", recent.then_some(&*reason))
                .await;
        }
        disk(&inner, &mut raised).await;
        let entrance = inner.settings.door.local().entrance();
        of_callers
            .look(&inner.settings.callers, entrance, alarms)
            .await;
        alarms
            .set_here(
                "node",
                "clock",
                inner.settings.door.clock_fault().as_deref(),
            )
            .await;
        // Long enough to be more than a burst.
        let slow = inner.settings.door.slow();
        slow_for = if slow.is_some() { slow_for + 1 } else { 0 };
        let slow = slow.filter(|_| slow_for > 1);
        let reason = slow.map(|slow| format!("{slow}: whoever waits for this node waits that long. Is its disk worn, full or shared with something busy?"));
        alarms.set_here("node", "slow", reason.as_deref()).await;
        alarms
            .set_here(
                "node",
                "state_disk",
                inner.settings.door.group().store().fault().as_deref(),
            )
            .await;
        alarms
            .set_here(
                "node",
                "snapshot",
                inner.settings.door.group().snapshot_fault().as_deref(),
            )
            .await;
        alarms
            .set_here(
                "node",
                "group",
                inner.settings.door.group().status().fault.as_deref(),
            )
            .await;
        if of_outage {
            continue; // of the others nothing is known
        }
        if let Err(error) = others.look(&inner).await {
            tracing::debug!(%error, "the other nodes could not be looked at");
        }
    }
}

/// After so long without a leader it is more than an election.
const NO_LEADER: Duration = Duration::from_secs(5);
/// Calls that began without a leader may fail for so long after one is back.
const LATE_FAILURES: Duration = Duration::from_secs(15);

/// The time without a leader. It is one cause with one alarm: what fails meanwhile, and the calls that fail late, are not raised component by component.
#[derive(Default)]
struct Outage {
    last: Option<tokio::time::Instant>,
    term: u64,
}

impl Outage {
    /// Raises or clears the alarm; whether what fails now is the outage's.
    async fn look(&mut self, door: &Door, alarms: &Alarms) -> bool {
        let without = door.local().without_leader();
        let term = door.local().status().term;
        // Another leader within two looks: what the one before had not answered has failed.
        let changed = self.term != 0 && term != self.term;
        self.term = term;
        if without.is_some() || changed {
            self.last = Some(tokio::time::Instant::now());
        }
        let reason = without.filter(|(since, _)| *since >= NO_LEADER);
        let reason = reason.map(|(_, reason)| {
            format!("{reason}. `pantherctl cluster status` at each node shows who is there and how far each log goes")
        });
        alarms
            .set_alone("node", "no_leader", reason.as_deref())
            .await;
        self.last.is_some_and(|last| last.elapsed() < LATE_FAILURES)
    }
}

/// What the leader has said of other nodes; forgotten when it leads no more, since the next one speaks then.
#[derive(Default)]
struct Others {
    silent: BTreeMap<u64, bool>,
    /// It is alone, and what the others had left behind is cleared.
    alone: bool,
    /// Nodes that have not stood as it is wanted for too long.
    waiting: BTreeSet<u64>,
    differs: BTreeMap<u64, Option<String>>,
}

/// A node that does not stand as it is wanted after this time is an alarm.
const STANDING: Duration = Duration::from_secs(60);

impl Others {
    /// A node whose state differs is stopped; that it does stays raised until it is heard again with the same state, or gone.
    async fn look_at_state(
        &mut self,
        inner: &Inner,
        node: u64,
        heard: &HeardNode,
    ) -> Result<(), DoorError> {
        let is_known = self.differs.get(&node) == Some(&heard.differs);
        if is_known || heard.differs.is_none() && heard.silent.is_none() {
            return Ok(());
        }
        let reason = heard.differs.as_ref().map(|what| {
            format!(
                "its state is not that of the others: {what}; it is stopped if a majority of the voters agrees. Replace it (`pantherctl cluster invite --replace {node}`)"
            )
        });
        inner
            .alarms
            .set_of(node, "node", "state_differs", reason.as_deref())
            .await?;
        self.differs.insert(node, heard.differs.clone());
        Ok(())
    }

    /// A node that should be there and is silent is an alarm; one that is gone has none.
    async fn look(&mut self, inner: &Inner) -> Result<(), DoorError> {
        let status = inner.settings.door.group().status();
        if !status.leads {
            *self = Self::default();
            return Ok(());
        }
        let alone = status.members.len() < 2;
        if alone && self.alone {
            return Ok(());
        }
        let heard = inner.settings.door.heard().await?;
        for (node, heard) in &heard {
            // Of a leader that is new nobody was heard yet.
            self.look_at_state(inner, *node, heard).await?;
            let silent = heard.silent.is_none() && inner.settings.door.is_silent(*node);
            if self.silent.get(node) == Some(&silent) {
                continue;
            }
            let reason = "nothing is heard of it: it is down or cut off; what it held is handled by the others. `pantherctl cluster status` shows the nodes";
            let raised = silent.then_some(reason);
            inner.alarms.set_of(*node, "node", "silent", raised).await?;
            self.silent.insert(*node, silent);
        }
        self.memberships(inner).await?;
        let unmet = inner.members.unmet();
        let over = |node: u64, metric: &str| match metric {
            "membership" => !unmet.contains_key(&node),
            _ => !status.members.contains_key(&node),
        };
        let raised = inner.alarms.list(false).await?;
        for alarm in raised
            .iter()
            .filter(|alarm| alarm.node.is_some_and(|node| over(node, alarm.metric())))
        {
            let (component, metric) = alarm.name.split_once(": ").unwrap_or((&alarm.name, ""));
            if let Some(node) = alarm.node {
                inner.alarms.set_of(node, component, metric, None).await?;
            }
        }
        self.alone = alone;
        Ok(())
    }
}

impl Others {
    /// What is wanted of each node is reached soon, or is an alarm with what it waits for.
    async fn memberships(&mut self, inner: &Inner) -> Result<(), DoorError> {
        let mut late = inner.members.unmet();
        late.retain(|_, unmet| unmet.for_so_long >= STANDING);
        for (node, unmet) in &late {
            if self.waiting.insert(*node) {
                let reason = format!(
                    "node {node} is {} for more than a minute: {}",
                    unmet.standing.word(),
                    unmet.reason
                );
                let alarms = &inner.alarms;
                alarms
                    .set_of(*node, "node", "membership", Some(&reason))
                    .await?;
            }
        }
        self.waiting.retain(|node| late.contains_key(node));
        Ok(())
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
            .set_here("node", metric, raised.then_some(&*reason))
            .await;
    }
}
