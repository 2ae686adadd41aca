//! The virtual environment that holds what a pack imports beside the standard library: made once for each interpreter and
//! list of packages, and kept.
//!
//! pip takes the packages from wherever it is configured to (`pip.conf`, `PIP_INDEX_URL`). A package without a version is the newest
//! on the day on which the environment is made; a list with versions gives the same on every node.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::settings::{EngineFault, EngineSettings};

/// How long an empty environment may take.
const MAKE: Duration = Duration::from_secs(120);
/// How long fetching and unpacking all packages may take.
const INSTALL: Duration = Duration::from_secs(900);
/// The file that says that an environment is whole; it holds the list.
const WHOLE: &str = "packages.txt";
/// Bytes kept of what a failed command said.
const SAID: usize = 2_000;

/// The interpreter to use: that of the settings, or of an environment with the packages that they name.
///
/// # Errors
/// [`EngineFault::Packages`] if the environment cannot be made.
pub(super) async fn interpreter(settings: &EngineSettings) -> Result<PathBuf, EngineFault> {
    if settings.packages.is_empty() {
        return Ok(settings.python.clone());
    }
    let list = settings.packages.join("\n") + "\n";
    let key = Sha256::digest(format!("{}\n{list}", settings.python.display()));
    let name = data_encoding::HEXLOWER.encode(&key[..8]);
    let folder = settings.environments.join(name);
    let python = folder.join("bin/python");
    if whole(&folder, &list).await {
        return Ok(python);
    }
    let io = |doing: &str| EngineFault::io(format!("{doing} {}", folder.display()));
    // Of several engines that start at once, in this process or another, one makes it.
    let _lock = lock(folder.with_extension("lock"))
        .await
        .map_err(io("locking"))?;
    if whole(&folder, &list).await {
        return Ok(python);
    }
    match tokio::fs::remove_dir_all(&folder).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(io("clearing")(error));
        }
        _ => {}
    }
    tracing::info!(
        packages = settings.packages.join(", "),
        folder = %folder.display(),
        "making a virtual environment; this may take some minutes"
    );
    let mut make = Command::new(&settings.python);
    make.args(["-m", "venv"]).arg(&folder);
    run(make, MAKE, settings).await?;
    let mut install = Command::new(&python);
    install
        .args(["-m", "pip", "install", "--quiet", "--no-input"])
        .args(["--disable-pip-version-check", "--no-cache-dir", "--"])
        .args(&settings.packages);
    run(install, INSTALL, settings).await?;
    tokio::fs::write(folder.join(WHOLE), list)
        .await
        .map_err(io("finishing"))?;
    Ok(python)
}

async fn whole(folder: &Path, list: &str) -> bool {
    tokio::fs::read_to_string(folder.join(WHOLE))
        .await
        .is_ok_and(|held| held == list)
}

async fn lock(path: PathBuf) -> std::io::Result<File> {
    tokio::task::spawn_blocking(move || {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let file = File::create(path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    })
    .await
    .map_err(std::io::Error::other)?
}

async fn run(
    mut command: Command,
    time: Duration,
    settings: &EngineSettings,
) -> Result<(), EngineFault> {
    let failed = |reason: String| EngineFault::Packages {
        packages: settings.packages.join(", "),
        reason,
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    match tokio::time::timeout(time, command.output()).await {
        Err(_) => Err(failed(format!("it took more than {} s", time.as_secs()))),
        Ok(Err(source)) => Err(EngineFault::Python {
            python: settings.python.clone(),
            source,
        }),
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let said = [output.stdout, output.stderr].concat();
            let from = said.len().saturating_sub(SAID);
            Err(failed(
                String::from_utf8_lossy(&said[from..]).trim().to_owned(),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path, packages: &[&str]) -> EngineSettings {
        EngineSettings {
            packages: packages.iter().map(|&package| package.to_owned()).collect(),
            environments: folder.to_owned(),
            ..EngineSettings::default()
        }
    }

    /// Debian ships Python without what makes environments unless python3-venv is there.
    fn can_make_environments() -> bool {
        let asked = std::process::Command::new("python3")
            .args(["-c", "import venv, ensurepip"])
            .stderr(Stdio::null())
            .status();
        let can = asked.is_ok_and(|status| status.success());
        if !can {
            eprintln!(
                "this Python makes no virtual environments (python3-venv is missing): not tried"
            );
        }
        can
    }

    /// A package on this disk, so that no index is asked.
    fn package(folder: &Path) -> String {
        let root = folder.join("pkg");
        std::fs::create_dir_all(root.join("greeting")).unwrap();
        std::fs::write(root.join("greeting/__init__.py"), "WORD = 'hello'\n").unwrap();
        let wheel = folder.join("greeting-1.0-py3-none-any.whl");
        let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1], 'w')\nz.write(sys.argv[2] + '/greeting/__init__.py', 'greeting/__init__.py')\nd = 'greeting-1.0.dist-info/'\nz.writestr(d + 'METADATA', 'Metadata-Version: 2.1\\nName: greeting\\nVersion: 1.0\\n')\nz.writestr(d + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\nz.writestr(d + 'RECORD', '')\nz.close()\n";
        let made = std::process::Command::new("python3")
            .args(["-c", script])
            .args([&wheel, &root])
            .status()
            .unwrap();
        assert!(made.success());
        wheel.display().to_string()
    }

    #[tokio::test]
    async fn an_environment_with_its_packages_is_made_once() {
        if !can_make_environments() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let wheel = package(folder.path());
        let settings = settings(&folder.path().join("environments"), &[&wheel]);
        let (one, other) = tokio::join!(interpreter(&settings), interpreter(&settings));
        let python = one.unwrap();
        assert_eq!(python, other.unwrap());
        let said = std::process::Command::new(&python)
            .args(["-I", "-c", "import greeting; print(greeting.WORD)"])
            .output()
            .unwrap();
        assert_eq!(said.stdout, b"hello\n");
        // What was made is taken as it is: no pip runs that could fail without its file.
        std::fs::remove_file(&wheel).unwrap();
        assert_eq!(interpreter(&settings).await.unwrap(), python);
    }

    #[tokio::test]
    async fn a_package_that_cannot_be_had_is_said_with_its_reason_and_no_half_environment_is_used()
    {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none-1.0-py3-none-any.whl");
        let settings = settings(folder.path(), &[&missing.display().to_string()]);
        let fault = interpreter(&settings).await.unwrap_err().to_string();
        assert!(fault.contains("python.packages"), "{fault}");
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            assert!(!entry.unwrap().path().join(WHOLE).exists());
        }
    }

    #[tokio::test]
    async fn without_packages_the_interpreter_is_used_as_it_is() {
        let settings = EngineSettings::default();
        assert_eq!(interpreter(&settings).await.unwrap(), settings.python);
    }
}
