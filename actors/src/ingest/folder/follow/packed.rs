//! Compressed files: read once they rest, and known by their unpacked content.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use panther_logs::{Limits, Unpacked};

use super::super::book::{Followed, Form};
use super::super::lines::{last_end, readable};
use super::super::listing::Found;
use super::super::prefix::Prefix;
use super::copies::{Standing, may_be_same};
use super::recent::Recent;
use super::text::At;
use super::{
    CHUNK, CONTEXT, Chunk, Content, Follower, LONGEST, Look, Pass, RESTS, WHOLE_BYTES, context_of,
    head_of,
};
use crate::components::objects::Written;

/// How long a compressed file that breaks off must have been as it is before it is taken for a broken one.
const BROKEN_RESTS: Duration = Duration::from_secs(10);

#[derive(Default)]
struct UnpackedContent {
    /// What counts as read once the file is read.
    prefix: Prefix,
    /// The first bytes.
    head: Vec<u8>,
    /// Why it breaks off.
    broken: Option<String>,
}

impl Follower {
    /// A compressed file, which is read once it rests.
    pub(super) fn unknown_packed(
        &mut self,
        pass: &mut Pass<'_>,
        found: &Found,
        file: &File,
    ) -> io::Result<()> {
        let rested = self.rested(found, pass.now);
        if rested < RESTS {
            return Ok(());
        }
        if found.size > WHOLE_BYTES {
            let reason = format!("it is compressed and larger than {WHOLE_BYTES} bytes; split it");
            pass.looked.left_out.insert(found.path.clone(), reason);
            return Ok(());
        }
        if !is_as_listed(found, file)? {
            return Ok(()); // it is being written to
        }
        let name = found.path.file_name().unwrap_or_default();
        let content = self.unpacked(&name.to_string_lossy(), file);
        if let Some(broken) = &content.broken {
            if rested < BROKEN_RESTS {
                tracing::debug!(path = %found.path.display(), broken, "a compressed file has no end yet");
                return Ok(());
            }
            let read = match content.prefix.bytes() {
                0 => "no whole line of it could be unpacked, so it is not read".to_owned(),
                bytes => format!("its first {bytes} unpacked bytes are read"),
            };
            let reason = format!("it is broken: {broken}; {read}; put the whole file in its place");
            pass.looked
                .left_out
                .insert(found.path.clone(), reason.clone());
            self.faults.insert(found.id, (Look::of(found), reason));
        }
        if content.prefix.bytes() == 0 {
            return Ok(());
        }
        self.packed(pass, found, file, &content)
    }

    fn packed(
        &mut self,
        pass: &mut Pass<'_>,
        found: &Found,
        file: &File,
        content: &UnpackedContent,
    ) -> io::Result<()> {
        let limits = self.limits.clone();
        let unpacked = || Ok(reader("", file, &limits));
        match self.standing(pass, found, &content.head, unpacked)? {
            Standing::Own => {}
            Standing::Waits => return Ok(()),
            Standing::Read(_) => {
                let row = self.whole_row(pass, found, content);
                pass.take_whole(row, None);
                return Ok(());
            }
        }
        let candidates: Vec<Followed> = self
            .book
            .beginning_with(&content.head)
            .into_iter()
            .filter(|row| may_be_same(found, row.offset, Path::new(&row.path)))
            .cloned()
            .collect();
        for row in candidates {
            let mut reader = reader("", file, &self.limits);
            let mut prefix = Prefix::default();
            if prefix.feed_from(&mut reader, row.offset).is_err()
                || prefix.bytes() != row.offset
                || prefix.digest() != row.digest
            {
                continue;
            }
            if pass.is_undecided(&row) {
                return Ok(());
            }
            let mut rest = Vec::new();
            // Where the file is broken, what was unpacked before counts.
            let _broken = reader.take(CHUNK as u64).read_to_end(&mut rest);
            let is_all = rest.len() < CHUNK;
            let context = context_of(&content.head, row.offset);
            if !is_all || content.broken.is_some() {
                let whole = readable(&rest, &self.limits, self.ends.as_mut(), &context).whole;
                if whole > 0 || content.broken.is_some() {
                    rest.truncate(whole);
                }
            }
            let offset = row.offset;
            let recent = Recent::of(found, &mut prefix, &content.head, &rest, &pass.recent);
            pass.recent.push(recent);
            let mut after = row.clone();
            if pass.live.contains_key(&row.id) {
                after.id = pass.new_id(&self.book, found, &content.head);
            }
            after.form = Form::Packed;
            after.read_to(&prefix, &head_of(&content.head, prefix.bytes()));
            after.now_in(found);
            if !is_all {
                after.size = 0; // looked at again
                pass.looked.more = true;
            }
            pass.bytes += rest.len();
            pass.looked.chunks.push(Chunk {
                before: (after.id == row.id).then(|| row.digest.clone()),
                after,
                content: if rest.is_empty() {
                    Content::Nothing
                } else {
                    Content::Piece {
                        context,
                        body: rest,
                        origin: format!(
                            "{}, from byte {offset} of its unpacked content",
                            found.path.display()
                        ),
                    }
                },
            });
            return Ok(());
        }
        let row = self.whole_row(pass, found, content);
        if self.was_taken_whole(found, file)? {
            pass.take_whole(row, None);
            return Ok(());
        }
        let written = Written::of_file(String::new(), file)?;
        if written.bytes != found.size || !is_as_listed(found, file)? {
            return Ok(()); // written to while it was read
        }
        pass.take_whole(row, Some((file.try_clone()?, written)));
        let mut prefix = content.prefix.clone();
        let recent = Recent::of(found, &mut prefix, &content.head, &[], &pass.recent);
        pass.recent.push(recent);
        Ok(())
    }

    /// The row of a content that is read as a whole.
    fn whole_row(&self, pass: &Pass<'_>, found: &Found, content: &UnpackedContent) -> Followed {
        let mut row = Followed::fresh(pass.new_id(&self.book, found, &content.head), Form::Packed);
        row.read_to(&content.prefix, &content.head);
        row.now_in(found);
        row
    }

    /// An event that begins before a file breaks off, and ends behind that place, counts as unread: the whole file brings it.
    fn without_open_event(&mut self, content: &mut UnpackedContent, file: &File) {
        let Some(ends) = &mut self.ends else { return };
        let text = reader("", file, &self.limits).take(content.prefix.bytes());
        if let Some(end) = last_end(text, &self.limits, ends) {
            content.prefix = Prefix::default();
            // This much of it was unpacked before.
            let _read = (content.prefix).feed_from(&mut reader("", file, &self.limits), end);
            content.head = head_of(&content.head, end);
        }
    }

    /// `name` is for what is said of a broken file.
    fn unpacked(&mut self, name: &str, file: &File) -> UnpackedContent {
        let mut reader = reader(name, file, &self.limits);
        let mut content = UnpackedContent::default();
        // What follows the last line end of a broken file is not whole; it counts as unread.
        let mut behind: Vec<u8> = Vec::new();
        loop {
            let before = behind.len();
            // What was unpacked before an error is in the buffer.
            let error = (&mut reader)
                .take(CHUNK as u64)
                .read_to_end(&mut behind)
                .err();
            let ended = error.is_none() && behind.len() - before < CHUNK;
            let whole = if ended || (error.is_none() && behind.len() > LONGEST) {
                behind.len()
            } else {
                memchr::memrchr(b'\n', &behind).map_or(0, |at| at + 1)
            };
            let now: Vec<u8> = behind.drain(..whole).collect();
            let missing = CONTEXT.saturating_sub(content.head.len());
            content
                .head
                .extend_from_slice(now.get(..missing.min(now.len())).unwrap_or_default());
            content.prefix.feed(&now);
            content.broken = error.map(|error| error.to_string());
            if content.broken.is_some() {
                self.without_open_event(&mut content, file);
            }
            if ended || content.broken.is_some() {
                return content;
            }
        }
    }
}

/// Whether a file is as it was when the folder was listed.
fn is_as_listed(found: &Found, file: &File) -> io::Result<bool> {
    let meta = file.metadata()?;
    Ok(meta.len() == found.size && meta.modified()? == found.modified)
}

/// The unpacked content of a file, from its first byte.
fn reader<'f>(name: &str, file: &'f File, limits: &Limits) -> Box<dyn Read + 'f> {
    match Unpacked::open(name, At(file, 0), limits.clone()) {
        Ok(reader) => Box::new(BufReader::new(reader)),
        Err(_) => Box::new(io::empty()),
    }
}
