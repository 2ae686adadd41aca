//! What systemd is told: ready, stopping, how it goes, alive. Outside systemd all of it does nothing.

use std::time::Duration;

use panther_cluster::door::Door;
use sd_notify::NotifyState;

use crate::health;

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

/// Reports to systemd's watchdog, and only while the door answers; says in the log when it stops or starts to answer.
pub(crate) async fn watchdog(door: Door) {
    let watched = sd_notify::watchdog_enabled();
    // Three reports in the time that systemd allows, so that one late one ends nothing.
    let every = watched.map_or(Duration::from_secs(10), |time| time / 3);
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut well = true;
    loop {
        ticks.tick().await;
        match health::answers(&door).await {
            Ok(()) => {
                if watched.is_some() {
                    notify(&[NotifyState::Watchdog]);
                }
                if !std::mem::replace(&mut well, true) {
                    tracing::info!("the node answers again");
                    status("the node answers again");
                }
            }
            Err(reason) => {
                if std::mem::replace(&mut well, false) {
                    tracing::error!(
                        reason,
                        "the node does not answer; systemd will start it again if that lasts"
                    );
                    status(&format!("does not answer: {reason}"));
                }
            }
        }
    }
}
