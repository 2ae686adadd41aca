//! The plan of every handler is pure: it changes nothing, and it is the same if it runs again on the same rows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use panther_actors::catalogue::{Built, Kind};
use panther_actors::components::alert_delivery::AlertDelivery;
use panther_actors::components::layer_manager::{BuildRequest, LayerManager};
use panther_actors::components::log_alert_forwarder::LogAlertForwarder;
use panther_actors::components::log_processor::LogProcessor;
use panther_actors::components::rules_engine::{DEDUP, RulesEngine};
use panther_actors::components::storage_collector::StorageCollector;
use panther_actors::components::{catalogue, objects};
use panther_actors::worker::{Context, Handler, Plan, PlanContext};
use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::state::read::{self, Query};
use panther_proto::trace::TraceContext;
use panther_proto::v1::{FeedRecord, Message, Send, Transact};
use prost::Message as _;
use serde_json::json;

use crate::support::{World, samples};

const PACK: &str = "panther-analysis";

/// Every row of every table, the counters of every queue, and the file of every object.
#[derive(Debug, PartialEq)]
struct Everything {
    tables: BTreeMap<String, Vec<read::KeyedRow>>,
    queues: String,
    objects: BTreeSet<PathBuf>,
}

fn add_files(files: &mut BTreeSet<PathBuf>, folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add_files(files, &path);
        } else {
            files.insert(path);
        }
    }
}

async fn everything(world: &World) -> Everything {
    let names = world.door.read(|store| read::tables(store)).await.unwrap();
    let mut tables = BTreeMap::new();
    for spec in names {
        let query = Query {
            table: spec.name.clone(),
            ..Query::default()
        };
        tables.insert(spec.name, world.door.query_all(query).await.unwrap());
    }
    let mut objects = BTreeSet::new();
    add_files(&mut objects, world.objects.folder().unwrap());
    Everything {
        tables,
        queues: format!("{:?}", world.door.all_counts().await.unwrap()),
        objects,
    }
}

fn context(world: &World, attempt: &str) -> Context {
    Context {
        door: world.door.clone(),
        received_ms: 1_772_719_500_000,
        attempt: attempt.to_owned(),
        trace: TraceContext::mint(),
    }
}

/// Plans the same work twice, and proves that both plans are equal and that nothing has changed.
async fn plan<H: Handler>(world: &World, work: &H::Work, message: &Message) -> Plan {
    let context = PlanContext::from(&context(world, &format!("{}-1", message.id)));
    let before = everything(world).await;
    let first = H::plan(work, message, &context).await.unwrap();
    let second = H::plan(work, message, &context).await.unwrap();
    assert_eq!(first, second, "a second plan differs");
    assert_eq!(everything(world).await, before, "a plan has changed state");
    first
}

async fn worked<H: Handler>(world: &World, handler: &H, message: &Message) -> H::Work {
    handler.ready().await.unwrap();
    let context = context(world, &format!("{}-1", message.id));
    handler.work(message, &context).await.unwrap()
}

/// Commits a plan as the worker does, without its sends.
async fn commit(world: &World, plan: &Plan) {
    for object in &plan.objects {
        let put = world.objects.put(&object.name, object.content.clone());
        put.await.unwrap();
    }
    let transact = Transact {
        changes: plan.changes.clone(),
        ..Transact::default()
    };
    world.door.transact(transact).await.unwrap();
}

fn message(id: &str, body: impl Into<bytes::Bytes>) -> Message {
    Message {
        id: id.to_owned(),
        body: body.into(),
        ..Message::default()
    }
}

fn received(id: &str, send: &Send) -> Message {
    Message {
        attributes: send.attributes.clone(),
        ..message(id, send.body.clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_plan_is_pure() {
    let world = World::start().await;
    world.upload(&samples().join("pack")).await.unwrap();
    let delivered = world.folder.path().join("delivered.ndjson");
    let output = json!({"displayName": "file", "outputConfig": {"file": {"path": delivered}}, "defaultForSeverity": ["INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL"]});
    let output = world.invoke("panther-outputs-api", "addOutput", output);
    let output = output.await.unwrap()["outputId"]
        .as_str()
        .unwrap()
        .to_owned();
    let (source, _) = world.http_source("nginx", &["Nginx.Access"]).await;
    // Nothing else changes the state from here on.
    world.system.stop(Duration::from_secs(10)).await;
    let deps = world.system.deps();
    let mut tried = BTreeSet::new();

    let mut text = Vec::new();
    for entry in std::fs::read_dir(samples().join("logs/nginx")).unwrap() {
        text.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    text.extend_from_slice(b"no line of any log type\n");
    world.objects.put("raw/one", text.into()).await.unwrap();
    let mut named = message("m1", objects::s3_event("raw/one", 1).to_string());
    named.attributes.insert("source".to_owned(), source);
    let processor = LogProcessor::new(deps);
    let work = worked(&world, &processor, &named).await;
    let processed = plan::<LogProcessor>(&world, &work, &named).await;
    assert!(!processed.changes.is_empty() && !processed.sends.is_empty());
    tried.insert("panther-log-processor");

    let events = received("m2", &processed.sends[0]);
    let engine = RulesEngine::new(deps);
    let work = worked(&world, &engine, &events).await;
    let matched = plan::<RulesEngine>(&world, &work, &events).await;
    assert!(!matched.objects.is_empty() && !matched.sends.is_empty());
    commit(&world, &matched).await;
    // After a conflict: the alerts are open by now, and the objects that name them are others.
    let extended = plan::<RulesEngine>(&world, &work, &events).await;
    assert_ne!(extended.changes, matched.changes);
    commit(&world, &extended).await;
    tried.insert("panther-rules-engine");

    let query = Query {
        table: DEDUP.to_owned(),
        ..Query::default()
    };
    let (_, alert) = world.door.query_all(query).await.unwrap().swap_remove(0);
    let record = FeedRecord {
        new: Some(alert),
        ..FeedRecord::default()
    };
    let record = message("m3", record.encode_to_vec());
    let work = worked(&world, &LogAlertForwarder, &record).await;
    let opened = plan::<LogAlertForwarder>(&world, &work, &record).await;
    assert!(!opened.changes.is_empty() && !opened.sends.is_empty());
    commit(&world, &opened).await;
    plan::<LogAlertForwarder>(&world, &work, &record).await;
    tried.insert("panther-log-alert-forwarder");

    let delivery = AlertDelivery::new(deps).unwrap();
    let alert = received("m4", &opened.sends[0]);
    let work = worked(&world, &delivery, &alert).await;
    let routed = plan::<AlertDelivery>(&world, &work, &alert).await;
    assert_eq!(routed.sends[0].attributes["outputId"], output);
    let alert = received("m5", &routed.sends[0]);
    let work = worked(&world, &delivery, &alert).await;
    let recorded = plan::<AlertDelivery>(&world, &work, &alert).await;
    assert_eq!(recorded.changes.len(), 1);
    tried.insert("panther-alert-delivery");

    let layers = LayerManager::new(deps);
    let live = deps.live.pointer().await.unwrap().unwrap();
    let request = BuildRequest {
        object: live.object,
        ..BuildRequest::default()
    };
    for (id, body) in [
        ("m6", b"GLOBAL".to_vec()),
        ("m7", serde_json::to_vec(&request).unwrap()),
    ] {
        let rebuild = message(id, body);
        let work = worked(&world, &layers, &rebuild).await;
        let built = plan::<LayerManager>(&world, &work, &rebuild).await;
        assert!(!built.changes.is_empty());
    }
    tried.insert("panther-layer-manager");

    let hourly = message("m8", "");
    worked(&world, &StorageCollector::new(deps), &hourly).await;
    let nothing = plan::<StorageCollector>(&world, &(), &hourly).await;
    assert_eq!(nothing, Plan::default());
    tried.insert("panther-storage-collector");

    let workers = catalogue().all().filter(|component| {
        let work = component.work.as_ref();
        component.kind == Kind::Function
            && component.built != Built::No
            && work.is_some_and(|work| work.source.is_some())
    });
    let workers: BTreeSet<&str> = workers.map(|component| &*component.name).collect();
    assert_eq!(tried, workers, "a handler is not tried here");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_built_version_that_a_newer_upload_has_superseded_does_not_become_live() {
    let world = World::start().await;
    world.upload(&samples().join("pack")).await.unwrap();
    world.system.stop(Duration::from_secs(10)).await;
    let deps = world.system.deps();
    let layers = LayerManager::new(deps);
    let live = deps.live.pointer().await.unwrap().unwrap();
    let request = BuildRequest {
        object: live.object.clone(),
        ..BuildRequest::default()
    };
    let build = message("m1", serde_json::to_vec(&request).unwrap());
    let work = worked(&world, &layers, &build).await;
    let built = plan::<LayerManager>(&world, &work, &build).await;

    // Before the commit the engine is not in use; after it the engine is.
    assert!(deps.live.running().is_none());
    let command = Transact {
        changes: built.changes.clone(),
        ..Transact::default()
    };
    layers.committed(work, &command);
    assert_eq!(deps.live.running().unwrap().pack.version, live.version);
    deps.live.stop().await;

    // A newer upload arrives while the version is being built.
    let work = worked(&world, &layers, &build).await;
    let pending = Change::put(PACK, change::key("@pending"))
        .set("object", "packs/newer")
        .set("state", "building");
    let transact = Transact {
        changes: vec![pending.done()],
        ..Transact::default()
    };
    world.door.transact(transact).await.unwrap();
    let refused = Transact {
        changes: built.changes,
        ..Transact::default()
    };
    world.door.transact(refused).await.unwrap_err();
    assert_eq!(
        plan::<LayerManager>(&world, &work, &build).await,
        Plan::default()
    );
    layers.committed(work, &Transact::default());
    assert!(deps.live.running().is_none());
    let pending = world.door.get(PACK, &change::key("@pending")).await;
    let pending = pending.unwrap().unwrap();
    assert_eq!(pending.text("object"), Some("packs/newer"));
    assert_eq!(deps.live.pointer().await.unwrap(), Some(live));
    world.stop().await;
}
