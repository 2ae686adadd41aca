//! Frames and messages between the host and its Python processes.
//!
//! A frame is a big-endian u32 length, one byte of kind (`J` for one JSON object, `B` for bytes that belong to the message before) and its payload.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::key_value::{KeyValueChange, KeyValueRow};
use crate::verdict::{Outputs, RuleError, Tested};

/// Largest frame, in bytes.
const MAX_FRAME: usize = 64 << 20;
/// Most descriptors that go with a message.
const DESCRIPTORS: usize = 2;
const JSON: u8 = b'J';
const BYTES: u8 = b'B';

/// Why nothing more is to be had from a peer.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("it closed the connection")]
    Closed,
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("it broke the protocol: {0}")]
    Protocol(String),
}

/// A connection to a Python process.
#[derive(Debug)]
pub(super) struct Wire {
    framed: Framed<UnixStream, LengthDelimitedCodec>,
}

impl Wire {
    pub(super) fn new(stream: UnixStream) -> Self {
        let codec = LengthDelimitedCodec::builder()
            .length_field_length(4)
            .max_frame_length(MAX_FRAME)
            .new_codec();
        Self {
            framed: Framed::new(stream, codec),
        }
    }

    pub(super) async fn send(&mut self, message: &impl Serialize) -> Result<(), WireError> {
        self.framed.send(json_frame(message)?).await.map_err(closed)
    }

    /// Sends a message and the bytes that belong to it.
    pub(super) async fn send_with(
        &mut self,
        message: &impl Serialize,
        body: Body,
    ) -> Result<(), WireError> {
        self.framed
            .feed(json_frame(message)?)
            .await
            .map_err(closed)?;
        self.framed.send(body.frame.freeze()).await.map_err(closed)
    }

    /// Sends a message, and with it descriptors for the peer to have as well.
    pub(super) async fn send_with_descriptors(
        &mut self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), WireError> {
        let frame = json_frame(message)?;
        let length = u32::try_from(frame.len())
            .map_err(|_| WireError::Protocol("a message too big for a frame".to_owned()))?;
        let bytes = [&length.to_be_bytes()[..], &frame].concat();
        let stream = self.framed.get_mut();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let sent = stream.async_io(Interest::WRITABLE, || {
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
                return Err(io::Error::other("too many descriptors for a message"));
            }
            let flags = SendFlags::NOSIGNAL;
            Ok(sendmsg(
                &*stream,
                &[IoSlice::new(&bytes)],
                &mut ancillary,
                flags,
            )?)
        });
        let sent = sent.await.map_err(closed)?;
        stream.write_all(&bytes[sent..]).await.map_err(closed)
    }

    /// The next message. May be dropped and called again without losing a byte.
    pub(super) async fn receive<T: DeserializeOwned>(&mut self) -> Result<T, WireError> {
        let frame = self.frame().await?;
        match frame.split_first() {
            Some((&JSON, payload)) => serde_json::from_slice(payload)
                .map_err(|error| WireError::Protocol(error.to_string())),
            _ => Err(WireError::Protocol("a frame that is no message".to_owned())),
        }
    }

    /// The bytes that belong to the message before.
    pub(super) async fn receive_body(&mut self) -> Result<Bytes, WireError> {
        let mut frame = self.frame().await?.freeze();
        match frame.first() {
            Some(&BYTES) => Ok(frame.split_off(1)),
            _ => Err(WireError::Protocol(
                "a message where bytes were due".to_owned(),
            )),
        }
    }

    async fn frame(&mut self) -> Result<BytesMut, WireError> {
        match self.framed.next().await {
            None => Err(WireError::Closed),
            Some(Ok(frame)) => Ok(frame),
            Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Err(WireError::Protocol(error.to_string()))
            }
            Some(Err(error)) => Err(closed(error)),
        }
    }
}

fn closed(error: io::Error) -> WireError {
    match error.kind() {
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::UnexpectedEof => WireError::Closed,
        _ => WireError::Io(error),
    }
}

fn json_frame(message: &impl Serialize) -> Result<Bytes, WireError> {
    let mut frame = BytesMut::with_capacity(256).writer();
    frame.get_mut().put_u8(JSON);
    serde_json::to_writer(&mut frame, message)
        .map_err(|error| WireError::Protocol(error.to_string()))?;
    Ok(frame.into_inner().freeze())
}

/// Bytes that follow a message.
#[derive(Debug)]
pub(super) struct Body {
    frame: BytesMut,
}

impl Body {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        let mut frame = BytesMut::with_capacity(bytes + 1);
        frame.put_u8(BYTES);
        Self { frame }
    }

    pub(super) fn push(&mut self, part: &[u8]) {
        self.frame.put_slice(part);
    }
}

/// What the Python side says.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(super) enum FromPython {
    Hello,
    Loaded(Box<Loaded>),
    Events {
        batch: u32,
        events: Vec<EventResults>,
    },
    Done {
        batch: u32,
        micros: u64,
    },
    /// Something that all detections share has been changed, by the rule or by some rule up to this event.
    Changed {
        batch: u32,
        i: u32,
        rule: Option<u32>,
        what: String,
    },
    Tested {
        id: u32,
        results: Vec<Tested>,
        spoilt: bool,
    },
    Explained {
        id: u32,
        explanation: Box<Explanation>,
        spoilt: bool,
    },
    KvGet {
        key: String,
    },
}

#[derive(Debug, Deserialize)]
pub(super) struct Loaded {
    pub(super) python: String,
    pub(super) detections: Vec<LoadedItem>,
    #[serde(default)]
    pub(super) data_models: Vec<LoadedNamed>,
    #[serde(default)]
    pub(super) globals: Vec<LoadedNamed>,
    /// What code of the pack can do on this node that it should not.
    pub(super) unenforced: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LoadedItem {
    pub(super) index: u32,
    #[serde(default)]
    pub(super) functions: Vec<String>,
    #[serde(default)]
    pub(super) error: Option<RuleError>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LoadedNamed {
    pub(super) id: String,
    #[serde(default)]
    pub(super) error: Option<RuleError>,
}

/// What came of one event of a batch.
#[derive(Debug, Deserialize)]
pub(super) struct EventResults {
    /// Its number in the batch.
    pub(super) i: u32,
    pub(super) results: Vec<RuleResult>,
    #[serde(default)]
    pub(super) kv: Vec<KeyValueChange>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RuleResult {
    pub(super) rule: u32,
    #[serde(default, rename = "match")]
    pub(super) matched: Option<Box<Outputs>>,
    #[serde(default)]
    pub(super) error: Option<Box<RuleError>>,
}

/// Why a detection said what it said of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// What `rule()` or `policy()` returned.
    pub verdict: Option<bool>,
    /// What it raised instead.
    pub error: Option<RuleError>,
    /// The conditions and returned values on the way, of all functions of the detection's file, in their order.
    pub steps: Vec<Step>,
    /// The condition from which the verdict follows.
    pub decided: Option<Decided>,
    /// What it printed, up to some kilobytes.
    #[serde(default)]
    pub printed: String,
}

/// A condition, or a returned value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The line in the detection's file.
    pub line: u32,
    /// `test`, `return`, `set` for a name that was given a value, or `raise` for the line that raised, which is the last step.
    pub kind: String,
    /// Its Python, on one line, cut to 200 characters.
    pub code: String,
    /// What it gave, as Python writes it, cut to 200 characters.
    pub value: String,
    /// What it is made of, as far as that was looked at.
    pub operands: Vec<Operand>,
}

/// The condition that decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// The line in the detection's file.
    pub line: u32,
    /// Its Python.
    pub code: String,
    /// What it gave.
    pub value: Option<String>,
    /// What it is made of.
    pub operands: Vec<Operand>,
}

/// A part of a condition, and what it gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operand {
    /// Its Python.
    pub code: String,
    /// What it gave.
    pub value: String,
}

/// What the host says.
#[derive(Debug, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(super) enum ToPython<'a> {
    Load,
    Fork {
        worker: u32,
        limits: Limits,
    },
    Quit,
    Batch {
        id: u32,
        now: f64,
        /// How many of the first events are looked at rule by rule for what all share.
        careful: u32,
        events: Vec<BatchEvent<'a>>,
    },
    Test {
        id: u32,
        detection: u32,
        now: f64,
        tests: Vec<BatchTest<'a>>,
    },
    Explain {
        id: u32,
        detection: u32,
        now: f64,
        log_type: &'a str,
    },
    Kv {
        key: &'a str,
        row: Option<KeyValueRow>,
    },
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Limits {
    pub(super) memory_bytes: u64,
    pub(super) rule_ms: u64,
    pub(super) cpu_seconds: Option<u64>,
    pub(super) files: u64,
    pub(super) processes: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct BatchEvent<'a> {
    pub(super) log_type: &'a str,
    pub(super) len: usize,
    pub(super) rules: &'a [u32],
}

#[derive(Debug, Serialize)]
pub(super) struct BatchTest<'a> {
    pub(super) name: &'a str,
    pub(super) mocks: &'a [crate::pack::Mock],
    pub(super) len: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn frames_are_as_the_protocol_says() {
        let (host, mut peer) = UnixStream::pair().unwrap();
        let mut wire = Wire::new(host);
        let mut body = Body::with_capacity(3);
        body.push(b"ab");
        body.push(b"c");
        wire.send_with(&json!({"x": 1}), body).await.unwrap();
        let mut sent = [0; 20];
        peer.read_exact(&mut sent).await.unwrap();
        assert_eq!(&sent, b"\0\0\0\x08J{\"x\":1}\0\0\0\x04Babc");
    }

    #[tokio::test]
    async fn a_message_may_come_in_pieces_and_a_wait_for_it_may_be_dropped() {
        let (host, mut peer) = UnixStream::pair().unwrap();
        let mut wire = Wire::new(host);
        let frame = b"\0\0\0\x1bJ{\"op\":\"kv_get\",\"key\":\"some\"}";
        let mut frame = frame.to_vec();
        frame[3] = u8::try_from(frame.len() - 4).unwrap();
        peer.write_all(&frame[..7]).await.unwrap();
        let early = tokio::time::timeout(
            std::time::Duration::from_millis(20),
            wire.receive::<FromPython>(),
        )
        .await;
        assert!(early.is_err());
        peer.write_all(&frame[7..]).await.unwrap();
        assert!(matches!(wire.receive().await, Ok(FromPython::KvGet { key }) if key == "some"));
        drop(peer);
        assert!(matches!(
            wire.receive::<FromPython>().await,
            Err(WireError::Closed)
        ));
    }

    #[tokio::test]
    async fn what_is_no_frame_is_refused() {
        for bytes in [
            &b"\xff\xff\xff\xffJ"[..],
            b"\0\0\0\x02Bx",
            b"\0\0\0\x03J{}",
            b"\0\0\0\0",
            b"\0\0\0\x02J\xff",
        ] {
            let (host, mut peer) = UnixStream::pair().unwrap();
            let mut wire = Wire::new(host);
            peer.write_all(bytes).await.unwrap();
            let refused = wire.receive::<FromPython>().await;
            assert!(
                matches!(refused, Err(WireError::Protocol(_))),
                "{refused:?}"
            );
        }
    }
}
