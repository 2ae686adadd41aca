//! Folders of the state: one is in force, named by a file; others are being built, were set aside, or were left by a crash.

use std::io;
use std::path::{Path, PathBuf};

use crate::log::sync_folder;

/// The file that names the folder in force.
const CURRENT: &str = "current";

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

/// The folder of the state in force; others that a crash left half-built are removed.
pub(super) fn current_folder(root: &Path) -> io::Result<PathBuf> {
    let named = match std::fs::read_to_string(root.join(CURRENT)) {
        Ok(name) => name.trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let first = root.join("state-1");
            point_to(root, &first)?;
            "state-1".to_owned()
        }
        Err(error) => return Err(error),
    };
    for number in numbered(root)? {
        let name = format!("state-{number}");
        if name != named {
            std::fs::remove_dir_all(root.join(name))?;
        }
    }
    Ok(root.join(named))
}

/// A folder of a number that is not in use. The one in force counts although it may have been set aside: what is built
/// must not bear its name before it is whole.
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

pub(super) fn set_aside(folder: &Path) -> io::Result<PathBuf> {
    for attempt in 1.. {
        let aside = folder.with_file_name(format!(
            "{}.aside-{attempt}",
            folder.file_name().unwrap_or_default().to_string_lossy()
        ));
        if !aside.exists() {
            if folder.exists() {
                std::fs::rename(folder, &aside)?;
            }
            return Ok(aside);
        }
    }
    Err(io::Error::other(
        "no free name to set the state database aside",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rebuilt_never_bears_the_name_of_the_state_in_force() {
        let root = tempfile::tempdir().unwrap();
        let current = current_folder(root.path()).unwrap();
        std::fs::create_dir_all(&current).unwrap();
        set_aside(&current).unwrap();
        assert_ne!(next_folder(root.path()).unwrap(), current);
    }
}
