//! The row that says which key seals the cluster's secrets. A node with another key would seal what no other node opens.

use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_proto::v1::Transact;

use crate::destinations::OutputCache;
use crate::pause::TABLE;
use crate::sealing::{Sealer, fingerprint};

const ROW: &str = "sealing-key";
const FINGERPRINT: &str = "fingerprint";

/// Why a node does not start with its key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The cluster's secrets are sealed with another one.
    #[error(
        "the sealing key has the fingerprint {own}, and the cluster's secrets are sealed with key {cluster}"
    )]
    Other {
        /// Of this node's key.
        own: String,
        /// Of the cluster's.
        cluster: String,
    },
    /// The row cannot be read or written.
    #[error(transparent)]
    Door(#[from] DoorError),
}

/// Checks a node's key against the cluster's. The first node whose key opens all secrets says which it is; one that `replaces` it writes its own over that.
///
/// # Errors
/// As [`KeyError`] says.
pub(crate) async fn check(door: &Door, key: &[u8; 32], replaces: bool) -> Result<(), KeyError> {
    let own = fingerprint(key);
    let row = door.get(TABLE, &change::key(ROW)).await?;
    let change = Change::put(TABLE, change::key(ROW)).set(FINGERPRINT, &own);
    let change = match row.as_ref().and_then(|row| row.text(FINGERPRINT)) {
        Some(cluster) if cluster == own => return Ok(()),
        Some(cluster) if replaces => change.if_equals(FINGERPRINT, cluster),
        Some(cluster) => {
            let cluster = cluster.to_owned();
            return Err(KeyError::Other { own, cluster });
        }
        None => {
            let outputs = OutputCache::new(door.clone(), Sealer::new(key));
            if !replaces && !outputs.unopened().await?.is_empty() {
                return Ok(()); // the alarm says which secrets do not open
            }
            change.if_row_absent()
        }
    };
    let written = door.transact(Transact {
        changes: vec![change.done()],
        ..Transact::default()
    });
    match written.await {
        // Another node was faster: its key decides.
        Err(DoorError::Conflict(_)) => Box::pin(check(door, key, false)).await,
        written => Ok(written.map(drop)?),
    }
}
