//! Work that is dealt out to threads: the parts of a pack are many, and each is read and compiled by itself.

use std::panic::resume_unwind;
use std::thread::{Builder, ScopedJoinHandle, available_parallelism, scope};

use parking_lot::Mutex;

/// Threads at most: more of them have too little each.
const MOST_THREADS: usize = 8;
/// What a thread takes at once: enough that taking costs nothing, and not so much that one thread has work left when the others have none.
const SHARE: usize = 16;
/// Bytes of a thread's stack. The trees of a file of the pack are gone through, and let go, level by level, and Python compiles some thousand levels.
const STACK: usize = 64 << 20;

/// `make` of each, in their order, by as many threads as there are processors.
pub(crate) fn side_by_side<T: Send, R: Send>(of: Vec<T>, make: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = available_parallelism().map_or(1, usize::from);
    let threads = threads.min(MOST_THREADS).min(of.len().div_ceil(SHARE));
    let left = Mutex::new((0, of.into_iter()));
    let take = || {
        let (number, left) = &mut *left.lock();
        *number += 1;
        (*number, left.take(SHARE).collect::<Vec<T>>())
    };
    let work = || {
        let mut made = Vec::new();
        loop {
            let (number, share) = take();
            if share.is_empty() {
                return made;
            }
            made.push((number, share.into_iter().map(&make).collect::<Vec<R>>()));
        }
    };
    let mut made = scope(|scope| {
        let begin = || Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        // If the system has no thread left, those that there are do it all, or this one does.
        let others: Vec<_> = (0..threads).map_while(|_| begin().ok()).collect();
        let mut made = Vec::new();
        if others.is_empty() {
            made = work();
        }
        for other in others.into_iter().map(ScopedJoinHandle::join) {
            made.extend(other.unwrap_or_else(|panic| resume_unwind(panic)));
        }
        made
    });
    made.sort_unstable_by_key(|(number, _)| *number);
    made.into_iter().flat_map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_made_once_and_stays_in_its_place() {
        for count in [0, 1, SHARE, SHARE + 1, 10 * SHARE + 3] {
            let twice: Vec<usize> = (0..count).map(|number| number * 2).collect();
            let of = (0..count).collect();
            assert_eq!(side_by_side(of, |number| number * 2), twice);
        }
    }
}
