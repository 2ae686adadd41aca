//! Nodes whose addresses change: the others find them again.

use super::members::{Cluster, put};
use super::three::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_whose_address_changed_while_it_was_down_takes_part_again() {
    let mut cluster = Cluster::first().await;
    cluster.join(1, None).await;
    cluster.join(1, None).await;
    cluster.voters(&[1, 2, 3]).await;
    for moved in [3, 2] {
        cluster.stop(moved).await;
        let address = cluster.start_elsewhere(moved).await;
        until("the others know the address", async || {
            let known = cluster.nodes[&1].door.group().status().members;
            (known[&moved] == address).then_some(())
        })
        .await;
        cluster.nodes[&moved].door.transact(put(1)).await.unwrap();
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_moved_hears_a_leader_that_moved_meanwhile() {
    let mut cluster = Cluster::first().await;
    cluster.join(1, None).await;
    cluster.join(1, None).await;
    cluster.voters(&[1, 2, 3]).await;
    cluster.stop(2).await;
    cluster.stop(3).await;
    let leads_at = cluster.start_elsewhere(3).await;
    until("both know the address", async || {
        let known = |node: u64| cluster.nodes[&node].door.group().status().members;
        [1, 3]
            .into_iter()
            .all(|node| known(node)[&3] == leads_at)
            .then_some(())
    })
    .await;
    if cluster.nodes[&1].door.group().status().leader != Some(3) {
        cluster.nodes[&1].members.lead(3).await.unwrap();
    }
    // The node does not know the leader's address, and the leader does not know the node's. Only the third node knows
    // both.
    let address = cluster.start_elsewhere(2).await;
    until("the leader knows the address", async || {
        let known = cluster.nodes[&3].door.group().status().members;
        (known[&2] == address).then_some(())
    })
    .await;
    cluster.nodes[&2].door.transact(put(1)).await.unwrap();
    cluster.end().await;
}
