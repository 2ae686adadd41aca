//! Posting to a destination.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use panther_proto::trace::{TRACEPARENT, TraceContext};
use reqwest::redirect::Policy;
use serde::Deserialize;
use serde_json::Value;

use super::answer::Answer;
use super::spec::DestinationField;
use super::{scrub, trust};
use crate::egress::Egress;

/// Bytes kept of a destination's answer.
const ANSWER_BYTES: usize = 500;

/// The field of a destination that is known by an address alone.
pub(super) const WEBHOOK_URL: DestinationField =
    DestinationField::text("webhookURL", "The URL to which alerts are posted")
        .required()
        .secret()
        .address();
/// The field for certificates of the destination's own.
pub(super) const CA_CERTIFICATE: DestinationField = DestinationField::text(
    "caCertificate",
    "Certificates in PEM form. If they are given, only they are trusted; otherwise the system's authorities are",
);

/// Where requests go, and which certificates are trusted there.
#[derive(Deserialize)]
pub(super) struct Endpoint {
    #[serde(rename = "webhookURL")]
    url: String,
    #[serde(default, rename = "caCertificate")]
    certificates: Option<String>,
}

impl Endpoint {
    /// Whether requests may go there.
    pub(super) fn check(&self, http: &HttpPoster) -> Result<(), String> {
        if let Some(pem) = &self.certificates {
            trust::tls(pem).map_err(|error| error.to_string())?;
        }
        // The parser takes any number of slashes, and the first word of a path for the host.
        let has_host = self
            .url
            .split_once("://")
            .is_some_and(|(_, rest)| !rest.starts_with('/'));
        match reqwest::Url::parse(&self.url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && has_host => {
                http.egress.check(&url)
            }
            _ => Err(format!(
                "{} must be an http or https address",
                WEBHOOK_URL.name
            )),
        }
    }

    /// Scheme and host, which are no secret.
    pub(super) fn origin(&self) -> String {
        scrub::origin(&self.url)
    }
}

/// Posts to destinations; clones share connections.
#[derive(Clone)]
pub(super) struct HttpPoster {
    client: reqwest::Client,
    egress: Egress,
    deadline: Duration,
    /// The trace of what is posted.
    trace: Option<TraceContext>,
}

impl HttpPoster {
    /// `egress` says where requests may go, `deadline` how long one attempt may take, from connect to answer.
    ///
    /// # Errors
    /// The TLS set-up of the machine cannot be used.
    pub(super) fn new(egress: Egress, deadline: Duration) -> Result<Self, reqwest::Error> {
        let client = client(&egress, deadline).build()?;
        Ok(Self {
            client,
            egress,
            deadline,
            trace: None,
        })
    }

    /// Posts within a trace, which the header `traceparent` names to the destination.
    pub(super) fn within(&self, trace: TraceContext) -> Self {
        Self {
            trace: Some(trace),
            ..self.clone()
        }
    }

    /// Posts a JSON body with these headers. The answer may repeat secrets: see [`super::sender`].
    pub(super) async fn post(
        &self,
        to: &Endpoint,
        headers: &[(&'static str, &str)],
        body: &Value,
    ) -> Answer {
        if let Ok(url) = reqwest::Url::parse(&to.url)
            && let Err(reason) = self.egress.check(&url)
        {
            return Answer::new(0, reason);
        }
        let client = match &to.certificates {
            None => self.client.clone(),
            // Few destinations have certificates of their own, and each alert goes there once: no connection is kept for them.
            Some(pem) => match trusting(pem, &self.egress, self.deadline) {
                Ok(client) => client,
                Err(reason) => return Answer::new(0, reason),
            },
        };
        let request = headers
            .iter()
            .fold(client.post(&to.url), |request, (name, value)| {
                request.header(*name, *value)
            });
        let request = match self.trace {
            Some(trace) => request.header(TRACEPARENT, trace.to_string()),
            None => request,
        };
        let answer = match request.json(body).send().await {
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
