//! The records of one object, from its first byte to its last.

use std::io::Read;

use super::{
    Limits, ObjectError, Record, head,
    split::Splitter,
    window::{CHUNK, Window},
};

/// Reads the records of one object. An iterator over [`Record`]s that ends after the first error.
///
/// Compression is recognised by content; a name says nothing. A run of blank lines is one record, for a caller that counts.
pub struct ObjectReader<R: Read> {
    name: String,
    limits: Limits,
    input: Option<R>,
    splitter: Option<Splitter<R>>,
    done: bool,
}

/// The bytes of an object that were read, decompressed. `records` + `structure` = `total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ByteCount {
    /// All of them.
    pub total: u64,
    /// Bytes of the records given out, as [`Record::length`] has them.
    pub records: u64,
    /// White space between records, and the brackets, commas and names around those of an array or envelope.
    pub structure: u64,
}

impl<R: Read> ObjectReader<R> {
    /// `name` is for messages.
    pub fn new(name: impl Into<String>, input: R, limits: Limits) -> Self {
        Self {
            name: name.into(),
            limits,
            input: Some(input),
            splitter: None,
            done: false,
        }
    }

    /// The next record; none at the object's end.
    ///
    /// # Errors
    /// What keeps the object from being read: it is no text, nothing of it can be decompressed, or its store fails. An object of which records
    /// were given out ends with a record whose defect is [`super::Defect::Unreadable`] instead, unless its store failed. Afterwards there is
    /// nothing more.
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

    /// Says whether the record that was given out last is part of an event that has not ended, as [`crate::Classifier::is_within_event`] tells.
    /// The next line is a record then, whatever it looks like: a bracket in a quoted value opens no array.
    pub fn set_within_event(&mut self, within: bool) {
        if let Some(splitter) = &mut self.splitter {
            splitter.set_within_event(within);
        }
    }

    /// Where in the decompressed bytes a line begins behind the record that was given out last; `None` while an array or envelope
    /// is open. An input may be cut there and read as two.
    pub fn line_begins_at(&self) -> Option<u64> {
        self.splitter.as_ref().and_then(Splitter::line_begins_at)
    }

    /// The bytes read so far; after the last record, those of the whole object.
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

    /// Refuses what is empty or no text.
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
