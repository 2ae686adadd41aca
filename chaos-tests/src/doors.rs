//! Sends files through the three doors. Each file is retried until it is acknowledged, whatever happens to the node. The retries are
//! idempotent:
//!
//! * HTTP: the same `Idempotency-Key`
//! * watched folder: no retry is needed; the file stays there until the node has read it
//! * objects: the same request id for the notification. `pantherctl sources notify` creates a new request id for each run, so the
//!   notification goes directly over the socket, as a program that forwards a bucket's events would do it

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::node::{Caller, Node, RequestId, text};
use crate::{During, Failure, Result};

/// Prefix of the names of objects.
const PREFIX: &str = "trail/";
/// Pause of a client between attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// Deadline of one post, after which the client retries.
const POST: Duration = Duration::from_secs(30);

/// The labels of the sources, by door.
pub const LABELS: [&str; 3] = ["posted", "watched", "stored"];

/// The three sources of a node.
#[derive(Debug, Clone)]
pub struct Doors {
    caller: Caller,
    http: reqwest::Client,
    ingest_url: String,
    token: String,
    watched: PathBuf,
    staged: PathBuf,
    objects: PathBuf,
}

impl Doors {
    /// Creates the sources, each with all these log types.
    ///
    /// # Errors
    /// The node rejects them.
    pub async fn open(node: &Node, log_types: &str) -> Result<Self> {
        let (watched, staged) = (node.folder().join("watched"), node.folder().join("staged"));
        for folder in [&watched, &staged] {
            std::fs::create_dir_all(folder).during("making the watched folder")?;
        }
        let [posted, folder, stored] = LABELS;
        let with = ["--log-types", log_types];
        let add = |words: &[&str]| {
            [&["sources", "add"], words, &with]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<String>>()
        };
        let made = call(node, &add(&["http", posted])).await?;
        call(
            node,
            &add(&["folder", folder, &watched.display().to_string()]),
        )
        .await?;
        call(node, &add(&["objects", stored, "--prefix", PREFIX])).await?;
        Ok(Self {
            caller: node.caller(),
            http: client()?,
            ingest_url: text(&made, "ingestUrl"),
            token: text(&made, "token"),
            watched,
            staged,
            objects: node.data().join("objects"),
        })
    }

    /// Sends the files, a third through each door. A file is sent when `released` has reached its index in the list. Each task ends when
    /// its files are acknowledged.
    #[must_use]
    pub fn feed(
        &self,
        files: &[PathBuf],
        released: &watch::Receiver<usize>,
    ) -> Vec<JoinHandle<Result<()>>> {
        let feeders = (0..LABELS.len()).map(|door| {
            let (doors, mut released) = (self.clone(), released.clone());
            let files: Vec<(usize, PathBuf)> = files
                .iter()
                .cloned()
                .enumerate()
                .filter(|(place, _)| place % LABELS.len() == door)
                .collect();
            tokio::spawn(async move {
                for (place, file) in files {
                    let free = released.wait_for(|released| *released > place).await;
                    free.during("waiting for a file's turn")?;
                    match door {
                        0 => doors.post(place, &file).await?,
                        1 => doors.move_in(place, &file)?,
                        _ => doors.store_and_notify(place, &file).await?,
                    }
                }
                Ok(())
            })
        });
        feeders.collect()
    }

    async fn post(&self, place: usize, file: &Path) -> Result<()> {
        let content = std::fs::read(file).during(format!("reading {}", file.display()))?;
        post(
            &self.http,
            &self.ingest_url,
            &self.token,
            &format!("file-{place}"),
            content,
        )
        .await
        .map(|_| ())
    }

    fn move_in(&self, place: usize, file: &Path) -> Result<()> {
        let name = named(place, file);
        let staged = self.staged.join(&name);
        std::fs::copy(file, &staged)
            .and_then(|_| {
                // A file that is moved in is read at once if its modification time is old enough.
                let old = std::time::SystemTime::now() - Duration::from_secs(60);
                std::fs::File::options()
                    .write(true)
                    .open(&staged)?
                    .set_modified(old)?;
                std::fs::rename(&staged, self.watched.join(&name))
            })
            .during(format!("moving {name} into the watched folder"))
    }

    async fn store_and_notify(&self, place: usize, file: &Path) -> Result<()> {
        let name = named(place, file);
        let folder = self.objects.join(PREFIX);
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::copy(file, folder.join(".new")))
            .and_then(|_| std::fs::rename(folder.join(".new"), folder.join(&name)))
            .during(format!("laying {name} into the store"))?;
        let input = json!({"integrationId": LABELS[2], "object": format!("{PREFIX}{name}")});
        let request = RequestId::new(format!("notify-{name}"));
        loop {
            let told = self
                .caller
                .invoke("panther-source-api", "notify", &input, Some(&request))
                .await;
            match told {
                Ok(_) => return Ok(()),
                Err(status) if may_pass(&status) => tokio::time::sleep(PAUSE).await,
                Err(status) => {
                    return Err(Failure::Broken(format!("telling of {name}: {status}")));
                }
            }
        }
    }
}

/// A client of HTTP ingest.
///
/// # Errors
/// TLS cannot be initialised.
pub fn client() -> Result<reqwest::Client> {
    // This fails only if a provider is already installed, which is equivalent.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(POST)
        .build()
        .during("making an HTTP client")
}

/// Posts a body until it is acknowledged. Returns the answer.
///
/// # Errors
/// It is rejected permanently.
pub async fn post(
    http: &reqwest::Client,
    url: &str,
    token: &str,
    key: &str,
    body: Vec<u8>,
) -> Result<Value> {
    loop {
        match post_once(http, url, token, key, body.clone()).await? {
            Posted::Taken(answer) => return Ok(answer),
            Posted::Busy(_) | Posted::Unknown(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Result of one post.
#[derive(Debug)]
pub enum Posted {
    /// The post is acknowledged.
    Taken(Value),
    /// The post was rejected temporarily, with this reason.
    Busy(String),
    /// The result is unknown, because there was no answer, for this reason.
    Unknown(String),
}

/// Posts a body once.
///
/// # Errors
/// It is rejected permanently.
pub async fn post_once(
    http: &reqwest::Client,
    url: &str,
    token: &str,
    key: &str,
    body: Vec<u8>,
) -> Result<Posted> {
    let sent = http
        .post(url)
        .bearer_auth(token)
        .header("Idempotency-Key", key)
        .body(body)
        .send()
        .await;
    let response = match sent {
        Ok(response) => response,
        Err(error) => return Ok(Posted::Unknown(error.to_string())),
    };
    let status = response.status();
    let answer = match response.text().await {
        Ok(answer) => answer,
        // A status is an acknowledgement only together with a complete answer: the connection may have been cut before.
        Err(error) => return Ok(Posted::Unknown(error.to_string())),
    };
    match status {
        StatusCode::OK => match serde_json::from_str(&answer) {
            Ok(answer) => Ok(Posted::Taken(answer)),
            Err(error) => Ok(Posted::Unknown(error.to_string())),
        },
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Ok(Posted::Busy(answer)),
        _ => Err(Failure::Broken(format!("posting {key}: {status} {answer}"))),
    }
}

/// True if a retry may succeed when the node is back or less busy.
#[must_use]
pub fn may_pass(status: &tonic::Status) -> bool {
    use tonic::Code;
    // A status from the node has no source error; a broken connection has one.
    let broken = std::error::Error::source(status).is_some();
    let passing = [
        Code::Unavailable,
        Code::DeadlineExceeded,
        Code::Cancelled,
        Code::ResourceExhausted,
    ];
    broken || passing.contains(&status.code())
}

/// A unique name for each file: two folders may hold files of the same name.
fn named(place: usize, file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    format!("{place:04}-{name}")
}

async fn call(node: &Node, words: &[String]) -> Result<Value> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    node.ctl(&words).await
}
