//! Calls whose messages are encoded already: one client and one server for all methods of all APIs.

use std::pin::Pin;

use bytes::{Buf, BufMut, Bytes};
use serde_json::Value;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::UnaryService;
use tonic::{Request, Response, Status};

use crate::methods::{Method, methods};

/// Metadata: makes a retry of a changing call one effect with one answer.
pub const REQUEST_ID: &str = "panther-request-id";
/// Metadata: when the request was issued, milliseconds since 1970.
pub const REQUEST_TIME: &str = "panther-request-time-ms";
/// Metadata: who calls, in UTF-8.
pub const USER: &str = "panther-user-bin";
/// Metadata of a failed call: the stable code of the error.
pub const ERROR_CODE: &str = "panther-error-code";

/// Passes encoded messages on as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Calls a method with an encoded request; the answer may have up to `limit` bytes.
///
/// # Errors
/// The server cannot be reached, or as it says.
pub async fn call(
    channel: tonic::transport::Channel,
    path: &str,
    request: Request<Bytes>,
    limit: usize,
) -> Result<Response<Bytes>, Status> {
    let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(limit);
    client.ready().await.map_err(|error| {
        // What is behind it tells whether the connection broke.
        let mut status = Status::unknown(format!("the service was not ready: {error}"));
        status.set_source(std::sync::Arc::new(error));
        status
    })?;
    let path = http::uri::PathAndQuery::try_from(path)
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    client.unary(request, path, RawCodec).await
}

/// Calls a method with a request in JSON form; the answer in JSON form. `request` is the id of a change, and when it was issued.
///
/// # Errors
/// The JSON is not of the request's form, the server cannot be reached, or as it says.
pub async fn call_json(
    channel: tonic::transport::Channel,
    method: &Method,
    json: &Value,
    request: Option<(&str, u64)>,
    limit: usize,
) -> Result<Value, Status> {
    let encoded = method
        .request_from_json(json)
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    let mut message = Request::new(encoded);
    if let Some((id, time_ms)) = request {
        let id = id
            .parse()
            .map_err(|_| Status::invalid_argument("the request id is not ASCII"))?;
        message.metadata_mut().insert(REQUEST_ID, id);
        message.metadata_mut().insert(REQUEST_TIME, time_ms.into());
    }
    let answer = call(channel, &method.path, message, limit).await?;
    method
        .answer_to_json(answer.into_inner())
        .map_err(|error| Status::data_loss(error.to_string()))
}

/// A call as a server takes it.
#[derive(Debug)]
pub struct Call {
    /// The method.
    pub method: &'static Method,
    /// The encoded request with its metadata.
    pub request: Request<Bytes>,
}

/// Answers a gRPC call of any method of the APIs; request and answer may have up to `limit` bytes each.
pub async fn answer<B, F, A>(
    request: http::Request<B>,
    limit: usize,
    call: F,
) -> http::Response<tonic::body::Body>
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    F: Fn(Call) -> A + Send,
    A: Future<Output = Result<Response<Bytes>, Status>> + Send + 'static,
{
    let path = request.uri().path();
    let Some(method) = methods().by_path(path) else {
        return Status::unimplemented(format!("there is no method {path}")).into_http();
    };
    let mut server = tonic::server::Grpc::new(RawCodec)
        .max_decoding_message_size(limit)
        .max_encoding_message_size(limit);
    server.unary(Unary { method, call }, request).await
}

struct Unary<F> {
    method: &'static Method,
    call: F,
}

impl<F, A> UnaryService<Bytes> for Unary<F>
where
    F: Fn(Call) -> A,
    A: Future<Output = Result<Response<Bytes>, Status>> + Send + 'static,
{
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Status>> + Send>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let answer = (self.call)(Call {
            method: self.method,
            request,
        });
        Box::pin(answer)
    }
}
