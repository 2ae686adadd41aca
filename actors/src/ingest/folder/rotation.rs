//! The promise of a watched folder, held against random writers and rotation schemes: every line is read exactly once, whatever is
//! renamed, copied and truncated, compressed, removed, or half written, and wherever the node is killed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use panther_logs::Limits;
use proptest::prelude::*;

use super::book::{Book, Followed};
use super::follow::{Content, Follower, Looked, Moment};
use super::listing::Watched;

/// A folder with writers, rotation, and a follower that may be killed.
struct World {
    folder: tempfile::TempDir,
    follower: Follower,
    /// What the replicated rows hold: all that is left of a killed node.
    rows: BTreeMap<String, Followed>,
    elapsed: Duration,
    began: SystemTime,
    written: u64,
    read: Vec<String>,
    half: BTreeMap<usize, String>,
}

const HEADER: &str = "#fields number padding\n";

impl World {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            follower: Follower::new(Book::default(), Limits::default()),
            rows: BTreeMap::new(),
            elapsed: Duration::ZERO,
            began: SystemTime::now(),
            written: 0,
            read: Vec::new(),
            half: BTreeMap::new(),
        }
    }

    fn path(&self, file: usize, rotated: Option<usize>) -> PathBuf {
        let name = rotated.map_or_else(
            || format!("app{file}.log"),
            |number| format!("app{file}.log.{number}"),
        );
        self.folder.path().join(name)
    }

    fn append(
        &mut self,
        file: usize,
        lines: usize,
        padding: usize,
        has_header: bool,
        leave_half: bool,
    ) {
        let mut text = String::new();
        let path = self.path(file, None);
        if let Some(rest) = self.half.remove(&file) {
            text.push_str(&rest);
        } else if has_header && fs::metadata(&path).map_or(0, |meta| meta.len()) == 0 {
            text.push_str(HEADER);
        }
        for _ in 0..lines {
            self.written += 1;
            text.push_str(&format!("line {} {}\n", self.written, "é".repeat(padding)));
        }
        if leave_half {
            self.written += 1;
            text.push_str(&format!("line {} ha", self.written));
            self.half.insert(file, "lf\n".to_owned());
        }
        let mut to = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        to.write_all(text.as_bytes()).unwrap();
        // The test's own clock runs ahead of the file system's.
        to.set_modified(self.began + self.elapsed).unwrap();
    }

    fn shift(&self, file: usize) {
        for number in (1..6).rev() {
            for ending in ["", ".gz"] {
                let from = with(&self.path(file, Some(number)), ending);
                if from.exists() {
                    fs::rename(from, with(&self.path(file, Some(number + 1)), ending)).unwrap();
                }
            }
        }
    }

    fn rotate(&mut self, file: usize, scheme: Scheme) {
        let live = self.path(file, None);
        if !live.exists() {
            return;
        }
        self.finish_half(file);
        self.shift(file);
        let first = self.path(file, Some(1));
        match scheme {
            Scheme::Rename => fs::rename(&live, &first).unwrap(),
            Scheme::RenameAndCreate => {
                fs::rename(&live, &first).unwrap();
                File::create(&live).unwrap();
            }
            Scheme::RenameAndCompress => {
                fs::rename(&live, &first).unwrap();
                compress(&first);
            }
            Scheme::CopyTruncate | Scheme::CopyTruncateSeen | Scheme::CopyTruncateCompress => {
                let content = fs::read(&live).unwrap();
                let mut copy = File::create(&first).unwrap();
                copy.write_all(&content[..content.len() / 2]).unwrap();
                if scheme == Scheme::CopyTruncateSeen {
                    self.look(false);
                }
                copy.write_all(&content[content.len() / 2..]).unwrap();
                if scheme == Scheme::CopyTruncateSeen {
                    self.look(false);
                }
                OpenOptions::new()
                    .write(true)
                    .open(&live)
                    .unwrap()
                    .set_len(0)
                    .unwrap();
                if scheme == Scheme::CopyTruncateCompress {
                    compress(&first);
                }
            }
        }
        self.remove_oldest(file);
    }

    /// What rotation removes before it was read is lost to every follower; here the oldest is removed once all is read.
    fn remove_oldest(&mut self, file: usize) {
        for ending in ["", ".gz"] {
            let oldest = with(&self.path(file, Some(4)), ending);
            if oldest.exists() {
                self.settle();
                fs::remove_file(oldest).unwrap();
            }
        }
    }

    /// A writer ends its line before it gives its file up.
    fn finish_half(&mut self, file: usize) {
        if self.half.contains_key(&file) {
            self.append(file, 0, 0, false, false);
        }
    }

    fn look(&mut self, is_killed: bool) -> bool {
        self.elapsed += Duration::from_millis(500);
        let watched = Watched {
            root: self.folder.path().to_owned(),
            follow_links: false,
            own: Vec::new(),
        };
        let now = Moment {
            elapsed: self.elapsed,
            wall: self.began + self.elapsed,
        };
        let Looked { chunks, more, .. } = self.follower.look(&watched, now).unwrap();
        if is_killed {
            self.restart();
            return true;
        }
        let found = more || !chunks.is_empty();
        for chunk in &chunks {
            let before = self.rows.get(&chunk.after.id).map(|row| row.digest.clone());
            assert_eq!(
                before, chunk.before,
                "the row is as the chunk says that it was"
            );
            self.rows
                .insert(chunk.after.id.clone(), chunk.after.clone());
            match &chunk.content {
                Content::Piece { body, .. } => self.take(body),
                Content::Whole(bytes) => {
                    let mut text = Vec::new();
                    MultiGzDecoder::new(&bytes[..])
                        .read_to_end(&mut text)
                        .unwrap();
                    self.take(&text);
                }
                Content::Nothing => {}
            }
        }
        self.follower.written(chunks, 0);
        found
    }

    fn take(&mut self, body: &[u8]) {
        let text = std::str::from_utf8(body).unwrap();
        self.read.extend(
            text.lines()
                .filter(|line| !HEADER.starts_with(*line))
                .map(ToOwned::to_owned),
        );
    }

    fn restart(&mut self) {
        let mut book = Book::default();
        for row in self.rows.values() {
            book.put(row.clone(), 0);
        }
        self.follower = Follower::new(book, Limits::default());
    }

    /// Looks until nothing is found for longer than anything has to rest.
    fn settle(&mut self) {
        for file in 0..FILES {
            self.finish_half(file); // or the time would pass after which half a line is taken for a whole one
        }
        let mut idle = 0;
        while idle < 80 {
            idle = if self.look(false) { 0 } else { idle + 1 };
        }
    }

    fn check(mut self) {
        self.settle();
        let mut numbers: BTreeMap<u64, usize> = BTreeMap::new();
        for line in &self.read {
            let number = line
                .split(' ')
                .nth(1)
                .and_then(|number| number.parse().ok());
            *numbers
                .entry(number.unwrap_or_else(|| panic!("a cut line: {line:?}")))
                .or_default() += 1;
            assert!(!line.ends_with("ha"), "half a line: {line:?}");
        }
        let doubled: Vec<_> = numbers.iter().filter(|(_, times)| **times > 1).collect();
        assert!(doubled.is_empty(), "read more than once: {doubled:?}");
        let lost: Vec<u64> = (1..=self.written)
            .filter(|number| !numbers.contains_key(number))
            .collect();
        assert!(lost.is_empty(), "never read: {lost:?}");
    }
}

fn with(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", path.display()))
}

fn compress(path: &Path) {
    let content = fs::read(path).unwrap();
    let mut encoder = GzEncoder::new(
        File::create(with(path, ".gz")).unwrap(),
        Compression::fast(),
    );
    encoder.write_all(&content).unwrap();
    encoder.finish().unwrap();
    fs::remove_file(path).unwrap();
}

const FILES: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Rename,
    RenameAndCreate,
    RenameAndCompress,
    CopyTruncate,
    /// The copy is seen half made, and seen before the truncation.
    CopyTruncateSeen,
    CopyTruncateCompress,
}

#[derive(Debug, Clone)]
enum Step {
    Append {
        file: usize,
        lines: usize,
        padding: usize,
        has_header: bool,
        leave_half: bool,
    },
    Rotate {
        file: usize,
        scheme: Scheme,
    },
    CompressRotated {
        file: usize,
    },
    Look,
    LookAndKill,
    Kill,
    Settle,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let scheme = prop_oneof![
        Just(Scheme::Rename),
        Just(Scheme::RenameAndCreate),
        Just(Scheme::RenameAndCompress),
        Just(Scheme::CopyTruncate),
        Just(Scheme::CopyTruncateSeen),
        Just(Scheme::CopyTruncateCompress),
    ];
    let append = (
        0..FILES,
        1_usize..40,
        prop_oneof![Just(5_usize), Just(60), Just(3_000)],
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(file, lines, padding, has_header, leave_half)| Step::Append {
                file,
                lines,
                padding,
                has_header,
                leave_half,
            },
        );
    let step = prop_oneof![
        6 => append,
        3 => (0..FILES, scheme).prop_map(|(file, scheme)| Step::Rotate { file, scheme }),
        1 => (0..FILES).prop_map(|file| Step::CompressRotated { file }),
        6 => Just(Step::Look),
        1 => Just(Step::LookAndKill),
        1 => Just(Step::Kill),
        1 => Just(Step::Settle),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #[test]
    fn each_line_is_read_once_through_every_rotation(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Append { file, lines, padding, has_header, leave_half } => world.append(file, lines, padding, has_header, leave_half),
                Step::Rotate { file, scheme } => world.rotate(file, scheme),
                Step::CompressRotated { file } => {
                    let rotated = world.path(file, Some(1));
                    if rotated.exists() {
                        compress(&rotated);
                    }
                }
                Step::Look => { world.look(false); }
                Step::LookAndKill => { world.look(true); }
                Step::Kill => world.restart(),
                Step::Settle => world.settle(),
            }
        }
        world.check();
    }
}

#[test]
fn a_line_without_end_waits_and_json_without_a_line_end_does_not() {
    let mut world = World::new();
    let path = world.path(0, None);
    fs::write(&path, "line 1 a\nline 2 ha").unwrap();
    for _ in 0..20 {
        world.look(false);
    }
    assert_eq!(world.read, ["line 1 a"]);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"lf\n").unwrap();
    world.look(false);
    assert_eq!(world.read, ["line 1 a", "line 2 half"]);
    fs::write(world.path(1, None), "{\"Records\":[{\"a\":1},{\"a\":2}]}").unwrap();
    for _ in 0..8 {
        world.look(false);
    }
    assert_eq!(world.read.len(), 3);
}

#[test]
fn two_logs_that_begin_alike_are_two_and_a_copy_beside_its_original_is_none() {
    let mut world = World::new();
    let folder = world.folder.path().to_owned();
    for name in ["web.log", "mail.log", "web.log.bak"] {
        fs::write(folder.join(name), "line 1 a\n").unwrap();
    }
    world.settle();
    assert_eq!(world.read, ["line 1 a", "line 1 a"]);
    let long = format!("line 2 {}\n", "x".repeat(2_000));
    fs::write(folder.join("long.log"), &long).unwrap();
    fs::write(folder.join("other.log"), &long).unwrap();
    world.settle();
    assert_eq!(world.read.len(), 3);
}

#[test]
fn a_broken_compressed_file_is_read_as_far_as_it_goes_and_its_whole_successor_from_there() {
    let mut world = World::new();
    let text: String = (1..=2_000)
        .map(|number| format!("line {number} {}\n", number * 7_919 % 10_007))
        .collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    let whole = encoder.finish().unwrap();
    let path = world.folder.path().join("app.log.gz");
    // Cut in its first half, so that the content that can be unpacked is no whole stream.
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    world.elapsed += Duration::from_secs(60);
    let watched = Watched {
        root: world.folder.path().to_owned(),
        follow_links: false,
        own: Vec::new(),
    };
    let now = Moment {
        elapsed: world.elapsed,
        wall: world.began + world.elapsed,
    };
    let looked = world.follower.look(&watched, now).unwrap();
    assert!(matches!(looked.chunks[0].content, Content::Whole(_)));
    assert!(
        looked.left_out.values().next().unwrap().contains("broken"),
        "{:?}",
        looked.left_out
    );
    let read = looked.chunks[0].after.offset;
    assert!(text[..usize::try_from(read).unwrap()].ends_with('\n'));
    world.rows.insert(
        looked.chunks[0].after.id.clone(),
        looked.chunks[0].after.clone(),
    );
    world.follower.written(looked.chunks, 0);
    fs::write(&path, &whole).unwrap();
    world.elapsed += Duration::from_secs(60);
    world.settle();
    assert_eq!(
        world.read.concat().len() + world.read.len(),
        text.len() - usize::try_from(read).unwrap()
    );
}

#[test]
fn a_hole_of_zero_bytes_is_told_of_and_the_lines_behind_it_are_read() {
    let mut world = World::new();
    let path = world.path(0, None);
    let mut file = File::create(&path).unwrap();
    file.set_len(64 << 20).unwrap();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).unwrap();
    file.write_all(b"line 1 a\n").unwrap();
    let mut read = Vec::new();
    for _ in 0..2 {
        world.elapsed += Duration::from_millis(500);
        let watched = Watched {
            root: world.folder.path().to_owned(),
            follow_links: false,
            own: Vec::new(),
        };
        let now = Moment {
            elapsed: world.elapsed,
            wall: world.began + world.elapsed,
        };
        let looked = world.follower.look(&watched, now).unwrap();
        for chunk in &looked.chunks {
            let Content::Piece { body, origin, .. } = &chunk.content else {
                panic!()
            };
            read.push((body.clone(), origin.contains("zero bytes")));
        }
        world.follower.written(looked.chunks, 0);
    }
    assert_eq!(read, [(vec![0; 64], true), (b"line 1 a\n".to_vec(), false)]);
}
