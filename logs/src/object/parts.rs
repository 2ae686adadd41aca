//! Objects of parts: several inputs joined in one object, with the boundary of each input kept.
//!
//! An ingest endpoint joins the inputs of about one second into one object, because one object per input is too expensive. State that lasts
//! "from here to the end" (a header line, an unclosed array, a compression stream) must not leak from one input into the next. So an object
//! of parts keeps the boundary of each input, and each part is read by its own [`ObjectReader`]: with its own compression, byte order mark,
//! header lines and defects.
//!
//! Format: [`MAGIC`], then for each part a line `<kind> <bytes> <origin>`, that many bytes, and a line end. An object of parts is
//! recognised by its name and not by its content, because the sender controls the content.

use std::io::{self, BufRead, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Limits, ObjectError, ObjectReader, Record};

/// First line of an object of parts.
const MAGIC: &[u8] = b"panther-parts 1\n";
/// Suffix of the name of every object of parts.
const SUFFIX: &str = ".parts";
/// Maximum length of the header line of a part, in bytes: kind, length, and an origin, which is a path or an address.
const HEAD_BYTES: usize = 16 << 10;

/// Role of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartKind {
    /// An input, or a piece of one. Its records are counted.
    Body,
    /// The first lines of the input whose next piece follows. They were counted with an earlier piece. They are read only for parser state,
    /// such as column names.
    Context,
    /// Like `Context`, but other lines lie between these lines and the piece: a multi-record event that they begin does not continue in the
    /// piece.
    Head,
}

impl PartKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Context => "context",
            Self::Head => "head",
        }
    }
}

/// True if an object of this name consists of parts.
#[must_use]
pub fn is_of_parts(name: &str) -> bool {
    name.ends_with(SUFFIX)
}

/// Joins inputs into one object of parts.
#[derive(Debug, Clone)]
pub struct PartsWriter {
    bytes: Vec<u8>,
}

impl Default for PartsWriter {
    fn default() -> Self {
        Self {
            bytes: MAGIC.to_vec(),
        }
    }
}

impl PartsWriter {
    /// The name of an object of parts: `base` with the suffix.
    #[must_use]
    pub fn name(base: &str) -> String {
        format!("{base}{SUFFIX}")
    }

    /// Appends an input, or the next piece of one. `origin` says where the input came from, for operators; it may be empty.
    pub fn body(&mut self, origin: &str, content: &[u8]) {
        self.part(PartKind::Body, origin, content);
    }

    /// Appends the first lines of the input whose piece comes next. Their records are not counted again.
    pub fn context(&mut self, origin: &str, content: &[u8]) {
        self.part(PartKind::Context, origin, content);
    }

    /// Like [`PartsWriter::context`], for first lines that do not directly precede the piece.
    pub fn head(&mut self, origin: &str, content: &[u8]) {
        self.part(PartKind::Head, origin, content);
    }

    /// Size so far, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True if there is no part yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == MAGIC.len()
    }

    /// The complete object.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn part(&mut self, kind: PartKind, origin: &str, content: &[u8]) {
        let origin: String = origin
            .chars()
            .map(|letter| {
                if letter.is_control() {
                    '\u{fffd}'
                } else {
                    letter
                }
            })
            .take(HEAD_BYTES / 8)
            .collect();
        let head = format!("{} {} {origin}\n", kind.word(), content.len());
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.push(b'\n');
    }
}

/// An item that a [`RawReader`] returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A new input starts: state learned from earlier inputs does not apply to it.
    Input {
        /// Origin of the input, as the ingest endpoint wrote it; may be empty.
        origin: String,
    },
    /// A record of the input. It is counted.
    Record(Record),
    /// A record that was already counted in another object. It is read only for parser state.
    Context(Record),
    /// A gap: the next record does not directly follow the previous one, so an open multi-record event does not continue.
    Gap,
}

/// Reads a raw object as the ingest endpoints wrote it, with or without parts. Record numbers continue from part to part.
pub struct RawReader<R: Read> {
    name: String,
    limits: Limits,
    form: Form<R>,
}

enum Form<R: Read> {
    Whole {
        reader: ObjectReader<R>,
        begun: bool,
    },
    Parts(Parts<R>),
}

struct Parts<R: Read> {
    input: Input<R>,
    begun: bool,
    ended: bool,
    open: Option<OpenPart<R>>,
    /// The previous part was a context, so the next part continues the same input.
    after_context: bool,
    number: u64,
}

struct OpenPart<R: Read> {
    kind: PartKind,
    reader: ObjectReader<PartInput<R>>,
    /// Length of the part, in bytes.
    bytes: u64,
}

/// The underlying stream, shared with the reader of the open part, so that no part has to be buffered in memory.
struct Input<R>(Arc<Mutex<Stored<R>>>);

struct Stored<R> {
    stored: io::BufReader<R>,
    /// Unread bytes of the open part.
    left: u64,
    /// First bytes of the open part, kept for the record that reports the part as unreadable.
    head: Vec<u8>,
    head_bytes: usize,
    /// The object ended within the part.
    cut: bool,
}

impl<R: Read> Input<R> {
    fn new(stored: R) -> Self {
        Self(Arc::new(Mutex::new(Stored {
            stored: io::BufReader::new(stored),
            left: 0,
            head: Vec::new(),
            head_bytes: 0,
            cut: false,
        })))
    }

    /// The lock is never contended: the thread that reads the open part is also the thread that asks for the next part.
    fn stored(&self) -> MutexGuard<'_, Stored<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next `bytes` as a separate input.
    fn part(&self, bytes: u64, head_bytes: usize) -> PartInput<R> {
        let mut stored = self.stored();
        (stored.left, stored.head_bytes) = (bytes, head_bytes);
        stored.head.clear();
        drop(stored);
        PartInput(self.0.clone())
    }
}

/// Reader over the bytes of one part.
struct PartInput<R>(Arc<Mutex<Stored<R>>>);

impl<R: Read> Read for PartInput<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stored.read_of_part(buffer)
    }
}

impl<R: Read> Stored<R> {
    fn read_of_part(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = self
            .stored
            .read(buffer.get_mut(..most).unwrap_or_default())?;
        if read == 0 && most > 0 {
            self.cut = true;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        let missing = self.head_bytes.saturating_sub(self.head.len());
        let read_bytes = buffer.get(..read.min(missing)).unwrap_or_default();
        self.head.extend_from_slice(read_bytes);
        Ok(read)
    }

    /// Skips the unread bytes of the part.
    fn pass_over_part(&mut self) -> io::Result<()> {
        let mut buffer = [0; 8 << 10];
        while self.left > 0 {
            self.read_of_part(&mut buffer)?;
        }
        Ok(())
    }
}

impl<R: Read> RawReader<R> {
    /// Creates a reader. `name` determines whether the object consists of parts.
    pub fn new(name: &str, input: R, limits: Limits) -> Self {
        let form = if is_of_parts(name) {
            Form::Parts(Parts {
                input: Input::new(input),
                begun: false,
                ended: false,
                open: None,
                after_context: false,
                number: 0,
            })
        } else {
            Form::Whole {
                reader: ObjectReader::new(name, input, limits.clone()),
                begun: false,
            }
        };
        Self {
            name: name.to_owned(),
            limits,
            form,
        }
    }

    /// The next piece; `None` at the end of the object.
    ///
    /// # Errors
    /// The object cannot be read, or cannot be read further. An unreadable part is not an error: it becomes one record with the reason.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, ObjectError> {
        match &mut self.form {
            Form::Whole { reader, begun } => {
                if !std::mem::replace(begun, true) {
                    return Ok(Some(Piece::Input {
                        origin: String::new(),
                    }));
                }
                Ok(reader.next_record()?.map(Piece::Record))
            }
            Form::Parts(parts) => parts.next_piece(&self.name, &self.limits),
        }
    }
}

impl<R: Read> RawReader<R> {
    /// See [`ObjectReader::set_within_event`]. No event is open at the start of an input.
    pub fn set_within_event(&mut self, within: bool) {
        match &mut self.form {
            Form::Whole { reader, .. } => reader.set_within_event(within),
            Form::Parts(parts) => {
                if let Some(open) = &mut parts.open {
                    open.reader.set_within_event(within);
                }
            }
        }
    }
}

impl<R: Read> Parts<R> {
    fn next_piece(&mut self, name: &str, limits: &Limits) -> Result<Option<Piece>, ObjectError> {
        let result = self.advance(name, limits);
        if result.is_err() {
            self.ended = true;
        }
        result
    }

    fn advance(&mut self, name: &str, limits: &Limits) -> Result<Option<Piece>, ObjectError> {
        if self.ended {
            return Ok(None);
        }
        if !std::mem::replace(&mut self.begun, true) {
            let mut magic = [0; MAGIC.len()];
            self.read_exact(name, &mut magic)?;
            if magic != *MAGIC {
                return Err(damaged(
                    name,
                    "it does not begin as an object of parts does",
                ));
            }
        }
        loop {
            if let Some(open) = &mut self.open {
                let next = match open.reader.next_record() {
                    Ok(record) => record,
                    Err(ObjectError::Empty { .. }) => None,
                    Err(_) if self.input.stored().cut => {
                        return Err(damaged(name, "it ends within a part"));
                    }
                    Err(error) if error.is_read_failure() => return Err(error),
                    Err(error) => {
                        let mut stored = self.input.stored();
                        stored
                            .pass_over_part()
                            .map_err(|cause| part_failed(name, cause))?;
                        let head = std::mem::take(&mut stored.head);
                        let mut record = Record::unreadable(0, head, &error);
                        record.length = open.bytes;
                        Some(record)
                    }
                };
                let kind = open.kind;
                if next.is_none() {
                    self.open = None;
                    self.leave_part(name)?;
                }
                match (next, kind) {
                    (None, PartKind::Head) => return Ok(Some(Piece::Gap)),
                    (None, _) => {}
                    (Some(record), PartKind::Context | PartKind::Head) => {
                        return Ok(Some(Piece::Context(record)));
                    }
                    (Some(mut record), PartKind::Body) => {
                        self.number += 1;
                        record.number = self.number;
                        return Ok(Some(Piece::Record(record)));
                    }
                }
                continue;
            }
            let Some((kind, bytes, origin)) = self.head(name)? else {
                self.ended = true;
                return Ok(None);
            };
            if bytes > limits.object_bytes {
                return Err(damaged(name, "a part is larger than an object may be"));
            }
            let content = self.input.part(bytes, limits.head_bytes);
            self.open = Some(OpenPart {
                kind,
                reader: ObjectReader::new(name, content, limits.clone()),
                bytes,
            });
            let goes_on = std::mem::replace(&mut self.after_context, kind != PartKind::Body);
            if !goes_on {
                return Ok(Some(Piece::Input { origin }));
            }
        }
    }

    /// Skips to the end of the current part.
    fn leave_part(&mut self, name: &str) -> Result<(), ObjectError> {
        let passed = self.input.stored().pass_over_part();
        passed.map_err(|cause| part_failed(name, cause))?;
        let mut end = [0];
        self.read_exact(name, &mut end)?;
        if end != *b"\n" {
            return Err(damaged(name, "a part has no end"));
        }
        Ok(())
    }

    /// Reads the header line of a part; `None` at the end of the object.
    fn head(&mut self, name: &str) -> Result<Option<(PartKind, u64, String)>, ObjectError> {
        let mut line = Vec::new();
        let mut input = self.input.stored();
        let mut limited = input.stored.by_ref().take(HEAD_BYTES as u64);
        limited
            .read_until(b'\n', &mut line)
            .map_err(|cause| failed(name, cause))?;
        if line.is_empty() {
            return Ok(None);
        }
        let text = line
            .strip_suffix(b"\n")
            .and_then(|line| std::str::from_utf8(line).ok())
            .ok_or_else(|| damaged(name, "the line in front of a part is cut or no text"))?;
        let mut words = text.splitn(3, ' ');
        let kind = match words.next() {
            Some("body") => PartKind::Body,
            Some("context") => PartKind::Context,
            Some("head") => PartKind::Head,
            _ => return Err(damaged(name, "a part is of an unknown kind")),
        };
        let bytes = words
            .next()
            .and_then(|bytes| bytes.parse().ok())
            .ok_or_else(|| damaged(name, "a part does not say how long it is"))?;
        Ok(Some((
            kind,
            bytes,
            words.next().unwrap_or_default().to_owned(),
        )))
    }

    fn read_exact(&mut self, name: &str, buffer: &mut [u8]) -> Result<(), ObjectError> {
        let mut input = self.input.stored();
        let read = input.stored.read_exact(buffer);
        read.map_err(|cause| part_failed(name, cause))
    }
}

/// Error for a part that cannot be read to its end.
fn part_failed(name: &str, cause: io::Error) -> ObjectError {
    match cause.kind() {
        io::ErrorKind::UnexpectedEof => damaged(name, "it ends within a part"),
        _ => failed(name, cause),
    }
}

fn damaged(name: &str, reason: &'static str) -> ObjectError {
    ObjectError::DamagedParts {
        object: name.to_owned(),
        reason,
    }
}

fn failed(name: &str, cause: io::Error) -> ObjectError {
    ObjectError::Read {
        object: name.to_owned(),
        cause,
    }
}
