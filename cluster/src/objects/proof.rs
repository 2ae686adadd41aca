//! Check that a node uses the same store as the other nodes: the store contains the cluster's mark, and a mark that each other node has written.
//!
//! Without this check, a node with another store would receive messages whose objects it cannot read, and write objects that no other node sees.

use bytes::Bytes;

use super::{Objects, ObjectsError};

/// Name of the object that contains the id of the owning cluster.
const CLUSTER: &str = "cluster/identity";

/// Why a store is not accepted as the cluster's store.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The store contains no mark of a cluster.
    #[error(
        "the object store shows nothing of cluster {cluster}: it is not the one that the other nodes use. Set objects.url to the same place on all nodes, such as a folder that all of them mount"
    )]
    Unmarked {
        /// The cluster.
        cluster: String,
    },
    /// The store contains no mark, although this node has used it before.
    #[error(
        "the object store is empty, although this node has kept objects in it: is the folder mounted, and is objects.url right? Nothing was written there. If the objects are gone for good, write {cluster} into cluster/identity of the empty store, and start again: alerts and rows stay, their objects are not found"
    )]
    Emptied {
        /// The cluster.
        cluster: String,
    },
    /// The store belongs to another cluster.
    #[error(
        "the object store belongs to cluster {theirs}, and this is a node of cluster {cluster}; give each cluster a store of its own (objects.url)"
    )]
    Foreign {
        /// This cluster.
        cluster: String,
        /// The owner of the store.
        theirs: String,
    },
    /// The mark of another node is not visible.
    #[error(
        "the object store does not show what node {node} wrote there: one of the two nodes has another objects.url, or does not see the other's writes. Set objects.url to the same place on all nodes"
    )]
    Unseen {
        /// The other node.
        node: u64,
    },
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] ObjectsError),
}

fn of_node(cluster: &str, node: u64) -> String {
    format!("cluster/{cluster}/node-{node}")
}

async fn mark(objects: &Objects) -> Result<Option<String>, ObjectsError> {
    match objects.get(CLUSTER).await {
        Ok(content) => Ok(Some(String::from_utf8_lossy(&content).trim().to_owned())),
        Err(ObjectsError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The current time of the store's clock, in milliseconds since 1970. The node writes a mark and reads its time.
///
/// # Errors
/// The store does not answer.
pub async fn store_time(objects: &Objects, node: u64) -> Result<u64, ObjectsError> {
    let name = format!("cluster/time/node-{node}");
    objects.remove(&name).await?; // an existing mark would keep its old time
    objects.put(&name, Bytes::from_static(b"now\n")).await?;
    Ok(objects.head(&name).await?.written_ms)
}

/// Checks that the store belongs to the cluster.
///
/// # Errors
/// It does not ([`ProofError::Unmarked`], [`ProofError::Foreign`]), or it does not answer.
pub async fn is_marked(objects: &Objects, cluster: &str) -> Result<(), ProofError> {
    match mark(objects).await? {
        Some(theirs) if theirs == cluster => Ok(()),
        Some(theirs) => Err(ProofError::Foreign {
            cluster: cluster.to_owned(),
            theirs,
        }),
        None => Err(ProofError::Unmarked {
            cluster: cluster.to_owned(),
        }),
    }
}

/// The cluster that owns the store; `None` if no cluster does.
///
/// # Errors
/// The store does not answer.
pub async fn owner(objects: &Objects) -> Result<Option<String>, ObjectsError> {
    mark(objects).await
}

/// Makes the cluster the owner of the store, whichever cluster owned it before. From then on nodes of the former owner refuse to start with it.
///
/// # Errors
/// The store does not answer.
pub async fn take_over(objects: &Objects, cluster: &str) -> Result<(), ObjectsError> {
    // Objects never change, so the old mark is removed first. If this stops in between, no node that has other nodes can start with the unmarked
    // store.
    objects.remove(CLUSTER).await?;
    let mark = Bytes::from(format!("{cluster}\n"));
    objects.put(CLUSTER, mark).await
}

/// Writes this node's mark and checks the marks of the other nodes. If the node is alone in its cluster and the store has no mark, the cluster
/// becomes the owner; but if the node has `started` before, the store must have a mark already, so an unmarked store is another one.
///
/// # Errors
/// The store is not the one that the other nodes use, or it does not answer.
pub async fn prove(
    objects: &Objects,
    cluster: &str,
    node: u64,
    others: &[u64],
    started: bool,
) -> Result<(), ProofError> {
    if others.is_empty() && mark(objects).await?.is_none() {
        if started {
            return Err(ProofError::Emptied {
                cluster: cluster.to_owned(),
            });
        }
        take_over(objects, cluster).await?;
    }
    is_marked(objects, cluster).await?;
    objects
        .put(&of_node(cluster, node), Bytes::from(format!("{node}\n")))
        .await?;
    for other in others {
        match objects.head(&of_node(cluster, *other)).await {
            Ok(_) => {}
            Err(ObjectsError::NotFound(_)) => return Err(ProofError::Unseen { node: *other }),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_sees_what_the_others_wrote_or_is_refused() {
        let (shared, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = Objects::local(shared.path()).unwrap();
        prove(&first, "c1", 1, &[], false).await.unwrap();
        prove(&first, "c1", 1, &[], true).await.unwrap();
        let second = Objects::local(shared.path()).unwrap();
        prove(&second, "c1", 2, &[1], false).await.unwrap();
        prove(&first, "c1", 1, &[2], true).await.unwrap();
        assert!(matches!(
            prove(&second, "c1", 2, &[1, 3], false).await,
            Err(ProofError::Unseen { node: 3 })
        ));
        let elsewhere = Objects::local(own.path()).unwrap();
        assert!(matches!(
            prove(&elsewhere, "c1", 2, &[1], false).await,
            Err(ProofError::Unmarked { .. })
        ));
        assert!(matches!(
            prove(&first, "c2", 1, &[], false).await,
            Err(ProofError::Foreign { .. })
        ));
    }

    #[tokio::test]
    async fn an_empty_store_is_not_taken_for_the_one_that_was_used() {
        let folder = tempfile::tempdir().unwrap();
        let unmounted = Objects::local(folder.path()).unwrap();
        let refused = prove(&unmounted, "c1", 1, &[], true).await;
        assert!(matches!(refused, Err(ProofError::Emptied { .. })));
        assert!(unmounted.list("cluster").await.unwrap().is_empty());
        unmounted.put(CLUSTER, Bytes::from("c1")).await.unwrap();
        prove(&unmounted, "c1", 1, &[], true).await.unwrap();
    }
}
