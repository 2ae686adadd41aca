//! Whether the node can do its work: its log must answer, or nothing else can.

use std::time::Duration;

use panther_cluster::door::Door;
use panther_cluster::state::read;

/// How long a read may take before the node counts as stuck.
const ANSWER: Duration = Duration::from_secs(5);

/// Whether the door answers a read.
///
/// # Errors
/// Why it does not.
pub(crate) async fn answers(door: &Door) -> Result<(), String> {
    match tokio::time::timeout(ANSWER, door.read(|store| read::globals(store))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!(
            "the replicated log gave no answer within {} s",
            ANSWER.as_secs()
        )),
    }
}
