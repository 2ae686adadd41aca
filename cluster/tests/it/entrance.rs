//! Resource limits of the cluster port: idle connections, messages that are announced but never complete, and guesses
//! of invitations.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use panther_cluster::membership::Standing;
use panther_proto::v1::joining_client::JoiningClient;
use panther_proto::v1::peers_client::PeersClient;
use panther_proto::v1::{Between, HelloCall, JoinCall};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_stream::{Stream, StreamExt};
use tonic::codegen::{Service, http};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::gate::connection;
use super::members::{Cluster, put};

/// Announced size of a message, in bytes.
const ANNOUNCED: u32 = 16 << 20;

fn hello(from: u64, to: u64) -> HelloCall {
    HelloCall {
        between: Some(Between {
            cluster: "test".to_owned(),
            group: 1,
            from,
            to,
        }),
        address: String::new(),
    }
}

/// A message of which all but the last byte are sent.
fn unfinished() -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
    let mut head = vec![0];
    head.extend(ANNOUNCED.to_be_bytes());
    let piece = Bytes::from(vec![0; 1 << 20]);
    let pieces = std::iter::once(head.into())
        .chain(std::iter::repeat_n(piece, 15))
        .chain([Bytes::from(vec![0; (1 << 20) - 1])]);
    tokio_stream::iter(pieces.map(Ok)).chain(tokio_stream::pending())
}

/// Calls a method with such a message. Returns the status.
async fn call(mut channel: Channel, path: &str) -> Status {
    let request = http::Request::post(format!("https://unused{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(Body::from_stream(unfinished())))
        .unwrap();
    poll_fn(|context| channel.poll_ready(context))
        .await
        .unwrap();
    match channel.call(request).await {
        Ok(answer) => Status::from_header_map(answer.headers()).unwrap(),
        Err(error) => Status::from_error(error.into()),
    }
}

fn guess() -> JoinCall {
    JoinCall {
        cluster: "test".to_owned(),
        secret: vec![7; 32].into(),
        name: "guesser".to_owned(),
        address: "127.0.0.1:1".to_owned(),
        version: "0".to_owned(),
        format: u32::MAX,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_never_end_are_refused_and_other_callers_are_served() {
    let mut cluster = Cluster::first().await;
    cluster.join(1, None).await;
    cluster.standing(2, Standing::Member).await;
    // Node 99 is not a member: it is refused before its body is read.
    let outside = connection(&cluster, Some(0), 1).await;
    let refused = call(outside, "/panther.v1.Peers/Append").await;
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    // For a caller without a certificate the method does not exist.
    let stranger = connection(&cluster, None, 1).await;
    let refused = call(stranger, "/panther.v1.Peers/Append").await;
    assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
    let stranger = connection(&cluster, None, 1).await;
    let refused = call(stranger, "/panther.v1.Joining/Join").await;
    assert!(
        matches!(refused.code(), Code::OutOfRange | Code::ResourceExhausted),
        "{refused}"
    );
    // A member may send only a few messages at the same time.
    let member = connection(&cluster, Some(2), 1).await;
    let mut calls = JoinSet::new();
    for _ in 0..40 {
        let member = member.clone();
        calls.spawn(async move { call(member, "/panther.v1.Peers/Forward").await });
    }
    for _ in 0..30 {
        let refused = calls.join_next().await.unwrap().unwrap();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    }
    cluster.nodes[&2].door.transact(put(1)).await.unwrap();
    // Calls that pause for too long are ended, and the member is served again.
    calls.join_all().await;
    let mut honest = PeersClient::new(member);
    honest.hello(hello(2, 1)).await.unwrap();
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_keep_no_node_and_no_invitation_out_and_are_closed() {
    let mut cluster = Cluster::first().await;
    let address = cluster.addresses[&1].clone();
    let mut silent = Vec::new();
    for _ in 0..700 {
        silent.push(TcpStream::connect(&address).await.unwrap());
    }
    let counts = || cluster.nodes[&1].door.local().entrance().connections;
    assert!(counts().open <= 512, "{:?}", counts());
    // A machine joins, becomes a node, and follows the log.
    cluster.join(1, None).await;
    cluster.standing(2, Standing::Member).await;
    let started = Instant::now();
    for mut stream in silent {
        let mut byte = [0];
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut byte);
        let read = tokio::time::timeout(Duration::from_secs(30), read).await;
        assert!(matches!(read, Ok(Ok(0) | Err(_))), "it is closed");
    }
    assert!(started.elapsed() < Duration::from_secs(30));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_of_invitations_are_slow_and_counted_and_an_honest_machine_joins_meanwhile() {
    let mut cluster = Cluster::first().await;
    let mut guesses = JoinSet::new();
    for _ in 0..8 {
        let channel = connection(&cluster, None, 1).await;
        guesses.spawn(async move {
            let mut client = JoiningClient::new(channel);
            let mut refused = 0_u64;
            while let Err(status) = client.join(guess()).await {
                match status.code() {
                    Code::PermissionDenied => refused += 1,
                    _ => break, // the connection was evicted, or it timed out
                }
            }
            refused
        });
    }
    let began = Instant::now();
    cluster.join(1, None).await;
    let refused = async || {
        let entrance = cluster.nodes[&1].door.local().entrance();
        entrance.refused_invitations
    };
    while refused().await == 0 {
        tokio::task::yield_now().await;
    }
    let most = 8 * (began.elapsed().as_secs() + 1);
    assert!(refused().await <= most, "{} of {most}", refused().await);
    guesses.abort_all();
    cluster.end().await;
}
