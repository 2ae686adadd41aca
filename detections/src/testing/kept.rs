//! What detections have passed, kept in a file, so that a run is spared what has not changed since: who changes one rule waits for that rule alone.
//!
//! A detection counts as unchanged if it is itself (its version), and everything that it shares with others: globals, data models, the
//! engine, the interpreter. What failed is never kept: what was wrong may have been outside the pack.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::report::{DetectionReport, Report};
use crate::pack::{Detection, Pack};
use crate::python::sources;

/// Detections that passed, of one pack, each with what is to be known of that: the report of its tests, unless it is said otherwise.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Kept<T = DetectionReport> {
    /// Hash of what all detections share.
    ground: String,
    /// By id: the detection's version, and what is known.
    passed: BTreeMap<String, (String, T)>,
}

impl<T: Serialize + DeserializeOwned> Kept<T> {
    /// What was kept at `path` for `pack` and `python`, the interpreter as the caller knows it. Nothing, if it is not there, not readable, or was kept under other circumstances.
    #[must_use]
    pub fn read(path: &Path, pack: &Pack, python: &str) -> Self {
        let nothing = Self::nothing(pack, python);
        let read = fs::read(path).ok();
        let kept: Option<Self> = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        kept.filter(|kept| kept.ground == nothing.ground)
            .unwrap_or(nothing)
    }

    /// Nothing is known of `pack` yet.
    #[must_use]
    pub fn nothing(pack: &Pack, python: &str) -> Self {
        Self {
            ground: ground(pack, python),
            passed: BTreeMap::new(),
        }
    }

    /// Writes it, for the next run.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        // Two runs at once each write a whole file.
        let file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(io::BufWriter::new(file.as_file()), self)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// What is known of a detection that has not changed since it passed.
    #[must_use]
    pub fn of(&self, detection: &Detection) -> Option<&T> {
        let (version, known) = self.passed.get(&detection.id)?;
        (*version == detection.version).then_some(known)
    }

    /// A detection has passed.
    pub fn keep(&mut self, detection: &Detection, known: T) {
        let passed = (detection.version.clone(), known);
        self.passed.insert(detection.id.clone(), passed);
    }
}

impl Kept {
    /// Takes in a run's report.
    pub(super) fn take(&mut self, pack: &Pack, report: &Report) {
        if !report.broken_helpers.is_empty() {
            self.passed.clear();
            return;
        }
        let versions: BTreeMap<&str, &str> = pack
            .detections
            .iter()
            .map(|detection| (detection.id.as_str(), detection.version.as_str()))
            .collect();
        self.passed
            .retain(|id, (version, _)| versions.get(id.as_str()) == Some(&version.as_str()));
        for of in &report.detections {
            match versions.get(of.id.as_str()) {
                Some(version)
                    if of.load_error.is_none() && of.tests.iter().all(|test| test.passed) =>
                {
                    self.passed
                        .insert(of.id.clone(), ((*version).to_owned(), of.clone()));
                }
                _ => drop(self.passed.remove(&of.id)),
            }
        }
    }
}

fn ground(pack: &Pack, python: &str) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    };
    add(env!("CARGO_PKG_VERSION").as_bytes());
    add(python.as_bytes());
    for (path, text) in sources::SOURCES {
        add(path.as_bytes());
        add(text.as_bytes());
    }
    for shared in [
        serde_json::to_vec(&pack.globals),
        serde_json::to_vec(&pack.data_models),
    ] {
        // Text keys and values only: writing them into memory cannot fail.
        add(&shared.unwrap_or_default());
    }
    data_encoding::HEXLOWER.encode(&hash.finalize())
}
