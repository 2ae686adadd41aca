//! Randomness from a seed.
//!
//! Hash maps, tokio's choice among ready branches, election timeouts and TLS keys all take their random bytes from the
//! operating system, through `getrandom` of the C library. A program may define that symbol itself, and then its own
//! function is called. So a thread with a seed gets bytes that follow from the seed, for every caller, and a run is
//! reproducible by its seed. Other threads get the system's random bytes.

use std::cell::RefCell;

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

thread_local! {
    static GENERATOR: RefCell<Option<SmallRng>> = const { RefCell::new(None) };
}

/// Seeds all randomness on this thread. Call it first on a new thread: what has drawn its keys already keeps them.
pub(crate) fn begin(seed: u64) {
    GENERATOR.set(Some(SmallRng::seed_from_u64(seed)));
}

/// Fills `bytes` with seeded bytes. Returns false if this thread has no seed.
fn drawn(bytes: &mut [u8]) -> bool {
    GENERATOR
        .try_with(|generator| match generator.try_borrow_mut() {
            Ok(mut generator) => generator
                .as_mut()
                .map(|generator| generator.fill_bytes(bytes))
                .is_some(),
            Err(_) => false,
        })
        .unwrap_or(false)
}

/// The only unsafe code of the project. It replaces the C library's function of this name in programs that link this
/// crate: `simulate` and this crate's tests, never in what is shipped. It is sound because it keeps that function's
/// contract: it writes `length` bytes to `buffer`, which the caller guarantees to be valid, and returns how many it
/// wrote, or the system call's error.
#[allow(unsafe_code)]
mod replaced {
    /// As getrandom(2).
    ///
    /// # Safety
    /// `buffer` must be valid for `length` bytes to be written.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, flags: u32) -> isize {
        if !buffer.is_null() && length > 0 {
            // SAFETY: the caller guarantees `length` writable bytes at `buffer`. They are initialised before the slice
            // is made.
            let bytes = unsafe {
                buffer.write_bytes(0, length);
                std::slice::from_raw_parts_mut(buffer, length)
            };
            if super::drawn(bytes) {
                return isize::try_from(length).unwrap_or(isize::MAX);
            }
        }
        // SAFETY: the system call has the contract of this function.
        unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as isize }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    fn first_of(seed: u64) -> (u64, u64) {
        std::thread::spawn(move || {
            super::begin(seed);
            (rand::random(), RandomState::new().hash_one(7))
        })
        .join()
        .unwrap()
    }

    #[test]
    fn what_a_thread_draws_follows_from_its_seed() {
        assert_eq!(first_of(1), first_of(1));
        assert_ne!(first_of(1).0, first_of(2).0);
        assert_ne!(first_of(1).1, first_of(2).1);
    }

    #[test]
    fn a_thread_without_a_seed_draws_from_the_system() {
        assert_ne!(rand::random::<u128>(), rand::random::<u128>());
    }
}
