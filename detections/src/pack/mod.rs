//! Packs in panther-analysis's format: read, checked as a whole, versioned by their content.
//!
//! A pack is a folder or zip of YAML files, each with an `AnalysisType`, beside the Python files they name. [`Pack::read`] either returns all of it or
//! every [`Problem`] it has; nothing is half loaded. What is well-formed and not evaluated in this version says so in
//! [`Detection::unevaluated`], [`Detection::limitations`] or [`Pack::unevaluated`].

mod check;
mod difference;
mod fields;
mod files;
mod inspect;
mod items;
mod models;
mod module;
mod nearest;
mod read;
mod schema;
mod sources;
#[cfg(test)]
mod tests;
mod types;
mod yaml;

use std::path::Path;

pub use difference::{ChangedItem, Difference, Named};
pub use files::Limits;
pub use inspect::{Findings, inspect, missing_ids, unknown_log_types};
pub use nearest::nearest;
pub use sources::Sources;
pub use types::{
    DataModel, Detection, DetectionKind, Global, IgnoredKey, ItemKind, Mapping, MappingTarget,
    Mock, Pack, PackDefinition, Problem, Severity, Source, Test, UnevaluatedItem, UnknownSeverity,
};

impl Pack {
    /// Reads a pack from a folder, or from a zip file, within the default [`Limits`].
    ///
    /// Blocking: call it off the async threads.
    ///
    /// # Errors
    /// Every problem of the pack, in the order of its files; never an empty list.
    pub fn read(path: &Path) -> Result<Pack, Vec<Problem>> {
        let files =
            files::Files::from_path(path, &Limits::default()).map_err(|problem| vec![problem])?;
        read::pack(&files)
    }

    /// Reads a pack from the bytes of a zip file, within the default [`Limits`].
    ///
    /// # Errors
    /// Every problem of the pack, in the order of its files; never an empty list.
    pub fn read_zip(bytes: &[u8]) -> Result<Pack, Vec<Problem>> {
        let files =
            files::Files::from_zip(bytes, &Limits::default()).map_err(|problem| vec![problem])?;
        read::pack(&files)
    }

    /// The detection of this id.
    #[must_use]
    pub fn detection(&self, id: &str) -> Option<&Detection> {
        self.detections.iter().find(|detection| detection.id == id)
    }
}
