//! Text files: whole records are read as the file grows.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::super::book::{Followed, Form};
use super::super::lines::readable;
use super::super::listing::Found;
use super::super::prefix::{HEAD, Prefix, head_hash, read_full};
use super::copies::{Standing, may_be_same};
use super::recent::Recent;
use crate::components::objects::Written;

use super::{
    CHUNK, CONTEXT, Chunk, Content, Follower, LONGEST, Open, Pass, RESTS, WHOLE_BYTES, context_of,
    head_of,
};

/// The same for a last line without a line end, which its writer may go on with.
const LINE_RESTS: Duration = Duration::from_secs(30);
/// Zero bytes in a row that are passed over; fewer are read like all else.
const HOLE: u64 = 1 << 20;
/// Zero bytes that one look passes over.
const HOLE_STEP: u64 = 256 << 20;
/// The same of all looks: what is behind a larger hole is not read.
const LONGEST_HOLE: u64 = 64 << 30;
/// Zero bytes that are kept of a hole, as a record that stands for it.
const HOLE_KEPT: usize = 64;

/// What is read next of a text file.
enum Next {
    /// Whole records, and whether they are all there is.
    Records(Vec<u8>, bool),
    /// Nothing before this time has passed, or the file has changed.
    Waits(Duration),
    /// One JSON document, too large to be held in memory.
    Document,
}

impl Follower {
    /// Reads what follows in a text file.
    pub(super) fn read_on(
        &mut self,
        pass: &mut Pass<'_>,
        found: &Found,
        mut open: Open,
    ) -> io::Result<()> {
        let offset = open.prefix.bytes();
        let size = open.file.metadata()?.len();
        // A writer that keeps its place in a truncated file leaves a hole of zero bytes in front of its next line. A large hole is reported
        // and not stored. It is read together with what follows: a file cannot be known by a content of zero bytes alone.
        let hole = Some(hole(&open.file, offset)?)
            .filter(|hole| *hole >= HOLE)
            .unwrap_or(0);
        if hole > LONGEST_HOLE {
            let reason = format!(
                "from byte {offset} on it has {hole} zero bytes; what is behind more than {LONGEST_HOLE} is not read: write it to another file"
            );
            pass.looked.left_out.insert(found.path.clone(), reason);
            return Ok(());
        }
        let start = offset + hole;
        let context = context(&open.file, offset)?;
        let (body, is_all) = match self.next(pass, found, &open.file, start, hole, &context)? {
            Next::Records(body, is_all) => (body, is_all),
            Next::Document => return self.read_document(pass, found, open),
            Next::Waits(again) => {
                let row = open.row.id.clone();
                // A row that is not written yet says nothing of this file.
                if open.before.is_some() {
                    self.settle(found, &row, (size > offset).then_some(again));
                    self.follow_name(pass, found, open);
                }
                return Ok(());
            }
        };
        // Truncated and written over while it was read: what was read may be of neither content.
        if !is_still(&open, start, &body)? {
            pass.looked.more = true;
            return Ok(());
        }
        if hole > HOLE_STEP {
            self.step_into_hole(pass, found, open)?;
            return Ok(());
        }
        pass.looked.more |= !is_all;
        open.prefix.feed_from(&mut io::repeat(0), hole)?;
        let mut head = open.head;
        if hole > 0 {
            head.resize(usize::try_from(HEAD.min(start)).unwrap_or(0), 0);
        }
        let missing = usize::try_from(HEAD)
            .unwrap_or(0)
            .saturating_sub(head.len());
        head.extend_from_slice(body.get(..missing.min(body.len())).unwrap_or_default());
        let recent = Recent::of(found, &mut open.prefix, &head, &body, &pass.recent);
        pass.recent.push(recent);
        let mut row = open.row;
        row.read_to(&open.prefix, &head);
        row.now_in(found);
        let path = found.path.display();
        let (origin, body) = if hole == 0 {
            (format!("{path}, from byte {offset}"), body)
        } else {
            let origin = format!(
                "{path}, from byte {offset}: zero bytes up to byte {start}, of which {HOLE_KEPT} are kept"
            );
            (origin, [vec![0; HOLE_KEPT], body].concat())
        };
        pass.bytes += body.len() + context.len();
        pass.looked.chunks.push(Chunk {
            after: row,
            before: open.before,
            content: Content::Piece {
                context,
                body,
                origin,
            },
        });
        Ok(())
    }

    /// Finds the whole records that begin at `start`, behind a hole of so many bytes.
    fn next(
        &mut self,
        pass: &Pass<'_>,
        found: &Found,
        mut file: &File,
        start: u64,
        hole: u64,
        context: &[u8],
    ) -> io::Result<Next> {
        let rested = self.rested(found, pass.now);
        let mut wanted = CHUNK;
        loop {
            let there = file.metadata()?.len().saturating_sub(start);
            let room = usize::try_from(there).map_or(wanted, |there| there.min(wanted));
            let mut bytes = Vec::with_capacity(room + 1);
            file.seek(SeekFrom::Start(start))?;
            file.take(wanted as u64).read_to_end(&mut bytes)?;
            let is_all = bytes.len() < wanted;
            let found_here = readable(&bytes, &self.limits, self.ends.as_mut(), context);
            if found_here.whole > 0 {
                let is_all = is_all && found_here.whole == bytes.len();
                return Ok(Next::Records(cut_to(bytes, found_here.whole), is_all));
            }
            let cut_at = if is_all { None } else { large_hole(&bytes) };
            // A record does not go on behind a large hole: more bytes would be held for nothing.
            if !is_all && wanted < LONGEST && cut_at.is_none() {
                wanted = wanted.saturating_mul(4);
                continue;
            }
            if !is_all {
                let is_json = start == 0 && matches!(bytes.first(), Some(b'{' | b'['));
                if is_json && cut_at.is_none() && is_document(file)? {
                    let must_rest = if ends_as_json(file)? {
                        RESTS
                    } else {
                        LINE_RESTS
                    };
                    return Ok(if rested < must_rest {
                        Next::Waits(pass.now.elapsed + must_rest.saturating_sub(rested))
                    } else {
                        Next::Document
                    });
                }
                // A record without an end: the reader says that it is too long, or that a hole cuts it.
                let end = cut_at.map_or(bytes.len(), |at| at + HOLE_KEPT);
                return Ok(Next::Records(cut_to(bytes, end), false));
            }
            let must_rest = if found_here.rest_is_json {
                RESTS
            } else {
                LINE_RESTS
            };
            if (bytes.is_empty() && hole == 0) || rested < must_rest {
                let again = pass.now.elapsed + must_rest.saturating_sub(rested);
                return Ok(Next::Waits(again));
            }
            return Ok(Next::Records(bytes, true));
        }
    }

    /// Reads a file as a whole, without holding it.
    fn read_document(&self, pass: &mut Pass<'_>, found: &Found, mut open: Open) -> io::Result<()> {
        let written = Written::of_file(String::new(), &open.file)?;
        (open.prefix).feed_from(&mut At(&open.file, 0), written.bytes)?;
        if open.prefix.bytes() != written.bytes || open.file.metadata()?.len() != written.bytes {
            return Ok(()); // written to while it was read
        }
        let head = first_bytes(&open.file, HEAD)?;
        let recent = Recent::of(found, &mut open.prefix, &head, &[], &pass.recent);
        pass.recent.push(recent);
        let mut row = open.row;
        row.read_to(&open.prefix, &head);
        row.now_in(found);
        pass.looked.chunks.push(Chunk {
            after: row,
            before: open.before,
            content: Content::Whole(open.file, written),
        });
        Ok(())
    }

    /// Passes over the first bytes of a hole. The last step reports the hole.
    fn step_into_hole(&self, pass: &mut Pass<'_>, found: &Found, mut open: Open) -> io::Result<()> {
        open.prefix.feed_from(&mut io::repeat(0), HOLE_STEP)?;
        let mut head = open.head;
        head.resize(usize::try_from(HEAD).unwrap_or(0), 0);
        let mut row = open.row;
        row.read_to(&open.prefix, &head);
        row.now_in(found);
        pass.looked.more = true;
        pass.looked.chunks.push(Chunk {
            after: row,
            before: open.before,
            content: Content::Nothing,
        });
        Ok(())
    }

    /// Nothing to read: the row follows the file's name and time all the same.
    pub(super) fn follow_name(&self, pass: &mut Pass<'_>, found: &Found, open: Open) {
        let mut row = open.row;
        let was = row.clone();
        row.now_in(found);
        if row.inode != was.inode || row.path != was.path {
            pass.looked.chunks.push(Chunk {
                before: open.before,
                after: row,
                content: Content::Nothing,
            });
        }
    }

    pub(super) fn unknown_text<'a>(
        &mut self,
        pass: &mut Pass<'a>,
        found: &'a Found,
        file: File,
        head: &[u8],
    ) -> io::Result<()> {
        let content = || {
            (&file).seek(SeekFrom::Start(0))?;
            Ok(&file)
        };
        match self.standing(pass, found, head, content)? {
            Standing::Own => {}
            Standing::Waits => return Ok(()),
            Standing::Read(bytes) => return self.was_read(pass, found, &file, bytes),
        }
        // A copy may have been finished after it was listed, and before the original was looked at.
        let size = file.metadata()?.len();
        let head = first_bytes(&file, HEAD)?;
        let candidates: Vec<Followed> = self
            .book
            .beginning_with(&head)
            .into_iter()
            .filter(|row| {
                row.offset <= size && may_be_same(found, row.offset, Path::new(&row.path))
            })
            .cloned()
            .collect();
        for row in candidates {
            let mut prefix = Prefix::default();
            (&file).seek(SeekFrom::Start(0))?;
            prefix.feed_from(&mut &file, row.offset)?;
            if prefix.bytes() != row.offset || prefix.digest() != row.digest {
                continue;
            }
            if pass.is_undecided(&row) {
                return Ok(());
            }
            let read_head = head_of(&head, row.offset);
            let open = if pass.live.contains_key(&row.id) {
                // Its own file is there, and this one goes on by itself from here.
                Open {
                    row: Followed {
                        id: pass.new_id(&self.book, found, &head),
                        ..row
                    },
                    before: None,
                    file,
                    prefix,
                    head: read_head,
                }
            } else {
                Open {
                    before: Some(row.digest.clone()),
                    row,
                    file,
                    prefix,
                    head: read_head,
                }
            };
            pass.live.insert(open.row.id.clone(), found);
            return self.read_on(pass, found, open);
        }
        if self.was_taken_whole(found, &file)? {
            return self.was_read(pass, found, &file, found.size);
        }
        pass.fresh.push(found);
        let open = Open {
            file,
            row: Followed::fresh(pass.new_id(&self.book, found, &head), Form::Text),
            before: None,
            prefix: Prefix::default(),
            head: Vec::new(),
        };
        self.read_on(pass, found, open)
    }

    /// Writes down that the first `bytes` of a file were read already, of another file.
    fn was_read(
        &self,
        pass: &mut Pass<'_>,
        found: &Found,
        file: &File,
        bytes: u64,
    ) -> io::Result<()> {
        let head = first_bytes(file, HEAD)?;
        let mut row = Followed::fresh(pass.new_id(&self.book, found, &head), Form::Text);
        let mut prefix = Prefix::default();
        let mut reader = file;
        reader.seek(SeekFrom::Start(0))?;
        prefix.feed_from(&mut reader, bytes)?;
        row.read_to(&prefix, &head);
        row.now_in(found);
        pass.looked.chunks.push(Chunk {
            after: row,
            before: None,
            content: Content::Nothing,
        });
        Ok(())
    }
}

/// The prefix and head of a file in which a row's content goes on; `None` if it holds another content.
pub(super) fn go_on_from(file: &File, row: &Followed) -> io::Result<Option<(Prefix, Vec<u8>)>> {
    let mut head = vec![0; usize::try_from(row.head_bytes).unwrap_or(0)];
    let mut reader = file;
    reader.seek(SeekFrom::Start(0))?;
    let length = read_full(&mut reader, &mut head)?;
    if length as u64 != row.head_bytes || head_hash(&head) != row.head {
        return Ok(None);
    }
    let from = Prefix::again_from(row.offset);
    let Some(mut prefix) = Prefix::from_blocks(from, &row.chain) else {
        return Ok(None);
    };
    reader.seek(SeekFrom::Start(from))?;
    prefix.feed_from(&mut reader, row.offset - from)?;
    Ok((prefix.bytes() == row.offset && prefix.digest() == row.digest).then_some((prefix, head)))
}

/// How many zero bytes follow. What the file system knows to be a hole is not read.
fn hole(file: &File, offset: u64) -> io::Result<u64> {
    let mut piece = vec![0; 64 << 10];
    let mut at = offset;
    loop {
        // The first bytes tell of nearly every file that there is no hole.
        let room = if at == offset { 512 } else { piece.len() };
        let count = file.read_at(piece.get_mut(..room).unwrap_or_default(), at)?;
        let zeros = piece
            .iter()
            .take(count)
            .take_while(|byte| **byte == 0)
            .count();
        at += zeros as u64;
        if zeros < count || count == 0 {
            return Ok(at - offset);
        }
        at = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => data.max(at),
            Err(rustix::io::Errno::NXIO) => file.metadata()?.len().max(at),
            Err(_) => at, // not all file systems know
        };
    }
}

/// The first `length` bytes, without the room of the others: a look holds what it has read of many files.
fn cut_to(mut bytes: Vec<u8>, length: usize) -> Vec<u8> {
    bytes.truncate(length);
    bytes.shrink_to_fit();
    bytes
}

/// Where zero bytes begin that are a large hole.
fn large_hole(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes
        .get(from..)
        .and_then(|rest| memchr::memchr(0, rest))
        .map(|at| from + at)
    {
        let zeros = bytes.iter().skip(at).take_while(|byte| **byte == 0).count();
        if zeros as u64 >= HOLE {
            return Some(at);
        }
        from = at + zeros;
    }
    None
}

/// Whether a file is small enough for one document, and has no hole that the file system knows.
fn is_document(file: &File) -> io::Result<bool> {
    let size = file.metadata()?.len();
    let is_whole = match rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(0)) {
        Ok(hole) => hole >= size,
        Err(_) => true, // not all file systems know
    };
    Ok(size <= WHOLE_BYTES && is_whole)
}

/// Whether the last letter of a file is one with which a JSON document ends.
fn ends_as_json(file: &File) -> io::Result<bool> {
    let size = file.metadata()?.len();
    let mut last = Vec::new();
    At(file, size.saturating_sub(HEAD)).read_to_end(&mut last)?;
    Ok(matches!(last.trim_ascii_end().last(), Some(b'}' | b']')))
}

/// Whether a file still holds what was read of it: all that the row tells of, and the first bytes of what was read at `start`.
fn is_still(open: &Open, start: u64, body: &[u8]) -> io::Result<bool> {
    if open.prefix.bytes() > 0 && go_on_from(&open.file, &open.row)?.is_none() {
        return Ok(false);
    }
    let mut again = vec![0; body.len().min(64 << 10)];
    let length = read_full(&mut At(&open.file, start), &mut again)?;
    let is_same = length == again.len() && body.starts_with(&again);
    Ok(is_same && open.file.metadata()?.len() >= start + body.len() as u64)
}

/// The first lines of a file of which `offset` bytes were read.
fn context(file: &File, offset: u64) -> io::Result<Vec<u8>> {
    first_bytes(file, (CONTEXT as u64).min(offset)).map(|head| context_of(&head, offset))
}

/// Up to so many of a file's first bytes.
pub(super) fn first_bytes(file: &File, bytes: u64) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    At(file, 0).take(bytes).read_to_end(&mut head)?;
    Ok(head)
}

/// Reads a file from a place on, without moving the place from which others read.
pub(super) struct At<'f>(pub(super) &'f File, pub(super) u64);

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read_at(buffer, self.1)?;
        self.1 += count as u64;
        Ok(count)
    }
}
