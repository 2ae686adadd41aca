//! What general tools see of a node: its services, its health, and errors with a code.

use panther_proto::methods::methods;
use panther_proto::raw;
use serde_json::json;
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::daemon::Daemon;

async fn connect(daemon: &Daemon) -> Channel {
    let address = format!("unix:{}", daemon.socket.display());
    let endpoint = Endpoint::from_shared(address).unwrap();
    endpoint.connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_list_all_services_and_ask_for_health() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path(), &["--ingest", ""]);
    let channel = connect(&daemon).await;

    let everything = HealthCheckRequest::default();
    let health = HealthClient::new(channel.clone()).check(everything).await;
    let health = health.unwrap().into_inner();
    assert_eq!(health.status(), ServingStatus::Serving);

    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::once(list))
        .await;
    let answer = answers.unwrap().into_inner().next().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(listed)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let listed: Vec<&str> = listed
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    for method in methods().all() {
        let service = format!("panther.v1.{}", method.service);
        assert!(listed.contains(&service.as_str()), "{listed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_carries_a_code_and_a_text() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path(), &["--ingest", ""]);
    let method = methods()
        .by_operation("panther-outputs-api", "getOutput")
        .unwrap();
    for (input, code) in [
        (json!({"outputId": "none"}), "not_found"),
        (json!({}), "invalid"),
    ] {
        let channel = connect(&daemon).await;
        let refused = raw::call_json(channel, method, &input, None, 1 << 20).await;
        let refused = refused.unwrap_err();
        let told = refused.metadata().get(raw::ERROR_CODE).unwrap();
        assert_eq!(told.to_str().unwrap(), code, "{refused:?}");
        assert!(!refused.message().is_empty());
    }
}
