//! Splitter: finds the ends of records. Records are lines, elements of a JSON array (bare, or wrapped in an object), JSON documents that
//! span several lines, and concatenated JSON values.
//!
//! The start of each line decides how it is read, so a file may mix arrays and lines. Every byte belongs to exactly one record, or is white
//! space or the brackets, commas and names of an array that was recognised. An array, wrapper or document without a proper end gives a
//! record with a defect, and the text after it is read as lines. At most one record is buffered at a time.

mod array;
mod opened;
mod values;

use std::io::Read;

use opened::Opened;

use super::{
    Defect, Limits, ObjectError, Record,
    head::{self, Head, LOOK_AHEAD},
    window::Window,
};

/// Bytes kept of a hole.
const HOLE_HEAD: usize = 16;

/// Splits the text of an object into records.
pub(super) struct Splitter<R: Read> {
    limits: Limits,
    window: Window<R>,
    number: u64,
    place: Place,
    /// Offset and text of the opening of the current array.
    opening: (u64, Vec<u8>),
    opened: Option<Opened>,
    /// The readable input ended within the record.
    cut: bool,
    /// Bytes of the returned records.
    given: u64,
    /// The next record is a plain line, whatever it looks like.
    within_event: bool,
}

/// Parser state: what is read next.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// The start of a line.
    Line,
    /// A value that follows another value on the same line.
    Joined,
    /// An element of an array, or the end of the array.
    Element {
        wrapped: bool,
        /// The next element needs no comma before it.
        free: bool,
    },
    /// The members of an object after its array.
    Tail,
}

/// Result of one step.
enum Step {
    Record(Record),
    /// Only structure was consumed; continue.
    On,
    End,
}

/// An oversized record, as far as it is read.
struct Overlong {
    offset: u64,
    head: Vec<u8>,
    bytes: u64,
}

impl<R: Read> Splitter<R> {
    pub(super) fn new(window: Window<R>, limits: Limits) -> Self {
        Self {
            limits,
            window,
            number: 0,
            place: Place::Line,
            opening: (0, Vec::new()),
            opened: None,
            cut: false,
            given: 0,
            within_event: false,
        }
    }

    /// Sets whether the next line belongs to an open multi-record event.
    pub(super) fn set_within_event(&mut self, within: bool) {
        self.within_event = within;
    }

    /// Bytes read so far: those of records, and all of them.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.given, self.window.offset())
    }

    /// Offset of the line that begins after the last returned record; `None` while an array or envelope is open.
    pub(super) fn line_begins_at(&self) -> Option<u64> {
        (self.place == Place::Line && self.opened.is_none()).then(|| self.window.offset())
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// A failure of the storage, and any other failure if no record was returned before.
    pub(super) fn next(&mut self) -> Result<Option<Record>, ObjectError> {
        loop {
            if let Some(record) = self.next_opened() {
                return Ok(Some(record));
            }
            self.cut = false;
            let step = match self.place {
                Place::Line | Place::Joined => self.head(),
                Place::Element { wrapped, free } => self.element(wrapped, free),
                Place::Tail => self.tail(),
            };
            match step {
                Step::Record(mut record) => {
                    if self.cut
                        && let Some(error) = self.window.take_failure()
                    {
                        if error.is_read_failure() || record.number == 1 {
                            return Err(error);
                        }
                        record.defect = Some(Defect::Unreadable {
                            reason: error.to_string(),
                        });
                    }
                    if let Some(record) = self.unless_opened(record) {
                        return Ok(Some(record));
                    }
                }
                Step::On => {}
                Step::End => {
                    return match self.window.take_failure() {
                        Some(error) if error.is_read_failure() || self.number == 0 => Err(error),
                        Some(error) => {
                            let offset = self.window.offset();
                            let defect = Defect::Unreadable {
                                reason: error.to_string(),
                            };
                            Ok(Some(self.record(offset, 0, Vec::new(), Some(defect))))
                        }
                        None => Ok(None),
                    };
                }
            }
        }
    }

    fn record(&mut self, offset: u64, length: u64, raw: Vec<u8>, defect: Option<Defect>) -> Record {
        self.number += 1;
        self.given += length;
        Record {
            number: self.number,
            offset,
            length,
            raw,
            defect,
            filter: None,
        }
    }

    /// Consumes the next `length` bytes as a record.
    fn take(&mut self, length: usize, defect: Option<Defect>) -> Record {
        let offset = self.window.offset();
        let rest = self.window.rest();
        let raw = rest.get(..length).unwrap_or(rest);
        let raw = raw.trim_ascii_end().to_vec();
        let record = self.record(offset, raw.len() as u64, raw, defect);
        self.window.advance(length);
        record
    }

    fn head(&mut self) -> Step {
        self.window.ensure(LOOK_AHEAD);
        if self.within_event && self.place == Place::Line && !self.window.rest().is_empty() {
            return Step::Record(self.line(None, None));
        }
        let joined = std::mem::replace(&mut self.place, Place::Line) == Place::Joined;
        // concatenated files have several byte order marks; JSON text sequences (RFC 7464) begin each record with a separator
        for mark in [b"\xef\xbb\xbf".as_slice(), b"\x1e"] {
            if self.window.rest().starts_with(mark) {
                self.window.advance(mark.len());
            }
        }
        let rest = self.window.rest();
        if rest.is_empty() {
            return Step::End;
        }
        if rest.starts_with(&[0]) {
            return Step::Record(self.hole());
        }
        if let Some(record) = self.blank_lines() {
            return Step::Record(record);
        }
        let rest = self.window.rest();
        match head::head(rest) {
            Head::Array { length, wrapped } => {
                let opening = rest.get(..length).unwrap_or_default().to_vec();
                self.opening = (self.window.offset(), opening);
                self.window.advance(length);
                self.place = Place::Element {
                    wrapped,
                    free: true,
                };
                Step::On
            }
            Head::Document | Head::Object if joined => Step::Record(self.joined(false)),
            Head::Document => Step::Record(self.value(true)),
            Head::Object => Step::Record(self.object()),
            Head::Text => Step::Record(self.line(None, None)),
        }
    }

    /// Reads a run of NUL bytes as one record, whatever its length.
    fn hole(&mut self) -> Record {
        let offset = self.window.offset();
        let mut bytes = 0;
        loop {
            let nuls = head::nuls(self.window.rest());
            self.window.advance(nuls);
            bytes += nuls as u64;
            if !self.window.rest().is_empty() || !self.window.fill() {
                break;
            }
        }
        let raw = vec![0; HOLE_HEAD.min(usize::try_from(bytes).unwrap_or(HOLE_HEAD))];
        self.leave_line();
        self.record(offset, bytes, raw, Some(Defect::Hole { bytes }))
    }

    /// Reads a run of blank lines as one record without content, whatever its length: a few thousand compressed bytes can expand to
    /// millions of such lines.
    fn blank_lines(&mut self) -> Option<Record> {
        let offset = self.window.offset();
        loop {
            let rest = self.window.rest();
            let blank = rest.iter().take_while(|byte| byte.is_ascii_whitespace());
            let blank = rest.get(..blank.count()).unwrap_or_default();
            let at_end = blank.len() == rest.len();
            let Some(last) = memchr::memrchr(b'\n', blank) else {
                break;
            };
            self.window.advance(last + 1);
            if !at_end || !self.window.fill() {
                break;
            }
        }
        (self.window.offset() > offset).then(|| self.record(offset, 0, Vec::new(), None))
    }

    /// Reads to the end of the line, or to a hole in it. `begun` is the part of the line that was read before.
    fn line(&mut self, begun: Option<Overlong>, defect: Option<Defect>) -> Record {
        let mut overlong = begun;
        let mut looked = 0;
        let end = loop {
            let rest = self.window.rest();
            if let Some(end) = rest
                .get(looked..)
                .and_then(|rest| memchr::memchr(b'\n', rest))
            {
                break looked + end;
            }
            looked = rest.len();
            if looked > self.limits.record_bytes || overlong.is_some() {
                self.pass_over(&mut overlong, looked);
                looked = 0;
            }
            if !self.window.fill() {
                self.cut = true;
                break looked;
            }
        };
        if overlong.is_some() {
            self.pass_over(&mut overlong, end);
            self.leave_line();
            if let Some(overlong) = overlong {
                return self.too_long(overlong);
            }
        }
        let line = self.window.rest().get(..end).unwrap_or_default();
        if let Some(hole) = head::hole(line) {
            return self.take(hole, defect.or(Some(Defect::Cut)));
        }
        if line.len() > self.limits.record_bytes {
            self.pass_over(&mut overlong, end);
            self.leave_line();
            if let Some(overlong) = overlong {
                return self.too_long(overlong);
            }
        }
        let offset = self.window.offset();
        let raw = self.window.rest().get(..end).unwrap_or_default();
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw).to_vec();
        let record = self.record(offset, raw.len() as u64, raw, defect);
        self.window.advance(end);
        self.leave_line();
        record
    }

    /// Consumes the next `bytes` as part of an oversized record and keeps its head.
    fn pass_over(&mut self, overlong: &mut Option<Overlong>, bytes: usize) {
        let offset = self.window.offset();
        let overlong = overlong.get_or_insert(Overlong {
            offset,
            head: Vec::new(),
            bytes: 0,
        });
        let rest = self.window.rest();
        let piece = rest.get(..bytes).unwrap_or(rest);
        let missing = self.limits.head_bytes.saturating_sub(overlong.head.len());
        overlong
            .head
            .extend_from_slice(piece.get(..missing).unwrap_or(piece));
        overlong.bytes += piece.len() as u64;
        self.window.advance(bytes);
    }

    fn too_long(&mut self, overlong: Overlong) -> Record {
        let defect = Defect::TooLong {
            bytes: overlong.bytes,
            limit: self.limits.record_bytes as u64,
        };
        self.record(overlong.offset, overlong.bytes, overlong.head, Some(defect))
    }

    /// Consumes the text after a value. Another value may follow on the same line.
    fn after_value(&mut self) {
        self.place = if self.leave_line() {
            Place::Line
        } else {
            Place::Joined
        };
    }

    /// Consumes white space and the line end. Returns false if other text comes first.
    fn leave_line(&mut self) -> bool {
        loop {
            let blank = self
                .window
                .rest()
                .iter()
                .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
                .count();
            match self.window.rest().get(blank).copied() {
                Some(b'\n') => {
                    self.window.advance(blank + 1);
                    return true;
                }
                Some(_) => {
                    self.window.advance(blank);
                    return false;
                }
                None => self.window.advance(blank),
            }
            if !self.window.fill() {
                return true;
            }
        }
    }
}
