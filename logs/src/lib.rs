//! Log types: bytes in, classified events out.
//!
//! The way of a log file through this library:
//!
//! 1. [`ObjectReader`] takes an object's bytes apart into [`Record`]s: lines, or the elements of a JSON array.
//! 2. A [`Classifier`], one for each object, tries the log types of its source on each record until one takes it.
//! 3. What it takes becomes an [`Event`]: the record as it came, declared timestamps in one form, standard fields and indicators added.
//!    What nobody takes comes back with every log type's reason. Nothing is dropped: of each record a caller learns which of the three
//!    ways of [`Outcome`] it went.
//!
//! A log type is a schema in YAML: those built in stand in `schemas/`, others are added by [`LogTypes::with_schema`].
//! The library does no I/O of its own and has no clock: bytes and parse time are handed in.
//!
//! ```
//! use panther_logs::{Classifier, EventContext, Limits, LogTypes, ObjectReader, Outcome, Timestamp};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let known = LogTypes::builtin();
//! let parse_time = Timestamp::from(std::time::SystemTime::now());
//! let context = EventContext::new("source-1", "Web servers", "access.log", parse_time);
//! let mut classifier = Classifier::new(&known, &["Nginx.Access", "Syslog.RFC5424"])?;
//! let object = br#"198.51.100.7 - - [02/Jan/2026:03:04:05 +0000] "GET / HTTP/1.1" 200 612 "-" "curl""#;
//! for record in ObjectReader::new("access.log", object.as_slice(), Limits::default()) {
//!     match classifier.classify(&record?, &context) {
//!         Outcome::Events(events) => assert_eq!(&*events[0].log_type, "Nginx.Access"),
//!         Outcome::Unclassified { reasons } => panic!("into quarantine: {reasons:?}"),
//!         Outcome::Skipped(filter) => println!("counted as filtered: {filter:?}"),
//!         // A row of CSV may go on over several records: the first begins the event, each next one joins it.
//!         Outcome::Begun { .. } | Outcome::Joined(_) => println!("part of an event that a later record ends"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod classify;
mod ends;
mod event;
mod indicators;
mod json;
mod log_types;
mod object;
mod parser;
mod schema;
mod time;

pub use classify::{Classifier, ClassifierError, Outcome, Rejection, Tally};
pub use ends::EventEnds;
pub use event::{Event, EventContext};
pub use log_types::{LogType, LogTypes};
pub use object::{
    ByteCount, Defect, InputForm, Limits, ObjectError, ObjectReader, PartsWriter, Piece, RawReader,
    Record, Unpacked, is_of_parts,
};
pub use parser::Filter;
pub use schema::SchemaError;
pub use time::Timestamp;
