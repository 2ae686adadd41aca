//! Where records end: lines, elements of a JSON array (bare, or under `Records` as AWS writes them), JSON documents over many lines.
//!
//! Each line's head decides anew, so that a file may hold arrays and lines by turns. No more than one record is held at a time.

use std::io::Read;

use super::{Defect, Limits, ObjectError, Record, source::Source};

/// Bytes asked for at a time.
const CHUNK: usize = 64 << 10;
/// How far the head of a line is looked at to tell what begins there.
const LOOK_AHEAD: usize = 256;

/// Reads the records of one object. An iterator over [`Record`]s that ends after the first error.
///
/// Compression is recognised by content; a name says nothing. Blank lines are records too, for a caller that counts.
pub struct ObjectReader<R: Read> {
    name: String,
    limits: Limits,
    /// None before the first record, and after the end.
    source: Option<Source<R>>,
    input: Option<R>,
    buffer: Vec<u8>,
    /// What of the buffer is read already.
    read: usize,
    ended: bool,
    number: u64,
    place: Place,
    /// Comes after the record that is given out.
    pending: Option<ObjectError>,
    done: bool,
}

/// What is read next.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// The head of a line.
    Line,
    /// An element of an array, or the array's end; behind that, `wrapped` says, the rest of the object around the array.
    Element { wrapped: bool },
}

impl<R: Read> ObjectReader<R> {
    /// `name` is for messages.
    pub fn new(name: impl Into<String>, input: R, limits: Limits) -> Self {
        Self {
            name: name.into(),
            limits,
            source: None,
            input: Some(input),
            buffer: Vec::new(),
            read: 0,
            ended: false,
            number: 0,
            place: Place::Line,
            pending: None,
            done: false,
        }
    }

    /// The next record; none at the object's end.
    ///
    /// # Errors
    /// What keeps the object from being read (further). Afterwards there is nothing more.
    pub fn next_record(&mut self) -> Result<Option<Record>, ObjectError> {
        if self.done {
            return Ok(None);
        }
        let result = self.advance();
        if !matches!(result, Ok(Some(_))) {
            self.done = true;
        }
        result
    }

    fn advance(&mut self) -> Result<Option<Record>, ObjectError> {
        if let Some(input) = self.input.take() {
            self.source = Some(Source::open(&self.name, input, self.limits.clone())?);
            self.check_head()?;
        }
        loop {
            if let Some(error) = self.pending.take() {
                return Err(error);
            }
            match self.place {
                Place::Line => {
                    self.look_ahead();
                    if self.rest().is_empty() {
                        return self.pending.take().map_or(Ok(None), Err);
                    }
                    match head(self.rest()) {
                        Head::Array { length, wrapped } => {
                            self.read += length;
                            self.place = Place::Element { wrapped };
                        }
                        Head::Document => return Ok(Some(self.value(true))),
                        Head::Text => return Ok(Some(self.line())),
                    }
                }
                Place::Element { wrapped } => {
                    if let Some(record) = self.element(wrapped) {
                        return Ok(Some(record));
                    }
                }
            }
        }
    }

    /// Refuses what is empty or no text. A single bad line is that line's matter; but where more than half of the head is in bad lines, the
    /// first among them, each further "line" would be one more piece of the same rubbish.
    fn check_head(&mut self) -> Result<(), ObjectError> {
        while self.rest().len() < CHUNK && self.fill() {}
        if self.rest().is_empty() {
            return Err(self.pending.take().unwrap_or(ObjectError::Empty {
                object: self.name.clone(),
            }));
        }
        if self.rest().starts_with(b"\xef\xbb\xbf") {
            self.read += 3;
        }
        let head = self.rest();
        let mut lines = head.split(|byte| *byte == b'\n').peekable();
        let (mut bad, mut first) = (0, None);
        while let Some(line) = lines.next() {
            // the last may be cut in the middle of a character
            let invalid = std::str::from_utf8(line)
                .is_err_and(|error| error.error_len().is_some() || lines.peek().is_some());
            let is_bad = invalid || memchr::memchr(0, line).is_some();
            first = first.or(Some(is_bad));
            bad += if is_bad { line.len() } else { 0 };
        }
        if first == Some(true) && bad * 2 > head.len() {
            let found = if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
                "UTF-16; only UTF-8 is read"
            } else if self.name.ends_with(".gz") {
                "binary data, though its name ends in .gz"
            } else {
                "binary data"
            };
            return Err(ObjectError::NotText {
                object: self.name.clone(),
                found,
            });
        }
        Ok(())
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.read..).unwrap_or_default()
    }

    /// Reads more into the buffer; false once there is no more. An error is kept until what came before it is given out.
    fn fill(&mut self) -> bool {
        let Some(source) = self.source.as_mut().filter(|_| !self.ended) else {
            return false;
        };
        self.buffer.drain(..self.read);
        self.read = 0;
        let length = self.buffer.len();
        self.buffer.resize(length + CHUNK, 0);
        let count = match source.read(self.buffer.get_mut(length..).unwrap_or_default()) {
            Ok(count) => count,
            Err(error) => {
                self.pending = Some(error);
                0
            }
        };
        self.buffer.truncate(length + count);
        self.ended = count == 0;
        count > 0
    }

    fn look_ahead(&mut self) {
        while self.rest().len() < LOOK_AHEAD && self.fill() {}
    }

    fn skip_space(&mut self) {
        loop {
            let space = self
                .rest()
                .iter()
                .take_while(|byte| byte.is_ascii_whitespace())
                .count();
            self.read += space;
            if !self.rest().is_empty() || !self.fill() {
                return;
            }
        }
    }

    fn record(&mut self, growing: Growing, cut: bool) -> Record {
        self.number += 1;
        let defect = growing.defect(&self.limits).or(cut.then_some(Defect::Cut));
        Record {
            number: self.number,
            raw: growing.raw,
            defect,
        }
    }

    fn line(&mut self) -> Record {
        let mut growing = Growing::default();
        let mut cut = false;
        loop {
            if let Some(end) = memchr::memchr(b'\n', self.rest()) {
                growing.take(self.rest().get(..end).unwrap_or_default(), &self.limits);
                self.read += end + 1;
                break;
            }
            growing.take(self.rest(), &self.limits);
            self.read = self.buffer.len();
            if !self.fill() {
                cut = self.pending.is_some();
                break;
            }
        }
        if growing.raw.last() == Some(&b'\r') {
            growing.raw.pop();
        }
        self.record(growing, cut)
    }

    /// Reads the next element, or leaves the array. None for an end.
    fn element(&mut self, wrapped: bool) -> Option<Record> {
        self.skip_space();
        match self.rest().first() {
            Some(b',') => {
                self.read += 1;
                None
            }
            Some(b']') => {
                self.read += 1;
                if wrapped {
                    self.leave_object();
                }
                self.place = Place::Line;
                self.leave_line();
                None
            }
            Some(_) => Some(self.value(false)),
            None => {
                self.place = Place::Line;
                let object = self.name.clone();
                self.pending.get_or_insert(ObjectError::UnclosedArray {
                    object,
                    record: self.number,
                });
                None
            }
        }
    }

    /// Skips what an object holds behind its array.
    fn leave_object(&mut self) {
        let mut scan = Scan {
            depth: 1,
            ..Scan::default()
        };
        loop {
            match scan.find_end(self.rest(), false) {
                Found::End(length) | Found::Broken(length) => {
                    self.read += length;
                    return;
                }
                Found::Inside => self.read = self.buffer.len(),
            }
            if !self.fill() {
                return;
            }
        }
    }

    /// Skips the white space up to a line's end, and that.
    fn leave_line(&mut self) {
        loop {
            let blank = self
                .rest()
                .iter()
                .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
                .count();
            self.read += blank;
            match self.rest().first().copied() {
                Some(b'\n') => {
                    self.read += 1;
                    return;
                }
                Some(_) => return,
                None if !self.fill() => return,
                None => {}
            }
        }
    }

    /// Reads one JSON value to its end, or as far as it can be one. A `document` stands by itself and begins in the first column.
    fn value(&mut self, document: bool) -> Record {
        let mut growing = Growing::default();
        let mut scan = Scan::default();
        let broken = loop {
            let (length, end) = match scan.find_end(self.rest(), document) {
                Found::End(length) => (length, Some(false)),
                Found::Broken(length) => (length, Some(true)),
                Found::Inside => (self.rest().len(), None),
            };
            growing.take(self.rest().get(..length).unwrap_or_default(), &self.limits);
            self.read += length;
            if let Some(broken) = end {
                break broken;
            }
            if !self.fill() {
                break true;
            }
        };
        if broken {
            // what follows is read as lines, so that neighbours come to no harm
            self.place = Place::Line;
        }
        if document || broken {
            self.leave_line();
        }
        while growing.raw.last().is_some_and(u8::is_ascii_whitespace) {
            growing.raw.pop();
        }
        self.record(growing, broken)
    }
}

/// What begins at the head of a line.
enum Head {
    /// An array of records, whose first element comes after `length` bytes.
    Array {
        length: usize,
        wrapped: bool,
    },
    /// A JSON document written over several lines.
    Document,
    Text,
}

fn head(rest: &[u8]) -> Head {
    let skip = |at: usize| {
        at + rest
            .get(at..)
            .unwrap_or_default()
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count()
    };
    match rest.first() {
        Some(b'[') => {
            let element = skip(1);
            match rest.get(element) {
                Some(b'{') => Head::Array {
                    length: 1,
                    wrapped: false,
                },
                Some(b']') if matches!(rest.get(skip(element + 1)), None | Some(b'\n')) => {
                    Head::Array {
                        length: 1,
                        wrapped: false,
                    }
                }
                _ => Head::Text,
            }
        }
        Some(b'{') => {
            let key = skip(1);
            let name = b"\"Records\"";
            if rest.get(key..).is_some_and(|rest| rest.starts_with(name)) {
                let colon = skip(key + name.len());
                let array = skip(colon + 1);
                if rest.get(colon) == Some(&b':') && rest.get(array) == Some(&b'[') {
                    return Head::Array {
                        length: array + 1,
                        wrapped: true,
                    };
                }
            }
            let line_end = rest
                .get(1..)
                .unwrap_or_default()
                .iter()
                .find(|byte| !matches!(byte, b' ' | b'\t' | b'\r'));
            if line_end == Some(&b'\n') {
                Head::Document
            } else {
                Head::Text
            }
        }
        _ => Head::Text,
    }
}

/// A record as it is read, of which no more is kept than a record may have.
#[derive(Default)]
struct Growing {
    raw: Vec<u8>,
    bytes: u64,
}

impl Growing {
    fn take(&mut self, bytes: &[u8], limits: &Limits) {
        self.bytes += bytes.len() as u64;
        if self.bytes <= limits.record_bytes as u64 {
            self.raw.extend_from_slice(bytes);
        } else {
            let missing = limits.head_bytes.saturating_sub(self.raw.len());
            self.raw
                .extend_from_slice(bytes.get(..missing).unwrap_or(bytes));
            self.raw.truncate(limits.head_bytes);
            self.raw.shrink_to(limits.head_bytes);
        }
    }

    fn defect(&self, limits: &Limits) -> Option<Defect> {
        let limit = limits.record_bytes as u64;
        (self.bytes > limit).then_some(Defect::TooLong {
            bytes: self.bytes,
            limit,
        })
    }
}

/// Looks for the end of a JSON value over any number of pieces.
#[derive(Default)]
struct Scan {
    depth: u64,
    in_string: bool,
    escaped: bool,
    /// The piece before ended with a line end.
    at_line_start: bool,
    started: bool,
}

enum Found {
    /// The value ends after so many bytes.
    End(usize),
    /// What can be no value ends after so many bytes.
    Broken(usize),
    /// All of the piece is within the value.
    Inside,
}

impl Scan {
    fn find_end(&mut self, piece: &[u8], document: bool) -> Found {
        let mut at = 0;
        while let Some(&byte) = piece.get(at) {
            if self.in_string {
                if self.escaped {
                    self.escaped = false;
                    at += 1;
                    continue;
                }
                let Some(next) =
                    memchr::memchr3(b'"', b'\\', b'\n', piece.get(at..).unwrap_or_default())
                else {
                    return Found::Inside;
                };
                at += next;
                match piece.get(at) {
                    Some(b'\\') => self.escaped = true,
                    Some(b'"') => {
                        self.in_string = false;
                        if self.depth == 0 {
                            return Found::End(at + 1);
                        }
                    }
                    // no JSON string holds a line end: a quote is missing
                    _ => return Found::Broken(at),
                }
                at += 1;
                continue;
            }
            let line_start = std::mem::replace(&mut self.at_line_start, byte == b'\n');
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    if document && line_start && byte == b'{' {
                        return Found::Broken(at);
                    }
                    self.depth += 1;
                }
                b'}' | b']' => {
                    if self.depth == 0 {
                        // the array's own end, behind a number or word; or a bracket that nothing opened
                        return if self.started {
                            Found::End(at)
                        } else {
                            Found::Broken(at + 1)
                        };
                    }
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Found::End(at + 1);
                    }
                }
                b',' if self.depth == 0 && self.started => return Found::End(at),
                _ => {}
            }
            self.started = true;
            at += 1;
        }
        Found::Inside
    }
}
