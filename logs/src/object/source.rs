//! Byte source of an object: decompresses gzip and zstd, and enforces limits.

mod zstd;

use std::io::{self, BufReader, Chain, Cursor, ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;
use zstd::Zstd;

use super::{Limits, ObjectError};

const BUFFER: usize = 64 << 10;
/// Number of bytes needed to detect the format of a stream.
const MAGIC: usize = 10;

pub(super) struct Source<R: Read> {
    object: String,
    limits: Limits,
    bytes: u64,
    stream: Stream<R>,
}

/// The stored bytes, with the detected prefix put back.
type Bytes<R> = Counted<Chain<Cursor<Vec<u8>>, R>>;

/// The stored stream, buffered.
type Stored<R> = BufReader<Bytes<R>>;

enum Stream<R: Read> {
    Plain(Stored<R>),
    Gzip(Box<MultiGzDecoder<Stored<R>>>),
    Zstd(Box<Zstd<Stored<R>>>),
}

/// Counts the bytes read and remembers read failures, because the decoders' errors do not distinguish a failed read from bad data.
struct Counted<R> {
    inner: R,
    bytes: u64,
    failed: bool,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(count) => {
                self.bytes += count as u64;
                Ok(count)
            }
            Err(error) => {
                self.failed |= error.kind() != ErrorKind::Interrupted;
                Err(error)
            }
        }
    }
}

impl<R: Read> Source<R> {
    /// Detects compression from the first bytes.
    pub(super) fn open(object: &str, mut inner: R, limits: Limits) -> Result<Self, ObjectError> {
        let head = head(&mut inner).map_err(|cause| ObjectError::Read {
            object: object.into(),
            cause,
        })?;
        if let Some(found) = known_binary(&head) {
            return Err(ObjectError::NotText {
                object: object.into(),
                found,
            });
        }
        let gzip = head.starts_with(&[0x1f, 0x8b]);
        let zstd = zstd::begins(&head);
        let stored = BufReader::with_capacity(
            BUFFER,
            Counted {
                inner: Cursor::new(head).chain(inner),
                bytes: 0,
                failed: false,
            },
        );
        let stream = if gzip {
            Stream::Gzip(Box::new(MultiGzDecoder::new(stored)))
        } else if zstd {
            Stream::Zstd(Box::new(Zstd::new(stored)))
        } else {
            Stream::Plain(stored)
        };
        Ok(Self {
            object: object.into(),
            limits,
            bytes: 0,
            stream,
        })
    }

    /// Reads into `buffer`; returns the number of bytes, 0 at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ObjectError> {
        let result = loop {
            let result = match &mut self.stream {
                Stream::Plain(reader) => reader.read(buffer),
                Stream::Gzip(decoder) => decoder.read(buffer),
                Stream::Zstd(decoder) => decoder.read(buffer),
            };
            match result {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        let count = result.map_err(|cause| self.error(cause))?;
        self.bytes += count as u64;
        if self.bytes > self.limits.object_bytes {
            return Err(ObjectError::TooLarge {
                object: self.object.clone(),
                limit: self.limits.object_bytes,
            });
        }
        if let Some((compression, stored)) = self.compressed()
            && self.bytes > self.limits.ratio_from_bytes
            && self.bytes > stored.bytes.saturating_mul(self.limits.ratio)
        {
            return Err(ObjectError::Bomb {
                object: self.object.clone(),
                compression,
                bytes: self.bytes,
                limit: self.limits.ratio,
            });
        }
        Ok(count)
    }

    /// The name of the compression and the compressed stream; `None` for a plain stream.
    fn compressed(&self) -> Option<(&'static str, &Bytes<R>)> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Gzip(decoder) => Some(("gzip", decoder.get_ref().get_ref())),
            Stream::Zstd(decoder) => Some(("zstd", decoder.get_ref().get_ref())),
        }
    }

    fn error(&self, cause: io::Error) -> ObjectError {
        let object = self.object.clone();
        let bytes = self.bytes;
        match self.compressed() {
            Some((compression, stored)) if !stored.failed => match cause.kind() {
                ErrorKind::UnexpectedEof => ObjectError::Truncated {
                    object,
                    compression,
                    bytes,
                },
                _ => ObjectError::Corrupt {
                    object,
                    compression,
                    bytes,
                    cause: cause.to_string(),
                },
            },
            _ => ObjectError::Read { object, cause },
        }
    }
}

/// The first [`MAGIC`] bytes, or fewer if the stream is shorter.
fn head(inner: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(MAGIC);
    inner.take(MAGIC as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// The decompressed bytes of an input, as [`ObjectReader`](super::ObjectReader) reads them, with the same limits.
pub struct Unpacked<R: Read>(Source<R>);

impl<R: Read> Unpacked<R> {
    /// Opens an input. `name` is used in messages only.
    ///
    /// # Errors
    /// The input has an unsupported format.
    pub fn open(name: &str, input: R, limits: Limits) -> Result<Self, ObjectError> {
        Source::open(name, input, limits).map(Self)
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error {
            ObjectError::Read { cause, .. } => cause,
            other => io::Error::new(ErrorKind::InvalidData, other),
        })
    }
}

/// Format of an input, detected from its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputForm {
    /// Plain text: lines or JSON.
    Text,
    /// A supported compression: gzip or zstd.
    Packed,
    /// An unsupported format. The text names it.
    Unreadable(&'static str),
}

impl InputForm {
    /// Detects the format. Eight bytes are enough.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        if let Some(found) = known_binary(head) {
            Self::Unreadable(found)
        } else if head.starts_with(b"\x1f\x8b") || head.starts_with(b"\x28\xb5\x2f\xfd") {
            Self::Packed
        } else if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
            Self::Unreadable("UTF-16; only UTF-8 is read")
        } else {
            Self::Text
        }
    }
}

/// Binary formats that occur in log buckets and are not supported.
fn known_binary(head: &[u8]) -> Option<&'static str> {
    const FORMATS: [(&[u8], &str); 6] = [
        (b"PK\x03\x04", "a zip archive; unpack it first"),
        (b"BZh", "bzip2; only gzip and zstd are read"),
        (b"\xfd7zXZ\0", "xz; only gzip and zstd are read"),
        (b"\xff\x06\0\0sNaPpY", "snappy; only gzip and zstd are read"),
        (b"PAR1", "Parquet"),
        (b"Obj\x01", "Avro"),
    ];
    FORMATS
        .iter()
        .find(|(magic, _)| head.starts_with(magic))
        .map(|(_, found)| *found)
}
