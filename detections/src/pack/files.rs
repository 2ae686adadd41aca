//! The files of a pack, read from a folder or a zip within bounds.
//!
//! No path leaves the pack: links are not followed, and a zip entry that is absolute or climbs with `..` refuses the whole zip. Sizes are
//! counted while bytes are read, so that a zip that lies about them is stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Problem;
use crate::threads::side_by_side;

/// How large a pack may be. The public pack has about 2,700 files and 9 MB of YAML and Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files, of whatever kind.
    pub files: usize,
    /// Bytes of one YAML or Python file.
    pub file_bytes: u64,
    /// Bytes of all YAML and Python files together.
    pub total_bytes: u64,
    /// Bytes of a zip as it comes.
    pub zip_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            files: 50_000,
            file_bytes: 4 << 20,
            total_bytes: 128 << 20,
            zip_bytes: 64 << 20,
        }
    }
}

/// The texts of a pack and the names of its other files, by `/`-separated relative path.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) texts: BTreeMap<String, String>,
    pub(crate) others: BTreeSet<String>,
    /// Files that should be text and are not.
    pub(crate) problems: Vec<Problem>,
}

impl Files {
    pub(crate) fn from_path(path: &Path, limits: &Limits) -> Result<Self, Problem> {
        let metadata = std::fs::metadata(path)
            .map_err(|error| problem(path.display(), format!("cannot be opened: {error}")))?;
        if metadata.is_dir() {
            return Self::from_folder(path, limits);
        }
        if metadata.len() > limits.zip_bytes {
            return Err(problem(
                path.display(),
                format!(
                    "{} bytes; a zip may have {}",
                    metadata.len(),
                    limits.zip_bytes
                ),
            ));
        }
        let bytes = std::fs::read(path)
            .map_err(|error| problem(path.display(), format!("cannot be read: {error}")))?;
        Self::from_zip(&bytes, limits).map_err(|inner| problem(path.display(), inner.to_string()))
    }

    pub(crate) fn from_zip(bytes: &[u8], limits: &Limits) -> Result<Self, Problem> {
        let broken = |error: zip::result::ZipError| {
            problem(
                "zip",
                format!("neither a folder nor a zip that can be read: {error}"),
            )
        };
        if bytes.len() as u64 > limits.zip_bytes {
            return Err(problem(
                "zip",
                format!("{} bytes; a zip may have {}", bytes.len(), limits.zip_bytes),
            ));
        }
        let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
        if archive.len() > limits.files {
            return Err(too_many(limits));
        }
        let mut files = Self::default();
        let mut total = 0;
        for index in 0..archive.len() {
            let entry = archive.by_index(index).map_err(broken)?;
            let name = entry.name().to_owned();
            let Some(relative) = entry.enclosed_name() else {
                return Err(problem(name, "the path leaves the zip"));
            };
            if !entry.is_file() || skipped(&relative.to_string_lossy()) {
                continue;
            }
            let relative = relative.to_string_lossy().replace('\\', "/");
            let bytes = match is_text(&relative) {
                true => bytes_of(&relative, entry, limits)?,
                false => Vec::new(),
            };
            total += bytes.len() as u64;
            within(&relative, total, limits)?;
            files.take(relative, bytes);
        }
        Ok(files)
    }

    fn from_folder(folder: &Path, limits: &Limits) -> Result<Self, Problem> {
        let mut found = Vec::new();
        walk(folder, "", limits, &mut found)?;
        let total = AtomicU64::new(0);
        let read = side_by_side(found, |path| {
            let mut bytes = Vec::new();
            if is_text(&path) {
                let file = std::fs::File::open(folder.join(&path))
                    .map_err(|error| problem(&path, format!("cannot be opened: {error}")))?;
                bytes = bytes_of(&path, file, limits)?;
                let before = total.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                within(&path, before + bytes.len() as u64, limits)?;
            }
            Ok((path, bytes))
        });
        let mut files = Self::default();
        for read in read {
            let (path, bytes) = read?;
            files.take(path, bytes);
        }
        Ok(files)
    }

    /// Takes in a file with its bytes, which matter of a text alone.
    fn take(&mut self, path: String, bytes: Vec<u8>) {
        if !is_text(&path) {
            self.others.insert(path);
            return;
        }
        match String::from_utf8(bytes) {
            Ok(text) => {
                let text = match text.strip_prefix('\u{feff}') {
                    Some(rest) => rest.to_owned(),
                    None => text,
                };
                self.texts.insert(path, text);
            }
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                self.problems
                    .push(problem(path, format!("not UTF-8 from byte {at} on")));
            }
        }
    }

    pub(crate) fn contains(&self, path: &str) -> bool {
        self.texts.contains_key(path) || self.others.contains(path)
    }
}

/// The paths of a folder's files, those of its folders included.
fn walk(
    root: &Path,
    relative: &str,
    limits: &Limits,
    found: &mut Vec<String>,
) -> Result<(), Problem> {
    let folder = root.join(relative);
    let unreadable =
        |error: std::io::Error| problem(folder.display(), format!("cannot be read: {error}"));
    for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let kind = entry.file_type().map_err(unreadable)?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        let path = if relative.is_empty() {
            name
        } else {
            format!("{relative}/{name}")
        };
        if skipped(&path) {
            continue;
        }
        if kind.is_dir() {
            walk(root, &path, limits, found)?;
        } else if kind.is_file() {
            if found.len() >= limits.files {
                return Err(too_many(limits));
            }
            found.push(path);
        }
    }
    Ok(())
}

fn bytes_of(path: &str, content: impl Read, limits: &Limits) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    content
        .take(limits.file_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| problem(path, format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > limits.file_bytes {
        return Err(problem(
            path,
            format!(
                "larger than the {} bytes that a file may have",
                limits.file_bytes
            ),
        ));
    }
    Ok(bytes)
}

/// Whether the texts with this one, so many bytes together, are not too much.
fn within(path: &str, total: u64, limits: &Limits) -> Result<(), Problem> {
    if total > limits.total_bytes {
        return Err(problem(
            path,
            format!(
                "with it the pack is larger than {} bytes",
                limits.total_bytes
            ),
        ));
    }
    Ok(())
}

fn is_text(path: &str) -> bool {
    path.rsplit_once('.')
        .is_some_and(|(_, extension)| matches!(extension, "yml" | "yaml" | "json" | "py"))
}

fn skipped(path: &str) -> bool {
    path.split('/')
        .any(|part| part.starts_with('.') && part.len() > 1 || part == "__pycache__")
}

fn too_many(limits: &Limits) -> Problem {
    problem("pack", format!("more than {} files", limits.files))
}

fn problem(file: impl ToString, reason: impl Into<String>) -> Problem {
    Problem {
        file: file.to_string(),
        key: None,
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in entries {
            let options = zip::write::SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::Deflated);
            writer.start_file(*name, options).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn small() -> Limits {
        Limits {
            files: 3,
            file_bytes: 1000,
            total_bytes: 1500,
            zip_bytes: 10_000,
        }
    }

    #[test]
    fn a_zip_holds_what_the_folder_holds() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("rules")).unwrap();
        std::fs::write(folder.path().join("rules/a.yml"), "x: 1").unwrap();
        std::fs::write(folder.path().join("rules/b.csv"), "x").unwrap();
        std::fs::write(folder.path().join(".hidden.yml"), "x: 1").unwrap();
        let from_folder = Files::from_path(folder.path(), &small()).unwrap();
        let from_zip = Files::from_zip(
            &zip(&[
                ("rules/a.yml", b"x: 1"),
                ("rules/b.csv", b"x"),
                (".hidden.yml", b"x: 1"),
            ]),
            &small(),
        )
        .unwrap();
        assert_eq!(from_folder.texts, from_zip.texts);
        assert_eq!(from_folder.others, from_zip.others);
        assert_eq!(
            from_folder.texts.keys().collect::<Vec<_>>(),
            ["rules/a.yml"]
        );
    }

    #[test]
    fn paths_stay_inside() {
        for name in ["../a.yml", "/etc/a.yml", "a/../../b.yml"] {
            let refused = Files::from_zip(&zip(&[(name, b"x: 1")]), &small());
            // An absolute name is taken below the pack or refused; it is never the absolute file.
            assert!(
                refused.as_ref().map_or(true, |files| files
                    .texts
                    .keys()
                    .all(|path| !path.starts_with('/') && !path.contains(".."))),
                "{name}"
            );
        }
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link.yml")).unwrap();
        let files = Files::from_path(folder.path(), &small()).unwrap();
        assert!(files.texts.is_empty() && files.others.is_empty());
    }

    #[test]
    fn sizes_are_bounded_whatever_the_zip_says() {
        let long = vec![b' '; 1001];
        assert!(
            Files::from_zip(&zip(&[("a.yml", &long)]), &small())
                .unwrap_err()
                .reason
                .contains("1000 bytes")
        );
        let half = vec![b' '; 900];
        assert!(Files::from_zip(&zip(&[("a.yml", &half), ("b.yml", &half)]), &small()).is_err());
        assert!(
            Files::from_zip(
                &zip(&[("a", b""), ("b", b""), ("c", b""), ("d", b"")]),
                &small()
            )
            .is_err()
        );
        assert!(Files::from_zip(b"not a zip", &small()).is_err());
        assert!(Files::from_path(Path::new("/nonexistent"), &small()).is_err());
    }

    #[test]
    fn what_is_not_text_is_named() {
        let files = Files::from_zip(&zip(&[("a.py", b"\xff")]), &small()).unwrap();
        assert_eq!(files.problems[0].file, "a.py");
    }
}
