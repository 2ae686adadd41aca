//! Who changed what: a row for every call that changes something. Requests are not kept whole, for they may hold secrets: only the fields that
//! name what is changed.

use panther_cluster::door::change::{self, Change};
use panther_proto::trace::TraceContext;
use panther_proto::v1::RowChange;
use serde_json::Value;

const TABLE: &str = "panther-audit";

/// The record of one call.
#[derive(Debug, Clone)]
pub(crate) struct AuditRecord {
    component: String,
    operation: String,
    user: String,
    named: Value,
    trace: Option<TraceContext>,
    /// Tells records of one millisecond apart.
    id: String,
}

impl AuditRecord {
    /// Of an operation of a component; `named` holds the fields that name what is changed.
    pub(crate) fn new(component: &str, operation: &str, user: String, named: Value) -> Self {
        Self {
            component: component.to_owned(),
            operation: operation.to_owned(),
            user,
            named,
            trace: None,
            id: uuid::Uuid::new_v4().to_string(),
        }
    }

    /// The record of a call that belongs to this trace.
    pub(crate) fn of_trace(self, trace: Option<TraceContext>) -> Self {
        Self { trace, ..self }
    }

    /// The trace of the call.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        self.trace
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// The row, as a change of a command.
    pub(crate) fn row(&self, now_ms: u64, outcome: &str) -> RowChange {
        let day = crate::dates::date(now_ms).format("%Y-%m-%d").to_string();
        let key = change::key_range(day, format!("{now_ms:013}-{}", self.id));
        Change::put(TABLE, key)
            .set("component", &self.component)
            .set("operation", &self.operation)
            .set("user", &self.user)
            .set("named", change::json(self.named.to_string()))
            .set("outcome", outcome)
            .set("time", now_ms)
            .set_or_remove("traceId", self.trace.map(TraceContext::trace_id))
            .done()
    }
}
