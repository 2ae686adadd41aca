//! The file operations that the log needs, behind a trait, so that tests can lose unsynced data.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Size of one write of zeroes into a new file, in bytes.
const ZEROES: usize = 1 << 20;

/// A folder of log files, and one small file (the mark) outside of that folder.
pub trait Files: Send + Sync + 'static {
    /// Sorted names of the files in the folder.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates a file of `bytes` zeroes. The file and its name are durable on return.
    ///
    /// # Errors
    /// The file cannot be created, or a file of that name exists. [`io::ErrorKind::StorageFull`] if the disk is full.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn LogFile>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// The file cannot be opened.
    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;

    /// Removes a file. The removal is durable on return.
    ///
    /// # Errors
    /// The file cannot be removed.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Content of the mark file; `None` if it was never written.
    ///
    /// # Errors
    /// The mark file exists and cannot be read.
    fn read_mark(&self) -> io::Result<Option<Vec<u8>>>;

    /// Replaces the mark file atomically. The new content is durable on return.
    ///
    /// # Errors
    /// The disk refuses the write; the old content is then still there.
    fn write_mark(&self, content: &[u8]) -> io::Result<()>;
}

/// One open file of the log.
pub trait LogFile: Send + Sync {
    /// Length of the file in bytes.
    ///
    /// # Errors
    /// The file cannot be read.
    fn size(&self) -> io::Result<u64>;

    /// Fills `into` with the bytes from offset `at` on.
    ///
    /// # Errors
    /// The file cannot be read, or it ends before `into` is full.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()>;

    /// Writes all of `bytes` at offset `at`. The bytes are durable only after [`LogFile::sync`].
    ///
    /// # Errors
    /// The file cannot be written, for instance because the disk is full.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Makes all earlier writes durable: they survive a power cut once this call has returned.
    ///
    /// # Errors
    /// The sync fails; the content of the file on disk is then unknown.
    fn sync(&self) -> io::Result<()>;
}

/// Files of the operating system.
#[derive(Debug)]
pub struct DiskFiles {
    folder: PathBuf,
}

impl DiskFiles {
    /// Creates the folder if it does not exist.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn new(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        if let Some(parent) = folder.parent() {
            sync_folder(parent)?;
        }
        Ok(Self {
            folder: folder.to_owned(),
        })
    }
}

/// Syncs a folder, so that the names of its files are durable.
///
/// # Errors
/// The folder cannot be opened or synced.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Files for DiskFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn LogFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.folder.join(name))?;
        // Space is allocated now, so that a full disk shows up here. Zeroes are then written over it: a block that is only reserved must be marked as
        // written at its first sync, and that sync would then wait for the file system's journal.
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
        let zeroes = vec![0; ZEROES.min(usize::try_from(bytes).unwrap_or(ZEROES))];
        let mut at = 0;
        while at < bytes {
            let length = (zeroes.len() as u64).min(bytes - at);
            file.write_all_at(&zeroes[..usize::try_from(length).unwrap_or(0)], at)?;
            at += length;
        }
        file.sync_all()?;
        sync_folder(&self.folder)?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(DiskFile(
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(self.folder.join(name))?,
        )))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.folder.join(name))?;
        sync_folder(&self.folder)
    }

    fn read_mark(&self) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(mark_beside(&self.folder)) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write_mark(&self, content: &[u8]) -> io::Result<()> {
        let path = mark_beside(&self.folder);
        let new = path.with_extension("mark.new");
        let mut file = File::create(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        path.parent().map_or(Ok(()), sync_folder)
    }
}

/// Path of the mark file. It lies next to the folder, so that it survives the loss of the folder's content.
fn mark_beside(folder: &Path) -> PathBuf {
    folder.with_extension("mark")
}

struct DiskFile(File);

impl LogFile for DiskFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.0.read_exact_at(into, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Files in memory that lose unsynced writes at [`MemoryFiles::lose_power`].
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles {
    files: Arc<Mutex<BTreeMap<String, Arc<MemoryFile>>>>,
    mark: Arc<Mutex<Option<Vec<u8>>>>,
    full: Arc<AtomicBool>,
    refused: Arc<AtomicU64>,
}

impl MemoryFiles {
    /// Simulates a full disk from now on (`true`), or ends the simulation of one (`false`).
    pub fn fill(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// Number of file creations that were refused because the simulated disk was full.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }

    /// Simulates a power cut: drops the unsynced writes of every file. The first `torn` bytes of each file's first unsynced write stay.
    pub fn lose_power(&self, torn: usize) {
        for file in lock(&self.files).values() {
            let mut content = lock(&file.0);
            let Content {
                now,
                durable,
                unsynced,
            } = &mut *content;
            for (at, bytes) in unsynced.drain(..).take(1) {
                let keep = torn.min(bytes.len());
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                if let Some(place) = durable.get_mut(at..at + keep) {
                    place.copy_from_slice(&bytes[..keep]);
                }
            }
            now.clone_from(durable);
        }
    }

    /// Removes all files and the mark, as if the folder had been emptied.
    pub fn lose_all(&self) {
        lock(&self.files).clear();
        self.forget_mark();
    }

    /// Removes the mark, as in a folder of an older build that wrote no mark.
    pub fn forget_mark(&self) {
        *lock(&self.mark) = None;
    }

    /// Zeroes a file from the offset `from` on.
    pub fn wipe(&self, name: &str, from: usize) {
        if let Some(file) = lock(&self.files).get(name) {
            let Content { now, durable, .. } = &mut *lock(&file.0);
            for bytes in [now, durable] {
                let from = from.min(bytes.len());
                bytes[from..].fill(0);
            }
        }
    }

    /// Truncates a file to `length` bytes.
    pub fn cut(&self, name: &str, length: usize) {
        if let Some(file) = lock(&self.files).get(name) {
            let Content { now, durable, .. } = &mut *lock(&file.0);
            now.truncate(length);
            durable.truncate(length);
        }
    }

    /// Flips one byte of a file.
    pub fn flip(&self, name: &str, at: usize) {
        if let Some(file) = lock(&self.files).get(name) {
            let mut content = lock(&file.0);
            content.now[at] ^= 0x55;
            content.durable[at] ^= 0x55;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Files for MemoryFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.files).keys().cloned().collect())
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn LogFile>> {
        if self.full.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        let zeroes = vec![0; usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?];
        let file = Arc::new(MemoryFile(Mutex::new(Content {
            now: zeroes.clone(),
            durable: zeroes,
            unsynced: Vec::new(),
        })));
        match lock(&self.files).insert(name.to_owned(), file.clone()) {
            None => Ok(file),
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        match lock(&self.files).get(name) {
            Some(file) => Ok(file.clone()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        lock(&self.files)
            .remove(name)
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn read_mark(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(lock(&self.mark).clone())
    }

    fn write_mark(&self, content: &[u8]) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        *lock(&self.mark) = Some(content.to_vec());
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryFile(Mutex<Content>);

#[derive(Debug)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(u64, Vec<u8>)>,
}

impl LogFile for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.0).now.len() as u64)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
        let content = lock(&self.0);
        let from = content
            .now
            .get(at..at + into.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(from);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut content = lock(&self.0);
        let start = usize::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
        let end = start + bytes.len();
        if content.now.len() < end {
            content.now.resize(end, 0);
            content.durable.resize(end, 0);
        }
        content.now[start..end].copy_from_slice(bytes);
        content.unsynced.push((at, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut content = lock(&self.0);
        content.durable = content.now.clone();
        content.unsynced.clear();
        Ok(())
    }
}
