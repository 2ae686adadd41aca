//! Membership: the effect of one operator command to join, vote, replace or remove, over real gRPC on loopback.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Among, Door, DoorError, DoorSettings};
use panther_cluster::membership::{
    Gate, Invitation, Joined, KeyKeeper, Members, MembersError, Own, Standing, join, tables,
};
use panther_cluster::net::{Authority, Certificates, Peers};
use panther_cluster::raft::Membership;
use panther_cluster::state::{FORMAT, read};
use panther_proto::v1::{Transact, command};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::door::declaration;
use super::three::{PATIENCE, runtime, until};

const HOUR: Duration = Duration::from_secs(3_600);

/// Key store in memory. It encrypts by inverting bits.
#[derive(Debug)]
struct Kept(Arc<Mutex<Vec<(Authority, Certificates)>>>);

impl KeyKeeper for Kept {
    fn keep(&self, authority: &Authority, certificates: &Certificates) -> io::Result<()> {
        let (cluster, key) = (authority.cluster(), authority.key());
        let copy = Authority::open(cluster, &key, authority.certificate());
        let copy = copy.map_err(io::Error::other)?;
        self.0.lock().unwrap().push((copy, certificates.clone()));
        Ok(())
    }

    fn seal(&self, _: &str, secret: &[u8]) -> io::Result<Vec<u8>> {
        Ok(secret.iter().map(|byte| !byte).collect())
    }

    fn open(&self, place: &str, sealed: &[u8]) -> io::Result<Vec<u8>> {
        self.seal(place, sealed)
    }
}

pub(crate) struct Node {
    pub(crate) door: Door,
    pub(crate) members: Members,
    /// A runtime of its own, so that nothing of the node remains once it is stopped.
    runtime: Runtime,
}

/// A cluster whose nodes join and leave as for an operator.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    pub(crate) nodes: BTreeMap<u64, Node>,
    sessions: u64,
    /// The newest format of nodes that are started from now on.
    format: u32,
    /// Maximum number of entries that a new node replays from the log instead of installing a snapshot.
    replays: u64,
    pub(crate) authority: Authority,
    /// What nodes have stored of new authorities: each time the authority and the certificates of the node.
    pub(crate) kept: Arc<Mutex<Vec<(Authority, Certificates)>>>,
    /// The last address of each node.
    pub(crate) addresses: BTreeMap<u64, String>,
}

impl Cluster {
    pub(crate) async fn first() -> Self {
        let mut cluster = Self {
            folder: tempfile::tempdir().unwrap(),
            nodes: BTreeMap::new(),
            sessions: 0,
            format: FORMAT,
            replays: 20_000,
            authority: Authority::create("test").unwrap(),
            kept: Arc::default(),
            addresses: BTreeMap::new(),
        };
        let authority = cluster.authority();
        let certificates = authority.issue(1).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        cluster
            .start(1, listener, certificates, authority, false)
            .await
            .unwrap();
        cluster
    }

    /// Opens the authority a second time.
    fn authority(&self) -> Authority {
        let (key, certificate) = (self.authority.key(), self.authority.certificate());
        Authority::open("test", &key, certificate).unwrap()
    }

    /// Restarts a stopped node at its old address, as a build of the format that is set.
    async fn start_again(&mut self, node: u64) -> Result<(), DoorError> {
        let listener = std::net::TcpListener::bind(&self.addresses[&node]).unwrap();
        let authority = self.authority();
        let certificates = authority.issue(node).unwrap();
        self.start(node, listener, certificates, authority, false)
            .await
    }

    /// Restarts a node at another address. Its old port is occupied, so the others do not reach it there.
    pub(crate) async fn start_elsewhere(&mut self, node: u64) -> String {
        let _taken = std::net::TcpListener::bind(&self.addresses[&node]).unwrap();
        let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = elsewhere.local_addr().unwrap().to_string();
        let authority = self.authority();
        let certificates = authority.issue(node).unwrap();
        let starting = self.start(node, elsewhere, certificates, authority, false);
        let started = tokio::time::timeout(PATIENCE, starting).await;
        started.expect("it hears the leader").unwrap();
        address
    }

    async fn start(
        &mut self,
        node: u64,
        listener: std::net::TcpListener,
        certificates: Certificates,
        authority: Authority,
        joins: bool,
    ) -> Result<(), DoorError> {
        let runtime = runtime();
        listener.set_nonblocking(true).unwrap();
        let listener = {
            let _on = runtime.enter();
            TcpListener::from_std(listener).unwrap()
        };
        let address = listener.local_addr().unwrap().to_string();
        self.addresses.insert(node, address.clone());
        let gate = Arc::new(Gate::default());
        let among = Among {
            membership: Membership {
                peers: Some(Peers::new(certificates)),
                address: address.clone(),
                joins,
                started: false,
            },
            listener: Some(listener.into()),
            gate: Some(gate.clone()),
            ..Among::default()
        };
        let mut settings = DoorSettings {
            tick: Duration::from_millis(50),
            ..DoorSettings::default()
        };
        settings.group.heartbeat = Duration::from_millis(100);
        settings.group.format = self.format;
        settings.group.newcomer_replays = self.replays;
        self.sessions += 1;
        let session = node * 1_000 + self.sessions;
        let folder = self.folder.path().join(node.to_string());
        let opening = runtime
            .spawn(async move { Door::open_among(&folder, node, session, settings, among).await });
        let door = match opening.await.unwrap() {
            Ok(door) => door,
            Err(error) => {
                end_of(runtime).await;
                return Err(error);
            }
        };
        if node == 1 {
            let mut declare = declaration();
            declare.tables.extend(tables());
            door.execute(command::Kind::Declare(declare)).await.unwrap();
        }
        let own = Own {
            name: format!("machine-{node}"),
            address,
            version: "1".to_owned(),
            authority: Some(Arc::new(authority)),
            keeper: Some(Arc::new(Kept(self.kept.clone()))),
            sealing_key: b"seal".to_vec(),
        };
        let starting = {
            let door = door.clone();
            runtime.spawn(async move { Members::start(door, Arc::new(own), &gate).await })
        };
        let members = starting.await.unwrap().unwrap();
        let node_of = Node {
            door,
            members,
            runtime,
        };
        self.nodes.insert(node, node_of);
        Ok(())
    }

    /// Joins one more machine by an invitation from `host`.
    pub(crate) async fn join(&mut self, host: u64, replaces: Option<u64>) -> u64 {
        let token = self.nodes[&host]
            .members
            .invite(HOUR, replaces, |_| Transact::default())
            .await;
        let invitation = Invitation::read(&token.unwrap()).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let Joined {
            node,
            certificates,
            authority,
            sealing_key,
        } = join(&invitation, "new", &address, "1").await.unwrap();
        assert_eq!(sealing_key, b"seal");
        self.start(node, listener, certificates, authority, true)
            .await
            .unwrap();
        node
    }

    fn any(&self) -> &Node {
        self.nodes.values().next().unwrap()
    }

    pub(crate) async fn voters(&self, wanted: &[u64]) {
        until(&format!("{wanted:?} vote"), async || {
            let voters = |node: &Node| node.door.group().status().voters;
            self.nodes
                .values()
                .all(|node| voters(node) == wanted)
                .then_some(())
        })
        .await;
    }

    pub(crate) async fn standing(&self, node: u64, wanted: Standing) {
        until(&format!("{node} is {wanted:?}"), async || {
            let look = self.any().members.look().await;
            let seen = look.nodes.iter().find(|seen| seen.member.node == node)?;
            (seen.member.standing == wanted).then_some(())
        })
        .await;
    }

    pub(crate) async fn stop(&mut self, node: u64) {
        let Node {
            door,
            members,
            runtime,
        } = self.nodes.remove(&node).unwrap();
        drop(members);
        door.close().await.unwrap();
        drop(door);
        end_of(runtime).await;
    }

    pub(crate) async fn end(mut self) {
        let nodes: Vec<u64> = self.nodes.keys().copied().collect();
        for node in nodes {
            self.stop(node).await;
        }
    }
}

async fn end_of(runtime: Runtime) {
    let ending = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(PATIENCE));
    ending.await.unwrap();
}

pub(crate) fn put(number: i64) -> Transact {
    Transact {
        changes: vec![
            Change::put("alerts", change::key("row"))
                .set("number", number)
                .done(),
        ],
        ..Transact::default()
    }
}

async fn number(door: &Door) -> Option<i64> {
    let row = door.get("alerts", &change::key("row")).await.unwrap();
    row.unwrap().int("number")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_becomes_three_by_two_invitations_and_a_third_is_not_good_twice() {
    let mut cluster = Cluster::first().await;
    cluster.nodes[&1].door.transact(put(1)).await.unwrap();
    assert_eq!(cluster.join(1, None).await, 2);
    cluster.standing(2, Standing::Member).await;
    cluster.voters(&[1]).await; // two voters would tolerate no more failures than one
    // Any node can invite.
    assert_eq!(cluster.join(2, None).await, 3);
    cluster.voters(&[1, 2, 3]).await;
    for node in cluster.nodes.values() {
        assert_eq!(number(&node.door).await, Some(1));
    }
    let token = cluster.nodes[&3]
        .members
        .invite(HOUR, None, |_| Transact::default())
        .await
        .unwrap();
    let invitation = Invitation::read(&token).unwrap();
    join(&invitation, "once", "127.0.0.1:1", "1").await.unwrap();
    let again = join(&invitation, "twice", "127.0.0.1:1", "1").await;
    assert!(again.unwrap_err().to_string().contains("not open"));
    // The member that never came up is listed, and can be removed.
    cluster.standing(4, Standing::Joining).await;
    cluster.nodes[&1]
        .members
        .remove(4, Transact::default())
        .await
        .unwrap();
    cluster.standing(4, Standing::Removed).await;
    cluster.voters(&[1, 2, 3]).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guessed_secret_and_another_clusters_invitation_open_nothing() {
    let cluster = Cluster::first().await;
    let token = cluster.nodes[&1]
        .members
        .invite(HOUR, None, |_| Transact::default())
        .await
        .unwrap();
    let mut guessed = Invitation::read(&token).unwrap();
    guessed.secret = vec![0; 32];
    let refused = join(&guessed, "guesser", "127.0.0.1:1", "1").await;
    assert!(refused.unwrap_err().to_string().contains("not open"));
    // Another cluster at the address is not trusted: it receives no secret.
    let other = Cluster::first().await;
    let theirs = other.nodes[&1]
        .members
        .invite(HOUR, None, |_| Transact::default())
        .await
        .unwrap();
    let mut misled = Invitation::read(&token).unwrap();
    misled.address = Invitation::read(&theirs).unwrap().address;
    let refused = join(&misled, "misled", "127.0.0.1:1", "1").await;
    let reason = refused.unwrap_err().to_string();
    assert!(reason.contains("certificate"), "{reason}");
    other.end().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_node_is_replaced_by_one_invitation_and_knows_it_when_it_comes_back() {
    let mut cluster = Cluster::first().await;
    cluster.join(1, None).await;
    cluster.join(1, None).await;
    cluster.voters(&[1, 2, 3]).await;
    cluster.nodes[&2].door.transact(put(7)).await.unwrap();
    cluster.stop(3).await;
    let new = cluster.join(1, Some(3)).await;
    assert_eq!(new, 4);
    cluster.standing(3, Standing::Removed).await;
    cluster.voters(&[1, 2, 4]).await;
    assert_eq!(number(&cluster.nodes[&4].door).await, Some(7));
    let look = cluster.nodes[&1]
        .members
        .drain(3, true, Transact::default())
        .await;
    assert!(matches!(look, Err(MembersError::Refused(_))), "{look:?}");
    cluster.end().await;
}

/// A node that was down when it was removed asks the nodes that it knows, and believes the first one that reports it.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_removed_while_it_was_away_hears_it_when_it_comes_back() {
    let mut cluster = Cluster::first().await;
    for _ in 0..3 {
        cluster.join(1, None).await;
    }
    cluster.voters(&[1, 2, 3]).await;
    cluster.standing(4, Standing::Member).await;
    // A voter, a learner, and a node that is replaced.
    for (away, replaced) in [(3, false), (2, false), (4, true)] {
        cluster.stop(away).await;
        if replaced {
            cluster.join(1, Some(away)).await;
        } else {
            cluster.nodes[&1]
                .members
                .remove(away, Transact::default())
                .await
                .unwrap();
        }
        cluster.standing(away, Standing::Removed).await;
        let back = tokio::time::timeout(PATIENCE, cluster.start_again(away)).await;
        let said = back.expect("it waits for a leader").unwrap_err();
        let DoorError::Removed(removal) = said else {
            panic!("{said}");
        };
        assert!(
            removal.at_ms.is_some() && removal.said_by != away,
            "{removal:?}"
        );
    }
    cluster.nodes[&1].door.transact(put(1)).await.unwrap();
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_neither_leads_nor_receives_until_it_is_given_back() {
    let mut cluster = Cluster::first().await;
    cluster.join(1, None).await;
    cluster.join(1, None).await;
    cluster.voters(&[1, 2, 3]).await;
    cluster.nodes[&2]
        .members
        .drain(1, true, Transact::default())
        .await
        .unwrap();
    // Until it knows so itself, what it is given may be proposed in vain, and without an id nobody may try again.
    until("another leads, and it knows", async || {
        let leader = |node: u64| cluster.nodes[&node].door.group().status().leader;
        leader(2).filter(|leading| *leading != 1 && leader(1) == Some(*leading))
    })
    .await;
    let send = Transact {
        sends: vec![change::to_queue("work", b"x".to_vec())],
        ..Transact::default()
    };
    let short = Duration::from_millis(300);
    until("the drained node receives nothing", async || {
        (!cluster.nodes[&1].door.does_receive()).then_some(())
    })
    .await;
    cluster.nodes[&1].door.transact(send).await.unwrap();
    let held = cluster.nodes[&1].door.receive("work", 1, short).await;
    assert!(held.unwrap().messages.is_empty());
    cluster.nodes[&3]
        .members
        .drain(1, false, Transact::default())
        .await
        .unwrap();
    let held = cluster.nodes[&1].door.receive("work", 1, PATIENCE).await;
    assert_eq!(held.unwrap().messages.len(), 1);
    cluster.nodes[&2].members.lead(1).await.unwrap();
    assert_eq!(cluster.nodes[&2].door.group().status().leader, Some(1));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_with_its_reason() {
    let cluster = Cluster::first().await;
    let members = &cluster.nodes[&1].members;
    for (refused, reason) in [
        (members.remove(1, Transact::default()).await, "last one"),
        (members.remove(9, Transact::default()).await, "no node 9"),
        (
            members.set_voters(2, Transact::default()).await,
            "no good number",
        ),
        (members.lead(9).await, "does not vote"),
    ] {
        let said = refused.unwrap_err().to_string();
        assert!(said.contains(reason), "{said}");
    }
    cluster.end().await;
}

fn format_of(node: &Node) -> u32 {
    let globals = read::globals(node.door.group().store()).unwrap();
    globals.format
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_is_given_a_snapshot_where_the_log_is_long() {
    // The leader keeps the last thousand entries for nodes that lag a little.
    for (replays, from_snapshot) in [(100, true), (20_000, false)] {
        const WRITES: i64 = 1_300;
        let mut cluster = Cluster::first().await;
        cluster.replays = replays;
        // A node takes its settings at its start.
        cluster.stop(1).await;
        cluster.start_again(1).await.unwrap();
        for n in 1..=WRITES {
            cluster.nodes[&1].door.transact(put(n)).await.unwrap();
        }
        cluster.join(1, None).await;
        cluster.standing(2, Standing::Member).await;
        assert_eq!(number(&cluster.nodes[&2].door).await, Some(WRITES));
        let snapshot = cluster.nodes[&2].door.group().status().snapshot;
        assert_eq!(snapshot.is_some(), from_snapshot, "{snapshot:?}");
        cluster.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_releases_run_together_until_all_know_the_next_format_and_an_old_one_stops_then() {
    let mut cluster = Cluster::first().await;
    cluster.join(1, None).await;
    cluster.format = FORMAT + 1;
    cluster.join(1, None).await;
    cluster.voters(&[1, 2, 3]).await;
    // All nodes apply, whichever node leads.
    for leader in [3, 1, 2] {
        cluster.nodes[&1].members.lead(leader).await.unwrap();
        let written = i64::try_from(leader).unwrap();
        for node in cluster.nodes.values() {
            // A change in flight during a leadership transfer has no answer.
            let put = || async { node.door.transact(put(written)).await.ok() };
            until("a change is made", async || put().await).await;
            assert_eq!(number(&node.door).await, Some(written));
            assert_eq!(format_of(node), FORMAT);
        }
    }
    let refused = cluster.nodes[&3].members.raise_format().await.unwrap_err();
    assert!(refused.to_string().contains("node 1"), "{refused}");
    for node in [1, 2] {
        cluster.stop(node).await;
        cluster.start_again(node).await.unwrap();
    }
    assert_eq!(
        cluster.nodes[&2].members.raise_format().await.unwrap(),
        FORMAT + 1
    );
    for node in cluster.nodes.values() {
        assert_eq!(number(&node.door).await, Some(2));
        assert_eq!(format_of(node), FORMAT + 1);
    }
    let refused = cluster.nodes[&3].members.raise_format().await.unwrap_err();
    assert!(
        refused.to_string().contains("no node knows a newer one"),
        "{refused}"
    );
    // A node with an old build cannot come back, and reports why. Such a build cannot join either.
    cluster.stop(2).await;
    cluster.format = FORMAT;
    let old = cluster.start_again(2).await.unwrap_err().to_string();
    assert!(old.contains("upgrade this node"), "{old}");
    let token = cluster.nodes[&1]
        .members
        .invite(HOUR, None, |_| Transact::default())
        .await
        .unwrap();
    let joined = join(
        &Invitation::read(&token).unwrap(),
        "new",
        "127.0.0.1:1",
        "1",
    )
    .await;
    let refused = joined.err().unwrap().to_string();
    assert!(refused.contains("install a newer pantherd"), "{refused}");
    cluster.end().await;
}

/// Waits until the node is the only voter and the only member, as it sees it.
async fn alone(cluster: &Cluster, node: u64) {
    until(&format!("node {node} leads alone"), async || {
        let status = cluster.nodes[&node].door.group().status();
        let members: Vec<u64> = status.members.keys().copied().collect();
        (status.leads && status.voters == [node] && members == [node]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_voter_can_leave_and_one_machine_can_move_to_another() {
    // The first node is removed while another one follows, or replaced while it is the only node.
    for replaced in [false, true] {
        let mut cluster = Cluster::first().await;
        cluster.nodes[&1].door.transact(put(7)).await.unwrap();
        match replaced {
            true => {
                cluster.join(1, Some(1)).await;
            }
            false => {
                cluster.join(1, None).await;
                cluster.standing(2, Standing::Member).await;
                cluster.voters(&[1]).await;
                cluster.nodes[&2]
                    .members
                    .remove(1, Transact::default())
                    .await
                    .unwrap();
            }
        }
        alone(&cluster, 2).await;
        // The old machine is informed, and can be switched off.
        let old = cluster.nodes[&1].door.clone();
        let removal = tokio::time::timeout(PATIENCE, old.removed()).await;
        assert_eq!(removal.unwrap().said_by, 2);
        drop(old);
        cluster.stop(1).await;
        cluster.standing(1, Standing::Removed).await;
        assert_eq!(number(&cluster.nodes[&2].door).await, Some(7));
        cluster.nodes[&2].door.transact(put(8)).await.unwrap();
        assert!(cluster.nodes[&2].members.unmet().is_empty());
        cluster.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_nodes_two_are_removed_one_after_the_other_whichever_leads() {
    let mut cluster = Cluster::first().await;
    cluster.join(1, None).await;
    cluster.join(1, None).await;
    cluster.voters(&[1, 2, 3]).await;
    cluster.nodes[&1].door.transact(put(1)).await.unwrap();
    while cluster.nodes.len() > 1 {
        let leads = async || {
            let mut nodes = cluster.nodes.iter();
            let leader = nodes.find(|(_, node)| node.door.group().status().leads)?;
            Some(*leader.0)
        };
        let leader = until("one leads", leads).await;
        let other = *cluster.nodes.keys().find(|node| **node != leader).unwrap();
        let asked = async || {
            cluster.nodes[&other]
                .members
                .remove(leader, Transact::default())
                .await
                .ok()
        };
        until("it is asked", asked).await;
        let removal = cluster.nodes[&leader].door.removed();
        tokio::time::timeout(PATIENCE, removal).await.unwrap();
        cluster.stop(leader).await;
        cluster.standing(leader, Standing::Removed).await;
    }
    let left = *cluster.nodes.keys().next().unwrap();
    alone(&cluster, left).await;
    cluster.nodes[&left].door.transact(put(2)).await.unwrap();
    assert_eq!(number(&cluster.nodes[&left].door).await, Some(2));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_leave_says_why_and_can_be_taken_back() {
    let mut cluster = Cluster::first().await;
    cluster.join(1, None).await;
    cluster.standing(2, Standing::Member).await;
    cluster.stop(2).await;
    let members = cluster.nodes[&1].members.clone();
    until("its silence is noticed", async || {
        let look = members.look().await;
        let seen = look.nodes.iter().find(|seen| seen.member.node == 2)?;
        let heard = seen.heard.as_ref()?;
        (!heard.lately()).then_some(())
    })
    .await;
    members.remove(1, Transact::default()).await.unwrap();
    let unmet = until("it is waited for", async || members.unmet().remove(&1)).await;
    assert_eq!(unmet.standing, Standing::Leaving);
    assert!(unmet.reason.contains("node 2 is silent"), "{unmet:?}");
    members.drain(1, false, Transact::default()).await.unwrap();
    cluster.standing(1, Standing::Member).await;
    until("nothing is waited for", async || {
        members.unmet().is_empty().then_some(())
    })
    .await;
    cluster.start_again(2).await.unwrap();
    cluster.nodes[&2].door.transact(put(3)).await.unwrap();
    cluster.voters(&[1]).await;
    drop(members);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_nodes_that_are_told_to_leave_at_once_one_stays() {
    let mut cluster = Cluster::first().await;
    cluster.join(1, None).await;
    cluster.standing(2, Standing::Member).await;
    let (one, two) = (&cluster.nodes[&1].members, &cluster.nodes[&2].members);
    let (first, second) = tokio::join!(
        one.remove(1, Transact::default()),
        two.remove(2, Transact::default())
    );
    let refused = [first.is_err(), second.is_err()];
    assert!(refused.iter().any(|refused| *refused), "{refused:?}");
    let stays = if refused[0] { 1 } else { 2 };
    alone(&cluster, stays).await;
    cluster.nodes[&stays].door.transact(put(4)).await.unwrap();
    cluster.end().await;
}
