//! Node and component on each line of the log, so that lines of several nodes and functions can be told apart in one place.

use std::fmt;
use std::sync::OnceLock;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent};
use tracing_subscriber::registry::LookupSpan;

use super::spans::SpanContext;

/// The number of this node. A process is one node.
static NODE: OnceLock<u64> = OnceLock::new();

/// The component of a line that belongs to no component of the run book.
const NODE_ITSELF: &str = "node";

/// Says the number of this node, which is known once its data folder is open.
pub(crate) fn name_node(number: u64) {
    let _ = NODE.set(number); // a process is one node
}

/// The time of a line, followed by the node.
pub(super) struct TimeAndNode;

impl FormatTime for TimeAndNode {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        SystemTime.format_time(writer)?;
        match NODE.get() {
            Some(node) => write!(writer, " node={node}"),
            None => Ok(()),
        }
    }
}

/// Lines of JSON with the fields `node`, `component` and, within a trace, `trace_id`.
pub(super) struct JsonLines<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for JsonLines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        let Some(rest) = line.strip_prefix('{') else {
            return writer.write_str(&line);
        };
        writer.write_char('{')?;
        if let Some(node) = NODE.get() {
            write!(writer, "\"node\":{node},")?;
        }
        let span = context.lookup_current();
        let extensions = span
            .as_ref()
            .map(tracing_subscriber::registry::SpanRef::extensions);
        let of_span = extensions
            .as_ref()
            .and_then(|extensions| extensions.get::<SpanContext>());
        let has = |name: &str| event.metadata().fields().field(name).is_some();
        if !has("component") {
            let component = of_span.and_then(|span| span.component.as_deref());
            // A name of the catalogue: letters and hyphens.
            write!(
                writer,
                "\"component\":\"{}\",",
                component.unwrap_or(NODE_ITSELF)
            )?;
        }
        if let Some(trace) = of_span
            .and_then(|span| span.trace)
            .filter(|_| !has("trace_id"))
        {
            write!(writer, "\"trace_id\":\"{trace:032x}\",")?;
        }
        writer.write_str(rest)
    }
}
