//! Callers of the HTTP side that hold places: halves of headers, slow bodies, guesses of tokens.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemon::{Daemon, PATIENCE};

const LINE: &[u8] =
    b"203.0.113.9 - - [05/Mar/2026:14:05:11 +0000] \"GET / HTTP/1.1\" 200 612 \"-\" \"curl/8\"\n";

/// A daemon with places for so many connections.
fn daemon(home: &std::path::Path, connections: usize) -> Daemon {
    let config = home.join("pantherd.toml");
    std::fs::write(
        &config,
        format!("[ingest]\nmax_connections = {connections}\nbatch_ms = 1\n"),
    )
    .unwrap();
    let config = config.to_str().unwrap();
    Daemon::start(home, &["--config", config, "--ingest", "127.0.0.1:0"])
}

/// A source: what a request to it begins with.
fn source(daemon: &Daemon, label: &str) -> String {
    let source = json!({"userId": "test", "integrationLabel": label, "integrationType": "http", "logTypes": ["Nginx.Access"]});
    let made = daemon.invoke("panther-source-api", "putIntegration", &source);
    let token = made.unwrap()["token"].as_str().unwrap().to_owned();
    format!("POST /ingest/{label} HTTP/1.1\r\nAuthorization: Bearer {token}")
}

/// A connection on which these bytes were sent.
fn sends(daemon: &Daemon, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&daemon.address).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer); // a reset is an end too
    answer
}

fn metric(daemon: &Daemon, line: &str) -> u64 {
    let (_, metrics) = daemon.http("GET /metrics HTTP/1.1", b"");
    let value = metrics.lines().find_map(|found| found.strip_prefix(line));
    value.unwrap().trim().parse().unwrap()
}

#[test]
fn halves_of_headers_keep_no_sender_out() {
    let home = tempfile::tempdir().unwrap();
    let daemon = daemon(home.path(), 16);
    let web = source(&daemon, "web");
    let halves: Vec<TcpStream> = (0..100)
        .map(|_| sends(&daemon, "POST /ingest/web HTTP/1.1\r\nHost: "))
        .collect();
    for _ in 0..10 {
        let began = Instant::now();
        assert_eq!(daemon.http(&web, LINE).0, 200);
        assert!(began.elapsed() < Duration::from_secs(5), "{began:?}");
    }
    assert!(
        metric(
            &daemon,
            "panther_connections_evicted_total{listener=\"ingest\"}"
        ) >= 84
    );
    // Those that kept their places lose them when their time is over.
    for half in halves {
        assert_eq!(answer(half), "");
    }
    assert!(
        metric(
            &daemon,
            "panther_connections_late_total{listener=\"ingest\"}"
        ) > 0
    );
}

#[test]
fn slow_bodies_of_one_source_keep_no_other_source_out_and_end() {
    let home = tempfile::tempdir().unwrap();
    let daemon = daemon(home.path(), 16);
    let (slow, web) = (source(&daemon, "slow"), source(&daemon, "web"));
    let head = format!("{slow}\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx");
    let began = Instant::now();
    let bodies: Vec<TcpStream> = (0..40).map(|_| sends(&daemon, &head)).collect();
    for _ in 0..10 {
        assert_eq!(daemon.http(&web, LINE).0, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{began:?}");
    let answers: Vec<String> = bodies.into_iter().map(answer).collect();
    let with = |status: &str| answers.iter().filter(|text| text.contains(status)).count();
    assert_eq!(
        with("HTTP/1.1 408"),
        4,
        "a fourth of the places: {answers:#?}"
    );
    assert_eq!(with("HTTP/1.1 429"), 36);
    assert!(with("retry-after: 1") == 36);
    assert!(began.elapsed() < PATIENCE / 2, "the least rate ends them");
    assert_eq!(
        metric(&daemon, "panther_ingest_refused_total{reason=\"slow\"}"),
        4
    );
}

#[test]
fn wrong_tokens_are_counted_and_raise_an_alarm_and_right_ones_are_taken_meanwhile() {
    let home = tempfile::tempdir().unwrap();
    let mut daemon = daemon(home.path(), 16);
    let web = source(&daemon, "web");
    let wrong = "POST /ingest/web HTTP/1.1\r\nAuthorization: Bearer wrong";
    for _ in 0..200 {
        let (status, said) = daemon.http(wrong, LINE);
        assert!(matches!(status, 401 | 503), "{status} {said}");
    }
    assert_eq!(daemon.http(&web, LINE).0, 200);
    assert_eq!(
        metric(&daemon, "panther_ingest_refused_total{reason=\"token\"}"),
        200
    );
    let line = daemon.line("logs were refused");
    assert_eq!(line["reason"], "token", "{line}");
    assert_eq!(line["address"], "127.0.0.1", "{line}");
    let began = Instant::now();
    loop {
        let alarms = daemon.invoke("node", "alarms", &json!({})).unwrap();
        let raised =
            |alarm: &Value| alarm["name"] == "node: refused_tokens" && alarm["state"] == "raised";
        if alarms["alarms"].as_array().unwrap().iter().any(raised) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{alarms:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
