//! Callers that this node's listeners turned away: counted for metrics, logged without a flood, and an alarm where they are many.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use panther_cluster::net::EntranceCounts;
use panther_listen::{PlaceCounts, Places};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::alarms::Alarms;

/// Why a sender of logs was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusedFor {
    /// No source of this name takes the token.
    Token,
    /// The body came too slowly.
    Slow,
    /// The body is too large.
    Large,
    /// The request cannot be taken as it is.
    Invalid,
    /// The idempotency key was used for another body.
    Conflict,
    /// The source or the address has too many bodies under way.
    Share,
    /// The node has no room, no time or no leader.
    Busy,
}

impl RefusedFor {
    /// All reasons.
    pub const ALL: [Self; 7] = [
        Self::Token,
        Self::Slow,
        Self::Large,
        Self::Invalid,
        Self::Conflict,
        Self::Share,
        Self::Busy,
    ];

    /// As it stands in metrics and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Slow => "slow",
            Self::Large => "large",
            Self::Invalid => "invalid",
            Self::Conflict => "conflict",
            Self::Share => "share",
            Self::Busy => "busy",
        }
    }
}

/// Refused callers of this node; clones share the counts.
#[derive(Clone, Default)]
pub struct Callers {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    listeners: Vec<(&'static str, Places)>,
    refused: Mutex<BTreeMap<RefusedFor, Refused>>,
}

#[derive(Debug, Clone, Copy)]
struct Refused {
    total: u64,
    /// The second that is counted, and what came in it.
    second: Instant,
    in_second: u64,
    /// Of these, how many were not logged.
    unsaid: u64,
}

/// Refusals of one reason that are logged in a second; the others are counted in the next line.
const LINES: u64 = 3;
/// Wrong tokens in a second from which on they are a flood: a further one costs no question to the leader.
const FLOOD: u64 = 20;

impl Callers {
    /// Of a node with these listeners.
    #[must_use]
    pub fn new(listeners: Vec<(&'static str, Places)>) -> Self {
        Self {
            inner: Arc::new(Inner {
                listeners,
                refused: Mutex::default(),
            }),
        }
    }

    /// Counts and logs a sender of logs that was turned away.
    pub fn refuse(&self, reason: RefusedFor, source: &str, address: Option<IpAddr>) {
        let now = Instant::now();
        let mut all = self.inner.refused.lock();
        let refused = all.entry(reason).or_insert(Refused {
            total: 0,
            second: now,
            in_second: 0,
            unsaid: 0,
        });
        refused.total += 1;
        if now.duration_since(refused.second) >= Duration::from_secs(1) {
            (refused.second, refused.in_second) = (now, 0);
        }
        refused.in_second += 1;
        if refused.in_second > LINES {
            refused.unsaid += 1;
            return;
        }
        let further = std::mem::take(&mut refused.unsaid);
        drop(all);
        let reason = reason.word();
        let address = address.map_or_else(String::new, |address| address.to_string());
        // What a stranger calls a source is as long as it likes.
        let source: String = source.chars().take(64).collect();
        tracing::warn!(reason, source, address, further, "logs were refused");
    }

    /// Whether wrong tokens come faster than a sender that was set up wrongly sends them.
    pub(crate) fn is_guessing(&self) -> bool {
        let all = self.inner.refused.lock();
        all.get(&RefusedFor::Token).is_some_and(|tokens| {
            tokens.in_second >= FLOOD && tokens.second.elapsed() < Duration::from_secs(1)
        })
    }

    /// How many senders of logs were turned away for a reason.
    #[must_use]
    pub fn refused(&self, reason: RefusedFor) -> u64 {
        let all = self.inner.refused.lock();
        all.get(&reason).map_or(0, |refused| refused.total)
    }

    /// The connections of each listener; `cluster` is where other nodes connect.
    pub(crate) fn listeners(&self, cluster: EntranceCounts) -> Vec<(&'static str, PlaceCounts)> {
        let own = self.inner.listeners.iter();
        let own = own.map(|(name, places)| (*name, places.counts()));
        own.chain([
            ("cluster", cluster.connections),
            ("cluster_join", cluster.strangers),
        ])
        .collect()
    }
}

/// How long refusals are counted together.
const WINDOW: Duration = Duration::from_secs(300);
/// Refusals in that time from which on they are an alarm.
const MANY: u64 = 100;

/// Raises alarms where many callers are turned away.
#[derive(Default)]
pub(crate) struct CallerAlarms {
    tokens: Surge,
    invitations: Surge,
    connections: Surge,
}

/// A count that grows; an alarm while it grew by many within the window.
#[derive(Default)]
struct Surge {
    began: Option<(Instant, u64)>,
    raised: bool,
}

impl Surge {
    /// With the count of now: by how much it grew, if that is an alarm.
    fn look(&mut self, count: u64) -> Option<u64> {
        let now = Instant::now();
        let (began, from) = *self.began.get_or_insert((now, count));
        let grown = count.saturating_sub(from);
        if grown >= MANY {
            self.raised = true;
        }
        if now.duration_since(began) >= WINDOW {
            self.raised = grown >= MANY;
            self.began = Some((now, count));
        }
        self.raised.then_some(grown)
    }
}

impl CallerAlarms {
    /// Looks at the counts of this node.
    pub(crate) async fn look(
        &mut self,
        callers: &Callers,
        cluster: EntranceCounts,
        alarms: &Alarms,
    ) {
        let tokens = self.tokens.look(callers.refused(RefusedFor::Token));
        let reason = tokens.map(|_| {
            "more than 100 requests with a wrong token or source within 5 minutes: an attacker guesses tokens, or a sender has an old one. The log of this node names addresses and sources"
        });
        alarms.set_here("node", "refused_tokens", reason).await;
        let invitations = self.invitations.look(cluster.refused_invitations);
        let reason = invitations.map(|_| {
            "more than 100 wrong invitations within 5 minutes: a machine without a right tries to join the cluster. The log of this node names the addresses; `cluster.listen` should be open to the other nodes only"
        });
        alarms.set_here("node", "refused_invitations", reason).await;
        let listeners = callers.listeners(cluster);
        let crowded = |counts: &PlaceCounts| counts.evicted + counts.refused;
        let connections = self.connections.look(
            listeners
                .iter()
                .map(|(_, counts)| crowded(counts))
                .sum::<u64>(),
        );
        let reason = connections.map(|_| {
            let worst = listeners.iter().max_by_key(|(_, counts)| crowded(counts));
            format!(
                "more than 100 connections within 5 minutes gave their places to others, most at the listener `{}`: more callers are connected than it has places for, or some say nothing. For ingest, `ingest.max_connections` sets the places",
                worst.map_or("", |(name, _)| name)
            )
        });
        alarms
            .set_here("node", "crowded_connections", reason.as_deref())
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_surge_is_raised_at_once_and_cleared_after_a_quiet_time() {
        let mut surge = Surge::default();
        assert_eq!(surge.look(1_000), None, "what was before is no surge");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(surge.look(1_099), None);
        assert_eq!(surge.look(1_100), Some(100));
        tokio::time::advance(WINDOW).await;
        assert!(surge.look(1_101).is_some(), "the window had it");
        tokio::time::advance(WINDOW).await;
        assert_eq!(surge.look(1_102), None);
    }

    #[tokio::test(start_paused = true)]
    async fn guesses_are_told_from_a_sender_with_a_wrong_token() {
        let callers = Callers::default();
        for _ in 0..FLOOD - 1 {
            callers.refuse(RefusedFor::Token, "web", None);
        }
        assert!(!callers.is_guessing());
        callers.refuse(RefusedFor::Token, "web", None);
        assert!(callers.is_guessing());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!callers.is_guessing());
        assert_eq!(callers.refused(RefusedFor::Token), FLOOD);
    }
}
