//! Sessions that are kept alive, and those that fell silent.
//!
//! Each node tells the leader again and again that its session is alive. The leader remembers it in memory alone, so that an
//! idle cluster writes nothing; a new one therefore ends nobody's session before it has led for as long as silence may last.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// What the leader has heard.
pub(super) struct Heard {
    silence: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    leads_since: Option<Instant>,
    last: BTreeMap<u64, (Instant, Sign)>,
}

/// What a node says of itself when it says that it is alive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sign {
    /// The last write that it has applied, and the running hash up to it.
    pub(super) applied: u64,
    pub(super) hash: u64,
    /// How far its wall clock is ahead of this node's monotonic one: of that node's clock alone, whoever sets this one's.
    pub(super) ahead_ms: i64,
}

/// What the leader knows of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeardNode {
    /// How long ago it last said that it is alive; `None` if it has not since the leader leads.
    pub silent: Option<Duration>,
    /// The last write that it has applied.
    pub applied: u64,
    /// The running hash of all writes up to it.
    pub hash: u64,
    /// The last entry that it is known to have in its log.
    pub matched: Option<u64>,
    /// How far its wall clock is from the leader's, in milliseconds.
    pub clock_off_ms: i64,
    /// How its state differs from the leader's at the same entry, if it does.
    pub differs: Option<String>,
}

/// Whoever has said within this time that it is alive, is.
pub(super) const LATELY: Duration = Duration::from_secs(6);

impl HeardNode {
    /// Whether it is alive, as far as is known.
    #[must_use]
    pub fn lately(&self) -> bool {
        self.silent.is_some_and(|silent| silent <= LATELY)
    }
}

impl Heard {
    /// After `silence` a session ends.
    pub(super) fn new(silence: Duration) -> Self {
        Self {
            silence,
            state: Mutex::default(),
        }
    }

    /// After so many milliseconds of silence a session ends.
    pub(super) fn silence_ms(&self) -> u64 {
        u64::try_from(self.silence.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether this node leads, looked at again; what was heard in an earlier time as leader counts for nothing.
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

    /// A node is alive.
    pub(super) fn from(&self, node: u64, sign: Sign) {
        self.state.lock().last.insert(node, (Instant::now(), sign));
    }

    /// What was heard since this node leads, and how long ago; nothing from nodes that have been silent for too long.
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

    /// Whether a node has been silent for too long.
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
