//! Lines that were in a file and were never read: it was truncated or removed before, and no other file holds them.

use std::path::PathBuf;
use std::time::Duration;

use super::super::book::Form;
use super::{Follower, Pass};

/// Unread bytes whose content is in no listed file for so long are lost. A file that is compressed meanwhile has been read by then.
const LOST_AFTER: Duration = Duration::from_secs(60);
/// So long the source's state says what was lost.
const SAID_FOR: Duration = Duration::from_secs(3_600);

/// What a file holds beyond what was read of it.
#[derive(Debug)]
pub(super) struct Unread {
    path: PathBuf,
    bytes: u64,
    /// Since when the content is in no listed file.
    gone: Option<Duration>,
}

impl Follower {
    /// Notes, at the end of a look, what of the files' content is not read, and says what will never be.
    pub(super) fn note_unread(&mut self, pass: &mut Pass<'_>) {
        for (id, found) in &pass.live {
            let mut chunks = pass.looked.chunks.iter();
            let read = chunks.find(|chunk| chunk.after.id == *id);
            let Some(row) = read.map(|chunk| &chunk.after).or_else(|| self.book.get(id)) else {
                continue;
            };
            let bytes = found.size.saturating_sub(row.offset);
            if row.form == Form::Text && bytes > 0 {
                let unread = Unread {
                    path: found.path.clone(),
                    bytes,
                    gone: None,
                };
                self.unread.insert(id.clone(), unread);
            } else {
                self.unread.remove(id);
            }
        }
        if pass.is_full() {
            return; // not all files were looked at
        }
        let now = pass.now.elapsed;
        self.unread.retain(|id, unread| {
            if pass.live.contains_key(id) {
                return true;
            }
            let gone = now.saturating_sub(*unread.gone.get_or_insert(now));
            if gone >= LOST_AFTER + SAID_FOR {
                return false;
            }
            if gone >= LOST_AFTER {
                let reason = format!(
                    "{} bytes at its end were never read: it was truncated or removed before, and no file in the folder holds them",
                    unread.bytes
                );
                pass.looked.left_out.entry(unread.path.clone()).or_insert(reason);
            }
            true
        });
    }
}
