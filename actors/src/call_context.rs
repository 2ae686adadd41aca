//! What a call carries beside its request: who calls, the request id, the audit record, and the answer that a retry gets.
//!
//! A change and its audit record are one command. A call with a request id leaves a row in the table of requests, in the same command: the
//! sealed answer. A retry finds that row and gets that answer, also where the change has made the request invalid meanwhile (a second delete).
//! Work in several commands notes first what it set out to do ([`CallContext::begin`]), so that a retry goes on with the same bounds.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_proto::v1::{Key, Row, RowChange, Transact};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::ApiError;
use crate::audit::AuditRecord;
use crate::sealing::Sealer;

/// The table of requests.
pub(crate) const REQUESTS: &str = "panther-requests";
/// How long a row is kept after the request was issued: a request id is refused ten minutes after its time, which may be ten minutes ahead.
const KEPT_MS: u64 = 20 * 60 * 1000;
/// Bytes that are kept of one call, compressed and sealed: a row has room for 400 KiB in all.
const KEPT_BYTES: usize = 300 << 10;
/// Bytes that a kept text may have once it is unpacked: more than any answer.
const UNPACKED_BYTES: u64 = 256 << 20;

/// Makes a retry of a call one effect with one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId {
    /// Chosen by the caller, different for each call.
    pub id: String,
    /// When the call was issued, milliseconds since 1970.
    pub time_ms: u64,
}

/// What a call carries beside its request; clones are of the same call.
#[derive(Clone, Default)]
pub struct CallContext {
    /// Who calls; empty if the caller did not say.
    pub user: String,
    /// Of a changing call that may be retried.
    pub request: Option<RequestId>,
    change: Option<Arc<Changing>>,
}

/// Of a changing call.
struct Changing {
    method: String,
    record: AuditRecord,
    sealer: Sealer,
    is_recorded: AtomicBool,
    /// Whether the cluster has the table of requests. After an upgrade from a release without it, a cluster of several nodes declares it once its
    /// format is raised; until then changes are made, and no answers are kept for retries.
    keeps_answers: AtomicBool,
}

impl std::fmt::Debug for CallContext {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("CallContext")
            .field("user", &self.user)
            .field("request", &self.request)
            .field("changes", &self.change.is_some())
            .finish()
    }
}

impl CallContext {
    /// Of a call that changes nothing.
    #[must_use]
    pub fn reading(user: String) -> Self {
        Self {
            user,
            ..Self::default()
        }
    }

    /// Of a call of `method` that changes something. `sealer` seals its answer, which may hold secrets.
    #[must_use]
    pub(crate) fn changing(
        method: String,
        record: AuditRecord,
        request: Option<RequestId>,
        sealer: Sealer,
    ) -> Self {
        Self {
            user: record.user().to_owned(),
            request,
            change: Some(Arc::new(Changing {
                method,
                record,
                sealer,
                is_recorded: AtomicBool::new(false),
                keeps_answers: AtomicBool::new(true),
            })),
        }
    }

    /// The request id as the cluster's commands take it.
    #[must_use]
    pub fn request_pair(&self) -> Option<(String, u64)> {
        let request = self.request.as_ref()?;
        Some((request.id.clone(), request.time_ms))
    }

    /// The base of the one command of a change: the request id, `changes`, and the audit record. A retry of the request does not repeat it.
    #[must_use]
    pub fn transact(&self, now_ms: u64, changes: Vec<RowChange>) -> Transact {
        self.recorded(now_ms, changes, "done")
    }

    fn recorded(&self, now_ms: u64, mut changes: Vec<RowChange>, outcome: &str) -> Transact {
        if let Some(change) = &self.change {
            changes.push(change.record.row(now_ms, outcome));
            change.is_recorded.store(true, Ordering::Relaxed);
        }
        let (request_id, request_time_ms) = self.request_pair().unwrap_or_default();
        Transact {
            changes,
            request_id,
            request_time_ms,
            ..self.traced()
        }
    }

    /// A command of the trace of this call: what it sends belongs to that trace.
    fn traced(&self) -> Transact {
        let trace = self
            .change
            .as_ref()
            .and_then(|change| change.record.trace());
        let (trace_id, span_id) = trace.map_or_else(Default::default, |trace| {
            (trace.trace_id(), trace.span_id())
        });
        Transact {
            trace_id,
            span_id,
            ..Transact::default()
        }
    }

    /// The base of the last command of work in several: it keeps the answer, and the audit record where no command before held it.
    #[must_use]
    pub fn ending(&self, now_ms: u64) -> Transact {
        let (request_id, request_time_ms) = self.step("answer");
        let is_recorded = self
            .change
            .as_ref()
            .is_none_or(|change| change.is_recorded.load(Ordering::Relaxed));
        Transact {
            changes: if is_recorded {
                Vec::new()
            } else {
                self.transact(now_ms, Vec::new()).changes
            },
            request_id,
            request_time_ms,
            ..self.traced()
        }
    }

    /// Carries out the one command of a change whose answer is known before; the first answer if the call is a retry.
    ///
    /// # Errors
    /// As [`Door::transact`].
    pub async fn commit<M: Message + Default>(
        &self,
        door: &Door,
        mut transact: Transact,
        answer: M,
    ) -> Result<M, DoorError> {
        self.answer_with(&mut transact, &answer);
        door.transact(transact).await?;
        self.given(door, answer).await
    }

    /// Makes the answer of a change part of its command.
    pub fn answer_with<M: Message>(&self, transact: &mut Transact, answer: &M) {
        transact.changes.extend(self.answer_row(answer));
    }

    /// The answer that was kept for this request: `answer`, or that of a call with the same id which was first.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn given<M: Message + Default>(
        &self,
        door: &Door,
        answer: M,
    ) -> Result<M, DoorError> {
        let first = self.first_answer(door).await?;
        Ok(first
            .and_then(|first| M::decode(first.as_slice()).ok())
            .unwrap_or(answer))
    }

    /// Keeps the answer of a change that was carried out already, for a retry.
    ///
    /// # Errors
    /// There is no leader, or the node is full; a retry goes on then.
    pub async fn keep<M: Message>(&self, door: &Door, answer: &M) -> Result<(), DoorError> {
        if let Some(row) = self.answer_row(answer) {
            let transact = Transact {
                changes: vec![row],
                ..Transact::default()
            };
            match door.transact(transact).await {
                // The change was made. A retry that finds no answer is better than a call that fails for that.
                Err(DoorError::Refused(refused)) => {
                    tracing::warn!(
                        reason = refused.reason,
                        "the answer of a call could not be kept for a retry"
                    );
                }
                kept => drop(kept?),
            }
        }
        Ok(())
    }

    /// Notes what work in several commands sets out to do, as part of its first command.
    ///
    /// # Errors
    /// What is noted has no JSON form.
    pub fn begin<B: Serialize>(&self, transact: &mut Transact, bounds: &B) -> Result<(), ApiError> {
        let Some((request, change)) = self.kept() else {
            return Ok(());
        };
        let internal = |error: &dyn std::fmt::Display| ApiError::Internal(error.to_string());
        let bounds = serde_json::to_vec(bounds).map_err(|error| internal(&error))?;
        match change.seal(request, &bounds) {
            Some(sealed) => {
                let row = change.row(request).set("begun", sealed);
                transact.changes.push(row.done());
            }
            None => tracing::warn!(
                method = change.method,
                bytes = bounds.len(),
                "what this call set out to do is too long to be kept: a retry of it begins again"
            ),
        }
        Ok(())
    }

    /// What this work set out to do when it was begun; nothing if it was not begun.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn begun<B: DeserializeOwned>(&self, door: &Door) -> Result<Option<B>, DoorError> {
        let Some((request, change)) = self.kept() else {
            return Ok(None);
        };
        let row = door.get(REQUESTS, &key(request)).await?;
        let sealed = row.as_ref().and_then(|row| row.blob("begun"));
        let bounds = sealed.and_then(|sealed| change.unseal(request, sealed));
        Ok(bounds.and_then(|bounds| serde_json::from_slice(&bounds).ok()))
    }

    /// Begins work in several commands by one that records it; what it sets out to do, which for a retry is what it set out to do at first.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn begin_with<B: Serialize + DeserializeOwned>(
        &self,
        door: &Door,
        bounds: B,
    ) -> Result<B, ApiError> {
        if let Some(begun) = self.begun(door).await? {
            return Ok(begun);
        }
        let mut transact = self.recorded(door.now_ms(), Vec::new(), "begun");
        self.begin(&mut transact, &bounds)?;
        door.transact(transact).await?;
        // Another call with the same id may have been first.
        Ok(self.begun(door).await?.unwrap_or(bounds))
    }

    /// The request id of a step of work in several commands, as the cluster's commands take it: the remembered reply of each step lets a retry
    /// pass over the steps that are done. Empty for a call without a request id.
    #[must_use]
    pub fn step(&self, name: &str) -> (String, u64) {
        self.request
            .as_ref()
            .map_or_else(Default::default, |request| {
                (format!("{}/{name}", request.id), request.time_ms)
            })
    }

    /// The first answer to this request, if it was answered.
    ///
    /// # Errors
    /// There is no leader.
    pub(crate) async fn first_answer(&self, door: &Door) -> Result<Option<Vec<u8>>, DoorError> {
        let Some((request, change)) = self.kept() else {
            return Ok(None);
        };
        let row = door.get(REQUESTS, &key(request)).await?;
        Ok(row.and_then(|row| change.open(request, &row)))
    }

    /// The answer to this request that is kept, or why the request cannot be carried out.
    ///
    /// # Errors
    /// The id was used for a call of another method, or there is no leader.
    pub(crate) async fn answered(&self, door: &Door) -> Result<Option<Vec<u8>>, ApiError> {
        let Some((request, change)) = self.kept() else {
            return Ok(None);
        };
        let row = match door.get(REQUESTS, &key(request)).await {
            Err(DoorError::Store(error)) if error.kind() == io::ErrorKind::NotFound => {
                change.keeps_answers.store(false, Ordering::Relaxed);
                None
            }
            row => row?,
        };
        let Some(row) = row else { return Ok(None) };
        if row.text("method") != Some(&change.method) {
            return Err(ApiError::Invalid(format!(
                "the request id {} was used for another call ({}): each call needs an id of its own",
                request.id,
                row.text("method").unwrap_or_default()
            )));
        }
        Ok(change.open(request, &row))
    }

    /// Leaves a record of a change that had no command of its own to be part of, or that failed with `outcome`.
    pub(crate) async fn record(&self, door: &Door, outcome: Option<&ApiError>) {
        let Some(change) = &self.change else { return };
        if outcome.is_none() && change.is_recorded.swap(true, Ordering::Relaxed) {
            return;
        }
        let outcome = outcome.map_or_else(
            || "done".to_owned(),
            |error| error.to_string().chars().take(500).collect(),
        );
        let transact = Transact {
            changes: vec![change.record.row(door.now_ms(), &outcome)],
            ..Transact::default()
        };
        if let Err(error) = door.transact(transact).await {
            tracing::error!(%error, "the audit record of a call could not be written");
        }
    }

    /// The request and the change of a call whose answer is kept for a retry.
    fn kept(&self) -> Option<(&RequestId, &Changing)> {
        let (request, change) = (self.request.as_ref()?, self.change.as_ref()?);
        let keeps = change.keeps_answers.load(Ordering::Relaxed);
        keeps.then_some((request, change.as_ref()))
    }

    /// The row that keeps an answer; without a request id there is no retry to keep it for.
    fn answer_row<M: Message>(&self, answer: &M) -> Option<RowChange> {
        let (request, change) = self.kept()?;
        let sealed = change.seal(request, &answer.encode_to_vec())?;
        // With an answer a retry needs nothing else.
        let row = change.row(request).remove("begun");
        Some(row.set("answer", sealed).done())
    }
}

impl Changing {
    /// The row of a request, to which more is added.
    fn row(&self, request: &RequestId) -> Change {
        Change::update(REQUESTS, key(request))
            .set("method", &self.method)
            .set("expiresAt", request.time_ms.saturating_add(KEPT_MS) / 1_000)
    }

    fn open(&self, request: &RequestId, row: &Row) -> Option<Vec<u8>> {
        self.unseal(request, row.blob("answer")?)
    }

    /// Compresses and seals what is kept of a call; `None` if it is too long for a row.
    fn seal(&self, request: &RequestId, content: &[u8]) -> Option<Vec<u8>> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(content).ok()?;
        let packed = packed.finish().ok()?;
        let sealed = self.sealer.seal(&place(request), &packed).ok()?;
        (sealed.len() <= KEPT_BYTES).then_some(sealed)
    }

    fn unseal(&self, request: &RequestId, sealed: &[u8]) -> Option<Vec<u8>> {
        let packed = self.sealer.open(&place(request), sealed).ok()?;
        let mut content = Vec::new();
        let mut unpacked = GzDecoder::new(packed.as_slice()).take(UNPACKED_BYTES);
        unpacked.read_to_end(&mut content).ok()?;
        Some(content)
    }
}

fn key(request: &RequestId) -> Key {
    change::key(&request.id)
}

fn place(request: &RequestId) -> String {
    format!("{REQUESTS}/{}", request.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::AuditRecord;

    #[test]
    fn what_is_kept_of_a_long_answer_fits_into_a_row_and_too_long_a_one_is_not_kept() {
        let request = RequestId {
            id: "r".to_owned(),
            time_ms: 1,
        };
        let record = AuditRecord::new(
            "component",
            "operation",
            String::new(),
            serde_json::json!({}),
        );
        let sealer = Sealer::new(&[1; 32]);
        let context = CallContext::changing("X".to_owned(), record, Some(request.clone()), sealer);
        let change = context.change.as_ref().unwrap();
        let plan: String = (0..60_000)
            .map(|number| format!("rule,Some.Rule.{number},new\n"))
            .collect();
        assert!(plan.len() > 1 << 20);
        let sealed = change.seal(&request, plan.as_bytes()).unwrap();
        assert!(sealed.len() <= KEPT_BYTES);
        assert_eq!(change.unseal(&request, &sealed).unwrap(), plan.as_bytes());
        let mut noise = vec![0; 1 << 20];
        rand::Rng::fill(&mut rand::rng(), noise.as_mut_slice());
        assert_eq!(change.seal(&request, &noise), None);
    }
}
