//! One look through a folder, on a thread of its own: a file or mount that does not answer holds up its source, and nothing else.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::follow::{Follower, Looked, Moment};
use super::listing::{Folder, Found, Listing, Watched};

/// What a look gave.
pub(super) struct Done {
    pub(super) follower: Follower,
    /// What it found, or why the folder cannot be listed.
    pub(super) looked: io::Result<Looked>,
    /// How long it took to list the folder.
    pub(super) listed_in: Duration,
}

/// A look that goes on.
pub(super) struct Look {
    done: oneshot::Receiver<Done>,
    progress: Arc<Mutex<Progress>>,
}

#[derive(Default)]
struct Progress {
    /// What is listed or opened at this time.
    at: PathBuf,
    listed_in: Duration,
}

impl Look {
    /// Begins a look. The thread is outside the runtime's pool, so that a stop of the node does not wait for it.
    ///
    /// # Errors
    /// There is no thread.
    pub(super) fn begin(
        mut follower: Follower,
        folder: impl Folder + Send + 'static,
        root: PathBuf,
        now: Moment,
    ) -> io::Result<Self> {
        let progress = Arc::new(Mutex::new(Progress::default()));
        let noted = Noted {
            folder,
            root,
            progress: progress.clone(),
        };
        let (say, done) = oneshot::channel();
        std::thread::Builder::new()
            .name("watched-folder".to_owned())
            .spawn(move || {
                let looked = follower.look(&noted, now);
                let listed_in = noted.progress.lock().listed_in;
                // The source may be gone by now.
                let _ = say.send(Done {
                    follower,
                    looked,
                    listed_in,
                });
            })?;
        Ok(Self { done, progress })
    }

    /// Waits for the end, up to a time. `None`: the look goes on.
    ///
    /// # Errors
    /// The look has failed by a fault of the program.
    pub(super) async fn ended_within(
        &mut self,
        time: Duration,
    ) -> Option<Result<Done, LookFailed>> {
        match tokio::time::timeout(time, &mut self.done).await {
            Ok(done) => Some(done.map_err(|_| LookFailed)),
            Err(_) => None,
        }
    }

    /// What is listed or opened at this time.
    pub(super) fn at(&self) -> PathBuf {
        self.progress.lock().at.clone()
    }
}

/// The thread of a look ended without a result.
#[derive(Debug, thiserror::Error)]
#[error("a look through a watched folder failed by a fault of the program")]
pub(super) struct LookFailed;

/// A folder, and what its look does at this moment.
struct Noted<F> {
    folder: F,
    root: PathBuf,
    progress: Arc<Mutex<Progress>>,
}

impl<F: Folder> Folder for Noted<F> {
    fn list(&self) -> io::Result<Listing> {
        self.progress.lock().at.clone_from(&self.root);
        let began = Instant::now();
        let listing = self.folder.list();
        self.progress.lock().listed_in = began.elapsed();
        listing
    }

    fn open(&self, found: &Found) -> io::Result<File> {
        self.progress.lock().at.clone_from(&found.path);
        self.folder.open(found)
    }
}

/// Least time between two looks.
const SHORTEST: Duration = Duration::from_millis(500);
/// Most time between two looks.
const LONGEST: Duration = Duration::from_secs(10);
/// A folder is listed for a tenth of the time at most.
const SHARE: u32 = 9;

/// The time between two looks at a folder that is listed in so long.
pub(super) fn pause(listed_in: Duration) -> Duration {
    listed_in.saturating_mul(SHARE).clamp(SHORTEST, LONGEST)
}

impl Watched {
    /// Begins a look through the folder.
    ///
    /// # Errors
    /// There is no thread.
    pub(super) fn look(&self, follower: Follower, now: Moment) -> io::Result<Look> {
        Look::begin(follower, self.clone(), self.root.clone(), now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use panther_logs::Limits;

    use super::super::book::Book;
    use super::*;

    /// A folder of which one file hangs until it is let go.
    struct Hanging {
        watched: Watched,
        hangs: Mutex<std::sync::mpsc::Receiver<()>>,
    }

    impl Folder for Hanging {
        fn list(&self) -> io::Result<Listing> {
            self.watched.list()
        }

        fn open(&self, found: &Found) -> io::Result<File> {
            let _ = self.hangs.lock().recv();
            self.watched.open(found)
        }
    }

    #[tokio::test]
    async fn a_look_that_hangs_says_where_and_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        std::fs::write(&path, "x\n").unwrap();
        let watched = Watched {
            root: folder.path().to_owned(),
            follow_links: false,
            own: Vec::new(),
        };
        let (release, hangs) = std::sync::mpsc::channel();
        let hanging = Hanging {
            watched: watched.clone(),
            hangs: Mutex::new(hangs),
        };
        let follower = || Follower::new(Book::default(), Limits::default());
        let now = Moment {
            elapsed: Duration::ZERO,
            wall: SystemTime::now(),
        };
        let mut look = Look::begin(follower(), hanging, watched.root.clone(), now).unwrap();
        while look.at() != path {
            assert!(look.ended_within(Duration::from_millis(10)).await.is_none());
        }
        // Another source is looked through meanwhile.
        let mut other = watched.look(follower(), now).unwrap();
        let done = other.ended_within(Duration::from_secs(60)).await;
        assert_eq!(done.unwrap().unwrap().looked.unwrap().chunks.len(), 1);
        release.send(()).unwrap();
        let done = look.ended_within(Duration::from_secs(60)).await;
        assert_eq!(done.unwrap().unwrap().looked.unwrap().chunks.len(), 1);
    }

    #[test]
    fn a_large_folder_is_listed_for_a_tenth_of_the_time() {
        for (listed_ms, pause_ms) in [
            (1, 500),
            (55, 500),
            (100, 900),
            (400, 3_600),
            (5_000, 10_000),
        ] {
            let pause = pause(Duration::from_millis(listed_ms));
            assert_eq!(pause, Duration::from_millis(pause_ms));
        }
    }
}
