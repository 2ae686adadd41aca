//! Event boundaries in a text that is read piece by piece while it grows.
//!
//! Most events are one record. A CSV row may span several records, because a quoted value may contain line ends. A cut inside such a row
//! would give two pieces, and neither piece is a valid event.

use crate::{
    classify::{Classifier, ClassifierError, Outcome},
    event::EventContext,
    log_types::LogTypes,
    object::{Piece, Record},
    time::Timestamp,
};

/// Follows the records of one text and reports after which records no event is open. It parses in the same way as a [`Classifier`] of the
/// same log types. So if a text is cut where no event is open, the two pieces give the same events as the uncut text.
#[derive(Debug)]
pub struct EventEnds {
    classifier: Classifier,
    context: EventContext,
}

impl EventEnds {
    /// Creates a tracker for the log types of a source. Returns `None` if every event of these log types is one record.
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
            // The events are discarded.
            context: EventContext::new("", "", "", epoch),
        }))
    }

    /// Starts a new text.
    pub fn begin(&mut self) {
        self.classifier.begin_input();
    }

    /// Marks a gap: the next record does not directly follow the previous one. See [`Classifier::gap`].
    pub fn gap(&mut self) {
        self.classifier.gap();
    }

    /// True if an event may be open after this record, given that no event is open before it. This check is cheap and may give false
    /// positives, because it does not try the other log types.
    pub fn may_begin(&self, record: &Record) -> bool {
        record
            .text()
            .is_ok_and(|text| self.classifier.may_begin(text))
    }

    /// Processes the next piece of a raw object. Returns true if an event is open after it, as [`EventEnds::take`] does.
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

    /// Processes the next record. Returns true if an event is open after it, so that the text must not be cut there.
    pub fn take(&mut self, record: &Record) -> bool {
        let outcome = self.classifier.classify(record, &self.context);
        debug_assert!(
            self.classifier.is_within_event() || !matches!(outcome, Outcome::Begun { .. })
        );
        self.classifier.is_within_event()
    }
}
