//! Folders of the state. One folder is current and named by a file. Others are under construction, set aside, or left over from a crash.

use std::io;
use std::path::{Path, PathBuf};

use crate::log::sync_folder;

/// Name of the file that names the current folder.
const CURRENT: &str = "current";
/// Name of a marker file inside a folder of the state. It contains the reason why the folder must not be opened again.
const DAMAGED: &str = "damaged";
/// Suffix of a folder that was set aside.
const ASIDE: &str = ".aside";

fn numbered(root: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(root)? {
        if let Some(number) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix("state-"))
            .and_then(|number| number.parse().ok())
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The current folder of the state. Folders that a crash left incomplete are removed. If the file that names the current folder is lost or damaged,
/// the folder with the lowest number becomes current, because a folder under construction has a higher number; then no folder is removed.
pub(super) fn current_folder(root: &Path) -> io::Result<PathBuf> {
    let numbers = numbered(root)?;
    let folder = |number: &u64| root.join(format!("state-{number}"));
    let named = match std::fs::read_to_string(root.join(CURRENT)) {
        Ok(name) => name
            .trim()
            .strip_prefix("state-")
            .and_then(|number| number.parse::<u64>().ok()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::InvalidData
            ) =>
        {
            None
        }
        Err(error) => return Err(error),
    };
    match named {
        Some(named) if numbers.contains(&named) || numbers.is_empty() => {
            for number in numbers.iter().filter(|number| **number != named) {
                std::fs::remove_dir_all(folder(number))?;
            }
            Ok(folder(&named))
        }
        _ => {
            let lowest = folder(numbers.first().unwrap_or(&1));
            if !numbers.is_empty() {
                tracing::warn!(
                    file = %root.join(CURRENT).display(),
                    taken = %lowest.display(),
                    "the file that names the state's folder is missing, damaged or names a folder that is not there; it is written again"
                );
            }
            point_to(root, &lowest)?;
            Ok(lowest)
        }
    }
}

/// A folder with an unused number. The current folder's number counts as used even if that folder was set aside: an incomplete folder must not have
/// the name of the current one.
pub(super) fn next_folder(root: &Path) -> io::Result<PathBuf> {
    let in_force = std::fs::read_to_string(root.join(CURRENT))
        .ok()
        .and_then(|name| name.trim().strip_prefix("state-")?.parse().ok())
        .unwrap_or(0);
    let last = numbered(root)?.last().copied().unwrap_or(0).max(in_force);
    Ok(root.join(format!("state-{}", last + 1)))
}

pub(super) fn point_to(root: &Path, folder: &Path) -> io::Result<()> {
    let name = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let temporary = root.join("current.new");
    std::fs::write(&temporary, name)?;
    std::fs::File::open(&temporary)?.sync_all()?;
    std::fs::rename(&temporary, root.join(CURRENT))?;
    sync_folder(root)
}

/// Marks a folder as damaged, so that the next start rebuilds the state and need not find the damage again.
pub(super) fn condemn(folder: &Path, why: &str) -> io::Result<()> {
    let file = folder.join(DAMAGED);
    std::fs::write(&file, why)?;
    std::fs::File::open(&file)?.sync_all()?;
    sync_folder(folder)
}

/// Why the folder must not be opened; `None` if it may be opened.
pub(super) fn condemned(folder: &Path) -> Option<String> {
    std::fs::read_to_string(folder.join(DAMAGED)).ok()
}

/// Sets a damaged folder aside, so that an operator can examine it. Only the newest one is kept.
pub(super) fn set_aside(folder: &Path) -> io::Result<PathBuf> {
    let root = folder.parent().unwrap_or(folder);
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(ASIDE) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let aside = folder.with_file_name(format!("{name}{ASIDE}"));
    if folder.exists() {
        std::fs::rename(folder, &aside)?;
    }
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_or_garbled_name_of_the_state_costs_no_state() {
        for content in [None, Some(""), Some("st\0"), Some("state-9")] {
            let root = tempfile::tempdir().unwrap();
            for number in [3, 4] {
                std::fs::create_dir(root.path().join(format!("state-{number}"))).unwrap();
            }
            if let Some(content) = content {
                std::fs::write(root.path().join(CURRENT), content).unwrap();
            }
            let current = current_folder(root.path()).unwrap();
            assert_eq!(current, root.path().join("state-3"), "{content:?}");
            assert!(root.path().join("state-4").exists());
            // The second call uses the name that the first one wrote.
            assert_eq!(current_folder(root.path()).unwrap(), current);
            assert!(!root.path().join("state-4").exists());
        }
    }

    #[test]
    fn what_is_rebuilt_never_bears_the_name_of_the_state_in_force() {
        let root = tempfile::tempdir().unwrap();
        let current = current_folder(root.path()).unwrap();
        std::fs::create_dir_all(&current).unwrap();
        set_aside(&current).unwrap();
        assert_ne!(next_folder(root.path()).unwrap(), current);
    }
}
