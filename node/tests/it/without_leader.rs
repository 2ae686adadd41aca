//! Three daemons whose majority goes, and nodes that were removed while they were away.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::{Daemon, PATIENCE, pantherd};

/// What an operator may have to wait for an answer without a leader.
const SOON: Duration = Duration::from_secs(1);

struct Cluster {
    folder: tempfile::TempDir,
    ports: BTreeMap<u64, [u16; 2]>,
    daemons: BTreeMap<u64, Daemon>,
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Cluster {
    fn three() -> Self {
        let mut cluster = Self {
            folder: tempfile::tempdir().unwrap(),
            ports: BTreeMap::new(),
            daemons: BTreeMap::new(),
        };
        std::fs::create_dir(cluster.folder.path().join("objects")).unwrap();
        cluster.start(1);
        for node in [2, 3] {
            cluster.join(node, 1, &json!({}));
        }
        cluster.until_voters(1, &[1, 2, 3]);
        cluster
    }

    fn home(&self, node: u64) -> PathBuf {
        self.folder.path().join(node.to_string())
    }

    fn socket(&self, node: u64) -> PathBuf {
        self.home(node).join("pantherd.sock")
    }

    fn command(&mut self, node: u64) -> Command {
        let home = self.home(node);
        std::fs::create_dir_all(&home).unwrap();
        let ports = self.ports.entry(node);
        let [peers, ingest] = *ports.or_insert_with(|| [free_port(), free_port()]);
        let objects = self.folder.path().join("objects");
        let mut command = pantherd(&home);
        command
            .env("PANTHER__CLUSTER__LISTEN", format!("127.0.0.1:{peers}"))
            .env(
                "PANTHER__OBJECTS__URL",
                format!("file://{}", objects.display()),
            )
            .args(["--ingest", &format!("127.0.0.1:{ingest}")])
            .arg("--data-dir")
            .arg(home.join("data"))
            .arg("--socket")
            .arg(self.socket(node));
        command
    }

    fn start(&mut self, node: u64) {
        let mut daemon = Daemon::begin(&mut self.command(node));
        daemon.is_ready();
        self.daemons.insert(node, daemon);
    }

    /// One more machine joins, as that node number.
    fn join(&mut self, node: u64, host: u64, how: &Value) {
        let invited = self.daemons[&host].invoke("node", "cluster_invite", how);
        let token = invited.unwrap()["token"].as_str().unwrap().to_owned();
        let joined = self.command(node).arg("join").arg(token).output().unwrap();
        let said = String::from_utf8_lossy(&joined.stdout);
        assert!(said.contains(&format!("node {node} of")), "{joined:?}");
        self.start(node);
    }

    fn kill(&mut self, node: u64) {
        let mut daemon = self.daemons.remove(&node).unwrap();
        daemon.signal(Signal::KILL);
        daemon.ended();
    }

    fn until_voters(&self, at: u64, voters: &[u64]) {
        until(&format!("{voters:?} vote"), || {
            let cluster = self.daemons[&at].invoke("node", "cluster", &json!({}));
            (cluster.ok()?["voters"] == json!(voters)).then_some(())
        });
    }

    fn until_standing(&self, at: u64, node: u64, standing: &str) {
        until(&format!("node {node} is {standing}"), || {
            let cluster = self.daemons[&at].invoke("node", "cluster", &json!({}));
            let cluster = cluster.ok()?;
            let nodes = cluster["nodes"].as_array()?;
            let of = nodes.iter().find(|of| of["node"] == node)?;
            (of["standing"] == standing).then_some(())
        });
    }
}

/// An answer that comes soon, and says that it is this node's alone.
fn soon(daemon: &Daemon, operation: &str) -> Value {
    let began = Instant::now();
    let answer = daemon.invoke("node", operation, &json!({})).unwrap();
    assert!(began.elapsed() < SOON, "{operation}: {:?}", began.elapsed());
    assert_eq!(answer["local"], true, "{answer}");
    assert!(answer["local_reason"].as_str().is_some(), "{answer}");
    answer
}

fn raised(daemon: &Daemon) -> Vec<String> {
    let alarms = daemon.invoke("node", "alarms", &json!({})).unwrap();
    let alarms = alarms["alarms"].as_array().unwrap();
    let name = |alarm: &Value| alarm["name"].as_str().unwrap().to_owned();
    alarms.iter().map(name).collect()
}

/// What is reported to systemd from now on.
fn systemd(at: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn reports(socket: &UnixDatagram, most: usize) -> usize {
    let mut buffer = [0; 4_096];
    let mut reports = 0;
    while reports < most {
        let length = socket.recv(&mut buffer).unwrap();
        reports += usize::from(buffer[..length].starts_with(b"WATCHDOG=1"));
    }
    reports
}

#[test]
fn with_the_majority_gone_a_node_answers_by_itself_and_raises_one_alarm_for_the_one_cause() {
    let mut cluster = Cluster::three();
    // Node 3 runs as under systemd's watchdog.
    cluster.kill(3);
    let notified = systemd(&cluster.folder.path().join("notify"));
    let mut watched = cluster.command(3);
    watched
        .env("NOTIFY_SOCKET", cluster.folder.path().join("notify"))
        .env("WATCHDOG_USEC", "3000000");
    let mut survivor = Daemon::begin(&mut watched);
    survivor.is_ready();
    let before = survivor.invoke("node", "cluster", &json!({})).unwrap();
    assert_eq!(before["local"], false, "{before}");
    // What an election or a killed node has raised before is gone after some minutes, and no part of this.
    let raised_before = raised(&survivor);
    cluster.kill(1);
    cluster.kill(2);
    let seen = until("the dead leader is not called one", || {
        let status = survivor.invoke("node", "status", &json!({})).unwrap();
        status["cluster"]["leader"].is_null().then_some(status)
    });
    assert_eq!(seen["health"], "failing", "{seen}");
    for operation in ["status", "alarms", "cluster"] {
        soon(&survivor, operation);
    }
    let began = Instant::now();
    let (code, body) = survivor.http("GET /healthz HTTP/1.1", b"");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let health: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &health["local"]), (503, &json!(true)), "{body}");
    assert!(health["last_log"].as_u64() > Some(0), "{body}");
    let own = soon(&survivor, "cluster");
    for node in own["nodes"].as_array().unwrap() {
        assert!(node["log"].as_u64() > Some(0), "{own}");
        assert!(node["silent_ms"].as_u64().is_some(), "{own}");
        if node["this"] == true {
            assert!(node["log_term"].as_u64() > Some(0), "{own}");
        }
    }
    until("the alarm is raised", || {
        raised(&survivor)
            .contains(&"node: no_leader".to_owned())
            .then_some(())
    });
    // Longer than any call takes to fail; systemd hears all the time that the process is well.
    let lasting = Instant::now();
    while lasting.elapsed() < Duration::from_secs(30) {
        assert_eq!(reports(&notified, 2), 2);
    }
    let mut alarms = raised(&survivor);
    alarms.retain(|alarm| !raised_before.contains(alarm));
    assert_eq!(alarms, ["node: no_leader"]);
    let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
    for line in survivor.lines() {
        if line["level"] == "WARN" || line["level"] == "ERROR" {
            let kind = format!("{} {}", line["message"], line["component"]);
            *kinds.entry(kind).or_default() += 1;
        }
    }
    assert!(kinds.values().all(|lines| *lines <= 6), "{kinds:#?}");
    // It is started again, and still sees what it has; what needs a leader waits for one.
    survivor.signal(Signal::KILL);
    survivor.ended();
    let mut survivor = Daemon::begin(&mut cluster.command(3));
    survivor.socket = cluster.socket(3);
    let own_port = cluster.ports[&3][1];
    survivor.address = format!("127.0.0.1:{own_port}");
    let waiting = until("it answers", || {
        std::os::unix::net::UnixStream::connect(&survivor.socket).ok()?;
        survivor.invoke("node", "status", &json!({})).ok()
    });
    assert_eq!(waiting["local"], true, "{waiting}");
    for operation in ["status", "alarms", "cluster"] {
        soon(&survivor, operation);
    }
    let (code, body) = survivor.http("GET /healthz HTTP/1.1", b"");
    assert_eq!(code, 503, "{body}");
    let again = soon(&survivor, "cluster");
    assert_eq!(again["nodes"][2]["log"], own["nodes"][2]["log"], "{again}");
    // One more is a majority, and all is as before.
    cluster.start(1);
    survivor.is_ready();
    let status = until("the cluster is back", || {
        let status = survivor.invoke("node", "status", &json!({})).ok()?;
        (status["local"] == false).then_some(status)
    });
    assert!(status["cluster"]["leader"].as_u64().is_some(), "{status}");
    let (code, body) = survivor.http("GET /healthz HTTP/1.1", b"");
    assert_eq!(code, 200, "{body}");
}

#[test]
fn a_removed_node_that_comes_back_ends_with_exit_code_3_and_says_why() {
    let mut cluster = Cluster::three();
    let lead = cluster.daemons[&1].invoke("node", "cluster_lead", &json!({"node": 1}));
    lead.unwrap();
    cluster.kill(3);
    let removed = cluster.daemons[&1].invoke("node", "cluster_remove", &json!({"node": 3}));
    removed.unwrap();
    cluster.until_standing(1, 3, "removed");
    let ends = |cluster: &mut Cluster, node: u64| {
        let ended = cluster.command(node).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(3), "{said}");
        for what in [
            &*format!("node {node} was removed from cluster"),
            "join again",
        ] {
            assert!(said.contains(what), "{said}");
        }
    };
    ends(&mut cluster, 3);
    cluster.kill(2);
    cluster.join(4, 1, &json!({"replaces": 2}));
    cluster.until_standing(1, 2, "removed");
    ends(&mut cluster, 2);
}
