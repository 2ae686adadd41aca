//! One attempt at one destination. Whatever happens is a response: nothing here is an error of the node.

use std::path::PathBuf;
use std::time::Duration;

use panther_proto::trace::TraceContext;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::configured::ConfiguredDestination;
use super::destination::Means;
use super::files::Files;
use super::http::HttpPoster;
use super::notice::Notice;
use super::outputs::Unreachable;
use super::scrub;
use crate::egress::Egress;

/// Time for one attempt, from connect to answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// The destination.
    pub output_id: String,
    /// Whether it took the alert.
    pub success: bool,
    /// Its HTTP status, or one of our own: 0 no connection, 504 no answer in time.
    pub status_code: u16,
    /// What it said, or what went wrong.
    pub message: String,
    /// When, RFC 3339.
    pub dispatched_at: String,
    /// How long the destination asked to be left alone. Not part of what is kept.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

impl Response {
    /// An attempt that could not be made, at a time in RFC 3339.
    pub(crate) fn failed(output: &str, why: &Unreachable, at: String) -> Self {
        Self {
            output_id: output.to_owned(),
            success: false,
            status_code: match why {
                Unreachable::Gone => 404,
                Unreachable::Sealed(_) => 0,
            },
            message: why.to_string(),
            dispatched_at: at,
            retry_after: None,
        }
    }
}

/// Sends alerts to destinations; clones share connections.
#[derive(Clone)]
pub struct Sender {
    means: Means,
    link: Option<String>,
}

impl Sender {
    /// `link` is what the address of an alert's page begins with; without it a notification holds no link. `egress` says where alerts may go. No file is
    /// appended to in the folders `own`, which are the node's.
    ///
    /// # Errors
    /// The TLS set-up of the machine cannot be used.
    pub fn new(
        link: Option<String>,
        egress: Egress,
        own: &[PathBuf],
    ) -> Result<Self, reqwest::Error> {
        Self::with_deadline(link, egress, Files::outside(own), DEADLINE)
    }

    fn with_deadline(
        link: Option<String>,
        egress: Egress,
        files: Files,
        deadline: Duration,
    ) -> Result<Self, reqwest::Error> {
        let means = Means {
            http: HttpPoster::new(egress, deadline)?,
            files,
            deadline,
        };
        Ok(Self { means, link })
    }

    /// The destination that a caller described, checked.
    ///
    /// # Errors
    /// What is wrong with it, for the caller.
    pub fn read(&self, config: &Value) -> Result<ConfiguredDestination, String> {
        ConfiguredDestination::read(config, &self.means)
    }

    /// The same, for an attempt within a trace.
    #[must_use]
    pub fn within(&self, trace: TraceContext) -> Self {
        let means = Means {
            http: self.means.http.within(trace),
            ..self.means.clone()
        };
        Self {
            means,
            link: self.link.clone(),
        }
    }

    /// Tries one destination, at a time in RFC 3339. No secret of its configuration stays in the response.
    pub async fn send(
        &self,
        output_id: &str,
        to: &ConfiguredDestination,
        alert: &Value,
        at: String,
    ) -> Response {
        let notice = Notice::new(alert, self.link.as_deref());
        let answer = to.destination.deliver(&notice, &self.means).await;
        let message = to.secrets().fold(answer.message, |message, secret| {
            scrub::scrub(&message, secret)
        });
        Response {
            output_id: output_id.to_owned(),
            success: (200..300).contains(&answer.status),
            status_code: answer.status,
            message,
            dispatched_at: at,
            retry_after: answer.retry_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A destination that says `answer` to one request, or nothing at all; and what it was sent.
    async fn destination(
        answer: Option<&'static str>,
    ) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!(
            "http://{}/hook?secret=s3cr3t-of-the-hook",
            listener.local_addr().unwrap()
        );
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 64 << 10];
            let mut length = stream.read(&mut request).await.unwrap();
            while !request[..length].windows(4).any(|end| end == b"\r\n\r\n")
                || !request[..length].ends_with(b"}")
            {
                length += stream.read(&mut request[length..]).await.unwrap();
            }
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                None => std::future::pending().await,
            }
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        (address, task)
    }

    fn sender(deadline: Duration) -> Sender {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let link = Some("https://panther.example".to_owned());
        let egress = Egress::without(Vec::new());
        Sender::with_deadline(link, egress, Files::default(), deadline).unwrap()
    }

    async fn send(answer: Option<&'static str>) -> (Response, Option<String>) {
        let (url, task) = destination(answer).await;
        let sender = sender(Duration::from_secs(1));
        let alert = json!({"alertId": "a1", "analysisId": "R", "title": "t", "severity": "HIGH", "type": "RULE"});
        let to = sender.read(&json!({"customWebhook": {"webhookURL": url}}));
        let response = sender.send("o", &to.unwrap(), &alert, String::new()).await;
        (
            response,
            if answer.is_some() {
                task.await.ok()
            } else {
                None
            },
        )
    }

    #[tokio::test]
    async fn a_webhook_gets_the_notification_and_its_2xx_is_a_success() {
        let (response, request) =
            send(Some("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n")).await;
        assert!(response.success, "{response:?}");
        let request = request.unwrap();
        assert!(
            request.contains("\"link\":\"https://panther.example/log-analysis/alerts/a1\"")
                && request.contains("New Alert: t"),
            "{request}"
        );
    }

    #[tokio::test]
    async fn an_error_a_silence_and_a_redirect_are_failures_that_say_what_happened() {
        let (response, _) = send(Some("HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\nboom")).await;
        assert_eq!((response.success, response.status_code), (false, 500));
        assert!(response.message.contains("boom"), "{response:?}");
        let (response, _) = send(None).await;
        assert_eq!((response.success, response.status_code), (false, 504));
        let (response, _) = send(Some("HTTP/1.1 302 Found\r\nlocation: http://elsewhere.example/\r\ncontent-length: 0\r\n\r\n")).await;
        assert_eq!((response.success, response.status_code), (false, 302));
        assert!(
            response.message.contains("elsewhere.example"),
            "{response:?}"
        );
    }

    #[tokio::test]
    async fn a_destination_says_how_long_it_is_to_be_left_alone() {
        let asks =
            "HTTP/1.1 429 Too Many Requests\r\nretry-after: 600\r\ncontent-length: 0\r\n\r\n";
        let (response, _) = send(Some(asks)).await;
        assert_eq!(response.retry_after, Some(Duration::from_secs(600)));
        let dated = "HTTP/1.1 503 Busy\r\ndate: Mon, 02 Mar 2026 10:00:00 GMT\r\nretry-after: Mon, 02 Mar 2026 10:01:30 GMT\r\ncontent-length: 0\r\n\r\n";
        let (response, _) = send(Some(dated)).await;
        assert_eq!(response.retry_after, Some(Duration::from_secs(90)));
        let (response, _) = send(Some("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n")).await;
        assert_eq!(response.retry_after, None);
    }

    #[tokio::test]
    async fn no_answer_brings_the_secret_of_the_address_back() {
        let moved = "HTTP/1.1 308 Moved\r\nlocation: https://127.0.0.1/hook?secret=s3cr3t-of-the-hook\r\ncontent-length: 0\r\n\r\n";
        let echo =
            "HTTP/1.1 404 No\r\ncontent-length: 40\r\n\r\nno hook /hook?secret=s3cr3t-of-the-hook ";
        for answer in [moved, echo] {
            let (response, _) = send(Some(answer)).await;
            let text = format!("{response:?}");
            assert!(!response.success && !text.contains("s3cr3t-of"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_refused_connection_is_told_without_the_secret_in_the_address() {
        let sender = sender(DEADLINE);
        let url = "http://127.0.0.1:9/hook?secret=s3cr3t";
        let to = sender.read(&json!({"customWebhook": {"webhookURL": url}}));
        let response = sender
            .send("o", &to.unwrap(), &json!({}), String::new())
            .await;
        assert!(
            !response.success
                && !response.message.contains("s3cr3t")
                && response.message.contains("connect"),
            "{response:?}"
        );
    }
}
