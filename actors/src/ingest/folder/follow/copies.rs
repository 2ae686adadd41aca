//! Copies: a file that holds nothing but the beginning of another one waits for what becomes of the two. It may be a copy that
//! rotation still makes, before it truncates the original.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use super::super::book::Form;
use super::super::listing::Found;
use super::super::prefix::{HEAD, head_hash, read_full};
use super::recent::{Recent, Shared};
use super::{Copied, Follower, Look, Pass};

/// After this time a file that waits as another one's copy is named in the source's state.
const COPY_IS_SAID: Duration = Duration::from_secs(60);

/// What a file of unknown content is beside the other ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It may hold what no other file holds and no look has read.
    Own,
    /// A listed file begins with all that this one holds, or may do so: this one waits for what becomes of the two.
    Waits,
    /// Its content, of this many bytes, was read of a file that does not hold it any more.
    Read(u64),
}

impl Follower {
    /// Compares a file with the other listed files, as they are now, and with what was read just now. `content` reads the file from its
    /// first byte. A file is judged by what it holds after this: where another file has changed, this one is a finished copy.
    pub(super) fn standing<R: Read>(
        &mut self,
        pass: &mut Pass<'_>,
        found: &Found,
        head: &[u8],
        content: impl Fn() -> io::Result<R>,
    ) -> io::Result<Standing> {
        let known = pass.live.iter().filter_map(|(id, other)| {
            let row = self.book.get(id).filter(|row| row.form == Form::Text)?;
            let begins_alike = usize::try_from(row.head_bytes)
                .ok()
                .and_then(|bytes| head.get(..bytes))
                .is_none_or(|first| head_hash(first) == row.head);
            begins_alike.then_some(*other)
        });
        let others: Vec<&Found> = known
            .chain(pass.fresh.iter().copied())
            .filter(|other| other.id != found.id)
            .collect();
        for other in others {
            if !may_be_same(found, head.len() as u64, &other.path) {
                continue;
            }
            let theirs = match pass.folder.open(other) {
                Ok(theirs) => theirs,
                // It lost its name after it was listed. The next look lists it where it is then.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Standing::Waits);
                }
                Err(_) => continue,
            };
            if begins_with(theirs, content()?)? {
                let copied = Copied {
                    look: Look::of(found),
                    of: other.id,
                    of_look: Look::of(other),
                    path: other.path.display().to_string(),
                };
                self.copies.insert(found.id, copied);
                self.say_copy(pass, found);
                return Ok(Standing::Waits);
            }
        }
        self.copies.remove(&found.id);
        let is_copied = |recent: &&Recent| recent.can_be_copied_to(found);
        for recent in pass.recent.iter().filter(is_copied) {
            if recent.shared(found, head, content()?)?.is_some() {
                return Ok(Standing::Waits); // until a row says what was read
            }
        }
        for recent in self.recent.iter().filter(is_copied) {
            if let Some(Shared::Part(bytes)) = recent.shared(found, head, content()?)? {
                return Ok(Standing::Read(bytes));
            }
        }
        Ok(Standing::Own)
    }

    pub(super) fn is_still_a_copy(&self, found: &Found) -> bool {
        self.copies.get(&found.id).is_some_and(|copied| {
            copied.look == Look::of(found)
                && self
                    .unchanged
                    .get(&copied.of)
                    .is_some_and(|(look, _)| *look == copied.of_look)
        })
    }

    pub(super) fn say_copy(&self, pass: &mut Pass<'_>, found: &Found) {
        if let Some(copied) = self.copies.get(&found.id)
            && self.rested(found, pass.now) >= COPY_IS_SAID
        {
            let reason = format!(
                "it holds nothing but what {} holds too, which is read there",
                copied.path
            );
            pass.looked.left_out.insert(found.path.clone(), reason);
        }
    }
}

/// Whether equal content makes a file the same data as another one. Little content may be equal by chance, as the first lines of two
/// logs are, so then the names must be alike as well: rotation puts something behind a name.
pub(super) fn may_be_same(found: &Found, bytes: u64, other: &Path) -> bool {
    let stem = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.split('.').next().unwrap_or_default().to_owned()
    };
    let (ours, theirs) = (stem(&found.path), stem(other));
    bytes >= HEAD || ours.starts_with(&theirs) || theirs.starts_with(&ours)
}

/// Whether `whole` begins with all of `part`.
pub(super) fn begins_with(mut whole: impl Read, mut part: impl Read) -> io::Result<bool> {
    let (mut theirs, mut ours) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let count = read_full(&mut part, &mut ours)?;
        if count == 0 {
            return Ok(true);
        }
        let there = read_full(&mut whole, theirs.get_mut(..count).unwrap_or_default())?;
        if there < count || theirs.get(..count) != ours.get(..count) {
            return Ok(false);
        }
    }
}
