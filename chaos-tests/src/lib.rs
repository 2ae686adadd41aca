//! Real processes, real faults, checked results: `pantherd` as it is shipped, driven through its public faces only.
//!
//! * [`crash_loop`]: killed again and again while logs come in through three doors; the counts equal an undisturbed run's
//! * [`power_cut`]: the disk loses what was not synced; nothing acknowledged is gone
//! * [`three_nodes`]: nodes of a cluster come and go under load; for how long writes pause
//! * [`lineage`]: a majority is gone for good and one goes on alone; a backup becomes a cluster
//! * [`slow_disk`]: the leader's disk stands still, and another leads
//! * [`upgrade`]: node by node to a release with the next format, under load
//! * [`wrong_clock`]: a start with a clock that is a year ahead, and the way back
//! * [`catch_up`]: what a large state costs a new node, the leader, and a start
//! * [`full_disk`]: no room is left; new logs are refused, accepted ones are kept, and it goes on
//!
//! and what they are made of:
//!
//! * [`node`]: a pantherd in a folder of its own, started, killed, asked
//! * [`cluster`]: three of them that are one cluster
//! * [`bucket`]: a server of S3's protocol for their objects
//! * [`faults`]: how each fault is made and healed
//! * [`under_load`]: clients of a cluster, from their beginning to the look at what is there
//! * [`load`]: what clients of a cluster do meanwhile, and what they note
//! * [`doors`]: files into the three doors, each retried until it is acknowledged
//! * [`receiver`]: the webhook that alerts are delivered to
//! * [`tally`]: all that a run left behind, counted and checked in itself
//! * [`compare`]: two runs of the same input side by side
//! * [`wires`]: network namespaces, in which nodes are cut off; [`clocks`]: wall clocks that are set wrong
//! * [`disk`]: file systems that can be cut off or filled up
//!
//! Whatever is drawn by chance comes from one seed, which is printed, and which draws the same again.

pub mod bucket;
pub mod catch_up;
pub mod clocks;
pub mod cluster;
pub mod compare;
pub mod crash_loop;
pub mod disk;
pub mod doors;
pub mod faults;
pub mod full_disk;
pub mod lineage;
pub mod load;
pub mod node;
pub mod power_cut;
pub mod receiver;
pub mod slow_disk;
pub mod tally;
pub mod three_nodes;
pub mod under_load;
pub mod upgrade;
pub mod wires;
pub mod wrong_clock;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How a run ended that did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The system did what it must not do, or did not do what it must.
    #[error("{0}")]
    Broken(String),
    /// This machine cannot make the fault: nothing is known of the system.
    #[error("not run: {0}")]
    CannotRun(String),
}

impl Failure {
    /// The system is at fault.
    pub fn broken(what: impl std::fmt::Display) -> Self {
        Self::Broken(what.to_string())
    }

    /// Adds what the nodes' logs end with, where the system is at fault.
    #[must_use]
    pub fn with_words(self, words: impl FnOnce() -> String) -> Self {
        match self {
            Self::Broken(what) => Self::Broken(format!("{what}\n{}", words())),
            other => other,
        }
    }
}

/// What runs give back.
pub type Result<T> = std::result::Result<T, Failure>;

/// Adds what was being done to an error.
pub(crate) trait During<T> {
    fn during(self, what: impl std::fmt::Display) -> Result<T>;
}

impl<T, E: std::fmt::Display> During<T> for std::result::Result<T, E> {
    fn during(self, what: impl std::fmt::Display) -> Result<T> {
        self.map_err(|error| Failure::Broken(format!("{what}: {error}")))
    }
}

/// The project's own samples.
#[must_use]
pub fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples")
}

/// How often something is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// Waits until `look` finds nothing left to wait for (`None`). What it last gave is why it took too long.
///
/// # Errors
/// It is not so within `patience`.
pub async fn until(
    what: &str,
    patience: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<String>>,
) -> Result<()> {
    let began = Instant::now();
    loop {
        let Some(left) = look().await? else {
            return Ok(());
        };
        if began.elapsed() > patience {
            return Err(Failure::Broken(format!(
                "{what}: not within {} s; {left}",
                patience.as_secs()
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}
