//! Admission control: limits on waiting commands and their bytes. Excess commands are rejected with a retry time, not
//! queued.

use std::sync::Arc;
use std::time::Duration;

use panther_proto::v1::Command;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::DoorError;

/// When a rejected caller may try again.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(200);

pub(super) struct Admission {
    commands: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// The permit of a waiting command; frees its capacity when dropped.
pub(super) struct Admitted(
    #[expect(dead_code, reason = "gives its room back when dropped")] OwnedSemaphorePermit,
    #[expect(dead_code, reason = "gives its room back when dropped")] OwnedSemaphorePermit,
);

impl Admission {
    pub(super) fn new(commands: usize, bytes: usize) -> Self {
        Self {
            commands: Arc::new(Semaphore::new(commands)),
            bytes: Arc::new(Semaphore::new(bytes)),
        }
    }

    pub(super) fn admit(&self, command: &Command) -> Result<Admitted, DoorError> {
        let busy = |_| DoorError::Busy {
            retry_after: RETRY_AFTER,
        };
        let bytes = u32::try_from(command.encoded_len()).unwrap_or(u32::MAX);
        let place = self.commands.clone().try_acquire_owned().map_err(busy)?;
        let room = self
            .bytes
            .clone()
            .try_acquire_many_owned(bytes)
            .map_err(busy)?;
        Ok(Admitted(place, room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_door_turns_away_and_has_room_again_once_an_answer_is_out() {
        let admission = Admission::new(1, 1_000);
        let first = admission.admit(&Command::default()).unwrap();
        assert!(matches!(
            admission.admit(&Command::default()),
            Err(DoorError::Busy { .. })
        ));
        drop(first);
        assert!(admission.admit(&Command::default()).is_ok());
    }
}
