//! Heartbeats of sessions, and detection of silent nodes.
//!
//! Each node sends heartbeats to the leader. The leader keeps them in memory only, so that an idle cluster writes
//! nothing. A new leader therefore expires no session until it has led for one full session timeout: it has no
//! heartbeat history yet.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Tracks the heartbeats that the leader has received.
pub(super) struct Heard {
    silence: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    leads_since: Option<Instant>,
    last: BTreeMap<u64, (Instant, Sign)>,
}

/// Heartbeat payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sign {
    /// Index of the last entry that the node has applied, and the running hash up to it.
    pub(super) applied: u64,
    pub(super) hash: u64,
    /// The sender's wall clock minus this node's monotonic clock, in ms. Changes of this node's wall clock do not
    /// affect it.
    pub(super) ahead_ms: i64,
}

/// What the leader knows of a node's health.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeardNode {
    /// Time since its last heartbeat; `None` if this leader has had no heartbeat from it.
    pub silent: Option<Duration>,
    /// Index of the last entry that it has applied.
    pub applied: u64,
    /// The running hash of all writes up to it.
    pub hash: u64,
    /// Index of the last entry that its log is known to hold (replication progress).
    pub matched: Option<u64>,
    /// Its wall clock minus the leader's, in ms.
    pub clock_off_ms: i64,
    /// How its state differs from the leader's at the same entry, if it does.
    pub differs: Option<String>,
}

/// A node is alive if its last heartbeat is not older than this.
pub(super) const LATELY: Duration = Duration::from_secs(6);

impl HeardNode {
    /// True if the node is alive, as far as is known.
    #[must_use]
    pub fn lately(&self) -> bool {
        self.silent.is_some_and(|silent| silent <= LATELY)
    }
}

impl Heard {
    /// `silence` is the session timeout.
    pub(super) fn new(silence: Duration) -> Self {
        Self {
            silence,
            state: Mutex::default(),
        }
    }

    /// The session timeout in ms.
    pub(super) fn silence_ms(&self) -> u64 {
        u64::try_from(self.silence.as_millis()).unwrap_or(u64::MAX)
    }

    /// Updates whether this node leads. Heartbeats from an earlier time as leader are dropped.
    pub(super) fn leads(&self, leads: bool) {
        let mut state = self.state.lock();
        match (leads, state.leads_since) {
            (true, None) => {
                *state = State {
                    leads_since: Some(Instant::now()),
                    last: BTreeMap::new(),
                }
            }
            (false, Some(_)) => *state = State::default(),
            _ => {}
        }
    }

    /// Records a heartbeat.
    pub(super) fn from(&self, node: u64, sign: Sign) {
        self.state.lock().last.insert(node, (Instant::now(), sign));
    }

    /// The last heartbeat of each node, with its age, since this node leads. Nodes past the session timeout are left
    /// out.
    pub(super) fn signs(&self) -> BTreeMap<u64, (Duration, Sign)> {
        let state = self.state.lock();
        if state.leads_since.is_none() {
            return BTreeMap::new();
        }
        let signs = state
            .last
            .iter()
            .map(|(node, (at, sign))| (*node, (at.elapsed(), *sign)));
        signs.filter(|(_, (ago, _))| *ago < self.silence).collect()
    }

    /// True if a node has exceeded the session timeout.
    pub(super) fn silent(&self, node: u64) -> bool {
        let state = self.state.lock();
        let Some(since) = state.leads_since else {
            return false;
        };
        let last = state
            .last
            .get(&node)
            .map_or(since, |(at, _)| *at)
            .max(since);
        last.elapsed() >= self.silence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_node_is_silent_only_after_the_leader_has_led_and_waited_for_it() {
        let heard = Heard::new(SILENCE);
        heard.from(2, Sign::default());
        tokio::time::advance(SILENCE * 2).await;
        assert!(!heard.silent(2), "a node that does not lead ends nobody");
        heard.leads(true);
        assert!(!heard.silent(2));
        tokio::time::advance(SILENCE - Duration::from_secs(1)).await;
        heard.from(2, Sign::default());
        tokio::time::advance(Duration::from_secs(1)).await;
        heard.leads(true);
        assert!(!heard.silent(2));
        assert!(heard.silent(3), "never heard of since the leader leads");
        tokio::time::advance(SILENCE).await;
        assert!(heard.silent(2));
        heard.leads(false);
        heard.leads(true);
        assert!(!heard.silent(2), "another time as leader begins anew");
    }
}
