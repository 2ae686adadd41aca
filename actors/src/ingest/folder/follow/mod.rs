//! Follows the files of one folder: finds out which content each file holds, what of it was read, and what may be read next.
//!
//! A file's content is known by the hash of all that was read of it, so a rename, a copy or a compression is no new data. The
//! inode is only the first guess. One look reads at most one chunk of each file; a chunk counts as read once its row is written.
//!
//! | seen | done |
//! | --- | --- |
//! | the inode of a row, and the content read so far is unchanged | read on |
//! | another inode, the same content, and the row's own file is gone or holds another content | read on there: renamed, copied and truncated, or compressed |
//! | another inode, and its content is the beginning of a file that is there | wait: a copy, perhaps one that is still being made |
//! | another inode, and its content goes on where that of a file that is there ends | a row of its own, from there on |
//! | all else, and a file that was truncated or written over | a new content, from its first byte |

mod copies;
mod lost;
mod packed;
mod recent;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use panther_logs::{EventEnds, InputForm, Limits};
use sha2::{Digest as _, Sha256};

use self::lost::Unread;
use self::recent::Recent;
use self::text::{first_bytes, go_on_from};
use super::book::{Book, Followed, Form};
use super::listing::{FileId, Folder, Found};
use super::prefix::{HEAD, Prefix};
use crate::components::objects::Written;

/// How long a file must have been as it is before it is read as a whole, or before JSON without a line end is taken as ended.
const RESTS: Duration = Duration::from_secs(2);
/// Bytes of one chunk of a file that is followed.
const CHUNK: usize = 4 << 20;
/// Bytes in which a record of such a file must have ended: beyond, it is cut. They are held, for each source; a log processor takes 4 MiB.
const LONGEST: usize = 16 << 20;
/// Bytes of all chunks of one look.
const LOOK_BYTES: usize = 8 << 20;
/// Chunks of one look: each changes a row, and a command changes no more than a thousand.
const LOOK_CHUNKS: usize = 200;
/// Bytes of a file's first lines that go with each later chunk, so that a parser learns the names of columns.
const SHORT_CONTEXT: usize = 4 << 10;
/// Bytes of a first line that goes with them, where it is longer than that.
const CONTEXT: usize = 64 << 10;
/// Largest file that is read as a whole.
const WHOLE_BYTES: u64 = 512 << 20;

/// What is read next of one file.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The row once the chunk is read.
    pub(super) after: Followed,
    /// The row's digest before; `None` = there was no row.
    pub(super) before: Option<String>,
    pub(super) content: Content,
}

/// What a chunk brings.
#[derive(Debug)]
pub(super) enum Content {
    /// Whole records of a file that is followed.
    Piece {
        /// The file's first lines, where the piece is not at the beginning. No event goes on from them: a piece begins where none is open.
        context: Vec<u8>,
        body: Vec<u8>,
        /// Path and offset.
        origin: String,
    },
    /// A file as it is: the file, its bytes, and their SHA-256.
    Whole(File, Written),
    /// Nothing new: only the row changes.
    Nothing,
}

/// What one look found.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub(super) chunks: Vec<Chunk>,
    /// There is more to read at once.
    pub(super) more: bool,
    /// What is not read, and why.
    pub(super) left_out: BTreeMap<PathBuf, String>,
    /// Rows whose content a listed file holds.
    pub(super) live: Vec<String>,
}

/// The time of a look: of a clock that never goes back, and of the one by which file systems date.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) elapsed: Duration,
    pub(super) wall: SystemTime,
}

/// Follows the files of one source.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) book: Book,
    limits: Limits,
    /// Knows where events end, if an event of the source may be more than one record.
    ends: Option<EventEnds>,
    /// Files about which there is nothing to do while they stay as they are.
    settled: BTreeMap<FileId, Settled>,
    /// Since when each file has been as it is.
    unchanged: BTreeMap<FileId, (Look, Duration)>,
    /// Files that hold nothing but the beginning of another listed file, while both stay as they are.
    copies: BTreeMap<FileId, Copied>,
    /// What is wrong with files that were read as far as it goes, while they stay as they are.
    faults: BTreeMap<FileId, (Look, String)>,
    /// What the look before read.
    recent: Vec<Recent>,
    /// By row: what its file holds beyond what was read.
    unread: BTreeMap<String, Unread>,
}

#[derive(Debug, Clone)]
struct Copied {
    look: Look,
    of: FileId,
    of_look: Look,
    path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    size: u64,
    modified: SystemTime,
}

#[derive(Debug, Clone)]
struct Settled {
    look: Look,
    row: String,
    /// Looked at again at this time, though it is as it was.
    until: Option<Duration>,
}

/// One look at the folder.
struct Pass<'a> {
    folder: &'a dyn Folder,
    now: Moment,
    /// Rows whose content is in a listed file: which file.
    live: BTreeMap<String, &'a Found>,
    /// Rows whose file lost its name after it was listed. The content may lie in another file by now, which the next look lists.
    moved: BTreeSet<String>,
    /// Text files of new content, which have no row yet.
    fresh: Vec<&'a Found>,
    /// What this look has read.
    recent: Vec<Recent>,
    looked: Looked,
    bytes: usize,
}

/// A text file behind what was read of it.
struct Open {
    file: File,
    row: Followed,
    before: Option<String>,
    prefix: Prefix,
    head: Vec<u8>,
}

impl Follower {
    pub(super) fn new(book: Book, limits: Limits) -> Self {
        Self {
            book,
            limits,
            ends: None,
            settled: BTreeMap::new(),
            unchanged: BTreeMap::new(),
            copies: BTreeMap::new(),
            faults: BTreeMap::new(),
            recent: Vec::new(),
            unread: BTreeMap::new(),
        }
    }

    /// From now on, chunks end where these say that no event is open.
    pub(super) fn set_ends(&mut self, ends: Option<EventEnds>) {
        self.ends = ends;
    }

    /// Looks through the folder. Blocking.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub(super) fn look(&mut self, folder: &dyn Folder, now: Moment) -> io::Result<Looked> {
        let mut listing = folder.list()?;
        let files = std::mem::take(&mut listing.files);
        let mut pass = Pass {
            folder,
            now,
            live: BTreeMap::new(),
            moved: BTreeSet::new(),
            fresh: Vec::new(),
            recent: Vec::new(),
            looked: Looked {
                left_out: listing.left_out,
                ..Looked::default()
            },
            bytes: 0,
        };
        self.see(&files, now);
        let mut unknown = Vec::new();
        for found in files.iter().filter(|found| found.size > 0) {
            if let Some((look, reason)) = self.faults.get(&found.id)
                && *look == Look::of(found)
            {
                let reason = reason.clone();
                pass.looked.left_out.insert(found.path.clone(), reason);
                if let Some(row) = self.unchanged_row(found, now) {
                    pass.live.insert(row, found);
                }
                continue;
            }
            if let Some(row) = self.unchanged_row(found, now) {
                pass.live.insert(row, found);
                continue;
            }
            match self.same_inode(folder, found) {
                Ok(Some(open)) => {
                    pass.live.insert(open.row.id.clone(), found);
                    if !pass.is_full()
                        && let Err(error) = self.read_on(&mut pass, found, open)
                    {
                        pass.cannot_read(found, &error);
                    }
                }
                Ok(None) => unknown.push(found),
                Err(error) => {
                    if error.kind() == io::ErrorKind::NotFound {
                        let rows = self.book.of_inode(found.id.inode);
                        pass.moved.extend(rows.iter().map(|row| row.id.clone()));
                    }
                    pass.cannot_read(found, &error);
                }
            }
        }
        // The longest first: a copy that is still being made is the beginning of its original.
        unknown.sort_by_key(|found| std::cmp::Reverse(found.size));
        for found in unknown {
            if pass.is_full() {
                break;
            }
            if self.is_still_a_copy(found) {
                self.say_copy(&mut pass, found);
            } else if let Err(error) = self.unknown(&mut pass, found) {
                pass.cannot_read(found, &error);
            }
        }
        self.note_unread(&mut pass);
        self.recent = pass.recent;
        pass.looked.live = pass.live.into_keys().collect();
        Ok(pass.looked)
    }

    /// The chunks' rows are written.
    pub(super) fn written(&mut self, chunks: Vec<Chunk>, now_ms: u64) {
        for chunk in chunks {
            self.book.put(chunk.after, now_ms);
        }
    }

    fn see(&mut self, files: &[Found], now: Moment) {
        let mut unchanged = BTreeMap::new();
        for found in files {
            let look = Look::of(found);
            let since = match self.unchanged.get(&found.id) {
                Some((before, since)) if *before == look => *since,
                _ => now.elapsed,
            };
            unchanged.insert(found.id, (look, since));
        }
        self.settled.retain(|id, _| unchanged.contains_key(id));
        self.copies.retain(|id, _| unchanged.contains_key(id));
        self.faults.retain(|id, _| unchanged.contains_key(id));
        self.unchanged = unchanged;
    }

    /// How long a file has been as it is. A time of change that lies in the future says nothing.
    fn rested(&self, found: &Found, now: Moment) -> Duration {
        let seen = self
            .unchanged
            .get(&found.id)
            .map_or(Duration::ZERO, |(_, since)| {
                now.elapsed.saturating_sub(*since)
            });
        now.wall
            .duration_since(found.modified)
            .map_or(seen, |since| since.max(seen))
    }

    fn settle(&mut self, found: &Found, row: &str, until: Option<Duration>) {
        self.settled.insert(
            found.id,
            Settled {
                look: Look::of(found),
                row: row.to_owned(),
                until,
            },
        );
    }

    /// The row of a file about which there is nothing to do.
    fn unchanged_row(&self, found: &Found, now: Moment) -> Option<String> {
        let look = Look::of(found);
        if let Some(settled) = self.settled.get(&found.id)
            && settled.look == look
        {
            return settled
                .until
                .is_none_or(|until| now.elapsed < until)
                .then(|| settled.row.clone());
        }
        // After a restart: as the row says that it was left.
        self.book
            .of_inode(found.id.inode)
            .into_iter()
            .find(|row| {
                row.size == found.size
                    && row.modified == nanoseconds(found.modified)
                    && (row.form != Form::Text || row.offset == found.size)
            })
            .map(|row| row.id.clone())
    }

    /// Whether a file of a known inode still holds the content that was read from it.
    fn same_inode(&self, folder: &dyn Folder, found: &Found) -> io::Result<Option<Open>> {
        for row in self.book.of_inode(found.id.inode) {
            if row.form != Form::Text || found.size < row.offset {
                continue;
            }
            let file = folder.open(found)?;
            if let Some((prefix, head)) = go_on_from(&file, row)? {
                return Ok(Some(Open {
                    file,
                    row: row.clone(),
                    before: Some(row.digest.clone()),
                    prefix,
                    head,
                }));
            }
        }
        Ok(None)
    }

    fn unknown<'a>(&mut self, pass: &mut Pass<'a>, found: &'a Found) -> io::Result<()> {
        let file = pass.folder.open(found)?;
        let head = first_bytes(&file, HEAD)?;
        if head.is_empty() {
            return Ok(());
        }
        match InputForm::of(&head) {
            InputForm::Text => self.unknown_text(pass, found, file, &head),
            InputForm::Packed => self.unknown_packed(pass, found, &file),
            InputForm::Unreadable(form) => {
                let reason = format!("it is not read: {form}");
                pass.looked.left_out.insert(found.path.clone(), reason);
                Ok(())
            }
        }
    }

    fn was_taken_whole(&self, found: &Found, file: &File) -> io::Result<bool> {
        let Some(hash) = self
            .book
            .whole_file(&found.path.display().to_string(), found.size)
        else {
            return Ok(false);
        };
        let mut reader = file;
        reader.seek(SeekFrom::Start(0))?;
        let mut digest = Sha256::new();
        io::copy(&mut reader, &mut digest)?;
        Ok(HEXLOWER.encode(&digest.finalize()) == hash)
    }
}

impl Pass<'_> {
    fn is_full(&mut self) -> bool {
        let full = self.bytes >= LOOK_BYTES || self.looked.chunks.len() >= LOOK_CHUNKS;
        self.looked.more |= full;
        full
    }

    fn has_chunk(&self, row: &str) -> bool {
        self.looked.chunks.iter().any(|chunk| chunk.after.id == row)
    }

    /// Whether it has to be seen first what becomes of a row that a file of unknown content could go on with.
    fn is_undecided(&self, row: &Followed) -> bool {
        self.moved.contains(&row.id)
            || self.live.get(&row.id).is_some_and(|other| {
                // First all that the two have in common is read there.
                self.has_chunk(&row.id) || (row.form == Form::Text && row.offset < other.size)
            })
    }

    fn new_id(&self, book: &Book, found: &Found, head: &[u8]) -> String {
        book.new_id(found.id.inode, head, |id| self.has_chunk(id))
    }

    fn cannot_read(&mut self, found: &Found, error: &io::Error) {
        // A file that went since the folder was listed is no fault.
        if error.kind() != io::ErrorKind::NotFound {
            let reason = format!("it cannot be read: {error}; let the daemon's user read it");
            self.looked.left_out.insert(found.path.clone(), reason);
        }
    }

    /// Takes a content as a whole; `None` if it was read already.
    fn take_whole(&mut self, row: Followed, content: Option<(File, Written)>) {
        if self
            .looked
            .chunks
            .iter()
            .any(|chunk| chunk.after.digest == row.digest)
        {
            self.looked.more = true; // the same content is taken from another file in this look
            return;
        }
        self.looked.chunks.push(Chunk {
            after: row,
            before: None,
            content: content.map_or(Content::Nothing, |(file, written)| {
                Content::Whole(file, written)
            }),
        });
    }
}

impl Look {
    fn of(found: &Found) -> Self {
        Self {
            size: found.size,
            modified: found.modified,
        }
    }
}

impl Followed {
    fn fresh(id: String, form: Form) -> Self {
        Self {
            id,
            form,
            path: String::new(),
            inode: 0,
            offset: 0,
            chain: String::new(),
            digest: String::new(),
            head_bytes: 0,
            head: String::new(),
            size: 0,
            modified: 0,
        }
    }

    fn now_in(&mut self, found: &Found) {
        self.path = found.path.display().to_string();
        self.inode = found.id.inode;
        self.size = found.size;
        self.modified = nanoseconds(found.modified);
    }
}

/// The first lines of a content of which `offset` bytes were read, from its first bytes. Content that begins with JSON has no such lines.
fn context_of(start: &[u8], offset: u64) -> Vec<u8> {
    let start = head_of(start, offset.min(CONTEXT as u64));
    if matches!(start.first(), Some(b'{' | b'[') | None) {
        return Vec::new();
    }
    let short = start.get(..SHORT_CONTEXT).unwrap_or(&start);
    let end = match memchr::memrchr(b'\n', short) {
        Some(at) => at + 1,
        // One line, longer than most.
        None => memchr::memchr(b'\n', &start).map_or(0, |at| at + 1),
    };
    start.get(..end).unwrap_or_default().to_vec()
}

/// The first bytes of a content of which `read` bytes count.
fn head_of(bytes: &[u8], read: u64) -> Vec<u8> {
    let length = usize::try_from(read).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(..length).unwrap_or_default().to_vec()
}

fn nanoseconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
        })
}
