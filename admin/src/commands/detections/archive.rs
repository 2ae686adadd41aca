//! A pack's folder as one zip, within the bounds that a node keeps too.
//!
//! What a node would not read is not sent: hidden files and folders, Python's caches, links.

use std::{
    fs,
    io::{Cursor, Read, Write},
    path::{Path, PathBuf},
};

use panther_detections::pack::Limits;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::failure::Failure;

/// A pack ready to be sent.
#[derive(Debug)]
pub(super) struct Archive {
    /// The zip.
    pub(super) bytes: Vec<u8>,
    /// Files in it that are too large to be read by a pack and are sent empty.
    pub(super) emptied: Vec<String>,
}

/// Makes one zip of a folder, or reads one. Blocking.
pub(super) fn of(path: &Path, limits: &Limits) -> Result<Archive, Failure> {
    let refused =
        |why: String| Failure::input(format!("cannot upload {}", path.display())).why(why);
    let metadata = fs::metadata(path).map_err(|error| refused(error.to_string()))?;
    let archive = if metadata.is_dir() {
        pack(path, limits)?
    } else {
        let mut bytes = Vec::new();
        fs::File::open(path)
            .and_then(|file| file.take(limits.zip_bytes + 1).read_to_end(&mut bytes))
            .map_err(|error| refused(error.to_string()))?;
        if !bytes.starts_with(b"PK") {
            return Err(refused("it is neither a folder nor a zip".to_owned()));
        }
        Archive {
            bytes,
            emptied: Vec::new(),
        }
    };
    if archive.bytes.len() as u64 > limits.zip_bytes {
        return Err(refused(format!(
            "it has more than the {} bytes that a zip may have",
            limits.zip_bytes
        )));
    }
    Ok(archive)
}

fn pack(root: &Path, limits: &Limits) -> Result<Archive, Failure> {
    let refused = |path: &Path, why: String| {
        Failure::input(format!("cannot upload {}", root.display()))
            .tried(format!("read {}", path.display()))
            .why(why)
    };
    let mut files = Vec::new();
    walk(root, String::new(), limits.files, &mut files)
        .map_err(|(path, why)| refused(&path, why))?;
    // The same folder gives the same zip.
    files.sort();
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    let mut emptied = Vec::new();
    let mut total = 0;
    for name in files {
        let path = root.join(&name);
        let mut content = Vec::new();
        fs::File::open(&path)
            .and_then(|file| file.take(limits.file_bytes + 1).read_to_end(&mut content))
            .map_err(|error| refused(&path, error.to_string()))?;
        if content.len() as u64 > limits.file_bytes {
            if is_read(&name) {
                return Err(refused(
                    &path,
                    format!(
                        "it has more than the {} bytes that a file may have",
                        limits.file_bytes
                    ),
                ));
            }
            // Of other files a pack asks no more than whether they are there.
            content.clear();
            emptied.push(name.clone());
        }
        total += content.len() as u64;
        if total > limits.total_bytes {
            return Err(refused(
                &path,
                format!(
                    "with it the pack has more than {} bytes; is this the folder of a pack?",
                    limits.total_bytes
                ),
            ));
        }
        writer
            .start_file(name, options)
            .map_err(std::io::Error::other)
            .and_then(|()| writer.write_all(&content))
            .map_err(|error| refused(&path, error.to_string()))?;
    }
    let bytes = writer
        .finish()
        .map_err(|error| refused(root, error.to_string()))?
        .into_inner();
    Ok(Archive { bytes, emptied })
}

/// Collects the files below `root` by their path from there.
fn walk(
    root: &Path,
    relative: String,
    most: usize,
    files: &mut Vec<String>,
) -> Result<(), (PathBuf, String)> {
    let folder = root.join(&relative);
    let failed = |error: std::io::Error| (folder.clone(), error.to_string());
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        if name.starts_with('.') || name == "__pycache__" {
            continue;
        }
        let path = if relative.is_empty() {
            name
        } else {
            format!("{relative}/{name}")
        };
        if kind.is_dir() {
            walk(root, path, most, files)?;
        } else if kind.is_file() {
            if files.len() >= most {
                return Err((
                    folder,
                    format!("the pack has more than {most} files; is this the folder of a pack?"),
                ));
            }
            files.push(path);
        }
    }
    Ok(())
}

fn is_read(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, extension)| matches!(extension, "yml" | "yaml" | "json" | "py"))
}

#[cfg(test)]
mod tests {
    use panther_detections::pack::Pack;

    use super::*;

    const RULE: &str = "AnalysisType: rule\nRuleID: A\nFilename: a.py\nLogTypes: [T]\nSeverity: Low\nEnabled: true\n";

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        for name in ["rules", ".git", "__pycache__"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        write("rules/a.yml", RULE);
        write("rules/a.py", "def rule(event):\n    return True\n");
        write(".git/config.yml", "x: [");
        write("__pycache__/a.py", "\u{0}");
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link.yml")).unwrap();
        folder
    }

    #[test]
    fn a_folder_and_its_zip_are_the_same_pack() {
        let folder = folder();
        let archive = of(folder.path(), &Limits::default()).unwrap();
        assert_eq!(
            archive.bytes,
            of(folder.path(), &Limits::default()).unwrap().bytes
        );
        let zipped = Pack::read_zip(&archive.bytes).unwrap();
        assert_eq!(zipped.version, Pack::read(folder.path()).unwrap().version);
        let file = folder.path().join("pack.zip");
        fs::write(&file, &archive.bytes).unwrap();
        assert_eq!(of(&file, &Limits::default()).unwrap().bytes, archive.bytes);
    }

    #[test]
    fn what_is_no_pack_is_refused_before_it_is_sent() {
        let folder = folder();
        let small = Limits {
            files: 1,
            ..Limits::default()
        };
        assert!(of(folder.path(), &small).is_err());
        let short = Limits {
            file_bytes: 10,
            ..Limits::default()
        };
        assert!(of(folder.path(), &short).is_err());
        let little = Limits {
            total_bytes: 40,
            ..Limits::default()
        };
        assert!(of(folder.path(), &little).is_err());
        let plain = folder.path().join("rules/a.yml");
        assert!(of(&plain, &Limits::default()).is_err());
        assert!(of(Path::new("/nonexistent"), &Limits::default()).is_err());
    }

    #[test]
    fn a_large_file_that_no_pack_reads_is_sent_by_name_only() {
        let folder = folder();
        fs::write(folder.path().join("lookup.csv"), vec![b'x'; 300]).unwrap();
        let limits = Limits {
            file_bytes: 200,
            ..Limits::default()
        };
        assert_eq!(of(folder.path(), &limits).unwrap().emptied, ["lookup.csv"]);
    }
}
