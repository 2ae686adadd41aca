//! Read-ahead buffer of an object. Bytes are removed when they belong to a record or to structure.

use std::io::Read;

use super::{Limits, ObjectError, source::Source};

/// Read size, in bytes.
pub(super) const CHUNK: usize = 64 << 10;

pub(super) struct Window<R: Read> {
    source: Source<R>,
    buffer: Vec<u8>,
    /// Number of consumed bytes at the start of the buffer.
    read: usize,
    /// Offset in the object of the first byte of the buffer.
    base: u64,
    ended: bool,
    /// The error that ended the input early.
    failure: Option<ObjectError>,
}

impl<R: Read> Window<R> {
    pub(super) fn open(object: &str, input: R, limits: Limits) -> Result<Self, ObjectError> {
        Ok(Self {
            source: Source::open(object, input, limits)?,
            buffer: Vec::new(),
            read: 0,
            base: 0,
            ended: false,
            failure: None,
        })
    }

    /// The unconsumed bytes in the buffer.
    pub(super) fn rest(&self) -> &[u8] {
        self.buffer.get(self.read..).unwrap_or_default()
    }

    /// Offset in the object of the first byte of [`Window::rest`].
    pub(super) fn offset(&self) -> u64 {
        self.base + self.read as u64
    }

    /// True if [`Window::rest`] is the end of the input.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Consumes the first `bytes` of [`Window::rest`].
    pub(super) fn advance(&mut self, bytes: usize) {
        self.read = (self.read + bytes).min(self.buffer.len());
    }

    /// Reads more bytes; returns false at the end of the input.
    pub(super) fn fill(&mut self) -> bool {
        if self.ended {
            return false;
        }
        self.base += self.read as u64;
        self.buffer.drain(..self.read);
        self.read = 0;
        let length = self.buffer.len();
        self.buffer.resize(length + CHUNK, 0);
        let count = match self
            .source
            .read(self.buffer.get_mut(length..).unwrap_or_default())
        {
            Ok(count) => count,
            Err(error) => {
                self.failure = Some(error);
                0
            }
        };
        self.buffer.truncate(length + count);
        self.ended = count == 0;
        count > 0
    }

    /// Reads until [`Window::rest`] holds `bytes`, or until the end of the input.
    pub(super) fn ensure(&mut self, bytes: usize) {
        while self.rest().len() < bytes && self.fill() {}
    }

    /// The error that ended the input early, once [`Window::ended`].
    pub(super) fn take_failure(&mut self) -> Option<ObjectError> {
        self.failure.take()
    }
}
