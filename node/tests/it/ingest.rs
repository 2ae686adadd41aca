//! Logs by HTTP.

use std::io::{Read, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::daemon::Daemon;

const LINE: &str =
    "203.0.113.9 - - [05/Mar/2026:14:05:11 +0000] \"GET / HTTP/1.1\" 200 612 \"-\" \"curl/8\"\n";

fn source(daemon: &Daemon) -> (String, String) {
    let source = json!({"userId": "test", "integrationLabel": "web", "integrationType": "http", "logTypes": ["Nginx.Access"]});
    let made = daemon
        .invoke("panther-source-api", "putIntegration", &source)
        .unwrap();
    let url = made["ingestUrl"].as_str().unwrap();
    let path = url.split_once(&daemon.address).unwrap().1;
    (path.to_owned(), made["token"].as_str().unwrap().to_owned())
}

fn gzip(text: &str) -> Vec<u8> {
    let mut child = std::process::Command::new("gzip")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap().stdout
}

#[test]
fn a_posted_body_is_an_object_once_it_is_answered() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path(), &["--ingest", "127.0.0.1:0"]);
    let (path, token) = source(&daemon);
    let objects = home.path().join(".local/share/panther/objects");
    let bearer = format!("POST {path} HTTP/1.1\r\nAuthorization: Bearer {token}");
    let own = format!("POST {path} HTTP/1.1\r\nX-Panther-Token: {token}");
    for (head, body) in [(&bearer, LINE.as_bytes().to_vec()), (&own, gzip(LINE))] {
        let (code, answer) = daemon.http(head, &body);
        assert_eq!(code, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["bytes"], body.len(), "{answer}");
        assert!(
            objects.join(answer["object"].as_str().unwrap()).is_file(),
            "{answer}"
        );
    }
    // The same key is the same object.
    let keyed = format!("{bearer}\r\nIdempotency-Key: k1");
    let first = daemon.http(&keyed, LINE.as_bytes());
    assert_eq!(first.0, 200);
    assert_eq!(daemon.http(&keyed, LINE.as_bytes()), first);
}

#[test]
fn who_has_no_right_learns_nothing_and_what_is_too_large_is_not_taken() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("pantherd.toml");
    std::fs::write(&config, "[ingest]\nmax_body_bytes = 1000\n").unwrap();
    let daemon = Daemon::start(
        home.path(),
        &[
            "--config",
            config.to_str().unwrap(),
            "--ingest",
            "127.0.0.1:0",
        ],
    );
    let (path, token) = source(&daemon);
    let wrong = daemon.http(
        &format!("POST {path} HTTP/1.1\r\nAuthorization: Bearer x"),
        b"a\n",
    );
    let unknown = daemon.http(
        &format!("POST /ingest/nobody HTTP/1.1\r\nAuthorization: Bearer {token}"),
        b"a\n",
    );
    let without = daemon.http(&format!("POST {path} HTTP/1.1"), b"a\n");
    assert_eq!(wrong.0, 401);
    assert_eq!((&unknown, &without), (&wrong, &wrong));
    // Nothing of the body is waited for: whoever may not post cannot make the node hold it.
    let mut stream = std::net::TcpStream::connect(&daemon.address).unwrap();
    stream
        .set_read_timeout(Some(std::time::Duration::from_secs(10)))
        .unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nAuthorization: Bearer x\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
    let large = daemon.http(
        &format!("POST {path} HTTP/1.1\r\nAuthorization: Bearer {token}"),
        &[b'a'; 1_001],
    );
    assert!(
        large.0 == 413 && large.1.contains("max_body_bytes"),
        "{large:?}"
    );
    let encoded = daemon.http(
        &format!("POST {path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Encoding: br"),
        b"a\n",
    );
    assert_eq!(encoded.0, 415);
    assert_eq!(daemon.http(&format!("GET {path} HTTP/1.1"), b"").0, 405);
}
