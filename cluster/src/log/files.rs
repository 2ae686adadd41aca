//! The few file operations that the log needs, behind a trait, so that tests can lose what was not synced.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of zeroes that are written at once into a new file.
const ZEROES: usize = 1 << 20;

/// A folder of files.
pub trait Files: Send + Sync + 'static {
    /// Names of the files in the folder, in order.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates a file of `bytes` zeroes; it and its name are durable on return.
    ///
    /// # Errors
    /// The file cannot be made, or there is one of that name. [`io::ErrorKind::StorageFull`] if there is no room for it.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn LogFile>>;

    /// Opens a file.
    ///
    /// # Errors
    /// The file cannot be opened.
    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;

    /// Removes a file.
    ///
    /// # Errors
    /// The file cannot be removed.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The content of the one small file that lies outside of the folder; `None` if it was never written.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    fn read_mark(&self) -> io::Result<Option<Vec<u8>>>;

    /// Replaces that file as a whole; it is durable on return.
    ///
    /// # Errors
    /// The disk does not take it; the content before is then still there.
    fn write_mark(&self, content: &[u8]) -> io::Result<()>;
}

/// One file.
pub trait LogFile: Send + Sync {
    /// Its length.
    ///
    /// # Errors
    /// The file cannot be read.
    fn size(&self) -> io::Result<u64>;

    /// Reads exactly `into`.
    ///
    /// # Errors
    /// The file cannot be read or ends before.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()>;

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The file cannot be written, for instance because the disk is full.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// What was written survives a power cut once this has returned.
    ///
    /// # Errors
    /// The disk does not take it; what it holds is then unknown.
    fn sync(&self) -> io::Result<()>;
}

/// Files of the operating system.
#[derive(Debug)]
pub struct DiskFiles {
    folder: PathBuf,
}

impl DiskFiles {
    /// The files of a folder, which is made if it is not there.
    ///
    /// # Errors
    /// The folder cannot be made.
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

/// Makes the names in a folder durable.
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
        // Space is taken now, so that a full disk shows here. Zeroes are written over it: a block that was only reserved
        // would have to be noted as written at its first sync, and then a sync depends on the file system's journal.
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

/// The mark's file, beside the folder: it outlives the loss of the folder's content.
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

/// Files in memory that forget, at [`MemoryFiles::lose_power`], what was not synced.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles {
    files: Arc<Mutex<BTreeMap<String, Arc<MemoryFile>>>>,
    mark: Arc<Mutex<Option<Vec<u8>>>>,
    full: Arc<AtomicBool>,
    refused: Arc<AtomicU64>,
}

impl MemoryFiles {
    /// Has no room for further files from now on, or has it again.
    pub fn fill(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// How many files there was no room for.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }

    /// Drops unsynced writes of every file; of the last one, `torn` bytes that were not synced stay.
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

    /// Has nothing any more, as a folder that was emptied.
    pub fn lose_all(&self) {
        lock(&self.files).clear();
        self.forget_mark();
    }

    /// Loses the mark, as a folder of an older build has none.
    pub fn forget_mark(&self) {
        *lock(&self.mark) = None;
    }

    /// Zeroes what lies behind a byte of a file.
    pub fn wipe(&self, name: &str, from: usize) {
        if let Some(file) = lock(&self.files).get(name) {
            let Content { now, durable, .. } = &mut *lock(&file.0);
            for bytes in [now, durable] {
                let from = from.min(bytes.len());
                bytes[from..].fill(0);
            }
        }
    }

    /// Cuts a file to a length.
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
