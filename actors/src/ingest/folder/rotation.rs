//! The promise of a watched folder, held against random writers and rotation schemes: every line is read exactly once, whatever is
//! renamed, copied and truncated, compressed, removed, or half written, and wherever the node is killed.

mod compressed;
mod holes;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use panther_logs::Limits;
use proptest::prelude::*;

use super::book::{Book, Followed};
use super::follow::{Content, Follower, Looked, Moment};
use super::listing::{Folder, Found, Listing, Watched};

/// A folder with a follower that may be killed.
struct World {
    folder: tempfile::TempDir,
    writers: RefCell<Writers>,
    follower: Follower,
    /// What the replicated rows hold: all that is left of a killed node.
    rows: BTreeMap<String, Followed>,
    elapsed: Duration,
    began: SystemTime,
    read: Vec<String>,
}

/// The programs that write to the folder and rotate its files.
struct Writers {
    root: PathBuf,
    now: SystemTime,
    written: u64,
    half: BTreeMap<usize, String>,
    /// Copies that are not finished: what is missing.
    copying: BTreeMap<usize, Vec<u8>>,
}

/// What writers do.
#[derive(Debug, Clone)]
enum Change {
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
    /// The first half of a copy is made.
    BeginCopy {
        file: usize,
    },
    /// The copy is finished, and the original truncated.
    EndCopy {
        file: usize,
    },
}

/// A folder whose writers do not wait until a look has ended.
struct Restless<'w> {
    watched: Watched,
    writers: &'w RefCell<Writers>,
    /// What they do, and before or after which opening of a file.
    changes: RefCell<Vec<(usize, bool, Change)>>,
    opened: Cell<usize>,
}

impl Restless<'_> {
    fn change(&self, is_after: bool) {
        let now = self.opened.get();
        let mut changes = self.changes.borrow_mut();
        while let Some(at) = changes
            .iter()
            .position(|(open, after, _)| (*open, *after) == (now, is_after))
        {
            self.writers.borrow_mut().change(&changes.remove(at).2);
        }
    }
}

impl Folder for Restless<'_> {
    fn list(&self) -> io::Result<Listing> {
        self.watched.list()
    }

    fn open(&self, found: &Found) -> io::Result<File> {
        self.opened.set(self.opened.get() + 1);
        self.change(false);
        let file = self.watched.open(found);
        self.change(true);
        file
    }
}

const HEADER: &str = "#fields number padding\n";

impl Writers {
    fn path(&self, file: usize, rotated: Option<usize>) -> PathBuf {
        let name = rotated.map_or_else(
            || format!("app{file}.log"),
            |number| format!("app{file}.log.{number}"),
        );
        self.root.join(name)
    }

    fn change(&mut self, change: &Change) {
        match *change {
            Change::Append {
                file,
                lines,
                padding,
                has_header,
                leave_half,
            } => {
                // What is written between a copy and the truncation is lost to every follower.
                self.end_copy(file);
                self.append(file, lines, padding, has_header, leave_half);
            }
            Change::Rotate { file, scheme } => self.rotate(file, scheme),
            Change::CompressRotated { file } => {
                self.end_copy(file);
                let rotated = self.path(file, Some(1));
                if rotated.exists() {
                    compress(&rotated);
                }
            }
            Change::BeginCopy { file } => self.begin_copy(file),
            Change::EndCopy { file } => self.end_copy(file),
        }
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
        to.set_modified(self.now).unwrap();
    }

    fn shift(&self, file: usize) {
        for number in (1..9).rev() {
            for ending in ["", ".gz"] {
                let from = with(&self.path(file, Some(number)), ending);
                if from.exists() {
                    fs::rename(from, with(&self.path(file, Some(number + 1)), ending)).unwrap();
                }
            }
        }
    }

    fn rotate(&mut self, file: usize, scheme: Scheme) {
        self.end_copy(file);
        let live = self.path(file, None);
        if !live.exists() {
            return;
        }
        self.finish_half(file);
        let first = self.path(file, Some(1));
        match scheme {
            Scheme::Rename | Scheme::RenameAndCreate | Scheme::RenameAndCompress => {
                self.shift(file);
                fs::rename(&live, &first).unwrap();
            }
            Scheme::CopyTruncate | Scheme::CopyTruncateCompress => {
                self.begin_copy(file);
                self.end_copy(file);
            }
        }
        match scheme {
            Scheme::Rename | Scheme::CopyTruncate => {}
            Scheme::RenameAndCreate => drop(File::create(&live).unwrap()),
            Scheme::RenameAndCompress | Scheme::CopyTruncateCompress => compress(&first),
        }
    }

    fn begin_copy(&mut self, file: usize) {
        let live = self.path(file, None);
        if !live.exists() || self.copying.contains_key(&file) {
            return;
        }
        self.finish_half(file);
        self.shift(file);
        let content = fs::read(&live).unwrap();
        let (first, rest) = content.split_at(content.len() / 2);
        fs::write(self.path(file, Some(1)), first).unwrap();
        self.copying.insert(file, rest.to_vec());
    }

    fn end_copy(&mut self, file: usize) {
        if let Some(rest) = self.copying.remove(&file) {
            let mut copy = OpenOptions::new()
                .append(true)
                .open(self.path(file, Some(1)))
                .unwrap();
            copy.write_all(&rest).unwrap();
            let live = OpenOptions::new().write(true).open(self.path(file, None));
            live.unwrap().set_len(0).unwrap();
        }
    }

    /// A writer ends its line before it gives its file up.
    fn finish_half(&mut self, file: usize) {
        if self.half.contains_key(&file) {
            self.append(file, 0, 0, false, false);
        }
    }

    fn oldest(&self, file: usize) -> Vec<PathBuf> {
        (4..10)
            .flat_map(|number| {
                ["", ".gz"].map(|ending| with(&self.path(file, Some(number)), ending))
            })
            .filter(|path| path.exists())
            .collect()
    }
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let began = SystemTime::now();
        Self {
            writers: RefCell::new(Writers {
                root: folder.path().to_owned(),
                now: began,
                written: 0,
                half: BTreeMap::new(),
                copying: BTreeMap::new(),
            }),
            folder,
            follower: Follower::new(Book::default(), Limits::default()),
            rows: BTreeMap::new(),
            elapsed: Duration::ZERO,
            began,
            read: Vec::new(),
        }
    }

    fn path(&self, file: usize, rotated: Option<usize>) -> PathBuf {
        self.writers.borrow().path(file, rotated)
    }

    fn change(&mut self, change: &Change) {
        self.writers.borrow_mut().change(change);
    }

    /// What rotation removes before it was read is lost to every follower; here the oldest is removed once all is read.
    fn remove_oldest(&mut self) {
        for file in 0..FILES {
            if !self.writers.borrow().oldest(file).is_empty() {
                self.settle();
            }
            for path in self.writers.borrow().oldest(file) {
                fs::remove_file(path).unwrap();
            }
        }
    }

    fn watched(&self) -> Watched {
        Watched {
            root: self.folder.path().to_owned(),
            follow_links: false,
            own: Vec::new(),
        }
    }

    fn pass_time(&mut self, time: Duration) -> Moment {
        self.elapsed += time;
        let wall = self.began + self.elapsed;
        self.writers.borrow_mut().now = wall;
        Moment {
            elapsed: self.elapsed,
            wall,
        }
    }

    fn look(&mut self, is_killed: bool) -> bool {
        self.look_while(is_killed, Vec::new())
    }

    /// One look, while writers make these changes.
    fn look_while(&mut self, is_killed: bool, changes: Vec<(usize, bool, Change)>) -> bool {
        let now = self.pass_time(Duration::from_millis(500));
        let folder = Restless {
            watched: self.watched(),
            writers: &self.writers,
            changes: RefCell::new(changes),
            opened: Cell::new(0),
        };
        let Looked { chunks, more, .. } = self.follower.look(&folder, now).unwrap();
        for (_, _, change) in folder.changes.into_inner() {
            self.change(&change); // fewer files were opened
        }
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
                Content::Whole(file, written) => {
                    let mut bytes = vec![0; usize::try_from(written.bytes).unwrap()];
                    file.read_exact_at(&mut bytes, 0).unwrap();
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
            let mut writers = self.writers.borrow_mut();
            writers.end_copy(file);
            writers.finish_half(file); // or the time would pass after which half a line is taken for a whole one
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
        let lost: Vec<u64> = (1..=self.writers.borrow().written)
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
    CopyTruncateCompress,
}

#[derive(Debug, Clone)]
enum Step {
    Change(Change),
    Look(Vec<(usize, bool, Change)>),
    LookAndKill(Vec<(usize, bool, Change)>),
    Kill,
    Settle,
}

fn changes() -> impl Strategy<Value = Change> {
    let scheme = prop_oneof![
        Just(Scheme::Rename),
        Just(Scheme::RenameAndCreate),
        Just(Scheme::RenameAndCompress),
        Just(Scheme::CopyTruncate),
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
            |(file, lines, padding, has_header, leave_half)| Change::Append {
                file,
                lines,
                padding,
                has_header,
                leave_half,
            },
        );
    prop_oneof![
        6 => append,
        3 => (0..FILES, scheme).prop_map(|(file, scheme)| Change::Rotate { file, scheme }),
        1 => (0..FILES).prop_map(|file| Change::CompressRotated { file }),
        2 => (0..FILES).prop_map(|file| Change::BeginCopy { file }),
        2 => (0..FILES).prop_map(|file| Change::EndCopy { file }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let during = || proptest::collection::vec((1_usize..8, any::<bool>(), changes()), 0..3);
    let step = prop_oneof![
        10 => changes().prop_map(Step::Change),
        6 => during().prop_map(Step::Look),
        1 => during().prop_map(Step::LookAndKill),
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
                Step::Change(change) => world.change(&change),
                Step::Look(changes) => { world.look_while(false, changes); }
                Step::LookAndKill(changes) => { world.look_while(true, changes); }
                Step::Kill => world.restart(),
                Step::Settle => world.settle(),
            }
            world.remove_oldest();
        }
        world.check();
    }
}

fn text(numbers: std::ops::Range<u64>) -> String {
    numbers
        .map(|number| format!("line {number} {}\n", "x".repeat(60)))
        .collect()
}

/// Writes lines, and says that they were written.
fn write(world: &World, path: &Path, numbers: std::ops::Range<u64>) {
    fs::write(path, text(numbers.clone())).unwrap();
    world.writers.borrow_mut().written = numbers.end - 1;
}

#[test]
fn a_copy_whose_original_is_truncated_within_the_look_that_reads_it_is_read_once() {
    for (opening, is_after) in [(2, false), (2, true), (3, false), (3, true)] {
        let mut world = World::new();
        let (live, copy) = (world.path(0, None), world.path(0, Some(1)));
        write(&world, &live, 1..40);
        fs::write(&copy, text(1..20)).unwrap();
        world
            .writers
            .borrow_mut()
            .copying
            .insert(0, text(20..40).into_bytes());
        world.look_while(
            false,
            vec![(opening, is_after, Change::EndCopy { file: 0 })],
        );
        world.check();
    }
}

#[test]
fn lines_that_were_read_after_the_copy_was_made_do_not_make_new_data_of_the_copy() {
    let mut world = World::new();
    let (live, copy) = (world.path(0, None), world.path(0, Some(1)));
    write(&world, &live, 1..20);
    world.look(false);
    // The last lines are written, and read, after the copy has ended and before the original is truncated.
    write(&world, &live, 1..40);
    world.look(false);
    fs::write(&copy, text(1..35)).unwrap();
    fs::write(&live, "").unwrap();
    world.check();
}

#[test]
fn a_file_that_is_made_again_with_the_same_first_lines_is_new_data() {
    let mut world = World::new();
    let live = world.path(0, None);
    write(&world, &live, 1..40);
    world.look(false);
    // Truncated in place, and removed and created.
    fs::write(&live, text(1..30)).unwrap();
    world.look(false);
    fs::remove_file(&live).unwrap();
    fs::write(&live, text(1..25)).unwrap();
    world.settle();
    assert_eq!(world.read.len(), 39 + 29 + 24);
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
fn lines_that_were_removed_before_they_were_read_are_said() {
    let mut world = World::new();
    let (live, moved) = (world.path(0, None), world.path(1, None));
    fs::write(&live, format!("{}no line end", text(1..20))).unwrap();
    fs::write(&moved, format!("{}no line end", text(40..60))).unwrap();
    world.look(false);
    world.look(false);
    // One is truncated in place; the other one is renamed, so that its line is read when it ends.
    fs::write(&live, text(30..32)).unwrap();
    fs::rename(&moved, world.path(1, Some(1))).unwrap();
    let mut said = BTreeMap::new();
    for _ in 0..10 {
        let now = world.pass_time(Duration::from_secs(10));
        let looked = world.follower.look(&world.watched(), now).unwrap();
        said = looked.left_out;
        world.follower.written(looked.chunks, 0);
    }
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[&live].starts_with("11 bytes at its end were never read"),
        "{said:?}"
    );
    // Not for ever.
    let now = world.pass_time(Duration::from_secs(3_700));
    let looked = world.follower.look(&world.watched(), now).unwrap();
    assert!(looked.left_out.is_empty());
}
