//! One event, traced from the door to the destination: over three nodes, through failures of the destination, a dead letter, a requeue and a change of
//! the leader. The hops that the cluster keeps, and the spans that a collector gets, are of one trace.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use parking_lot::Mutex;
use serde_json::Value;
use tonic::{Request, Response, Status};

use crate::cluster::{Cluster, PATIENCE, Store};
use crate::doors;
use crate::node::{Node, count, items, text};
use crate::{During, Failure, Result, until};

const SOURCE: &str = "posted";
/// The trace of the sender, and its span.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// A request that matches a rule of the samples.
const LINE: &str = "10.9.0.1 - - [05/Mar/2026:14:00:00 +0000] \"GET /1/.env HTTP/1.1\" 404 153 \"-\" \"curl/8.5.0\"\n";
const DEAD_LETTERS: &str = "panther-alerts-queue-dlq";

/// A webhook that is down until it is repaired. It takes note of the trace of each request.
#[derive(Clone, Default)]
struct Webhook {
    works: Arc<AtomicBool>,
    traces: Arc<Mutex<Vec<String>>>,
}

impl Webhook {
    async fn serve(&self) -> Result<SocketAddr> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .during("listening for alerts")?;
        let address = listener.local_addr().during("listening for alerts")?;
        let router = Router::new()
            .route("/alerts", post(Self::take))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(address)
    }

    async fn take(State(webhook): State<Self>, headers: HeaderMap) -> (StatusCode, HeaderMap) {
        let trace = headers.get("traceparent").and_then(|it| it.to_str().ok());
        let trace = trace.unwrap_or_default().to_owned();
        webhook.traces.lock().push(trace);
        let mut answer = HeaderMap::new();
        if webhook.works.load(Ordering::Relaxed) {
            return (StatusCode::OK, answer);
        }
        answer.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        (StatusCode::SERVICE_UNAVAILABLE, answer)
    }
}

/// The spans of [`TRACE`]: their names by the node that sent them.
type Spans = BTreeMap<String, BTreeSet<String>>;

/// An OpenTelemetry collector.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Spans>>,
}

impl Collector {
    async fn serve(&self) -> Result<SocketAddr> {
        let listener =
            std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).during("listening for spans")?;
        let address = listener.local_addr().during("listening for spans")?;
        drop(listener);
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(self.clone()))
            .serve(address);
        tokio::spawn(server);
        Ok(address)
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> std::result::Result<Response<ExportTraceServiceResponse>, Status> {
        for of_node in request.into_inner().resource_spans {
            let attributes = of_node.resource.map(|resource| resource.attributes);
            let node = attributes
                .into_iter()
                .flatten()
                .find(|attribute| attribute.key == "service.instance.id")
                .map(|attribute| format!("{:?}", attribute.value))
                .unwrap_or_default();
            let spans = of_node
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans);
            let own = spans.filter(|span| hex(&span.trace_id) == TRACE);
            let mut known = self.spans.lock();
            known
                .entry(node)
                .or_default()
                .extend(own.map(|span| span.name));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs the test.
///
/// # Errors
/// A hop or a span is missing.
pub async fn run() -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("panther-trace-")
        .tempdir()
        .during("making a folder")?;
    let collector = Collector::default();
    let address = collector.serve().await?;
    let objects = folder.path().join("objects");
    std::fs::create_dir_all(&objects).during("making the folder of objects")?;
    let mut store = Store::folder(&objects);
    store.environment.push((
        "PANTHER__TRACES__OTLP_ENDPOINT".to_owned(),
        format!("http://{address}"),
    ));
    let cluster = Cluster::three_with(folder.path().to_owned(), store).await?;
    let ran = played(&cluster, &collector).await;
    ran.map_err(|failure| failure.with_words(|| cluster.last_words()))
}

async fn played(cluster: &Cluster, collector: &Collector) -> Result<()> {
    let webhook = Webhook::default();
    let address = webhook.serve().await?;
    let first = cluster.at(1)?;
    let pack = crate::samples().join("pack").display().to_string();
    first.ctl(&["detections", "upload", &pack]).await?;
    let url = format!("http://{address}/alerts");
    first
        .ctl(&["outputs", "add", "webhook", "down", &url])
        .await?;
    let words = [
        "sources",
        "add",
        "http",
        SOURCE,
        "--log-types",
        "Nginx.Access",
    ];
    let token = text(&first.ctl(&words).await?, "token");
    let answer = post_line(first, &token).await?;
    if text(&answer, "trace_id") != TRACE {
        return Err(Failure::Broken(format!(
            "the answer names another trace: {answer}"
        )));
    }
    until("the alert is a dead letter", PATIENCE, async || {
        let queue = cluster.at(1)?.ctl(&["queue", "peek", DEAD_LETTERS]).await?;
        let letters = items(&queue, "messages").len();
        Ok((letters == 0).then(|| "no dead letter yet".to_owned()))
    })
    .await?;
    let leader = cluster.leader().await?;
    let next = (leader % 3) + 1;
    let next = next.to_string();
    cluster
        .at(leader)?
        .ctl(&["cluster", "transfer-leader", &next])
        .await?;
    webhook.works.store(true, Ordering::Relaxed);
    let words = ["requeue", "panther-alerts-queue", "--yes"];
    cluster.at(leader)?.ctl(&words).await?;
    let asked = cluster.at(2)?;
    until("the trace ends at the destination", PATIENCE, async || {
        let answer = asked.ctl(&["trace", TRACE]).await?;
        Ok(missing(&answer))
    })
    .await?;
    let answer = asked.ctl(&["trace", TRACE]).await?;
    same_by_alert_and_event(asked, &answer).await?;
    let traces = webhook.traces.lock().clone();
    if let Some(other) = traces.iter().find(|trace| !trace.contains(TRACE)) {
        return Err(Failure::Broken(format!(
            "a request of the destination has the trace {other:?}"
        )));
    }
    until("all nodes send spans", PATIENCE, async || {
        let spans = collector.spans.lock().clone();
        Ok(without(&spans))
    })
    .await
}

async fn post_line(node: &Node, token: &str) -> Result<Value> {
    let url = format!("http://{}/ingest/{SOURCE}", node.ingest());
    let answer = doors::client()?
        .post(url)
        .bearer_auth(token)
        .header("traceparent", TRACEPARENT)
        .body(LINE)
        .send()
        .await
        .during("posting a line")?;
    answer.json().await.during("reading the answer")
}

/// The step that the hops do not show yet.
fn missing(answer: &Value) -> Option<String> {
    let hops = items(answer, "hops");
    let of = |component: &str, failed: bool| {
        hops.iter()
            .filter(|hop| text(hop, "component") == component && hop["failed"] == failed)
            .count()
    };
    let wanted = [
        ("door http", false, 1),
        ("panther-log-processor", false, 1),
        ("panther-rules-engine", false, 1),
        ("panther-log-alert-forwarder", false, 1),
        // It is routed, and delivered after the requeue.
        ("panther-alert-delivery", false, 2),
        ("panther-alert-delivery", true, 10),
    ];
    wanted
        .iter()
        .find(|(component, failed, times)| of(component, *failed) < *times)
        .map(|(component, failed, times)| {
            format!("{component} has fewer than {times} hops (failed: {failed}) in {answer}")
        })
}

/// The alert and the event lead to the same trace.
async fn same_by_alert_and_event(node: &Node, answer: &Value) -> Result<()> {
    let alerts = items(answer, "hops")
        .iter()
        .flat_map(|hop| items(hop, "alerts"));
    let alert = alerts.filter_map(Value::as_str).next().unwrap_or_default();
    let by_alert = node.ctl(&["trace", alert]).await?;
    let events = node.ctl(&["alerts", "show", alert]).await?;
    let event = items(&events, "events")
        .first()
        .cloned()
        .unwrap_or_default();
    let event = match &event {
        Value::String(json) => serde_json::from_str(json).unwrap_or_default(),
        other => other.clone(),
    };
    let by_event = node.ctl(&["trace", &text(&event, "p_row_id")]).await?;
    for found in [&by_alert, &by_event] {
        if text(found, "trace_id") != TRACE {
            return Err(Failure::Broken(format!("another trace: {found}")));
        }
    }
    if count(&by_event["raw"], "record") == 0 && items(&by_event, "matches").is_empty() {
        return Err(Failure::Broken(format!(
            "the event has no match: {by_event}"
        )));
    }
    Ok(())
}

/// The span that no node has sent yet. Each node applies the commands of the trace.
fn without(spans: &Spans) -> Option<String> {
    let applied = spans.values().filter(|names| names.contains("apply"));
    if applied.count() < 3 {
        return Some(format!(
            "not all nodes have sent spans of the trace: {spans:?}"
        ));
    }
    let all: BTreeSet<&String> = spans.values().flatten().collect();
    [
        "store",
        "message",
        "transact",
        "propose",
        "write object",
        "evaluate",
        "deliver",
    ]
    .into_iter()
    .find(|name| !all.iter().any(|known| known == name))
    .map(|name| format!("no span {name} in {spans:?}"))
}
