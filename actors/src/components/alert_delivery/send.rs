//! One attempt at one destination. Whatever happens is a response: nothing here is an error of the node.

use std::sync::Arc;
use std::time::Duration;

use super::super::objects::rfc3339;
use super::super::outputs_api::{OutputConfig, Unreachable};
use super::file::{FileError, Files};
use crate::api::ApiError;
use crate::component::Deps;
use crate::egress::Egress;
use super::{scrub, trust};
use chrono::{DateTime, Utc};
use reqwest::redirect::Policy;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Time for one attempt, from connect to answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Bytes kept of a destination's answer.
const ANSWER_BYTES: usize = 500;

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
    /// An attempt that could not even be made.
    pub(crate) fn failed(output: &str, why: &Unreachable, now_ms: u64) -> Self {
        Self {
            output_id: output.to_owned(),
            success: false,
            status_code: match why {
                Unreachable::Gone => 404,
                Unreachable::Sealed(_) => 0,
            },
            message: why.to_string(),
            dispatched_at: rfc3339(now_ms),
            retry_after: None,
        }
    }
}

/// What a destination answered, or what went wrong.
struct Answer {
    status: u16,
    message: String,
    retry_after: Option<Duration>,
}

impl Answer {
    const fn new(status: u16, message: String) -> Self {
        Self {
            status,
            message,
            retry_after: None,
        }
    }
}

/// The way out; clones share connections.
#[derive(Clone)]
pub struct Sender {
    client: reqwest::Client,
    link: Option<String>,
    egress: Egress,
    files: Files,
    deadline: Duration,
}

impl Sender {
    /// `link` is what an alert's address begins with; without it a notification holds no link. `egress` says where alerts may go, `files` appends to files.
    ///
    /// # Errors
    /// The TLS set-up of the machine cannot be used.
    pub fn new(link: Option<String>, egress: Egress, files: Files) -> Result<Self, reqwest::Error> {
        Self::with_deadline(link, egress, files, DEADLINE)
    }

    /// As a component sends.
    ///
    /// # Errors
    /// As [`Sender::new`].
    pub fn of(deps: &Deps) -> Result<Self, ApiError> {
        let files = Files::outside(&deps.own_folders);
        let (link, egress) = (deps.alert_link.clone(), deps.egress.clone());
        Self::new(link, egress, files).map_err(|error| {
            ApiError::Internal(format!(
                "the HTTP client for destinations cannot be set up: {error}"
            ))
        })
    }

    /// With another time for one attempt.
    ///
    /// # Errors
    /// The TLS set-up of the machine cannot be used.
    pub fn with_deadline(
        link: Option<String>,
        egress: Egress,
        files: Files,
        deadline: Duration,
    ) -> Result<Self, reqwest::Error> {
        let client = client(&egress, deadline).build()?;
        Ok(Self {
            client,
            link,
            egress,
            files,
            deadline,
        })
    }

    /// Where alerts may go.
    #[must_use]
    pub(crate) fn egress(&self) -> &Egress {
        &self.egress
    }

    /// What appends to files.
    #[must_use]
    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// Tries one destination.
    pub async fn send(
        &self,
        output_id: &str,
        config: &OutputConfig,
        alert: &Value,
        now_ms: u64,
    ) -> Response {
        let outcome = match config {
            OutputConfig::CustomWebhook {
                webhook_url,
                ca_certificate,
            } => {
                let body = self.notification(alert);
                self.post(webhook_url, ca_certificate.as_deref(), &body)
                    .await
            }
            OutputConfig::Slack {
                webhook_url,
                ca_certificate,
            } => {
                let body = self.slack(alert);
                self.post(webhook_url, ca_certificate.as_deref(), &body)
                    .await
            }
            OutputConfig::File { path } => self.append(path, &self.notification(alert)).await,
        };
        Response {
            output_id: output_id.to_owned(),
            success: (200..300).contains(&outcome.status),
            status_code: outcome.status,
            message: outcome.message,
            dispatched_at: rfc3339(now_ms),
            retry_after: outcome.retry_after,
        }
    }

    async fn append(&self, path: &str, notification: &Value) -> Answer {
        let line = format!("{notification}\n");
        match self.files.append(path, line, self.deadline).await {
            Ok(()) => Answer::new(200, format!("appended to {path}")),
            Err(error @ (FileError::Slow { .. } | FileError::Blocked(_))) => {
                Answer::new(504, error.to_string())
            }
            Err(error) => Answer::new(0, error.to_string()),
        }
    }

    /// Posts, and takes the address out of whatever comes back.
    async fn post(&self, url: &str, certificates: Option<&str>, body: &Value) -> Answer {
        let mut answer = self.exchange(url, certificates, body).await;
        answer.message = scrub::scrub(&answer.message, url);
        answer
    }

    async fn exchange(&self, url: &str, certificates: Option<&str>, body: &Value) -> Answer {
        if let Ok(url) = reqwest::Url::parse(url)
            && let Err(reason) = self.egress.check(&url)
        {
            return Answer::new(0, reason);
        }
        let client = match certificates {
            None => self.client.clone(),
            // Few destinations have certificates of their own, and each alert goes there once: no connection is kept for them.
            Some(pem) => match trusting(pem, &self.egress, self.deadline) {
                Ok(client) => client,
                Err(reason) => return Answer::new(0, reason),
            },
        };
        let answer = match client.post(url).json(body).send().await {
            Ok(answer) => answer,
            Err(error) => return self.failed(&error),
        };
        let status = answer.status().as_u16();
        let retry_after = retry_after(&answer);
        let location = answer
            .headers()
            .get(reqwest::header::LOCATION)
            .and_then(|location| location.to_str().ok())
            .map(str::to_owned);
        let text = first_bytes(answer).await;
        let message = match (status, location) {
            (200..300, _) => text,
            (300..400, Some(location)) => format!(
                "it redirects to {}, which is not followed: enter the address there if it is right",
                scrub::origin(&location)
            ),
            _ => format!("it answered {status}: {text}"),
        };
        Answer {
            status,
            message,
            retry_after,
        }
    }

    fn failed(&self, error: &reqwest::Error) -> Answer {
        if error.is_timeout() {
            let message = format!("no answer within {} s", self.deadline.as_secs());
            return Answer::new(504, message);
        }
        // The address may hold a secret: it is not part of the text.
        let mut reason = "the connection failed".to_owned();
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            reason = format!("{reason}: {inner}");
            source = inner.source();
        }
        Answer::new(0, reason)
    }

    /// The notification that webhooks and files get.
    fn notification(&self, alert: &Value) -> Value {
        json!({
            "id": alert["analysisId"], "createdAt": alert["createdAt"], "severity": alert["severity"], "type": alert["type"],
            "link": self.link(alert), "title": title(alert), "name": alert["analysisName"], "alertId": alert["alertId"],
            "alertContext": alert["context"], "description": alert["analysisDescription"], "runbook": alert["runbook"],
            "tags": alert["tags"], "version": alert["version"],
        })
    }

    fn link(&self, alert: &Value) -> Option<String> {
        let id = alert["alertId"].as_str().unwrap_or_default();
        let base = self.link.as_deref()?.trim_end_matches('/');
        Some(format!("{base}/log-analysis/alerts/{id}"))
    }

    fn slack(&self, alert: &Value) -> Value {
        let severity = alert["severity"].as_str().unwrap_or_default();
        let color = match severity {
            "CRITICAL" => "#425a70",
            "HIGH" => "#cb2e2e",
            "MEDIUM" => "#d9822b",
            "LOW" => "#f7d154",
            _ => "#47b881",
        };
        let title = slack_text(&title(alert));
        let field = |title: &str, value: &Value, short: bool| json!({"title": title, "value": slack_text(&text(value)), "short": short});
        json!({"attachments": [{"fallback": title, "color": color, "title": title, "title_link": self.link(alert), "fields": [
            field("Runbook", &alert["runbook"], false),
            field("Severity", &alert["severity"], true),
            field("Alert", &alert["alertId"], true),
        ]}]})
    }
}

fn title(alert: &Value) -> String {
    let prefix = match alert["type"].as_str() {
        Some("RULE_ERROR") => "New rule error: ",
        Some("POLICY") => "Policy Failure: ",
        _ => "New Alert: ",
    };
    let again = if alert["isResent"].as_bool() == Some(true) {
        "[Re-sent]: "
    } else {
        ""
    };
    let own = alert["title"]
        .as_str()
        .filter(|title| !title.is_empty())
        .or(alert["analysisName"].as_str())
        .unwrap_or_default();
    format!("{again}{prefix}{own}")
}

async fn first_bytes(mut answer: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES
        && let Ok(Some(chunk)) = answer.chunk().await
    {
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(ANSWER_BYTES);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn client(egress: &Egress, deadline: Duration) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        // A redirect would carry the alert to a host that the operator did not choose: it is an answer like any other.
        .redirect(Policy::none())
        .timeout(deadline)
        .dns_resolver(Arc::new(egress.clone()))
        .connect_timeout(Duration::from_secs(5))
        .user_agent("panther-cluster")
}

/// A client that trusts these certificates alone.
fn trusting(pem: &str, egress: &Egress, deadline: Duration) -> Result<reqwest::Client, String> {
    let tls = trust::tls(pem).map_err(|error| error.to_string())?;
    client(egress, deadline)
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(|error| format!("the connection cannot be set up: {error}"))
}

/// How long the destination asks to be left alone: seconds, or a date by its own clock.
fn retry_after(answer: &reqwest::Response) -> Option<Duration> {
    let header = |name| answer.headers().get(name)?.to_str().ok();
    let value = header(reqwest::header::RETRY_AFTER)?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| DateTime::parse_from_rfc2822(text).ok();
    let now = header(reqwest::header::DATE)
        .and_then(date)
        .map_or_else(Utc::now, |now| now.with_timezone(&Utc));
    (date(value)?.with_timezone(&Utc) - now).to_std().ok()
}

/// Text for Slack, in which these three letters begin its markup: a mention of a channel, or a link under another name.
fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
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

    async fn send(answer: Option<&'static str>) -> (Response, Option<String>) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (url, task) = destination(answer).await;
        let sender = Sender::with_deadline(
            Some("https://panther.example".into()),
            Egress::without(Vec::new()),
            Files::default(),
            Duration::from_secs(1),
        )
        .unwrap();
        let alert = json!({"alertId": "a1", "analysisId": "R", "title": "t", "severity": "HIGH", "type": "RULE"});
        let response = sender
            .send(
                "o",
                &OutputConfig::CustomWebhook {
                    webhook_url: url,
                    ca_certificate: None,
                },
                &alert,
                0,
            )
            .await;
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

    #[test]
    fn nothing_that_an_alert_holds_is_markup_for_slack() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sender = Sender::new(None, Egress::without(Vec::new()), Files::default()).unwrap();
        let evil = "<!channel> <https://evil.example|click> & co";
        let alert = json!({"alertId": evil, "title": evil, "severity": evil, "runbook": evil, "type": "RULE"});
        let payload = sender.slack(&alert);
        let attachment = &payload["attachments"][0];
        let fields = attachment["fields"].as_array().unwrap();
        let texts = [&attachment["fallback"], &attachment["title"]]
            .into_iter()
            .chain(fields.iter().map(|field| &field["value"]));
        for text in texts {
            let text = text.as_str().unwrap();
            assert!(
                !text.contains(['<', '>']) && text.contains("&amp; co"),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn a_refused_connection_is_told_without_the_secret_in_the_address() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sender = Sender::new(None, Egress::without(Vec::new()), Files::default()).unwrap();
        let config = OutputConfig::CustomWebhook {
            webhook_url: "http://127.0.0.1:9/hook?secret=s3cr3t".into(),
            ca_certificate: None,
        };
        let response = sender.send("o", &config, &json!({}), 0).await;
        assert!(
            !response.success
                && !response.message.contains("s3cr3t")
                && response.message.contains("connect"),
            "{response:?}"
        );
    }
}
