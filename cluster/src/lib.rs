//! The substrate: tables, queues and topics on one replicated log. It knows nothing of security, Python, logs or AWS.

/// A span, at debug level, of the trace of a [`TraceContext`](panther_proto::trace::TraceContext); outside any trace without one.
macro_rules! in_trace {
    ($name:literal, $cause:expr, $($field:tt)*) => {
        match $cause {
            Some(cause) => {
                let cause: panther_proto::trace::TraceContext = cause;
                tracing::debug_span!(
                    $name,
                    trace_id = cause.trace_id(),
                    parent_span_id = cause.span_id(),
                    $($field)*
                )
            }
            None => tracing::debug_span!($name, $($field)*),
        }
    };
}

pub mod door;
pub mod log;
pub mod membership;
pub mod net;
pub mod objects;
mod offload;
pub mod raft;
pub mod state;
pub mod storage;

#[cfg(feature = "simulation")]
pub use offload::simulated;
