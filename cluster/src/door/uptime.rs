//! While the node is stopped, cluster time advances by the machine's uptime. A node that is started after days, on a
//! machine that stayed up, therefore needs no other proof of the time that has passed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::clock::{Stamp, TimeSource, Uptime};

/// Interval at which the mark is written. A later start computes the time since the mark from the machine's uptime.
const EVERY: Duration = Duration::from_secs(60);
const FILE: &str = "uptime.mark";

/// A moment of the machine's uptime, and the cluster time at that moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    boot: String,
    up_ms: u64,
    era: u64,
    time_ms: u64,
}

/// The mark file in a node's folder. It is only a hint: if it is missing or damaged, a start uses the state's time.
pub(super) struct UptimeMark {
    path: PathBuf,
    time: Arc<dyn TimeSource>,
    written: Mutex<Option<Mark>>,
}

impl UptimeMark {
    pub(super) fn at(folder: &Path, time: Arc<dyn TimeSource>) -> Self {
        Self {
            path: folder.join(FILE),
            time,
            written: Mutex::default(),
        }
    }

    /// Cluster time now, if the machine has not rebooted since the mark was written; otherwise the state's time.
    pub(super) fn go_on(&self, state: Stamp) -> Stamp {
        let read = std::fs::read(&self.path).ok();
        let mark = read.and_then(|bytes| serde_json::from_slice::<Mark>(&bytes).ok());
        let (Some(mark), Some(now)) = (mark, self.time.uptime()) else {
            return state;
        };
        let up_ms = millis(now.up);
        if mark.boot != now.boot || mark.era != state.era || mark.up_ms > up_ms {
            return state;
        }
        let time_ms = mark.time_ms.saturating_add(up_ms - mark.up_ms);
        Stamp {
            time_ms: state.time_ms.max(time_ms),
            ..state
        }
    }

    /// Writes the mark if the last one is a minute old or cluster time was set since.
    pub(super) fn note(&self, stamp: Stamp) {
        let Some(Uptime { boot, up }) = self.time.uptime() else {
            return;
        };
        let mark = Mark {
            boot,
            up_ms: millis(up),
            era: stamp.era,
            time_ms: stamp.time_ms,
        };
        let mut written = self.written.lock();
        let fresh = written.as_ref().is_some_and(|last| {
            last.era == mark.era && mark.up_ms.saturating_sub(last.up_ms) < millis(EVERY)
        });
        if fresh {
            return;
        }
        let new = self.path.with_extension("mark.new");
        let kept = serde_json::to_vec(&mark)
            .map_err(std::io::Error::from)
            .and_then(|bytes| std::fs::write(&new, bytes))
            .and_then(|()| std::fs::rename(&new, &self.path));
        if let Err(error) = kept {
            tracing::debug!(%error, "the mark of the machine's uptime was not written");
        }
        *written = Some(mark);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Machine {
        boot: &'static str,
        up_s: u64,
    }

    impl TimeSource for Machine {
        fn wall_ms(&self) -> u64 {
            0
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.up_s)
        }

        fn uptime(&self) -> Option<Uptime> {
            Some(Uptime {
                boot: self.boot.to_owned(),
                up: self.monotonic(),
            })
        }
    }

    #[test]
    fn time_goes_on_by_the_uptime_of_the_same_run_and_era_only() {
        let folder = tempfile::tempdir().unwrap();
        let at = |boot, up_s| UptimeMark::at(folder.path(), Arc::new(Machine { boot, up_s }));
        let state = |era| Stamp {
            era,
            time_ms: 5_000_000,
        };
        assert_eq!(at("a", 100).go_on(state(0)), state(0), "there is no mark");
        at("a", 100).note(Stamp {
            era: 0,
            time_ms: 5_010_000,
        });
        let later = Stamp {
            era: 0,
            time_ms: 5_010_000 + 900_000,
        };
        assert_eq!(at("a", 1_000).go_on(state(0)), later);
        assert_eq!(at("b", 1_000).go_on(state(0)), state(0), "another boot");
        assert_eq!(at("a", 50).go_on(state(0)), state(0), "its uptime is less");
        assert_eq!(at("a", 1_000).go_on(state(1)), state(1), "time was set");
        std::fs::write(folder.path().join(FILE), "garbage").unwrap();
        assert_eq!(at("a", 1_000).go_on(state(0)), state(0));
    }
}
