//! The component and the trace that a span belongs to: its own fields say them, or those of the span around it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::SystemTime;

use panther_proto::trace::TraceContext;
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// What a span belongs to. It is kept with the span.
#[derive(Debug, Clone)]
pub(super) struct SpanContext {
    /// The component.
    pub(super) component: Option<Arc<str>>,
    /// The trace.
    pub(super) trace: Option<u128>,
    /// The span within its trace.
    pub(super) span: u64,
    /// The span that caused it, on this node or another; 0: none.
    pub(super) parent: u64,
    /// When it began.
    pub(super) began: SystemTime,
}

/// Keeps a [`SpanContext`] with each span.
pub(super) struct SpanContexts;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SpanContexts {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut own = OwnFields::default();
        attributes.record(&mut own);
        let around = span
            .parent()
            .and_then(|parent| parent.extensions().get::<SpanContext>().cloned());
        let (component, trace, parent) = match around {
            Some(around) => (around.component, around.trace, around.span),
            None => (None, None, 0),
        };
        let brings_trace = own.trace.is_some();
        let of_span = SpanContext {
            component: own.component.map(Arc::from).or(component),
            trace: own.trace.or(trace),
            // Outside a trace the id is never read.
            span: match (own.span, own.trace.or(trace)) {
                (Some(span), _) => span,
                (None, Some(_)) => TraceContext::mint().span_id(),
                (None, None) => 0,
            },
            parent: own.parent.unwrap_or(if brings_trace { 0 } else { parent }),
            began: SystemTime::now(),
        };
        span.extensions_mut().replace(of_span);
    }
}

/// The fields of a span that say what it belongs to.
#[derive(Default)]
struct OwnFields {
    component: Option<String>,
    trace: Option<u128>,
    span: Option<u64>,
    parent: Option<u64>,
}

impl Visit for OwnFields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if matches!(field.name(), "component" | "trace_id") {
            self.record_str(field, &format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "component" => self.component = Some(value.to_owned()),
            "trace_id" => self.trace = TraceContext::of(value, 0).map(TraceContext::trace),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "span_id" => self.span = Some(value),
            "parent_span_id" => self.parent = Some(value),
            _ => {}
        }
    }
}
