//! Three nodes in one process, over real gRPC on loopback: what one node acknowledged is visible on all, whichever node
//! fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Among, Door, DoorError, DoorSettings, Local};
use panther_cluster::net::{Authority, Peers};
use panther_cluster::raft::Membership;
use panther_cluster::state::read::{self, Query};
use panther_proto::v1::{GiveBack, OpenSession, Transact, command};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::door::declaration;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(1);

/// Election timeouts below a second, and a session timeout of one second.
pub(crate) fn settings() -> DoorSettings {
    let mut settings = DoorSettings {
        tick: Duration::from_millis(50),
        silence: SILENCE,
        ..DoorSettings::default()
    };
    settings.group.heartbeat = Duration::from_millis(100);
    settings
}

pub(crate) struct Nodes {
    pub(crate) folder: tempfile::TempDir,
    addresses: BTreeMap<u64, String>,
    pub(crate) doors: BTreeMap<u64, Door>,
    /// One runtime per node, so that a node can be killed with all its tasks.
    runtimes: BTreeMap<u64, Runtime>,
    pub(crate) authority: Authority,
    sessions: u64,
    /// Receives the local view of the node that is opened next.
    early: Option<oneshot::Sender<Local>>,
}

impl Nodes {
    pub(crate) async fn three() -> Self {
        let mut nodes = Self {
            folder: tempfile::tempdir().unwrap(),
            addresses: BTreeMap::new(),
            doors: BTreeMap::new(),
            runtimes: BTreeMap::new(),
            authority: Authority::create("test").unwrap(),
            sessions: 0,
            early: None,
        };
        let first = nodes.open(1, false);
        nodes.doors.insert(1, first.await.unwrap().unwrap());
        for node in [2, 3] {
            let opening = nodes.open(node, true);
            nodes.doors[&1]
                .group()
                .take_in(node, &nodes.addresses[&node])
                .await
                .unwrap();
            nodes.doors.insert(node, opening.await.unwrap().unwrap());
        }
        nodes.doors[&1]
            .group()
            .set_voters([1, 2, 3].into())
            .await
            .unwrap();
        nodes.doors[&2]
            .execute(command::Kind::Declare(declaration()))
            .await
            .unwrap();
        nodes
    }

    pub(crate) fn path(&self, node: u64) -> PathBuf {
        self.folder.path().join(node.to_string())
    }

    /// Starts a node at its address. The handle completes once the node is ready, which needs a leader.
    pub(crate) fn open(
        &mut self,
        node: u64,
        joins: bool,
    ) -> tokio::task::JoinHandle<Result<Door, DoorError>> {
        let at = self
            .addresses
            .get(&node)
            .map_or("127.0.0.1:0", String::as_str);
        let runtime = runtime();
        let _on = runtime.enter();
        let listener = std::net::TcpListener::bind(at).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        self.addresses.insert(node, address.clone());
        self.sessions += 1;
        let (path, session) = (self.path(node), node * 1_000 + self.sessions);
        let among = Among {
            membership: Membership {
                peers: Some(Peers::new(self.authority.issue(node).unwrap())),
                address,
                joins,
                started: false,
            },
            listener: Some(listener.into()),
            early: self.early.take(),
            ..Among::default()
        };
        let opening = runtime
            .spawn(async move { Door::open_among(&path, node, session, settings(), among).await });
        self.runtimes.insert(node, runtime);
        opening
    }

    pub(crate) async fn leader(&self) -> u64 {
        until("all agree on a leader", async || {
            let leaders: Vec<Option<u64>> = self
                .doors
                .values()
                .map(|door| door.group().status().leader)
                .collect();
            leaders
                .iter()
                .all(|leader| leader.is_some() && *leader == leaders[0])
                .then_some(leaders[0])
                .flatten()
                .filter(|leader| self.doors.contains_key(leader))
        })
        .await
    }

    pub(crate) fn follower_of(&self, leader: u64) -> u64 {
        *self.doors.keys().find(|node| **node != leader).unwrap()
    }

    /// Kills a node like a killed process: it sends no farewell.
    pub(crate) async fn kill(&mut self, node: u64) {
        drop(self.doors.remove(&node));
        self.end_runtime(node).await;
    }

    /// Stops the runtime of a node whose door was not opened.
    pub(crate) async fn end_runtime(&mut self, node: u64) {
        let runtime = self.runtimes.remove(&node).unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(PATIENCE))
            .await
            .unwrap();
    }

    /// Waits until all nodes have applied the same entries, and checks that their states are equal.
    async fn equal(&self) {
        until("all have applied the same", async || {
            let at: Vec<(Option<u64>, u64)> = self
                .doors
                .values()
                .map(|door| {
                    let hash = read::globals(door.group().store()).unwrap().hash;
                    (door.group().store().applied().last.map(|at| at.index), hash)
                })
                .collect();
            at.iter().all(|one| *one == at[0]).then_some(())
        })
        .await;
    }

    async fn end(mut self) {
        for node in [1, 2, 3] {
            if self.doors.contains_key(&node) {
                self.kill(node).await;
            }
        }
    }
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

pub(crate) async fn until<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn put(key: &str, number: i64) -> Transact {
    Transact {
        changes: vec![
            Change::put("alerts", change::key(key))
                .set("number", number)
                .done(),
        ],
        ..Transact::default()
    }
}

pub(crate) fn send(body: &str) -> Transact {
    Transact {
        sends: vec![change::to_queue("work", body.as_bytes().to_vec())],
        ..Transact::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_door_takes_a_change_and_every_door_sees_it_at_once() {
    let nodes = Nodes::three().await;
    for (number, writer) in (0..30).zip([1, 2, 3].into_iter().cycle()) {
        let key = format!("k{number}");
        nodes.doors[&writer]
            .transact(put(&key, number))
            .await
            .unwrap();
        for door in nodes.doors.values() {
            let row = door.get("alerts", &change::key(&key)).await.unwrap();
            assert_eq!(row.unwrap().int("number"), Some(number));
        }
    }
    // A refusal and a conflict pass through another node unchanged.
    let twice = Transact {
        changes: vec![
            Change::update("alerts", change::key("k0"))
                .if_absent("number")
                .set("number", 9_i64)
                .done(),
        ],
        ..Transact::default()
    };
    for door in nodes.doors.values() {
        assert!(matches!(
            door.transact(twice.clone()).await,
            Err(DoorError::Conflict(_))
        ));
    }
    nodes.equal().await;
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_from_one_node_to_another_and_ends_at_a_third() {
    let nodes = Nodes::three().await;
    let waiting = {
        let door = nodes.doors[&3].clone();
        tokio::spawn(async move { door.receive("work", 1, PATIENCE).await })
    };
    nodes.doors[&2].transact(send("hello")).await.unwrap();
    let received = waiting.await.unwrap().unwrap();
    assert_eq!(&received.messages[0].body[..], b"hello");
    let done = Transact {
        done: received.messages[0].receipt.clone(),
        ..Transact::default()
    };
    nodes.doors[&1].transact(done).await.unwrap();
    for door in nodes.doors.values() {
        let counts = door.counts("work").await.unwrap();
        assert_eq!((counts.waiting, counts.in_flight), (0, 0));
    }
    nodes.equal().await;
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_nothing_doubled_when_the_leader_is_killed() {
    let mut nodes = Nodes::three().await;
    let leader = nodes.leader().await;
    let at = nodes.follower_of(leader);
    let door = nodes.doors[&at].clone();
    let writing = tokio::spawn(async move {
        let mut acknowledged = 0;
        let mut longest = Duration::ZERO;
        for number in 0..300 {
            // Each request adds one. A request whose answer was lost is retried under its id.
            let add = Transact {
                changes: vec![
                    Change::update("alerts", change::key("sum"))
                        .add("number", 1)
                        .done(),
                ],
                request_id: format!("r{number}"),
                request_time_ms: door.now_ms(),
                ..Transact::default()
            };
            let began = Instant::now();
            while let Err(error) = door.transact(add.clone()).await {
                assert!(error.is_fault_of_node(), "{error}");
                assert!(began.elapsed() < PATIENCE, "{error}");
            }
            longest = longest.max(began.elapsed());
            acknowledged += 1;
        }
        (acknowledged, longest)
    });
    let watched = nodes.doors[&at].clone();
    until("a third is written", async || {
        let row = watched.get("alerts", &change::key("sum")).await.ok()??;
        row.int("number").filter(|number| *number >= 100)
    })
    .await;
    nodes.kill(leader).await;
    let (acknowledged, longest) = writing.await.unwrap();
    println!("the longest write took {longest:?}");
    for door in nodes.doors.values() {
        let row = door.get("alerts", &change::key("sum")).await.unwrap();
        assert_eq!(row.unwrap().int("number"), Some(acknowledged));
    }
    // The node comes back with its old folder and catches up.
    let back = nodes.open(leader, false);
    let door = back.await.unwrap().unwrap();
    nodes.doors.insert(leader, door);
    nodes.equal().await;
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_node_held_is_received_elsewhere_after_its_silence() {
    let mut nodes = Nodes::three().await;
    let leader = nodes.leader().await;
    let dead = nodes.follower_of(leader);
    nodes.doors[&leader].transact(send("held")).await.unwrap();
    let held = nodes.doors[&dead]
        .receive("work", 1, PATIENCE)
        .await
        .unwrap();
    assert_eq!(held.messages.len(), 1);
    nodes.kill(dead).await;
    let received = nodes.doors[&leader]
        .receive("work", 1, PATIENCE)
        .await
        .unwrap();
    let message = &received.messages[0];
    assert_eq!(&message.body[..], b"held");
    assert!(
        message.suspect,
        "its holder died while it held nothing else"
    );
    // Not counted yet: only the next death counts, if it was the only message again.
    assert_eq!((message.failures, message.lonely_deaths), (0, 0));
    // The receipt of the dead node is stale.
    let late = Transact {
        done: held.messages[0].receipt.clone(),
        ..Transact::default()
    };
    assert!(nodes.doors[&leader].transact(late).await.is_err());
    nodes.end().await;
}

/// A node that was paused opens a new session before it sends a heartbeat to a leader. The leader must not end that
/// session at its next check.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_just_opened_lives_as_long_as_silence_may_last() {
    let mut nodes = Nodes::three().await;
    let leader = nodes.leader().await;
    let silent = nodes.follower_of(leader);
    nodes.kill(silent).await;
    let door = nodes.doors[&leader].clone();
    let has_session = || {
        read::sessions(door.group().store())
            .unwrap()
            .contains_key(&silent)
    };
    until("its session ends", async || (!has_session()).then_some(())).await;
    let open = OpenSession {
        node: silent,
        session: 77,
    };
    door.execute(command::Kind::OpenSession(open))
        .await
        .unwrap();
    let began = Instant::now();
    assert!(has_session());
    until("the new one ends too", async || {
        (!has_session()).then_some(())
    })
    .await;
    assert!(began.elapsed() >= SILENCE * 9 / 10, "{:?}", began.elapsed());
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_alive_keeps_what_it_holds() {
    let nodes = Nodes::three().await;
    let leader = nodes.leader().await;
    let holder = nodes.follower_of(leader);
    nodes.doors[&leader].transact(send("held")).await.unwrap();
    let held = nodes.doors[&holder]
        .receive("work", 1, PATIENCE)
        .await
        .unwrap();
    let nobody = nodes.doors[&leader]
        .receive("work", 1, SILENCE * 3)
        .await
        .unwrap();
    assert!(nobody.messages.is_empty());
    let back = GiveBack {
        receipt: held.messages[0].receipt.clone(),
        ..GiveBack::default()
    };
    nodes.doors[&holder].give_back(back).await.unwrap();
    nodes.end().await;
}

/// Other nodes may have elected another leader by then, and acknowledged writes that this one does not know.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hears_nobody_answers_no_read() {
    let mut nodes = Nodes::three().await;
    let leader = nodes.leader().await;
    nodes.doors[&leader].transact(put("k", 1)).await.unwrap();
    for node in [1, 2, 3] {
        if node != leader {
            nodes.kill(node).await;
        }
    }
    let door = nodes.doors[&leader].clone();
    let read = tokio::time::timeout(SILENCE * 2, async move {
        door.get("alerts", &change::key("k")).await
    });
    assert!(!matches!(read.await, Ok(Ok(_))), "it was answered");
    nodes.end().await;
}

/// A change without a request id takes effect at most once, whatever answer its caller gets: the door never retries it.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_nobody_can_recognize_is_never_made_twice_behind_its_callers_back() {
    // Many at once, so that some are in flight when the leader dies.
    const ADDERS: usize = 24;
    let mut nodes = Nodes::three().await;
    let mut acknowledged = BTreeSet::new();
    for round in 0..3 {
        let leader = nodes.leader().await;
        let doors = nodes.doors.iter().filter(|(node, _)| **node != leader);
        let doors = doors.flat_map(|(_, door)| std::iter::repeat_n(door, ADDERS));
        let adding: Vec<_> = doors
            .enumerate()
            .map(|(adder, door)| {
                let door = door.clone();
                tokio::spawn(async move {
                    let mut acknowledged = Vec::new();
                    let until = Instant::now() + Duration::from_millis(1_500);
                    for number in 0.. {
                        if Instant::now() > until {
                            break;
                        }
                        // One row per try.
                        let row = format!("try-{round}-{adder}-{number}");
                        let add = Change::update("alerts", change::key(&row)).add("number", 1);
                        let add = Transact {
                            changes: vec![add.done()],
                            ..Transact::default()
                        };
                        if door.transact(add).await.is_ok() {
                            acknowledged.push(row);
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        let began = nodes.doors[&leader].group().status().last_log;
        until("changes flow", async || {
            let now = nodes.doors[&leader].group().status().last_log;
            (now > began.map(|at| at + 50)).then_some(())
        })
        .await;
        nodes.kill(leader).await;
        for adding in adding {
            acknowledged.extend(adding.await.unwrap());
        }
        let back = nodes.open(leader, false).await.unwrap().unwrap();
        nodes.doors.insert(leader, back);
    }
    let query = Query {
        table: "alerts".into(),
        ..Query::default()
    };
    let rows = nodes.doors[&1].query_all(query).await.unwrap();
    let mut there = BTreeSet::new();
    for (key, row) in rows {
        assert_eq!(row.int("number"), Some(1), "{} was made twice", key.hash);
        there.insert(key.hash);
    }
    assert!(!acknowledged.is_empty() && acknowledged.is_subset(&there));
    nodes.equal().await;
    nodes.end().await;
}

/// Messages may be large: a lagging follower gets entries in batches that fit into a call.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_lacks_many_large_entries_catches_up_from_the_log() {
    let mut nodes = Nodes::three().await;
    let leader = nodes.leader().await;
    let behind = nodes.follower_of(leader);
    nodes.kill(behind).await;
    let body = "x".repeat(250_000);
    for _ in 0..100 {
        let sent = nodes.doors[&leader].transact(send(&body)).await;
        sent.unwrap();
    }
    let back = nodes.open(behind, false).await.unwrap().unwrap();
    assert_eq!(back.counts("work").await.unwrap().waiting, 100);
    assert_eq!(back.group().status().snapshot, None, "not by a snapshot");
    nodes.doors.insert(behind, back);
    nodes.equal().await;
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_hands_over_and_its_stop_is_hardly_felt() {
    let mut nodes = Nodes::three().await;
    let leader = nodes.leader().await;
    let at = nodes.follower_of(leader);
    nodes.doors[&leader].close().await.unwrap();
    assert_ne!(nodes.doors[&leader].group().status().leader, Some(leader));
    nodes.kill(leader).await;
    let began = Instant::now();
    nodes.doors[&at].transact(put("after", 1)).await.unwrap();
    println!(
        "the first write behind a handed over lead took {:?}",
        began.elapsed()
    );
    nodes.equal().await;
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_far_behind_catches_up_by_a_snapshot() {
    let mut nodes = Nodes::three().await;
    let leader = nodes.leader().await;
    let behind = nodes.follower_of(leader);
    let had = nodes.doors[&behind].group().status().last_log.unwrap();
    nodes.kill(behind).await;
    // More entries than the log keeps before a snapshot.
    let door = nodes.doors[&leader].clone();
    for number in 0..1_500 {
        door.transact(put(&format!("k{}", number % 100), number))
            .await
            .unwrap();
    }
    let log = door.group().status().last_log.unwrap();
    door.group().snapshot().await.unwrap();
    until("the log is cut behind what the node has", async || {
        door.group().status().purged.filter(|at| *at > had)
    })
    .await;
    drop(door);
    let back = nodes.open(behind, false);
    let door = back.await.unwrap().unwrap();
    let row = door.get("alerts", &change::key("k99")).await.unwrap();
    assert_eq!(row.unwrap().int("number"), Some(1_499));
    assert!(
        door.group().status().snapshot.is_some_and(|at| at >= log),
        "{:?}",
        door.group().status()
    );
    nodes.doors.insert(behind, door);
    nodes.equal().await;
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_a_node_says_at_once_what_it_knows_by_itself() {
    for leader_stays in [true, false] {
        let mut nodes = Nodes::three().await;
        let leader = nodes.leader().await;
        let stays = match leader_stays {
            true => leader,
            false => nodes.follower_of(leader),
        };
        nodes.doors[&stays].transact(put("k", 1)).await.unwrap();
        let local = nodes.doors[&stays].local().clone();
        until("the others were heard", async || {
            (local.heard().len() == 3).then_some(())
        })
        .await;
        assert!(local.without_leader().is_none());
        assert_eq!(nodes.doors[&stays].fresh().await, Ok(()));
        for node in [1, 2, 3] {
            if node != stays {
                nodes.kill(node).await;
            }
        }
        let door = nodes.doors[&stays].clone();
        until("the leader that is gone is not called one", async || {
            local.status().live_leader().is_none().then_some(())
        })
        .await;
        let began = Instant::now();
        let blind = door.fresh().await.unwrap_err();
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{:?}",
            began.elapsed()
        );
        assert!(blind.contains("[1, 2, 3]"), "{blind}");
        let heard = local.heard();
        let own = &heard[&stays];
        assert_eq!(own.ago, Duration::ZERO);
        assert_eq!(own.last_log, local.status().last_log);
        assert!(own.last_term.is_some() && own.applied > 0, "{own:?}");
        for (node, last) in heard.iter().filter(|(node, _)| **node != stays) {
            assert!(last.ago > Duration::ZERO, "{node}: {last:?}");
            assert!(last.last_log.is_some(), "{node}: {last:?}");
        }
        // A second node that comes back restores the majority.
        let back = *[1, 2, 3].iter().find(|node| **node != stays).unwrap();
        let opened = nodes.open(back, false).await.unwrap().unwrap();
        nodes.doors.insert(back, opened);
        until("a leader is there", async || {
            local.without_leader().is_none().then_some(())
        })
        .await;
        nodes.end().await;
    }
}

/// All nodes were killed, and only one comes back: its door does not open, but what it holds can be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_for_a_majority_says_what_it_has() {
    let mut nodes = Nodes::three().await;
    let leader = nodes.leader().await;
    nodes.doors[&leader].transact(put("k", 1)).await.unwrap();
    let last = nodes.doors[&leader].group().status().last_log;
    for node in [1, 2, 3] {
        nodes.kill(node).await;
    }
    let (early, local) = tokio::sync::oneshot::channel();
    nodes.early = Some(early);
    let opening = nodes.open(leader, false);
    let local = tokio::time::timeout(PATIENCE, local)
        .await
        .unwrap()
        .unwrap();
    let known = local.heard().remove(&leader).unwrap();
    assert!(known.last_log >= last, "{known:?} {last:?}");
    assert!(local.without_leader().is_some());
    // Its state may be behind its log: only a majority knows how much of the log was acknowledged.
    let format = local.read(|store| Ok(read::globals(store)?.format)).await;
    assert!(format.unwrap() > 0);
    assert!(!opening.is_finished());
    opening.abort();
    let runtime = nodes.runtimes.remove(&leader).unwrap();
    let ended = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(PATIENCE));
    ended.await.unwrap();
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_even_number_of_voters_is_refused() {
    let nodes = Nodes::three().await;
    let refused = nodes.doors[&1].group().set_voters([1, 2].into()).await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("one more or one less")
    );
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_the_wrong_node_or_cluster_is_told_so() {
    let mut nodes = Nodes::three().await;
    nodes.kill(2).await;
    // Meanwhile a node of another cluster listens at the address.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let among = Among {
        membership: Membership {
            peers: Some(Peers::new(
                Authority::create("other").unwrap().issue(2).unwrap(),
            )),
            address: address.clone(),
            joins: false,
            started: false,
        },
        listener: Some(listener.into()),
        ..Among::default()
    };
    let stranger = Door::open_among(&nodes.path(9), 2, 9, settings(), among)
        .await
        .unwrap();
    let refused = nodes.doors[&nodes.leader().await]
        .group()
        .take_in(4, &address);
    // The new node never catches up; the group continues without it.
    let waited = tokio::time::timeout(SILENCE, refused).await;
    assert!(waited.is_err(), "{waited:?}");
    let leader = nodes.leader().await;
    nodes.doors[&leader]
        .transact(put("still", 1))
        .await
        .unwrap();
    assert_eq!(stranger.group().status().voters, [2]);
    stranger.close().await.unwrap();
    nodes.end().await;
}
