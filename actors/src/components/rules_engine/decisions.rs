//! What this component decides about a rule that cannot go on as it is: it is stopped, or left to Python, on all nodes, with an alarm that says why.

use panther_cluster::objects::Objects;
use panther_detections::engine::Difference;
use panther_detections::pack::Detection;
use panther_proto::v1::Transact;
use serde_json::{Value, json};

use super::super::objects::Written;
use super::super::pack::{DetectionState, LivePack};
use crate::alarms::Alarms;
use crate::worker::Failure;

/// Makes decisions; clones are the same.
#[derive(Clone)]
pub struct Decisions {
    /// Where evidence is kept.
    pub objects: Objects,
    /// The pack that decisions are about.
    pub live: LivePack,
    /// Who is told.
    pub alarms: Alarms,
}

impl Decisions {
    /// A rule that keeps ending its worker, passing its time or changing what all rules share is stopped on all nodes, until it is mended or resumed.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn suspend(&self, detection: &Detection) -> Result<(), Failure> {
        let reason =
            "it kept running out of time, ending its worker or changing what all rules share";
        self.live
            .decide(
                &detection.id,
                &detection.version,
                DetectionState::Suspended,
                reason,
                Transact::default(),
            )
            .await?;
        let reason = format!(
            "{} was suspended: {reason}; mend and upload it, or `pantherctl detections resume {}`",
            detection.id, detection.id
        );
        self.raise("rule suspended", detection, &reason).await;
        Ok(())
    }

    /// A rule of which Rust and Python do not say the same of an event is evaluated by Python on all nodes, until there is another version of it.
    /// `now_ms` is when that was found.
    ///
    /// # Errors
    /// There is no leader, or the object store is away.
    pub async fn leave_to_python(
        &self,
        detection: &Detection,
        difference: &Difference,
        event: &[u8],
        now_ms: u64,
    ) -> Result<(), Failure> {
        let evidence = self.keep_evidence(detection, difference, event).await?;
        let reason = format!(
            "evaluated in Rust it said: {}; in Python: {}; the event is in the object {}",
            difference.native, difference.python, evidence.name
        );
        tracing::warn!(
            rule = detection.id,
            native = difference.native,
            python = difference.python,
            "a rule is left to Python"
        );
        self.live
            .decide(
                &detection.id,
                &detection.version,
                DetectionState::Python,
                &reason,
                Transact {
                    changes: vec![evidence.row(now_ms)],
                    ..Transact::default()
                },
            )
            .await?;
        let reason = format!(
            "{} is evaluated by Python alone from now on, which is slower and right: {reason}; please report it, with the event if it can be shown",
            detection.id
        );
        self.raise("rule differs", detection, &reason).await;
        Ok(())
    }

    /// Keeps the event of which the two say something else, with all that both say: an object, which the decision about the rule names.
    async fn keep_evidence(
        &self,
        detection: &Detection,
        difference: &Difference,
        event: &[u8],
    ) -> Result<Written, Failure> {
        let event: Value = serde_json::from_slice(event).unwrap_or_default();
        let told = json!({
            "rule": detection.id, "version": detection.version, "native": difference.native, "python": difference.python, "event": event,
        });
        let content = bytes::Bytes::from(told.to_string());
        let hash = Written::of(String::new(), &content).hash;
        // By its content, so that whoever tries again writes the same.
        let name = format!("evidence/{}/{}.json", detection.version, &hash[..16]);
        let written = Written::of(name, &content);
        self.objects.put(&written.name, content).await?;
        Ok(written)
    }

    async fn raise(&self, what: &str, detection: &Detection, reason: &str) {
        let name = format!("{what} {}", detection.id);
        self.alarms
            .set("panther-rules-engine", &name, Some(reason))
            .await;
    }
}
