//! Functions that run once per period: a row holds when the next run is due, and one command moves it on and sends the run's message.
//!
//! Only the leader looks, but the command is safe from any node: it takes effect only if the due time is still the one that was read, so that one period
//! has one run. After an outage of several periods there is one run, and the next one is due at the next full period.

use std::time::Duration;

use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_proto::v1::Transact;

use crate::catalogue::{Built, Catalogue, Trigger};
use crate::life::Life;

/// The table of due times.
pub const TABLE: &str = "panther-schedules";
/// How often the leader looks what is due.
const LOOK: Duration = Duration::from_secs(1);

/// A function with a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The function.
    pub function: String,
    /// Its queue, which receives a message for each run.
    pub queue: String,
    /// Milliseconds between two runs.
    pub period_ms: u64,
}

/// The schedules of all functions that are built.
#[must_use]
pub fn schedules(catalogue: &Catalogue) -> Vec<Schedule> {
    let built = catalogue
        .all()
        .filter(|component| component.built != Built::No);
    built
        .filter_map(|component| {
            let work = component.work.as_ref()?;
            let Trigger::ScheduleSeconds(seconds) = work.trigger else {
                return None;
            };
            Some(Schedule {
                function: component.name.clone(),
                queue: work.source.clone()?,
                period_ms: seconds.max(1) * 1_000,
            })
        })
        .collect()
}

impl Schedule {
    /// Sends a run if one is due. Returns whether this call did.
    ///
    /// # Errors
    /// The cluster gives no answer.
    pub async fn look(&self, door: &Door) -> Result<bool, DoorError> {
        let key = change::key(&self.function);
        let row = door.get(TABLE, &key).await?;
        let due = row.as_ref().and_then(|row| row.int("due"));
        let now = door.now_ms();
        let is_due = due.is_none_or(|due| u64::try_from(due).unwrap_or(0) <= now);
        if !is_due {
            return Ok(false);
        }
        let change = Change::update(TABLE, key).set("due", next_due(now, self.period_ms));
        let change = match due {
            Some(due) => change.if_equals("due", due),
            None => change.if_absent("due"),
        };
        let body = serde_json::json!({"function": self.function, "due": due});
        let sent = door
            .transact(Transact {
                changes: vec![change.done()],
                sends: vec![change::to_queue(&self.queue, body.to_string().into_bytes())],
                ..Transact::default()
            })
            .await;
        match sent {
            Ok(_) => Ok(true),
            // Another node was first.
            Err(DoorError::Conflict(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The first full period after a moment; full periods count from 1970, so that they are the same for all nodes.
fn next_due(now_ms: u64, period_ms: u64) -> u64 {
    (now_ms / period_ms + 1) * period_ms
}

/// Sends the runs that are due while this node leads, until the node stops.
pub(crate) async fn run(door: Door, schedules: Vec<Schedule>, life: Life) {
    let mut ticks = life.ticks(LOOK);
    while ticks.next().await {
        if !door.group().status().leads {
            continue;
        }
        for schedule in &schedules {
            if let Err(error) = schedule.look(&door).await {
                tracing::debug!(function = schedule.function, %error, "a schedule could not be read; trying again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_of_many_periods_is_followed_by_one_run_and_the_next_full_period() {
        assert_eq!(next_due(0, 1_000), 1_000);
        assert_eq!(next_due(999, 1_000), 1_000);
        assert_eq!(next_due(1_000, 1_000), 2_000);
        assert_eq!(next_due(987_654, 1_000), 988_000);
    }

    #[test]
    fn every_function_with_a_schedule_has_a_queue_for_its_runs() {
        let found = schedules(crate::components::catalogue());
        let names: Vec<&str> = found.iter().map(|one| one.queue.as_str()).collect();
        assert_eq!(names, ["panther-storage-collector-runs"]);
    }
}
