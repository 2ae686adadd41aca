//! Batching: merges the commands of many callers into few entries. Commands that wait go into the next entry, up to a
//! size.

use std::sync::Arc;

use panther_proto::v1::{Command, Reply};
use prost::Message;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::DoorError;
use super::route::Route;

/// Bytes of commands at which an entry is closed.
const ENTRY_BYTES: usize = 256 << 10;
/// Number of commands at which an entry is closed.
const ENTRY_COMMANDS: usize = 256;
/// Maximum number of entries in flight.
const IN_FLIGHT: usize = 16;
/// Capacity of the channel of waiting commands. Admission keeps their number lower.
const WAITING: usize = 16_384;

type Waiting = (Command, oneshot::Sender<Result<Reply, DoorError>>);

pub(super) struct Merger {
    commands: mpsc::Sender<Waiting>,
}

impl Merger {
    pub(super) fn start(route: Route) -> (Self, JoinHandle<()>) {
        let (commands, receiver) = mpsc::channel(WAITING);
        (Self { commands }, tokio::spawn(run(route, receiver)))
    }

    pub(super) async fn submit(&self, command: Command) -> Result<Reply, DoorError> {
        let stopped = || DoorError::Unavailable("the node is stopping".to_owned());
        let (sender, receiver) = oneshot::channel();
        self.commands
            .send((command, sender))
            .await
            .map_err(|_| stopped())?;
        receiver.await.map_err(|_| stopped())?
    }
}

async fn run(route: Route, mut waiting: mpsc::Receiver<Waiting>) {
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
    while let Some(first) = waiting.recv().await {
        // While all permits are taken, commands gather in the channel, so entries grow with the load.
        let Ok(place) = in_flight.clone().acquire_owned().await else {
            return;
        };
        let mut bytes = first.0.encoded_len();
        let (mut commands, mut callers) = (vec![first.0], vec![first.1]);
        while commands.len() < ENTRY_COMMANDS
            && bytes < ENTRY_BYTES
            && let Ok((command, caller)) = waiting.try_recv()
        {
            bytes += command.encoded_len();
            commands.push(command);
            callers.push(caller);
        }
        let route = route.clone();
        tokio::spawn(async move {
            let answer = route.carry(commands).await;
            drop(place);
            match answer {
                Ok(replies) => {
                    for (caller, reply) in callers.into_iter().zip(replies) {
                        let _ = caller.send(Ok(reply)); // the caller may have stopped waiting
                    }
                }
                Err(error) => {
                    for caller in callers {
                        let _ = caller.send(Err(error.to_all()));
                    }
                }
            }
        });
    }
}
