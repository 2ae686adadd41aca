//! The parts of a running engine that its evaluations work with.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::pool::Pool;
use super::settings::EngineSettings;
use crate::native::Native;
use crate::verdict::RuleError;

/// A loaded pack with its workers.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) settings: EngineSettings,
    pub(super) pool: Pool,
    pub(super) selection: Arc<Selection>,
}

/// What decides a pair of event and rule, or finds that Python has to.
#[derive(Debug)]
pub(super) struct Selection {
    /// The rules of each log type, ascending by detection index.
    pub(super) rules: HashMap<String, Vec<u32>>,
    /// By detection index: why it did not load. Each of its events gives this error.
    pub(super) broken: BTreeMap<u32, RuleError>,
    pub(super) native: Option<Native>,
}

impl Selection {
    /// The rules of a log type, ascending by detection index.
    pub(super) fn rules(&self, log_type: &str) -> &[u32] {
        self.rules.get(log_type).map_or(&[], Vec::as_slice)
    }
}

impl Running {
    /// Whether a detection is evaluated in Rust, at least where the result is the same.
    pub(super) fn is_native(&self, detection: u32) -> bool {
        let native = self.selection.native.as_ref();
        native.is_some_and(|native| native.has(detection))
    }
}
