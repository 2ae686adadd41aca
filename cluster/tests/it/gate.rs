//! Access control between nodes: certificates of removed nodes, of the receiver itself and of ids that were never
//! assigned, at every method, over real TLS.

use std::time::Duration;

use panther_cluster::membership::{Invitation, Joined, Standing, join};
use panther_cluster::net::METHODS;
use panther_proto::v1::peers_client::PeersClient;
use panther_proto::v1::{
    AppendCall, Between, Command, ForwardCall, HandOverCall, HeardCall, HelloCall, KeepAliveCall,
    LeadCall, LogPosition, ReadIndexCall, SnapshotHeldCall, SnapshotPiece, StoredVote, Transact,
    VoteCall, command,
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use super::members::{Cluster, put};

/// A client of node `to` with the certificate of node `from`.
struct Caller {
    client: PeersClient<Channel>,
    between: Option<Between>,
}

/// Connects to node `to` with a certificate of node `from`, or without a certificate.
pub(crate) async fn connection(cluster: &Cluster, from: Option<u64>, to: u64) -> Channel {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(cluster.authority.certificate()))
        .domain_name(format!("node-{to}.test.panther"));
    if let Some(from) = from {
        let shown = cluster.authority.issue(from).unwrap();
        tls = tls.identity(Identity::from_pem(shown.certificate(), shown.key()));
    }
    Endpoint::from_shared(format!("https://{}", cluster.addresses[&to]))
        .unwrap()
        .tls_config(tls)
        .unwrap()
        .timeout(Duration::from_secs(20))
        .connect()
        .await
        .unwrap()
}

async fn caller(cluster: &Cluster, from: u64, to: u64) -> Caller {
    let channel = connection(cluster, Some(from), to).await;
    Caller {
        client: PeersClient::new(channel),
        between: Some(between(from, to)),
    }
}

pub(crate) fn between(from: u64, to: u64) -> Between {
    Between {
        cluster: "test".to_owned(),
        group: 1,
        from,
        to,
    }
}

impl Caller {
    /// Calls a method by its name in the .proto file. `term` is used where the method has one.
    async fn call(&mut self, method: &str, from: u64, term: u64) -> Result<(), Status> {
        let between = self.between.clone();
        let vote = Some(StoredVote {
            term,
            node: from,
            committed: matches!(method, "Append" | "SnapshotSend"),
        });
        let last = Some(LogPosition {
            term,
            node: from,
            index: 1_000_000,
        });
        let client = &mut self.client;
        match method {
            "Append" => {
                let call = AppendCall {
                    between,
                    vote,
                    ..AppendCall::default()
                };
                client.append(call).await.map(drop)
            }
            "Vote" => {
                let call = VoteCall {
                    between,
                    vote,
                    last,
                    ..VoteCall::default()
                };
                client.vote(call).await.map(drop)
            }
            "HandOver" => {
                let call = HandOverCall {
                    between,
                    vote,
                    last,
                    heir: from,
                };
                client.hand_over(call).await.map(drop)
            }
            "SnapshotHeld" => {
                let call = SnapshotHeldCall {
                    between,
                    name: "1.snapshot".to_owned(),
                    bytes: 1,
                };
                client.snapshot_held(call).await.map(drop)
            }
            "SnapshotSend" => {
                let piece = SnapshotPiece {
                    between,
                    vote,
                    name: "1.snapshot".to_owned(),
                    bytes: 1,
                    ..SnapshotPiece::default()
                };
                let pieces = tokio_stream::iter([piece]);
                client.snapshot_send(pieces).await.map(drop)
            }
            "Forward" => {
                let commands = vec![Command {
                    kind: Some(command::Kind::Transact(put(666))),
                }];
                let call = ForwardCall { between, commands };
                client.forward(call).await.map(drop)
            }
            "ReadIndex" => client.read_index(ReadIndexCall { between }).await.map(drop),
            "KeepAlive" => {
                let call = KeepAliveCall {
                    between,
                    ..KeepAliveCall::default()
                };
                client.keep_alive(call).await.map(drop)
            }
            "Heard" => client.heard(HeardCall { between }).await.map(drop),
            "Hello" => client
                .hello(HelloCall {
                    between,
                    address: String::new(),
                })
                .await
                .map(drop),
            "Lead" => {
                let call = LeadCall {
                    between,
                    node: from,
                };
                client.lead(call).await.map(drop)
            }
            new => panic!("{new} is not tried here: add it"),
        }
    }
}

fn methods() -> impl Iterator<Item = &'static str> {
    let peers = METHODS.iter().filter(|(service, ..)| *service == "Peers");
    peers.map(|(_, method, _)| *method)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_alone_opens_no_method_and_no_term_ends_the_cluster() {
    let mut cluster = Cluster::first().await;
    cluster.join(1, None).await;
    cluster.join(1, None).await;
    cluster.voters(&[1, 2, 3]).await;
    cluster.nodes[&1].door.transact(put(1)).await.unwrap();
    cluster.stop(3).await;
    cluster.nodes[&1]
        .members
        .remove(3, Transact::default())
        .await
        .unwrap();
    cluster.standing(3, Standing::Removed).await;
    let leader = async || {
        let status = cluster.nodes[&1].door.group().status();
        (status.live_leader(), status.term)
    };
    // From here on both nodes have applied the removal.
    for node in cluster.nodes.values() {
        node.door.read(|_| Ok(())).await.unwrap();
    }
    let before = leader().await;
    let term = before.1 + 1;
    // A removed node, an id that was never assigned, and the receiver itself.
    for (from, why) in [
        (3, "was removed"),
        (99, "not a member"),
        (0, "not a member"),
    ] {
        for to in [1, 2] {
            let mut caller = caller(&cluster, from, to).await;
            for method in methods() {
                let refused = caller.call(method, from, term).await.unwrap_err();
                let said = format!("{from} at {to}, {method}: {refused}");
                assert_eq!(refused.code(), Code::PermissionDenied, "{said}");
                assert!(refused.message().contains(why), "{said}");
            }
        }
    }
    for node in [1, 2] {
        let mut itself = caller(&cluster, node, node).await;
        for method in methods() {
            let refused = itself.call(method, node, term).await.unwrap_err();
            assert_eq!(
                refused.code(),
                Code::PermissionDenied,
                "{method}: {refused}"
            );
            assert!(refused.message().contains("itself"), "{method}: {refused}");
        }
    }
    // A member cannot use a term that leaves too little room for further elections.
    for (from, to) in [(1, 2), (2, 1)] {
        let mut member = caller(&cluster, from, to).await;
        for term in [u64::MAX, u64::MAX - 1, 1 << 63, term + (1 << 32)] {
            for method in ["Append", "Vote", "HandOver", "SnapshotSend"] {
                let refused = member.call(method, from, term).await.unwrap_err();
                assert_eq!(refused.code(), Code::InvalidArgument, "{method}: {refused}");
            }
        }
        member.call("Hello", from, 0).await.unwrap();
    }
    assert_eq!(leader().await, before, "nothing of it was heeded");
    for node in cluster.nodes.values() {
        node.door.transact(put(2)).await.unwrap();
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_calls_no_method_of_replicas_while_a_member_leads() {
    let mut cluster = Cluster::first().await;
    cluster.join(1, None).await;
    cluster.join(1, None).await;
    cluster.voters(&[1, 2, 3]).await;
    let token = cluster.nodes[&1]
        .members
        .invite(Duration::from_secs(3_600), None, |_| Transact::default())
        .await
        .unwrap();
    let invitation = Invitation::read(&token).unwrap();
    let Joined { node: joins, .. } = join(&invitation, "late", "127.0.0.1:1", "1").await.unwrap();
    cluster.standing(joins, Standing::Joining).await;
    for node in cluster.nodes.values() {
        node.door.read(|_| Ok(())).await.unwrap();
    }
    let before = cluster.nodes[&1].door.group().status();
    for to in [1, 2, 3] {
        let mut caller = caller(&cluster, joins, to).await;
        for method in ["Append", "Vote", "HandOver", "SnapshotSend", "SnapshotHeld"] {
            let refused = caller.call(method, joins, before.term + 1).await;
            let refused = refused.expect_err(method);
            assert_eq!(
                refused.code(),
                Code::PermissionDenied,
                "{to}, {method}: {refused}"
            );
        }
        caller.call("Hello", joins, 0).await.unwrap();
    }
    let after = cluster.nodes[&1].door.group().status();
    assert_eq!((after.leader, after.term), (before.leader, before.term));
    cluster.end().await;
}
