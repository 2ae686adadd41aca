//! Starting, refusing to start, stopping.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::daemon::{Daemon, pantherd};

#[test]
fn with_no_configuration_it_starts_answers_and_stops_in_good_order() {
    let home = tempfile::tempdir().unwrap();
    // The port alone is chosen, since tests run beside each other.
    let mut daemon = Daemon::start(home.path(), &["--ingest", "127.0.0.1:0"]);
    let data = home.path().join(".local/share/panther");
    assert_eq!(daemon.socket, data.join("pantherd.sock"));
    let mode = daemon.socket.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let status = daemon.invoke("node", "status", &json!({})).unwrap();
    assert_eq!(status["node"]["id"], 1, "{status}");
    assert_ne!(status["node"]["session"], 0, "{status}");
    let (code, body) = daemon.http("GET /healthz HTTP/1.1", b"");
    assert_eq!(code, 200, "{body}");
    let (code, body) = daemon.http("GET /metrics HTTP/1.1", b"");
    assert!(code == 200 && !body.is_empty(), "{code} {body}");
    assert_eq!(daemon.http("GET /elsewhere HTTP/1.1", b"").0, 404);
    daemon.signal(Signal::TERM);
    let (status, took) = daemon.ended();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(!daemon.socket.exists());
}

#[test]
fn what_was_set_is_there_after_a_stop_and_after_a_kill() {
    let home = tempfile::tempdir().unwrap();
    let output = json!({"displayName": "kept", "outputConfig": {"file": {"path": home.path().join("alerts")}}, "defaultForSeverity": ["HIGH"]});
    let mut daemon = Daemon::start(home.path(), &["--ingest", ""]);
    daemon
        .invoke("panther-outputs-api", "addOutput", &output)
        .unwrap();
    daemon.signal(Signal::KILL);
    daemon.ended();
    // The socket of the one that was killed is in nobody's way.
    let mut daemon = Daemon::start(home.path(), &["--ingest", ""]);
    daemon.signal(Signal::INT);
    assert_eq!(daemon.ended().0.code(), Some(0));
    let daemon = Daemon::start(home.path(), &["--ingest", ""]);
    let outputs = daemon
        .invoke("panther-outputs-api", "getOutputs", &json!({}))
        .unwrap();
    assert_eq!(outputs["outputs"][0]["displayName"], "kept", "{outputs}");
}

#[test]
fn a_second_daemon_on_the_same_folder_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path(), &["--ingest", ""]);
    let second = pantherd(home.path())
        .args(["--ingest", ""])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(
        said.contains("another pantherd (process ") && said.contains("--data-dir"),
        "{said}"
    );
    daemon.invoke("node", "status", &json!({})).unwrap();
}

#[test]
fn a_bad_configuration_is_told_with_all_its_faults_and_exit_code_3() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("pantherd.toml");
    std::fs::write(
        &file,
        "sokcet = \"x\"\n[listen]\ngrpc = \"127.0.0.1:9\"\n[log]\nlevel = \"loud\"\n",
    )
    .unwrap();
    for arguments in [vec![], vec!["config", "check"], vec!["config", "show"]] {
        let refused = pantherd(home.path())
            .arg("--config")
            .arg(&file)
            .args(&arguments)
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(3), "{arguments:?}");
        let said = String::from_utf8_lossy(&refused.stderr);
        for key in ["3 faults", "sokcet", "listen.grpc", "log.level"] {
            assert!(said.contains(key), "{key}: {said}");
        }
    }
    assert!(!home.path().join(".local").exists());
}

#[test]
fn a_node_whose_data_are_gone_is_refused_with_exit_code_3() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let identity = home.path().join("identity");
    let started = |command: &mut std::process::Command| {
        command
            .env("PANTHER__IDENTITY", &identity)
            .args(["--ingest", "", "--data-dir"])
            .arg(&data)
            .output()
            .unwrap()
    };
    std::fs::write(&identity, "cluster = \"c1\"\nnode = 1\n").unwrap();
    let refused = started(&mut pantherd(home.path()));
    assert_eq!(refused.status.code(), Some(3));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains("cluster c1") && said.contains("restore a backup"),
        "{said}"
    );
}

#[test]
fn show_prints_what_is_in_force() {
    let home = tempfile::tempdir().unwrap();
    let shown = pantherd(home.path())
        .args(["config", "show", "--data-dir"])
        .arg(home.path().join("x"))
        .output()
        .unwrap();
    assert_eq!(shown.status.code(), Some(0));
    let text = String::from_utf8_lossy(&shown.stdout);
    let line = text
        .lines()
        .find(|line| line.starts_with("data_dir"))
        .unwrap();
    assert!(line.contains("/x\"") && line.ends_with("# flag"), "{text}");
}

fn said(output: &std::process::Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    [String::from_utf8_lossy(out), String::from_utf8_lossy(err)].concat()
}

/// A node that has taken something and was stopped in order.
fn node_with_an_output(home: &std::path::Path) {
    let output = json!({"displayName": "kept", "outputConfig": {"file": {"path": home.join("alerts")}}, "defaultForSeverity": ["HIGH"]});
    let mut daemon = Daemon::start(home, &["--ingest", ""]);
    daemon
        .invoke("panther-outputs-api", "addOutput", &output)
        .unwrap();
    daemon.signal(Signal::TERM);
    daemon.ended();
}

#[test]
fn a_node_that_has_lost_its_log_is_refused_and_goes_on_from_its_state_when_told() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join(".local/share/panther");
    node_with_an_output(home.path());
    let salvage = |arguments: &[&str]| {
        let mut command = pantherd(home.path());
        command.arg("salvage").args(arguments).output().unwrap()
    };
    let nothing = salvage(&["--yes"]);
    assert_eq!(nothing.status.code(), Some(3));
    assert!(
        said(&nothing).contains("nothing to salvage"),
        "{}",
        said(&nothing)
    );
    let log = data.join("group/log");
    for segment in std::fs::read_dir(&log).unwrap() {
        std::fs::remove_file(segment.unwrap().path()).unwrap();
    }
    let refused = pantherd(home.path())
        .args(["--ingest", ""])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(3));
    for words in [
        "log-empty",
        "invite --replace 1",
        "pantherd salvage",
        "docs/recovery.md",
    ] {
        assert!(
            said(&refused).contains(words),
            "{words}: {}",
            said(&refused)
        );
    }
    let shown = salvage(&[]);
    assert_eq!(shown.status.code(), Some(0), "{}", said(&shown));
    for words in [
        "log-empty",
        "kept: the state up to entry",
        "may be lost",
        "Nothing was changed",
        "--yes",
    ] {
        assert!(said(&shown).contains(words), "{words}: {}", said(&shown));
    }
    assert!(std::fs::read_dir(&log).unwrap().next().is_none());
    let done = salvage(&["--yes"]);
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    assert!(data.join("group.before-salvage-1/log").exists());
    for _ in 0..2 {
        let mut daemon = Daemon::start(home.path(), &["--ingest", ""]);
        let outputs = daemon.invoke("panther-outputs-api", "getOutputs", &json!({}));
        let outputs = outputs.unwrap();
        assert_eq!(outputs["outputs"][0]["displayName"], "kept", "{outputs}");
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.ended().0.code(), Some(0));
    }
}

/// The end of the last batch, where a changed bit looks like an unfinished write.
#[test]
fn a_changed_bit_in_what_was_acknowledged_is_never_cut_in_silence() {
    let home = tempfile::tempdir().unwrap();
    node_with_an_output(home.path());
    let log = home.path().join(".local/share/panther/group/log");
    let segment = std::fs::read_dir(&log).unwrap().next().unwrap().unwrap();
    let mut content = std::fs::read(segment.path()).unwrap();
    let end = content.iter().rposition(|byte| *byte != 0).unwrap();
    content[end] ^= 1;
    std::fs::write(segment.path(), &content).unwrap();
    let refused = pantherd(home.path())
        .args(["--ingest", ""])
        .output()
        .unwrap();
    let said = said(&refused);
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(said.contains("log-cut"), "{said}");
    assert_eq!(std::fs::read(segment.path()).unwrap(), content);
}

#[test]
fn a_node_with_another_sealing_key_is_refused_with_exit_code_3_until_a_new_one_is_made() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join(".local/share/panther");
    let stop = |mut daemon: Daemon| {
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.ended().0.code(), Some(0));
    };
    let run = |arguments: &[&str]| {
        let ended = pantherd(home.path()).args(arguments).output().unwrap();
        let said = [ended.stdout, ended.stderr].concat();
        (
            ended.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    stop(Daemon::start(home.path(), &["--ingest", ""]));
    let (key, identity) = (data.join("sealing.key"), data.join("identity"));
    let right = std::fs::read(&key).unwrap();
    std::fs::write(&key, [9; 32]).unwrap();
    let (code, said) = run(&["--ingest", ""]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("another key") && said.contains("new-sealing-key"),
        "{said}"
    );
    // Without the word of the identity the cluster's own is left.
    let text = std::fs::read_to_string(&identity).unwrap();
    let without: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("sealing_key"))
        .collect();
    assert!(without.len() < text.lines().count(), "{text}");
    std::fs::write(&identity, without.join("\n")).unwrap();
    let (code, said) = run(&["--ingest", ""]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("the cluster's secrets are sealed with key"),
        "{said}"
    );
    std::fs::write(&key, &right).unwrap();
    stop(Daemon::start(home.path(), &["--ingest", ""]));
    std::fs::remove_file(&key).unwrap();
    assert_eq!(run(&["--ingest", ""]).0, Some(3));
    assert_eq!(run(&["new-sealing-key"]).0, Some(3), "it was not agreed to");
    assert!(!key.exists());
    let (code, said) = run(&["new-sealing-key", "--yes"]);
    assert_eq!(code, Some(0), "{said}");
    stop(Daemon::start(home.path(), &["--ingest", ""]));
    stop(Daemon::start(home.path(), &["--ingest", ""]));
    std::fs::write(&key, &right).unwrap();
    assert_eq!(
        run(&["--ingest", ""]).0,
        Some(3),
        "the old one is another one now"
    );
}
