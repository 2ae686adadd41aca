//! Destinations of alerts. A type of destination is one file: the fields of its configuration, which of them are secret, how the configuration is
//! checked, and what it makes of an alert.
//!
//! | file | destination |
//! | --- | --- |
//! | [`webhook`] | a POST of the notification to any address |
//! | [`slack`] | a Slack channel |
//! | [`teams`] | a Microsoft Teams channel |
//! | [`file`] | a file on the node that delivers |
//!
//! What they share:
//!
//! * [`destination`]: what a type of destination has to say; [`spec`]: the fields of its configuration
//! * [`configured`]: a destination with its configuration, as requests and rows hold it
//! * [`outputs`]: the table of destinations
//! * [`sender`]: one attempt at one destination; [`answer`]: what came of it
//! * [`notice`]: an alert as destinations need it
//! * [`http`]: posting; [`trust`]: certificates; [`scrub`]: no secret in what is kept; [`files`]: appending to files

mod answer;
mod configured;
mod destination;
mod file;
mod files;
mod http;
mod notice;
mod outputs;
mod scrub;
mod sender;
mod slack;
mod spec;
mod teams;
mod trust;
mod webhook;

pub use self::configured::ConfiguredDestination;
pub use self::destination::DestinationType;
pub use self::outputs::{OutputCache, TABLE, Unreachable};
pub use self::sender::{Response, Sender};
pub use self::spec::{DestinationField, DestinationSpec, FieldForm};

/// All types of destinations. One line makes a type exist.
pub const TYPES: &[DestinationType] = &[webhook::TYPE, slack::TYPE, teams::TYPE, file::TYPE];
