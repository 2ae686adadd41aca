//! When a leader lets another voter lead: its clock is off, its disk or its apply is slow, it has yet to apply what another has applied, or it stops.

use std::sync::Weak;
use std::time::Duration;

use tokio::time::Instant;

use super::Inner;
use super::alive::LATELY;
use super::clock::Trust;
use crate::raft::GroupStatus;

/// How long a leader that stops waits for another to lead.
pub(super) const HAND_OVER: Duration = Duration::from_secs(2);
/// After this a leader that was asked to hand over, and still leads, is asked again.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What a leader does about its own clock: it believes it as far as the other voters' agree, and does not lead if they do not.
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

/// What is too slow for a leader.
const SLOW: Duration = Duration::from_secs(2);
/// For how long it has to be: a burst, or one write that the disk was late with, is none.
const SLOW_FOR: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK_AT_PACE: Duration = Duration::from_secs(1);

impl Inner {
    /// What is slow here, if something is.
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

/// Entries that a node may still have to apply and be fit to lead: everybody would wait for that. What a node says of itself is a second or two old.
pub(crate) const UNAPPLIED: u64 = 5_000;

/// The voter that should lead in the place of a leader that has to apply so much that everybody waits: one that has applied more of it, by what was heard of each.
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

/// A leader that has been slow for some time lets another voter lead: all others wait for it. One that came to lead before it had applied what others have does so
/// at once. In a task of its own, since a slow disk holds back the others.
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

/// A leader that stops lets another voter lead first, so that nobody has to wait for an election.
pub(super) async fn hand_over(inner: &Inner) {
    let until = Instant::now() + HAND_OVER;
    let status = inner.group.status();
    let mut changes = inner.group.changes();
    changes.next(Duration::ZERO).await; // what has changed before
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
        // A node that does not vote cannot lead.
        assert_eq!(to(&leads(100_000, 100), &heard), Some(3));
        // Nobody is far ahead.
        assert_eq!(to(&leads(100_000, 98_000), &heard), None);
        assert_eq!(to(&leads(100_000, 100), &[(2, now, 300)]), None);
        // It is gone, as far as is known.
        assert_eq!(
            to(&leads(100_000, 100), &[(2, Duration::from_secs(9), 99_000)]),
            None
        );
        assert_eq!(to(&leads(100_000, 100), &[]), None);
    }
}
