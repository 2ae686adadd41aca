//! A cluster that is restored for a drill does nothing outside: no alert is delivered, no folder is watched, no alarm command is run.
//!
//! The pause is a row, so that nodes that join later keep to it too. It begins before the components start, and ends when an operator resumes.

use std::sync::Arc;
use std::time::Duration;

use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_proto::v1::Transact;
use tokio::sync::watch;

use crate::life::Life;

/// The table of what holds for the whole cluster.
pub const TABLE: &str = "panther-settings";
const ROW: &str = "paused";
/// How often a paused node looks whether it may go on.
const EVERY: Duration = Duration::from_secs(1);

/// Whether this node may act outside; clones share it.
#[derive(Debug, Clone)]
pub struct Pause {
    since: watch::Receiver<Option<u64>>,
}

impl Pause {
    /// Reads whether the cluster is paused, and begins a pause if `begin` is given. The watch of a pause has to run, so that its end is seen.
    ///
    /// # Errors
    /// There is no leader.
    pub(crate) async fn read(
        door: &Door,
        begin: bool,
    ) -> Result<(Self, Option<PauseWatch>), DoorError> {
        if begin {
            let now = door.now_ms();
            let row = Change::put(TABLE, change::key(ROW)).set("since", now);
            write(door, row).await?;
        }
        let since = since(door).await?;
        let (say, said) = watch::channel(since);
        let watch = since.map(|_| {
            tracing::warn!(
                "the cluster is paused: no alert is delivered and no folder is watched; `pantherctl resume` ends the pause"
            );
            PauseWatch {
                door: door.clone(),
                say: Arc::new(say),
            }
        });
        Ok((Self { since: said }, watch))
    }

    /// When the pause began, in cluster time; `None`: there is no pause.
    #[must_use]
    pub fn since(&self) -> Option<u64> {
        *self.since.borrow()
    }

    /// Returns once there is no pause.
    pub async fn ended(&self) {
        let mut since = self.since.clone();
        // Without the task that looks, nothing changes any more: the node is stopping.
        if since.wait_for(Option::is_none).await.is_err() && self.since().is_some() {
            std::future::pending::<()>().await;
        }
    }
}

/// Sees that a pause has ended.
#[derive(Clone)]
pub(crate) struct PauseWatch {
    door: Door,
    say: Arc<watch::Sender<Option<u64>>>,
}

impl PauseWatch {
    /// Looks until its life is over.
    pub(crate) async fn run(self, life: Life) {
        let mut ticks = life.ticks(EVERY);
        while ticks.next().await {
            if self.say.borrow().is_none() {
                continue;
            }
            // Without an answer the pause goes on.
            if let Ok(None) = since(&self.door).await {
                tracing::info!("the pause has ended");
                self.say.send_replace(None);
            }
        }
    }
}

/// Ends the pause of the cluster. True if there was one.
///
/// # Errors
/// There is no leader.
pub(crate) async fn resume(door: &Door) -> Result<bool, DoorError> {
    let was = since(door).await?.is_some();
    if was {
        write(door, Change::delete(TABLE, change::key(ROW))).await?;
    }
    Ok(was)
}

async fn since(door: &Door) -> Result<Option<u64>, DoorError> {
    let row = door.get(TABLE, &change::key(ROW)).await?;
    Ok(row.and_then(|row| u64::try_from(row.int("since")?).ok()))
}

async fn write(door: &Door, change: Change) -> Result<(), DoorError> {
    let transact = Transact {
        changes: vec![change.done()],
        ..Transact::default()
    };
    door.transact(transact).await.map(drop)
}
