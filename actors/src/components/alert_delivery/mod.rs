//! `panther-alert-delivery`: alerts to destinations.
//!
//! The forwarder sends one message per alert. Its first handling routes it and sends one message per destination; each
//! of these succeeds or fails by itself, is tried again when the destination asks for it (`Retry-After`) or
//! 30 to 300 s later, ten times, and then is a dead letter. Every
//! attempt is recorded on the alert's row, by the command that ends the attempt.

pub(crate) mod sealed;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use panther_cluster::door::change::{self, Change};
use panther_detections::alerting::{self, AlertKind, Recipients};
use panther_detections::pack::Severity;
use panther_proto::v1::{Message, RowChange};
use rand::Rng;
use serde_json::Value;
use tracing::Instrument as _;

use super::log_alert_forwarder::{ALERTS, QUEUE};
use crate::api::ApiError;
use crate::component::{Deps, Place};
use crate::dates::rfc3339;
use crate::destinations::{OutputCache, Response, Sender, Unreachable};
use crate::pause::Pause;
use crate::supervision::Part;
use crate::worker::{Context, Failure, Handler, Plan, PlanContext};

/// Attempts that are kept on an alert's row.
const KEPT_ATTEMPTS: u32 = 100;
/// Bounds on how long a destination is left alone because it asked for it.
const LEAST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(6 * 3_600);
/// The destination of a message, once it is for one.
const OUTPUT: &str = "outputId";

/// The handler.
pub struct AlertDelivery {
    /// Destinations.
    pub outputs: OutputCache,
    /// The way out.
    pub sender: Sender,
    /// Nothing is delivered while the cluster is paused.
    pub pause: Pause,
    /// Wait before the next attempt; 30 to 300 s, by chance.
    pub retry: Arc<dyn Fn() -> Duration + Send + Sync>,
}

/// What was done for a message.
pub enum Delivered {
    /// The alert goes to these destinations.
    Routed(Vec<String>),
    /// One destination was tried.
    Attempt(Response),
}

/// The function.
///
/// # Errors
/// The HTTP client for destinations cannot be set up.
pub fn build(deps: &Deps, place: Place<'_>) -> Result<Part, ApiError> {
    Ok(place.worker(deps, AlertDelivery::new(deps)?))
}

impl Handler for AlertDelivery {
    type Work = (Value, Delivered);

    async fn ready(&self) -> Result<(), Failure> {
        self.pause.ended().await;
        Ok(())
    }

    async fn work(&self, message: &Message, context: &Context) -> Result<Self::Work, Failure> {
        let alert = crate::json::read(&message.body)
            .map_err(|error| Failure::message(format!("the alert is no JSON: {error}")))?;
        let Some(output) = message.attributes.get(OUTPUT) else {
            let to = self.route(&alert).await?;
            return Ok((alert, Delivered::Routed(to)));
        };
        let config = match self.outputs.config(output).await? {
            Ok(config) => config,
            Err(unreachable) => {
                let failed = Response::failed(output, &unreachable, rfc3339(context.received_ms));
                return match unreachable {
                    Unreachable::Gone => Ok((alert, Delivered::Attempt(failed))),
                    // The secret may be given again: the attempt is repeated, and then a dead letter.
                    Unreachable::Sealed(_) => Err(self.failed(&alert, &failed)),
                };
            }
        };
        let response = self
            .sender
            .within(context.trace)
            .send(output, &config, &alert, rfc3339(context.door.now_ms()))
            .instrument(tracing::debug_span!("deliver", output))
            .await;
        if !response.success {
            return Err(self.failed(&alert, &response));
        }
        Ok((alert, Delivered::Attempt(response)))
    }

    async fn plan(
        (alert, delivered): &Self::Work,
        message: &Message,
        _context: &PlanContext,
    ) -> Result<Plan, Failure> {
        match delivered {
            Delivered::Attempt(response) => Ok(Plan {
                changes: record(alert, response).into_iter().collect(),
                what: format!(
                    "destination {}: {} {}",
                    response.output_id, response.status_code, response.message
                ),
                ..Plan::default()
            }),
            Delivered::Routed(to) => {
                let sends = to.iter().map(|output| {
                    let mut send = change::to_queue(QUEUE, message.body.clone());
                    send.attributes.insert(OUTPUT.to_owned(), output.clone());
                    send
                });
                Ok(Plan {
                    what: format!("the alert goes to {} destination(s)", to.len()),
                    sends: sends.collect(),
                    ..Plan::default()
                })
            }
        }
    }
}

fn record(alert: &Value, response: &Response) -> Option<RowChange> {
    let id = alert["alertId"].as_str().filter(|id| !id.is_empty())?;
    let item = serde_json::to_string(response).ok()?;
    Some(
        Change::update(ALERTS, change::key(id))
            .append("deliveryResponses", change::json(item), KEPT_ATTEMPTS)
            .done(),
    )
}

impl AlertDelivery {
    /// The handler of a node.
    ///
    /// # Errors
    /// The HTTP client for destinations cannot be set up.
    pub fn new(deps: &Deps) -> Result<Self, ApiError> {
        Ok(Self {
            outputs: OutputCache::new(deps.door.clone(), deps.sealer.clone()),
            sender: deps.sender()?,
            pause: deps.pause.clone(),
            retry: Arc::new(|| Duration::from_secs(rand::rng().random_range(30..=300))),
        })
    }

    /// A failed attempt, which is recorded on the alert and repeated.
    fn failed(&self, alert: &Value, response: &Response) -> Failure {
        Failure::Message {
            reason: format!("output {}: {}", response.output_id, response.message),
            retry_after: Some(match response.retry_after {
                Some(asked) => asked.clamp(LEAST_WAIT, LONGEST_WAIT),
                None => (self.retry)(),
            }),
            record: record(alert, response).into_iter().collect(),
        }
    }

    async fn route(&self, alert: &Value) -> Result<Vec<String>, Failure> {
        let outputs = self.outputs.current().await?;
        let texts = |name: &str| -> Vec<String> {
            alert[name]
                .as_array()
                .map(|items| {
                    items
                        .iter()
                        .filter_map(|item| item.as_str().map(str::to_owned))
                        .collect()
                })
                .unwrap_or_default()
        };
        let severity = alert["severity"].as_str().unwrap_or_default();
        let severity = Severity::from_str(severity)
            .map_err(|error| Failure::message(format!("the alert's severity: {error}")))?;
        let kind = match alert["type"].as_str() {
            Some("RULE_ERROR") => AlertKind::RuleError,
            Some("POLICY") => AlertKind::Policy,
            _ => AlertKind::Rule,
        };
        let (destinations, output_ids) = (texts("destinations"), texts("outputIds"));
        let recipients = Recipients {
            destinations: Some(&destinations[..]).filter(|ids| !ids.is_empty()),
            output_ids: &output_ids,
            severity,
            kind,
        };
        let to = alerting::route(&recipients, &outputs);
        if to.is_empty() {
            tracing::info!(
                alert = alert["alertId"].as_str(),
                severity = severity.as_str(),
                outputs = outputs.len(),
                "no destination takes this alert"
            );
        }
        Ok(to)
    }
}
