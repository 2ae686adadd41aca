//! Iterator over the records of one object.

use std::io::Read;

use super::{
    Limits, ObjectError, Record, head,
    split::Splitter,
    window::{CHUNK, Window},
};

/// Reads the records of one object. An iterator over [`Record`]s that ends after the first error.
///
/// Compression is detected from the content, not from the name. A run of blank lines is one record, so that every byte is counted.
pub struct ObjectReader<R: Read> {
    name: String,
    limits: Limits,
    input: Option<R>,
    splitter: Option<Splitter<R>>,
    done: bool,
}

/// Number of decompressed bytes read. Invariant: `records` + `structure` = `total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ByteCount {
    /// All bytes.
    pub total: u64,
    /// Bytes of the returned records, as in [`Record::length`].
    pub records: u64,
    /// Bytes between records: white space, and the brackets, commas and names around the records of an array or envelope.
    pub structure: u64,
}

impl<R: Read> ObjectReader<R> {
    /// Creates a reader. `name` is used in messages only.
    pub fn new(name: impl Into<String>, input: R, limits: Limits) -> Self {
        Self {
            name: name.into(),
            limits,
            input: Some(input),
            splitter: None,
            done: false,
        }
    }

    /// The next record; `None` at the end of the object.
    ///
    /// # Errors
    /// The object is not text, it cannot be decompressed at all, or its storage fails. If records were already returned, only a storage
    /// failure is an error; any other failure is reported as a last record with the defect [`super::Defect::Unreadable`]. After an error
    /// the reader returns nothing more.
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

    /// Sets whether the last returned record is part of an open multi-record event: see [`crate::Classifier::is_within_event`]. The next
    /// line is then read as a plain record, whatever it looks like, so that a bracket in a quoted value opens no array.
    pub fn set_within_event(&mut self, within: bool) {
        if let Some(splitter) = &mut self.splitter {
            splitter.set_within_event(within);
        }
    }

    /// Offset in the decompressed bytes of the line that begins after the last returned record; `None` while an array or envelope is open.
    /// The input may be cut at this offset and read as two inputs.
    pub fn line_begins_at(&self) -> Option<u64> {
        self.splitter.as_ref().and_then(Splitter::line_begins_at)
    }

    /// The bytes read so far; after the last record, the bytes of the whole object.
    pub fn bytes(&self) -> ByteCount {
        let (records, total) = self.splitter.as_ref().map_or((0, 0), Splitter::bytes);
        ByteCount {
            total,
            records,
            structure: total.saturating_sub(records),
        }
    }

    fn advance(&mut self) -> Result<Option<Record>, ObjectError> {
        if let Some(input) = self.input.take() {
            let window = self.open(input)?;
            self.splitter = Some(Splitter::new(window, self.limits.clone()));
        }
        match &mut self.splitter {
            Some(splitter) => splitter.next(),
            None => Ok(None),
        }
    }

    /// Opens the object. Rejects an empty object and one that is not text.
    fn open(&self, input: R) -> Result<Window<R>, ObjectError> {
        let mut window = Window::open(&self.name, input, self.limits.clone())?;
        window.ensure(CHUNK);
        if window.rest().is_empty() {
            return Err(window.take_failure().unwrap_or(ObjectError::Empty {
                object: self.name.clone(),
            }));
        }
        match head::no_text(window.rest(), &self.name) {
            Some(found) => Err(ObjectError::NotText {
                object: self.name.clone(),
                found,
            }),
            None => Ok(window),
        }
    }
}

impl<R: Read> Iterator for ObjectReader<R> {
    type Item = Result<Record, ObjectError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_record().transpose()
    }
}
