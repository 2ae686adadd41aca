//! What systemd is told: ready, stopping, how it goes, alive. Outside systemd all of it does nothing.

use std::time::Duration;

use panther_actors::system::System;
use panther_cluster::door::Door;
use sd_notify::NotifyState;
use tokio::runtime::Handle;

/// How much longer a start may take, asked for again and again while it gets on.
const MORE: Duration = Duration::from_secs(60);

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}

/// One line for `systemctl status`.
pub(crate) fn status(text: &str) {
    let line = text.lines().next().unwrap_or_default();
    notify(&[NotifyState::Status(line)]);
}

/// The node serves.
pub(crate) fn ready(text: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(text)]);
}

/// The node is being stopped.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Asks for more time for as long as it is polled; for use beside a start that ends by itself.
pub(crate) async fn ask_for_time() {
    let micros = u32::try_from(MORE.as_micros()).unwrap_or(u32::MAX);
    loop {
        notify(&[NotifyState::ExtendTimeoutUsec(micros)]);
        tokio::time::sleep(MORE / 3).await;
    }
}

/// How long a part of the process may take to answer; systemd's own time ends a process that takes longer.
const ANSWER: Duration = Duration::from_secs(5);

/// Reports to systemd's watchdog for as long as the process gets on: the threads of both runtimes, those for blocking work, the actors' thread and the loop
/// of the group. A start mends a process that hangs. It mends no loss of the majority, so that plays no part here.
pub(crate) async fn watchdog(door: Door, system: System, work: Handle) {
    let watched = sd_notify::watchdog_enabled();
    // Three reports in the time that systemd allows, so that one late one ends nothing.
    let every = watched.map_or(Duration::from_secs(10), |time| time / 3);
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut well = true;
    loop {
        ticks.tick().await;
        match gets_on(&door, &system, &work).await {
            Ok(()) => {
                if watched.is_some() {
                    notify(&[NotifyState::Watchdog]);
                }
                if !std::mem::replace(&mut well, true) {
                    tracing::info!("the process gets on again");
                    status("the process gets on again");
                }
            }
            Err(stuck) => {
                if std::mem::replace(&mut well, false) {
                    tracing::error!(
                        stuck,
                        "a part of the process does not answer; systemd will start it again if that lasts"
                    );
                    status(&format!("does not answer: {stuck}"));
                }
            }
        }
    }
}

/// Whether every part of the process answers in its time; else which one does not.
async fn gets_on(door: &Door, system: &System, work: &Handle) -> Result<(), &'static str> {
    // What has ended has its own way to end the node; here only what hangs counts.
    let parts = [
        (
            "the threads for requests and components",
            answers(work.spawn(async {})).await,
        ),
        (
            "the threads for blocking work",
            answers(work.spawn_blocking(|| {})).await,
        ),
        (
            "the group's threads for blocking work",
            answers(tokio::task::spawn_blocking(|| {})).await,
        ),
        ("the group", answers(door.group().goes_round()).await),
        ("the actors' thread", answers(system.goes_round()).await),
    ];
    let stuck = parts.into_iter().find(|(_, answers)| !answers);
    stuck.map_or(Ok(()), |(part, _)| Err(part))
}

async fn answers(asked: impl Future) -> bool {
    tokio::time::timeout(ANSWER, asked).await.is_ok()
}
