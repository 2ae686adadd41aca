//! Objects of parts: several inputs joined in one object, each with its border.
//!
//! A door joins what came within a second into one object, because an object per input is too dear. What holds "from here to the
//! end" (a header line, an unclosed array, a compression) must not reach from one input into the next. So an object of parts keeps
//! the border of each input, and each is read by an [`ObjectReader`] of its own: with its own compression, byte order mark, header
//! lines and faults.
//!
//! The form: [`MAGIC`], then for each part a line `<kind> <bytes> <origin>` and that many bytes, then a line end. An object of
//! parts is known by its name, not by its content, because a sender chooses the content.

use std::io::{self, BufRead, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Limits, ObjectError, ObjectReader, Record};

/// First line of an object of parts.
const MAGIC: &[u8] = b"panther-parts 1\n";
/// What the name of each object of parts ends with.
const SUFFIX: &str = ".parts";
/// Longest line in front of a part: kind, length, and an origin, which is a path or an address.
const HEAD_BYTES: usize = 16 << 10;

/// What a part is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartKind {
    /// An input, or a piece of one; its records count.
    Body,
    /// The first lines of the input whose piece follows. They were counted with an earlier piece, and are read only for what a
    /// parser learns from them, as the names of columns.
    Context,
    /// The same, where other lines lie between them and the piece: an event that they begin does not go on in the piece.
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

/// Whether an object of this name consists of parts.
#[must_use]
pub fn is_of_parts(name: &str) -> bool {
    name.ends_with(SUFFIX)
}

/// Joins inputs to an object.
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
    /// The name for an object of parts: `base` with the ending that such names have.
    #[must_use]
    pub fn name(base: &str) -> String {
        format!("{base}{SUFFIX}")
    }

    /// Adds an input, or the next piece of one. `origin` says where it came from, for people; it may be empty.
    pub fn body(&mut self, origin: &str, content: &[u8]) {
        self.part(PartKind::Body, origin, content);
    }

    /// Adds the first lines of the input whose piece comes next. Their records are not counted again.
    pub fn context(&mut self, origin: &str, content: &[u8]) {
        self.part(PartKind::Context, origin, content);
    }

    /// The same of first lines that do not end where the piece begins.
    pub fn head(&mut self, origin: &str, content: &[u8]) {
        self.part(PartKind::Head, origin, content);
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no part yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == MAGIC.len()
    }

    /// The object.
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

/// What a [`RawReader`] gives out next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Another input begins: nothing that was learned so far holds for it. `origin` is what the door said of it.
    Input {
        /// Where the input came from; empty if the door did not say.
        origin: String,
    },
    /// A record of the input. It counts.
    Record(Record),
    /// A record that was counted in another object already. A parser may learn from it.
    Context(Record),
    /// What follows does not stand directly behind what came: an event that has begun does not go on.
    Gap,
}

/// Reads a raw object, of parts or not, as the doors wrote it. Record numbers go on from part to part.
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
    /// A context stands directly in front of its input's piece, so that piece begins no other input.
    after_context: bool,
    number: u64,
}

struct OpenPart<R: Read> {
    kind: PartKind,
    reader: ObjectReader<PartInput<R>>,
    /// All its bytes.
    bytes: u64,
}

/// What an object is read from. The part that is open reads from it too, so that no part is held in memory.
struct Input<R>(Arc<Mutex<Stored<R>>>);

struct Stored<R> {
    stored: io::BufReader<R>,
    /// Bytes of the open part that were not read yet.
    left: u64,
    /// The open part's first bytes, kept for a record that says why the part cannot be read.
    head: Vec<u8>,
    head_bytes: usize,
    /// The object ends within the part.
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

    /// The lock is never waited for: the part that is open is read by the thread that asks for the next one.
    fn stored(&self) -> MutexGuard<'_, Stored<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next `bytes` as an input of their own.
    fn part(&self, bytes: u64, head_bytes: usize) -> PartInput<R> {
        let mut stored = self.stored();
        (stored.left, stored.head_bytes) = (bytes, head_bytes);
        stored.head.clear();
        drop(stored);
        PartInput(self.0.clone())
    }
}

/// The bytes of one part.
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

    /// Passes over what of the part was not read.
    fn pass_over_part(&mut self) -> io::Result<()> {
        let mut buffer = [0; 8 << 10];
        while self.left > 0 {
            self.read_of_part(&mut buffer)?;
        }
        Ok(())
    }
}

impl<R: Read> RawReader<R> {
    /// `name` tells whether the object consists of parts.
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

    /// The next piece; `None` at the object's end.
    ///
    /// # Errors
    /// What keeps the object from being read (further). A part that cannot be read is no error of the object: it becomes one
    /// record with the reason.
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
    /// See [`ObjectReader::set_within_event`]. Another input begins outside of events.
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

    /// Goes on behind the part that was read.
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

    /// The line in front of a part; `None` at the object's end.
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

/// Why a part cannot be read to its end.
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
