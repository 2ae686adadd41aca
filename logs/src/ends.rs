//! Where events end in a text that is read piece by piece as it grows.
//!
//! Most events are one record. A row of CSV may go on over several records, as a quoted value may have line ends. A piece that ends within
//! such a row would give two pieces of which neither is an event.

use crate::{
    classify::{Classifier, ClassifierError, Outcome},
    event::EventContext,
    log_types::LogTypes,
    object::{Piece, Record},
    time::Timestamp,
};

/// Follows the records of one text, and tells behind which of them no event is open. It reads as a [`Classifier`] of the same log types does,
/// so that a piece which ends where no event is open is read in the same way as in one piece with what follows.
#[derive(Debug)]
pub struct EventEnds {
    classifier: Classifier,
    context: EventContext,
}

impl EventEnds {
    /// For the log types of a source; `None` if each event of these log types is one record.
    ///
    /// # Errors
    /// As [`Classifier::new`].
    pub fn new(
        known: &LogTypes,
        log_types: &[impl AsRef<str>],
    ) -> Result<Option<Self>, ClassifierError> {
        let classifier = Classifier::new(known, log_types)?;
        let Some(epoch) = Timestamp::from_unix_millis(0) else {
            return Ok(None);
        };
        Ok(classifier.has_long_events().then(|| Self {
            classifier,
            // Its events are not kept.
            context: EventContext::new("", "", "", epoch),
        }))
    }

    /// Another text begins.
    pub fn begin(&mut self) {
        self.classifier.begin_input();
    }

    /// The records that follow do not stand directly behind the ones before: see [`Classifier::gap`].
    pub fn gap(&mut self) {
        self.classifier.gap();
    }

    /// Whether an event can be open behind a record if no event is open in front of it. Cheap, and sometimes true where no event is open:
    /// what other log types take is not looked at.
    pub fn may_begin(&self, record: &Record) -> bool {
        record
            .text()
            .is_ok_and(|text| self.classifier.may_begin(text))
    }

    /// Takes the next piece of a raw object, as [`EventEnds::take`] does.
    pub fn follow(&mut self, piece: &Piece) -> bool {
        match piece {
            Piece::Input { .. } => self.begin(),
            Piece::Gap => self.gap(),
            Piece::Context(record) | Piece::Record(record) => {
                self.take(record);
            }
        }
        self.classifier.is_within_event()
    }

    /// Takes the next record. True if an event is open behind it, so that the text must not be cut there.
    pub fn take(&mut self, record: &Record) -> bool {
        let outcome = self.classifier.classify(record, &self.context);
        debug_assert!(
            self.classifier.is_within_event() || !matches!(outcome, Outcome::Begun { .. })
        );
        self.classifier.is_within_event()
    }
}
