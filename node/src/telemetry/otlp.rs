//! Export of spans to an OpenTelemetry collector, by OTLP over gRPC.
//!
//! The ids of traces and spans are those that messages and commands carry, so that one trace holds the spans of all nodes. Spans outside a trace are
//! not exported. A queue of 2,048 spans is between the node and the collector; what does not fit into it is dropped, and work never waits for it.

use std::fmt::Debug;
use std::time::SystemTime;

use opentelemetry::trace::{
    SpanContext as OtelContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _,
};
use tokio::runtime::Runtime;
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::spans::SpanContext;

/// Exports the spans of traces.
pub(super) struct Exporter {
    /// Carries the connection to the collector, apart from the node's own work.
    _runtime: Runtime,
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    /// Traces whose id is below this are exported, so that all nodes choose the same ones.
    below: u128,
}

/// Why spans are not exported.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    /// There is no thread for the connection.
    #[error("no thread for the connection to the collector: {0}")]
    Thread(#[from] std::io::Error),
    /// The address is wrong.
    #[error("traces.otlp_endpoint: {0}")]
    Endpoint(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// The fields of a span, as attributes.
struct SpanAttributes(Vec<KeyValue>);

impl Exporter {
    /// Exports `percent` of all traces to the collector at `endpoint`.
    ///
    /// # Errors
    /// The endpoint is not the address of a collector.
    pub(super) fn start(endpoint: &str, percent: u8, node_name: &str) -> Result<Self, ExportError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("traces")
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .build()?;
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        let resource = Resource::builder()
            .with_service_name("pantherd")
            .with_attributes([
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("service.instance.id", node_name.to_owned()),
            ])
            .build();
        processor.set_resource(&resource);
        drop(entered);
        Ok(Self {
            _runtime: runtime,
            processor,
            scope: InstrumentationScope::builder("pantherd").build(),
            below: match percent {
                100.. => u128::MAX,
                percent => u128::MAX / 100 * u128::from(percent),
            },
        })
    }

    fn data(
        &self,
        of_span: &SpanContext,
        trace: u128,
        name: &'static str,
        attributes: Vec<KeyValue>,
    ) -> SpanData {
        SpanData {
            span_context: OtelContext::new(
                TraceId::from(trace),
                SpanId::from(of_span.span),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: SpanId::from(of_span.parent),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: of_span.began,
            end_time: SystemTime::now(),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Exporter {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = SpanAttributes(Vec::new());
        attributes.record(&mut fields);
        span.extensions_mut().replace(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<SpanAttributes>() {
            values.record(fields);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        let mut extensions = span.extensions_mut();
        let fields = extensions.remove::<SpanAttributes>();
        let Some(of_span) = extensions.get_mut::<SpanContext>() else {
            return;
        };
        let Some(trace) = of_span.trace.filter(|trace| *trace <= self.below) else {
            return;
        };
        let mut attributes = fields.map_or_else(Vec::new, |fields| fields.0);
        if let Some(component) = &of_span.component {
            attributes.push(KeyValue::new("panther.component", component.to_string()));
        }
        self.processor
            .on_end(self.data(of_span, trace, span.name(), attributes));
    }
}

impl Visit for SpanAttributes {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match i64::try_from(value) {
            Ok(value) => self.add(field, value),
            Err(_) => self.add(field, value.to_string()),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }
}

impl SpanAttributes {
    fn add(&mut self, field: &Field, value: impl Into<opentelemetry::Value>) {
        // The span itself says these.
        if !matches!(
            field.name(),
            "trace_id" | "span_id" | "parent_span_id" | "component"
        ) {
            self.0.push(KeyValue::new(field.name(), value.into()));
        }
    }
}
