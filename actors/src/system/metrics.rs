//! Metrics in Prometheus' text form.

use std::fmt::Write;

use panther_cluster::door::Door;
use panther_cluster::state::read;

use crate::callers::{Callers, RefusedFor};
use crate::supervision::Supervisor;

/// Everything that is counted on this node.
pub(super) async fn text(door: &Door, supervisor: &Supervisor, callers: &Callers) -> String {
    let mut out = String::new();
    let states = supervisor.states();
    let mut family = |name: &str, kind: &str, help: &str, lines: Vec<(String, u64)>| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in lines {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let by_component = |value: &dyn Fn(&crate::supervision::ComponentState) -> u64| {
        states
            .iter()
            .map(|(identity, state)| (format!("{{component=\"{identity}\"}}"), value(state)))
            .collect::<Vec<_>>()
    };
    family(
        "panther_component_handled_total",
        "counter",
        "Messages or calls that ended well.",
        by_component(&|state| state.work.handled),
    );
    family(
        "panther_component_failed_total",
        "counter",
        "Failures of messages or calls.",
        by_component(&|state| state.work.failed),
    );
    family(
        "panther_component_node_faults_total",
        "counter",
        "Messages given back uncounted for a fault of the node.",
        by_component(&|state| state.work.node_faults),
    );
    family(
        "panther_component_conflicts_total",
        "counter",
        "Plans that ran again on a conflict.",
        by_component(&|state| state.work.conflicts),
    );
    family(
        "panther_component_in_flight",
        "gauge",
        "Messages or calls being handled.",
        by_component(&|state| state.work.in_flight),
    );
    family(
        "panther_component_busy_microseconds_total",
        "counter",
        "Time spent handling.",
        by_component(&|state| state.work.micros),
    );
    family(
        "panther_component_restarts_total",
        "counter",
        "Restarts since the node started.",
        by_component(&|state| state.restarts),
    );
    let entrance = door.local().entrance();
    let listeners = callers.listeners(entrance);
    let by_listener = |value: &dyn Fn(&panther_listen::PlaceCounts) -> u64| {
        listeners
            .iter()
            .map(|(name, counts)| (format!("{{listener=\"{name}\"}}"), value(counts)))
            .collect::<Vec<_>>()
    };
    family(
        "panther_connections",
        "gauge",
        "Connections that are open.",
        by_listener(&|counts| counts.open),
    );
    family(
        "panther_connections_accepted_total",
        "counter",
        "Connections that got a place.",
        by_listener(&|counts| counts.accepted),
    );
    family(
        "panther_connections_evicted_total",
        "counter",
        "Connections that were closed because a new one needed their place.",
        by_listener(&|counts| counts.evicted),
    );
    family(
        "panther_connections_refused_total",
        "counter",
        "Connections that were closed at once.",
        by_listener(&|counts| counts.refused),
    );
    family(
        "panther_connections_late_total",
        "counter",
        "Connections that were closed because their first request did not come in time.",
        by_listener(&|counts| counts.late),
    );
    family(
        "panther_invitations_refused_total",
        "counter",
        "Invitations that were shown and refused.",
        vec![(String::new(), entrance.refused_invitations)],
    );
    family(
        "panther_ingest_refused_total",
        "counter",
        "Requests with logs that were refused.",
        RefusedFor::ALL
            .iter()
            .map(|reason| {
                let labels = format!("{{reason=\"{}\"}}", reason.word());
                (labels, callers.refused(*reason))
            })
            .collect(),
    );
    let without = door.local().without_leader();
    family(
        "panther_without_leader_seconds",
        "gauge",
        "How long this node has heard no leader; 0 while it hears one.",
        vec![(
            String::new(),
            without.map_or(0, |(since, _)| since.as_secs().max(1)),
        )],
    );
    // Without a leader the counts are this node's, which may be behind.
    let _ = door.fresh().await;
    if let Ok(counts) = door.local().read(|store| read::all_counts(store)).await {
        let by_queue = |value: &dyn Fn(&panther_proto::v1::QueueCounts) -> u64| {
            counts
                .iter()
                .map(|(name, (counts, _))| (format!("{{queue=\"{name}\"}}"), value(counts)))
                .collect::<Vec<_>>()
        };
        family(
            "panther_queue_waiting",
            "gauge",
            "Messages that may be received.",
            by_queue(&|counts| counts.waiting),
        );
        family(
            "panther_queue_in_flight",
            "gauge",
            "Messages that are being handled.",
            by_queue(&|counts| counts.in_flight),
        );
        family(
            "panther_queue_delayed",
            "gauge",
            "Messages that may be received later.",
            by_queue(&|counts| counts.delayed),
        );
        family(
            "panther_queue_accepted_total",
            "counter",
            "Messages that were accepted.",
            by_queue(&|counts| counts.accepted),
        );
        family(
            "panther_queue_done_total",
            "counter",
            "Messages that ended well.",
            by_queue(&|counts| counts.done),
        );
        family(
            "panther_queue_failures_total",
            "counter",
            "Failed receives.",
            by_queue(&|counts| counts.failures),
        );
        family(
            "panther_queue_dead_lettered_total",
            "counter",
            "Messages moved to the dead letter queue.",
            by_queue(&|counts| counts.dead_lettered),
        );
        family(
            "panther_queue_expired_total",
            "counter",
            "Messages removed by their retention.",
            by_queue(&|counts| counts.expired),
        );
        family(
            "panther_queue_purged_total",
            "counter",
            "Messages removed by an operator.",
            by_queue(&|counts| counts.purged),
        );
    }
    let status = door.group().status();
    let one = |value: Option<u64>| vec![(String::new(), value.unwrap_or(0))];
    family(
        "panther_raft_term",
        "gauge",
        "The group's term.",
        one(Some(status.term)),
    );
    family(
        "panther_raft_leads",
        "gauge",
        "1 while this node leads.",
        one(Some(u64::from(status.leads))),
    );
    family(
        "panther_raft_applied_index",
        "gauge",
        "The last applied entry.",
        one(status.applied),
    );
    family(
        "panther_raft_last_index",
        "gauge",
        "The last entry in the log.",
        one(status.last_log),
    );
    family(
        "panther_log_bytes",
        "gauge",
        "Bytes of log that no snapshot covers.",
        one(Some(door.group().log_bytes())),
    );
    out
}
