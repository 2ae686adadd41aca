//! An operator sets cluster time to this node's clock: forward where the clock is not followed automatically, or back
//! where time was ahead.

use panther_proto::v1::{Code, SetTime, command, reply};

use super::clock::{JUMP_MS, Stamp, span};
use super::error::unexpected;
use super::{Door, DoorError};
use crate::state::limits::refused;
use crate::state::read;

/// A change of cluster time, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeSet {
    /// The time before.
    pub from_ms: u64,
    /// The time after.
    pub to_ms: u64,
}

fn refuse(reason: String) -> DoorError {
    DoorError::Refused(refused(Code::Invalid, reason))
}

impl Door {
    /// This machine's wall clock, in milliseconds since 1970.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        self.inner.clock.wall_ms()
    }

    /// Converts the issue time of a request from the clock of a caller on this machine to cluster time. The two clocks
    /// may differ by any amount, so the request's age is taken from this machine's clock.
    #[must_use]
    pub fn issued_ms(&self, caller_ms: u64) -> u64 {
        let (now, wall) = (self.now_ms(), self.inner.clock.wall_ms());
        // A stamp from the future was made before this clock was set back: the request counts as issued now.
        now.saturating_sub(wall.saturating_sub(caller_ms))
    }

    /// Sets cluster time forward to this node's clock.
    ///
    /// # Errors
    /// The clock is not ahead, or it is off the other nodes' clocks; there is no leader, or the format in force lacks
    /// the command.
    pub async fn accept_time(&self) -> Result<TimeSet, DoorError> {
        let (now, wall) = self.judge_clock()?;
        if wall <= now.saturating_add(JUMP_MS) {
            return Err(refuse(format!(
                "there is nothing to accept: this node's clock is not ahead of cluster time{}",
                match now.saturating_sub(wall) {
                    0..=JUMP_MS => String::new(),
                    lag => format!(
                        " but {} behind it; `pantherctl cluster force-time` sets cluster time back",
                        span(lag)
                    ),
                }
            )));
        }
        self.set_time(now, wall).await
    }

    /// Sets cluster time back to this node's clock.
    ///
    /// # Errors
    /// Cluster time is not ahead of the clock, or the clock is off the other nodes' clocks; there is no leader, or the
    /// format in force lacks the command.
    pub async fn force_time(&self) -> Result<TimeSet, DoorError> {
        let (now, wall) = self.judge_clock()?;
        if wall.saturating_add(JUMP_MS) >= now {
            return Err(refuse(
                "there is nothing to set back: cluster time is not ahead of this node's clock"
                    .to_owned(),
            ));
        }
        self.set_time(now, wall).await
    }

    fn judge_clock(&self) -> Result<(u64, u64), DoorError> {
        if self.inner.clock.is_off() {
            return Err(refuse(
                "this node's clock is off those of the other nodes: set it right, or give the command at another node"
                    .to_owned(),
            ));
        }
        Ok((self.now_ms(), self.inner.clock.wall_ms()))
    }

    async fn set_time(&self, from_ms: u64, to_ms: u64) -> Result<TimeSet, DoorError> {
        let set = command::Kind::SetTime(SetTime { time_ms: to_ms });
        match self.execute(set).await? {
            reply::Kind::Done(_) => {}
            other => return Err(unexpected(other)),
        }
        let globals = self.read(|store| read::globals(store)).await?;
        self.inner.clock.follow(Stamp::from(&globals));
        tracing::warn!(from_ms, to_ms, "an operator has set cluster time");
        Ok(TimeSet { from_ms, to_ms })
    }
}
