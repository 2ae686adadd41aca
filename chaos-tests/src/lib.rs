//! Fault injection tests with real processes: the shipped `pantherd`, driven through its public interfaces only, with verified results.
//!
//! * [`crash_loop`]: the node is killed repeatedly while logs arrive through three doors; the totals equal those of an undisturbed run
//! * [`power_cut`]: the disk loses unsynced data; acknowledged data is kept
//! * [`three_nodes`]: faults of a cluster's nodes under load; measures the pauses of writes
//! * [`lineage`]: a majority is lost for good and one node continues alone; a backup becomes a cluster
//! * [`slow_disk`]: the leader's disk is frozen, and leadership moves to another node
//! * [`upgrade`]: a rolling upgrade to a release with the next format, under load
//! * [`wrong_clock`]: a start with a clock that is a year ahead, and the recovery
//! * [`catch_up`]: the cost of a large state for a new node, for the leader, and for a start
//! * [`full_disk`]: a full disk; new logs are rejected, accepted ones are kept, and the node recovers
//!
//! Building blocks:
//!
//! * [`node`]: one pantherd in its own folder
//! * [`cluster`]: three nodes that form a cluster
//! * [`bucket`]: an S3-compatible server for their objects
//! * [`faults`]: injection and healing of each fault
//! * [`under_load`]: a cluster under load, with a comparison of expected and actual results
//! * [`load`]: the clients of a cluster, and what they record
//! * [`doors`]: sends files through the three doors, each retried until it is acknowledged
//! * [`receiver`]: the webhook to which alerts are delivered
//! * [`tally`]: all results of a run, counted and checked for consistency
//! * [`compare`]: comparison of two runs with the same input
//! * [`wires`]: network namespaces for partitions; [`clocks`]: wall clocks that can be set
//! * [`disk`]: file systems that can lose power or be filled
//!
//! All random choices come from one seed. It is printed, and the same seed gives the same choices.

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
pub mod trace;
pub mod under_load;
pub mod upgrade;
pub mod wires;
pub mod wrong_clock;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why a run did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The system violated a guarantee.
    #[error("{0}")]
    Broken(String),
    /// This machine cannot create the fault, so the run says nothing about the system.
    #[error("not run: {0}")]
    CannotRun(String),
}

impl Failure {
    /// A violated guarantee.
    pub fn broken(what: impl std::fmt::Display) -> Self {
        Self::Broken(what.to_string())
    }

    /// Appends the end of the nodes' logs, if the system is at fault.
    #[must_use]
    pub fn with_words(self, words: impl FnOnce() -> String) -> Self {
        match self {
            Self::Broken(what) => Self::Broken(format!("{what}\n{}", words())),
            other => other,
        }
    }
}

/// Result of a run.
pub type Result<T> = std::result::Result<T, Failure>;

/// Adds the current activity to an error.
pub(crate) trait During<T> {
    fn during(self, what: impl std::fmt::Display) -> Result<T>;
}

impl<T, E: std::fmt::Display> During<T> for std::result::Result<T, E> {
    fn during(self, what: impl std::fmt::Display) -> Result<T> {
        self.map_err(|error| Failure::Broken(format!("{what}: {error}")))
    }
}

/// The folder of the project's own samples.
#[must_use]
pub fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples")
}

/// Poll interval of [`until`].
const LOOK: Duration = Duration::from_millis(100);

/// Polls `look` until it returns `None`. Otherwise `look` returns the reason for waiting, and the last reason is part of the error.
///
/// # Errors
/// The condition is not reached within `patience`.
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
