//! An object's bytes, decompressed if they are gzip, within limits.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;

use super::{Limits, ObjectError};

const BUFFER: usize = 64 << 10;

pub(super) struct Source<R: Read> {
    object: String,
    limits: Limits,
    bytes: u64,
    stream: Stream<R>,
}

enum Stream<R: Read> {
    Plain(BufReader<Counted<R>>),
    Gzip(Box<MultiGzDecoder<BufReader<Counted<R>>>>),
}

/// Counts what is read, and remembers that reading failed, which the decoder's errors do not tell.
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
    /// Looks at the first bytes to tell gzip from plain text.
    pub(super) fn open(object: &str, inner: R, limits: Limits) -> Result<Self, ObjectError> {
        let mut reader = BufReader::with_capacity(
            BUFFER,
            Counted {
                inner,
                bytes: 0,
                failed: false,
            },
        );
        let head = loop {
            match reader.fill_buf() {
                Ok(head) => break head,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(cause) => {
                    return Err(ObjectError::Read {
                        object: object.into(),
                        cause,
                    });
                }
            }
        };
        if let Some(found) = known_binary(head) {
            return Err(ObjectError::NotText {
                object: object.into(),
                found,
            });
        }
        let stream = if head.starts_with(&[0x1f, 0x8b]) {
            Stream::Gzip(Box::new(MultiGzDecoder::new(reader)))
        } else {
            Stream::Plain(reader)
        };
        Ok(Self {
            object: object.into(),
            limits,
            bytes: 0,
            stream,
        })
    }

    /// Reads some bytes; 0 at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ObjectError> {
        let result = loop {
            let result = match &mut self.stream {
                Stream::Plain(reader) => reader.read(buffer),
                Stream::Gzip(decoder) => decoder.read(buffer),
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
        if let Stream::Gzip(decoder) = &self.stream
            && self.bytes > self.limits.ratio_from_bytes
        {
            let compressed = decoder.get_ref().get_ref().bytes;
            if self.bytes > compressed.saturating_mul(self.limits.ratio) {
                return Err(ObjectError::GzipBomb {
                    object: self.object.clone(),
                    bytes: self.bytes,
                    limit: self.limits.ratio,
                });
            }
        }
        Ok(count)
    }

    fn error(&self, cause: io::Error) -> ObjectError {
        let object = self.object.clone();
        let bytes = self.bytes;
        match &self.stream {
            Stream::Gzip(decoder) if !decoder.get_ref().get_ref().failed => match cause.kind() {
                ErrorKind::UnexpectedEof => ObjectError::TruncatedGzip { object, bytes },
                _ => ObjectError::CorruptGzip {
                    object,
                    bytes,
                    cause: cause.to_string(),
                },
            },
            _ => ObjectError::Read { object, cause },
        }
    }
}

/// Formats that are met in log buckets and are read by nothing here.
fn known_binary(head: &[u8]) -> Option<&'static str> {
    const MAGIC: [(&[u8], &str); 6] = [
        (b"PK\x03\x04", "a zip archive; unpack it first"),
        (b"\x28\xb5\x2f\xfd", "zstd; only gzip is read"),
        (b"BZh", "bzip2; only gzip is read"),
        (b"\xfd7zXZ\0", "xz; only gzip is read"),
        (b"\xff\x06\0\0sNaPpY", "snappy; only gzip is read"),
        (b"PAR1", "Parquet"),
    ];
    MAGIC
        .iter()
        .find(|(magic, _)| head.starts_with(magic))
        .map(|(_, found)| *found)
}
