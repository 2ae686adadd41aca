//! The part of an object that is being looked at: bytes are read ahead here and given up once they belong to a record or to structure.

use std::io::Read;

use super::{Limits, ObjectError, source::Source};

/// Bytes asked for at a time.
pub(super) const CHUNK: usize = 64 << 10;

pub(super) struct Window<R: Read> {
    source: Source<R>,
    buffer: Vec<u8>,
    /// What of the buffer is given up.
    read: usize,
    /// The place in the object of the buffer's first byte.
    base: u64,
    ended: bool,
    /// What ended the object before its end.
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

    /// What is read ahead.
    pub(super) fn rest(&self) -> &[u8] {
        self.buffer.get(self.read..).unwrap_or_default()
    }

    /// The place in the object of the first byte of [`Window::rest`].
    pub(super) fn offset(&self) -> u64 {
        self.base + self.read as u64
    }

    /// Whether nothing comes behind [`Window::rest`].
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Gives up the first `bytes` of [`Window::rest`].
    pub(super) fn advance(&mut self, bytes: usize) {
        self.read = (self.read + bytes).min(self.buffer.len());
    }

    /// Reads more behind [`Window::rest`]; false once there is no more.
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

    /// Reads until [`Window::rest`] has `bytes`, or all that there are.
    pub(super) fn ensure(&mut self, bytes: usize) {
        while self.rest().len() < bytes && self.fill() {}
    }

    /// What ended the object before its end, once [`Window::ended`].
    pub(super) fn take_failure(&mut self) -> Option<ObjectError> {
        self.failure.take()
    }
}
