//! When a leader transfers leadership: its clock is off, its disk or apply is slow, its apply backlog is much larger
//! than that of another voter, or it stops.

use std::sync::Weak;
use std::time::Duration;

use tokio::time::Instant;

use super::Inner;
use super::alive::LATELY;
use super::clock::Trust;
use crate::raft::GroupStatus;

/// How long a stopping leader waits until another node leads.
pub(super) const HAND_OVER: Duration = Duration::from_secs(2);
/// Interval at which a leader that was asked to transfer leadership, and still leads, is asked again.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The leader judges its own clock by the other voters' clocks, and transfers leadership if it is off.
pub(super) async fn compare_clocks(inner: &Inner) {
    let status = inner.group.status();
    let offset_ms = inner.clock.offset_ms();
    let trust = Trust::among(status.voters.len(), &inner.offs(&status.voters));
    let was_off = inner.clock.is_off();
    inner.clock.trust(trust, offset_ms);
    if let Trust::Off(off_ms) = trust {
        if !was_off {
            tracing::error!(
                off_ms,
                "this node's clock is off the others': it does not lead; set the clock right"
            );
        }
        hand_over(inner).await;
    }
}

/// Duration of a write or of applying a few entries from which a leader counts as slow.
const SLOW: Duration = Duration::from_secs(2);
/// How long a leader must stay slow before it transfers leadership. A burst or a single late write does not count.
const SLOW_FOR: Duration = Duration::from_secs(10);
/// Interval of these checks.
const LOOK_AT_PACE: Duration = Duration::from_secs(1);

impl Inner {
    /// What is slow on this node, if anything is.
    pub(super) fn slow(&self) -> Option<String> {
        let (disk, apply) = self.group.takes();
        let (what, takes) = if disk > SLOW {
            ("its disk takes", disk)
        } else if apply > SLOW {
            ("applying a few entries takes", apply)
        } else {
            return None;
        };
        Some(format!("{what} {:.1} s", takes.as_secs_f64()))
    }
}

/// Apply backlog, in entries, from which a node is unfit to lead: all clients would wait until it is applied. The
/// backlog that a heartbeat reports is a second or two old.
pub(crate) const UNAPPLIED: u64 = 5_000;

/// Chooses the voter to transfer leadership to when this leader's apply backlog stalls all clients: the one that has
/// applied the most, by its last heartbeat. Returns that voter, and how many entries it is ahead.
fn ahead(
    status: &GroupStatus,
    heard: impl Iterator<Item = (u64, Duration, u64)>,
) -> Option<(u64, u64)> {
    let (last, own) = (status.last_log.unwrap_or(0), status.applied.unwrap_or(0));
    if last.saturating_sub(own) < UNAPPLIED {
        return None;
    }
    let others = heard.filter(|(node, silent, applied)| {
        *node != status.node
            && status.voters.contains(node)
            && *silent <= LATELY
            && *applied >= own + UNAPPLIED / 2
    });
    let (node, _, applied) = others.max_by_key(|(_, _, applied)| *applied)?;
    Some((node, applied - own))
}

/// Transfers leadership if this leader has been slow for some time, because all clients wait for it. A new leader with
/// a much larger apply backlog than another voter does so at once. It runs in a task of its own, because a slow disk
/// delays other tasks.
pub(super) async fn watch_pace(inner: Weak<Inner>) {
    let mut ticks = tokio::time::interval(LOOK_AT_PACE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut slow_since = None;
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        match inner.group.take_back_lead().await {
            Ok(false) => {}
            Ok(true) => tracing::warn!(
                "no other node took the lead over: this node stands for election again"
            ),
            Err(error) => tracing::warn!(%error, "the lead could not be taken back"),
        }
        let status = inner.group.status();
        let signs = inner.heard.signs();
        let heard = signs
            .iter()
            .map(|(node, (ago, sign))| (*node, *ago, sign.applied));
        if status.leads
            && let Some((node, entries)) = ahead(&status, heard)
        {
            tracing::warn!(
                node,
                entries,
                "this node leads and has entries to apply that another has applied: that one takes over"
            );
            if let Err(error) = inner.group.hand_over(node).await {
                tracing::warn!(%error, "the lead could not be handed over");
            }
            continue;
        }
        let slow = inner
            .slow()
            .filter(|_| status.leads && status.voters.len() > 1);
        let Some(what) = slow else {
            slow_since = None;
            continue;
        };
        let since = *slow_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= SLOW_FOR {
            tracing::error!(what, "this node leads and is slow: another takes over");
            hand_over(&inner).await;
            slow_since = None;
        }
    }
}

/// Transfers leadership before a leader stops, so that no client waits for an election.
pub(super) async fn hand_over(inner: &Inner) {
    let until = Instant::now() + HAND_OVER;
    let status = inner.group.status();
    let mut changes = inner.group.changes();
    changes.next(Duration::ZERO).await; // skip changes up to now
    let others = status.voters.iter().filter(|voter| **voter != inner.node);
    for to in others.cycle() {
        let status = inner.group.status();
        if !status.leads || Instant::now() >= until {
            return;
        }
        if let Err(error) = inner.group.hand_over(*to).await {
            tracing::warn!(%error, "the lead could not be handed over; the others elect");
            return;
        }
        changes.next(ASK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(last_log: u64, applied: u64) -> GroupStatus {
        GroupStatus {
            node: 1,
            leader: Some(1),
            term: 4,
            last_log: Some(last_log),
            applied: Some(applied),
            snapshot: None,
            purged: None,
            voters: vec![1, 2, 3],
            changing: false,
            members: std::collections::BTreeMap::new(),
            matched: std::collections::BTreeMap::new(),
            leads: true,
            in_contact: true,
            last_term: Some(4),
            fault: None,
        }
    }

    #[test]
    fn a_leader_that_has_much_to_apply_names_the_voter_that_has_applied_most() {
        let now = Duration::from_millis(500);
        let heard = [
            (1, now, 100),
            (2, now, 90_000),
            (3, now, 99_000),
            (4, now, 100_000),
        ];
        let to = |status: &GroupStatus, heard: &[(u64, Duration, u64)]| {
            ahead(status, heard.iter().copied()).map(|(node, _)| node)
        };
        // A learner cannot lead.
        assert_eq!(to(&leads(100_000, 100), &heard), Some(3));
        // No voter is far ahead.
        assert_eq!(to(&leads(100_000, 98_000), &heard), None);
        assert_eq!(to(&leads(100_000, 100), &[(2, now, 300)]), None);
        // Its last heartbeat is too old.
        assert_eq!(
            to(&leads(100_000, 100), &[(2, Duration::from_secs(9), 99_000)]),
            None
        );
        assert_eq!(to(&leads(100_000, 100), &[]), None);
    }
}
