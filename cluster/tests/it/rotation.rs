//! Rotation of the certificate authority while the cluster works: nodes trust each other at each step, and certificates
//! of the old authority are worthless afterwards.

use std::time::Duration;

use panther_cluster::membership::{RotationStep, Standing};
use panther_cluster::net::Authority;
use panther_proto::v1::HelloCall;
use panther_proto::v1::peers_client::PeersClient;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::gate::between;
use super::members::{Cluster, put};
use super::three::until;

/// Certificates of all authorities so far.
fn believed(cluster: &Cluster) -> Vec<Certificate> {
    let kept = cluster.kept.lock().unwrap();
    let kept = kept.iter().map(|(authority, _)| authority);
    kept.chain([&cluster.authority])
        .map(|authority| Certificate::from_pem(authority.certificate()))
        .collect()
}

/// The authority that was stored last, and how often one was stored.
fn last(cluster: &Cluster) -> (Authority, usize) {
    let kept = cluster.kept.lock().unwrap();
    let (new, last) = kept.last().unwrap();
    assert_eq!(last.believed(), [new.certificate().to_owned()]);
    let new = Authority::open("test", &new.key(), new.certificate());
    (new.unwrap(), kept.len())
}

/// True if node 1 accepts a certificate of this authority for node 2.
async fn answers(cluster: &Cluster, authority: &Authority) -> bool {
    let believed = believed(cluster);
    let shown = authority.issue(2).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificates(believed)
        .identity(Identity::from_pem(shown.certificate(), shown.key()))
        .domain_name("node-1.test.panther");
    let endpoint = Endpoint::from_shared(format!("https://{}", cluster.addresses[&1]));
    let endpoint = endpoint.unwrap().tls_config(tls).unwrap();
    let endpoint = endpoint.timeout(Duration::from_secs(10));
    let Ok(channel) = endpoint.connect().await else {
        return false;
    };
    let call = HelloCall {
        between: Some(between(2, 1)),
        address: String::new(),
    };
    PeersClient::new(channel).hello(call).await.is_ok()
}

async fn is_done(cluster: &Cluster) {
    until("the new authority is the only one", async || {
        for node in cluster.nodes.values() {
            let rotation = node.members.rotation().await?;
            if rotation.step != RotationStep::Done {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_no_certificate_of_the_old_authority_opens_anything() {
    let mut cluster = Cluster::first().await;
    cluster.join(1, None).await;
    cluster.join(1, None).await;
    cluster.voters(&[1, 2, 3]).await;
    assert!(answers(&cluster, &cluster.authority).await);
    cluster.nodes[&2].members.rotate_authority().await.unwrap();
    // A second rotation has to wait, and so has a machine that wants to join.
    let again = cluster.nodes[&1].members.rotate_authority().await;
    let invited = cluster.nodes[&1]
        .members
        .invite(Duration::from_secs(60), None)
        .await;
    for refused in [again.unwrap_err(), invited.map(drop).unwrap_err()] {
        assert!(refused.to_string().contains("being replaced"), "{refused}");
    }
    // The cluster works during the whole rotation.
    let mut number = 0;
    while cluster.nodes[&3]
        .members
        .rotation()
        .await
        .is_none_or(|rotation| rotation.step != RotationStep::Done)
    {
        for node in cluster.nodes.values() {
            number += 1;
            node.door.transact(put(number)).await.unwrap();
        }
    }
    is_done(&cluster).await;
    assert!(!answers(&cluster, &cluster.authority).await);
    // Each node has stored three steps. After the last one it trusts only the new authority.
    let (new, times) = last(&cluster);
    assert_eq!(times, 9);
    assert!(answers(&cluster, &new).await);
    // A machine can join under the new authority, and a further rotation works too.
    let fourth = cluster.join(2, None).await;
    cluster.standing(fourth, Standing::Member).await;
    cluster.nodes[&4].members.rotate_authority().await.unwrap();
    is_done(&cluster).await;
    assert!(!answers(&cluster, &new).await);
    for node in cluster.nodes.values() {
        node.door.transact(put(1_000)).await.unwrap();
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_away_is_waited_for_until_it_is_removed() {
    let mut cluster = Cluster::first().await;
    cluster.join(1, None).await;
    cluster.join(1, None).await;
    cluster.voters(&[1, 2, 3]).await;
    cluster.stop(3).await;
    cluster.nodes[&1].members.rotate_authority().await.unwrap();
    until("only node 3 is waited for", async || {
        let rotation = cluster.nodes[&1].members.rotation().await?;
        (rotation.step == RotationStep::Believe && rotation.waits_for == [3]).then_some(())
    })
    .await;
    cluster.nodes[&2].door.transact(put(1)).await.unwrap();
    cluster.nodes[&1].members.remove(3).await.unwrap();
    cluster.standing(3, Standing::Removed).await;
    is_done(&cluster).await;
    cluster.nodes[&2].door.transact(put(2)).await.unwrap();
    cluster.end().await;
}
