//! Log types: bytes in, classified events out.
//!
//! Data flow of a log file:
//!
//! 1. [`ObjectReader`] splits an object's bytes into [`Record`]s: lines, or the elements of a JSON array.
//! 2. A [`Classifier`], one per object, tries the log types of the source on each record until one matches.
//! 3. A matched record becomes an [`Event`]: the original record, with declared timestamps in one format, and with standard fields and
//!    indicators added. A record that no log type matches is returned with the reason of each log type. No record is dropped: the caller
//!    gets one [`Outcome`] per record.
//!
//! A log type is a YAML schema. The built-in schemas are in `schemas/`; others are added by [`LogTypes::with_schema`]. The library does no
//! I/O of its own and has no clock: the caller passes in bytes and parse time.
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
//!         // A CSV row may span several records: `Begun` for each record before the last, `Joined` for the last.
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
