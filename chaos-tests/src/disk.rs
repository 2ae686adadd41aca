//! File systems of a run, which can lose unsynced data or become full. Both need root; if they cannot be created, a run reports that
//! instead of passing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::{During, Failure, Result, until};

/// `EXT4_IOC_SHUTDOWN`, `_IOR('X', 125, __u32)`, with `EXT4_GOING_FLAGS_NOLOGFLUSH` (2): the file system stops at once, and neither
/// unsynced data nor the unsynced journal reach the device (Linux, fs/ext4/ext4.h).
const SHUTDOWN: &str = "import fcntl, os, struct, sys\n\
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// A mounted file system. Dropping it unmounts it.
#[derive(Debug)]
pub struct Disk {
    place: PathBuf,
    /// The image file, if there is one.
    image: Option<PathBuf>,
    mounted: bool,
}

impl Disk {
    /// Creates an ext4 file system on a loop device.
    ///
    /// # Errors
    /// This machine cannot create one.
    pub async fn ext4(folder: &Path, megabytes: u64) -> Result<Self> {
        let image = folder.join("disk.img");
        cannot(std::fs::File::create(&image).and_then(|file| file.set_len(megabytes << 20)))?;
        let made = run("mkfs.ext4", &["-q", "-F", &text(&image)]).await;
        made.map_err(Failure::CannotRun)?;
        let mut disk = Self::at(folder, Some(image))?;
        disk.mount().await?;
        Ok(disk)
    }

    /// Creates a file system in memory.
    ///
    /// # Errors
    /// This machine cannot create one.
    pub async fn in_memory(folder: &Path, megabytes: u64) -> Result<Self> {
        let mut disk = Self::at(folder, None)?;
        let size = format!("size={megabytes}m");
        let mounted = run(
            "mount",
            &["-t", "tmpfs", "-o", &size, "tmpfs", &text(&disk.place)],
        )
        .await;
        mounted.map_err(Failure::CannotRun)?;
        disk.mounted = true;
        Ok(disk)
    }

    fn at(folder: &Path, image: Option<PathBuf>) -> Result<Self> {
        let place = folder.join("mount");
        cannot(std::fs::create_dir_all(&place))?;
        Ok(Self {
            place,
            image,
            mounted: false,
        })
    }

    /// The mount point.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Mounts it. The kernel replays its journal.
    ///
    /// # Errors
    /// It does not mount.
    pub async fn mount(&mut self) -> Result<()> {
        let image = self.image.as_deref().map(text).unwrap_or_default();
        run("mount", &["-o", "loop", &image, &text(&self.place)])
            .await
            .map_err(Failure::CannotRun)?;
        self.mounted = true;
        Ok(())
    }

    /// Simulates a power cut: from now on no write reaches the device.
    ///
    /// # Errors
    /// The file system does not support the call.
    pub async fn cut(&self) -> Result<()> {
        run("python3", &["-c", SHUTDOWN, &text(&self.place)])
            .await
            .map_err(Failure::CannotRun)
    }

    /// Freezes it: writes and syncs block until it is thawed.
    ///
    /// # Errors
    /// This machine cannot freeze it.
    pub async fn freeze(&self) -> Result<Still> {
        run("fsfreeze", &["-f", &text(&self.place)])
            .await
            .map_err(Failure::CannotRun)?;
        Ok(Still(Some(self.place.clone())))
    }

    /// Fills it completely, until [`Disk::free`]. Space that is already allocated to files can still be written.
    ///
    /// # Errors
    /// The space cannot be allocated.
    pub fn fill(&self) -> Result<()> {
        let filler = std::fs::File::create(self.filler()).during("filling the disk")?;
        let (mut taken, mut step) = (0, 1_u64 << 30);
        while step > 0 {
            let flags = rustix::fs::FallocateFlags::empty();
            match rustix::fs::fallocate(&filler, flags, taken, step) {
                Ok(()) => taken += step,
                Err(rustix::io::Errno::NOSPC) => step /= 4,
                Err(error) => return Err(Failure::Broken(format!("filling the disk: {error}"))),
            }
        }
        Ok(())
    }

    /// Frees the space that [`Disk::fill`] took.
    ///
    /// # Errors
    /// The space cannot be freed.
    pub fn free(&self) -> Result<()> {
        std::fs::remove_file(self.filler()).during("making room")?;
        // Without this sync, a power cut soon afterwards would fill the disk again.
        std::fs::File::open(&self.place)
            .and_then(|place| place.sync_all())
            .during("making room")
    }

    fn filler(&self) -> PathBuf {
        self.place.join("filler")
    }

    /// Unmounts it.
    ///
    /// # Errors
    /// It is still in use.
    pub async fn unmount(&mut self) -> Result<()> {
        let place = text(&self.place);
        until(
            "the file system is let go",
            Duration::from_secs(10),
            async || Ok(run("umount", &[&place]).await.err()),
        )
        .await?;
        self.mounted = false;
        Ok(())
    }
}

/// A frozen file system. Dropping it thaws the file system. A process that waits for it cannot be killed.
#[derive(Debug)]
pub struct Still(Option<PathBuf>);

impl Still {
    /// Thaws the file system.
    ///
    /// # Errors
    /// The file system cannot be thawed.
    pub async fn thaw(mut self) -> Result<()> {
        let place = self.0.take().unwrap_or_default();
        let thawed = run("fsfreeze", &["-u", &text(&place)]).await;
        thawed.map_err(Failure::Broken)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        if let Some(place) = &self.0 {
            // An error cannot be reported from here; a file system that stays frozen is visible in other ways.
            let _ = std::process::Command::new("fsfreeze")
                .arg("-u")
                .arg(place)
                .status();
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            // A lazy unmount, so that a process which still uses it does not prevent the unmount.
            let _ = std::process::Command::new("umount")
                .arg("-l")
                .arg(&self.place)
                .status();
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn cannot<T>(made: std::io::Result<T>) -> Result<T> {
    made.map_err(|error| Failure::CannotRun(error.to_string()))
}

/// Runs a system tool. The error is the tool's output.
async fn run(program: &str, arguments: &[&str]) -> std::result::Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .await
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{program} ended with {}: {}",
        output.status,
        said.trim()
    ))
}
