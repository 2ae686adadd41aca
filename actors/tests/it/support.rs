use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use panther_actors::api::ApiError;
use panther_actors::ingest::IntakeSettings;
use panther_actors::system::{Caller, System, SystemSettings};
use panther_cluster::door::{Door, DoorSettings};
use panther_cluster::membership::Own;
use panther_cluster::objects::Objects;
use panther_detections::engine::EngineSettings;
use panther_proto::methods::methods;
use serde_json::{Value, json};

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) door: Door,
    pub(crate) system: System,
    pub(crate) objects: Objects,
}

pub(crate) fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples")
}

impl World {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (door, system, objects) = Self::open(folder.path(), 1).await;
        Self {
            folder,
            door,
            system,
            objects,
        }
    }

    /// As after a restore for a drill.
    pub(crate) async fn start_paused() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let word = folder.path().join("paused");
        std::fs::write(&word, "").unwrap();
        let (door, system, objects) = Self::open(folder.path(), 1).await;
        std::fs::remove_file(word).unwrap();
        Self {
            folder,
            door,
            system,
            objects,
        }
    }

    pub(crate) async fn open(folder: &Path, session: u64) -> (Door, System, Objects) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let door = Door::open(&folder.join("group"), 1, session, DoorSettings::default())
            .await
            .unwrap();
        let objects = Objects::local(&folder.join("objects")).unwrap();
        let settings = SystemSettings {
            version: "test".into(),
            node_name: "test".into(),
            data_dir: folder.to_owned(),
            door: door.clone(),
            objects: objects.clone(),
            engine: EngineSettings {
                workers: 2,
                profile_one_in: 1,
                ..EngineSettings::default()
            },
            trial: panther_actors::components::rules_engine::trial::Settings {
                each: 20,
                seed: 1,
                kept: folder.join("tried.json"),
            },
            sealing_key: [1; 32],
            replaces_sealing_key: false,
            intake: IntakeSettings {
                batch_bytes: 1 << 20,
                batch_time: Duration::from_millis(50),
                body_bytes: 64_000_000,
                connections: 512,
            },
            alarm_command: None,
            loop_stall: Duration::from_secs(5),
            ingest_url: "http://127.0.0.1:8686".into(),
            alert_link: None,
            callers: panther_actors::callers::Callers::default(),
            egress: panther_actors::egress::Egress::without(Vec::new()),
            paused: folder.join("paused").exists(),
            own: std::sync::Arc::new(Own {
                name: "test".into(),
                address: String::new(),
                version: "test".into(),
                authority: None,
                keeper: None,
                sealing_key: vec![1; 32],
            }),
            gate: std::sync::Arc::default(),
        };
        let system = System::start(settings).await.unwrap();
        (door, system, objects)
    }

    pub(crate) async fn restart(mut self, session: u64) -> Self {
        self.system.stop(Duration::from_secs(10)).await;
        self.door.close().await.unwrap();
        let folder = self.folder;
        drop((self.system, self.door, self.objects));
        let (door, system, objects) = Self::open(folder.path(), session).await;
        self = Self {
            folder,
            door,
            system,
            objects,
        };
        self
    }

    pub(crate) async fn invoke(
        &self,
        component: &str,
        operation: &str,
        input: Value,
    ) -> Result<Value, ApiError> {
        let method = methods()
            .by_operation(component, operation)
            .unwrap_or_else(|| panic!("{component} has no method {operation}"));
        self.system
            .call_json(&method.path, Caller::default(), &input)
            .await
    }

    pub(crate) async fn upload(&self, folder: &Path) -> Result<Value, ApiError> {
        let payload = zip(folder);
        let input = json!({"userId": "test", "data": STANDARD.encode(payload)});
        self.invoke("panther-analysis-api", "bulkUpload", input)
            .await
    }

    pub(crate) async fn http_source(&self, label: &str, log_types: &[&str]) -> (String, String) {
        let source = self.invoke("panther-source-api", "putIntegration", json!({"integrationLabel": label, "integrationType": "http", "logTypes": log_types})).await.unwrap();
        (
            source["integrationId"].as_str().unwrap().to_owned(),
            source["token"].as_str().unwrap().to_owned(),
        )
    }

    /// Posts a body, as the HTTP side does.
    pub(crate) async fn ingest(&self, source: &str, token: &str, body: impl Into<Bytes>) {
        let intake = self.system.intake();
        let admitted = intake.admit(source, token).await.unwrap();
        let body = intake.budget().hold(body.into()).unwrap();
        intake.take(&admitted, body, None, None).await.unwrap();
    }

    /// Waits until every queue is empty, dead letters left aside; the test's own end if that does not happen.
    pub(crate) async fn settle(&self) {
        let started = Instant::now();
        loop {
            let queues = self.invoke("node", "queues", json!({})).await.unwrap();
            let busy: Vec<String> = queues["queues"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|queue| {
                    queue["kind"] != "dlq"
                        && queue["waiting"].as_u64().unwrap()
                            + queue["in_flight"].as_u64().unwrap()
                            + queue["delayed"].as_u64().unwrap()
                            > 0
                })
                .map(Value::to_string)
                .collect();
            if busy.is_empty() {
                return;
            }
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "queues do not drain: {busy:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn until(&self, what: &str, mut look: impl AsyncFnMut() -> bool) {
        let started = Instant::now();
        while !look().await {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "{what}: not in a minute"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn stop(self) {
        self.system.stop(Duration::from_secs(10)).await;
        self.door.close().await.unwrap();
    }
}

pub(crate) fn zip(folder: &Path) -> Bytes {
    fn add(zip: &mut zip::ZipWriter<std::io::Cursor<Vec<u8>>>, root: &Path, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add(zip, root, &path);
            } else {
                let name = path
                    .strip_prefix(root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                zip.start_file(name, zip::write::SimpleFileOptions::default())
                    .unwrap();
                zip.write_all(&std::fs::read(&path).unwrap()).unwrap();
            }
        }
    }
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    add(&mut zip, folder, folder);
    zip.finish().unwrap().into_inner().into()
}
