//! The promise of a watched folder for events over several lines, held against random writers: a row of CSV whose quoted value has line
//! ends is one event exactly once, wherever a look ends within it, and wherever the node is killed.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use panther_logs::{
    Classifier, EventContext, EventEnds, Limits, LogTypes, Outcome, PartsWriter, Piece, RawReader,
    Timestamp,
};
use proptest::prelude::*;

use super::book::{Book, Followed};
use super::follow::{Content, Follower, Moment};
use super::listing::Watched;

const SCHEMA: &str = r"
schema: Custom.Rows
parser:
  csv:
    delimiter: ','
    hasHeader: true
fields:
  - { name: id, type: string, required: true }
  - { name: left, type: string }
";

/// A folder with one file, a follower, and what the log processor makes of what is read.
struct World {
    folder: tempfile::TempDir,
    types: LogTypes,
    log_types: Vec<&'static str>,
    follower: Follower,
    rows: BTreeMap<String, Followed>,
    elapsed: Duration,
    began: SystemTime,
    /// Of each event: its id and the text.
    events: Vec<(String, String)>,
    quarantined: Vec<String>,
}

impl World {
    fn new(log_types: &[&'static str]) -> Self {
        let mut world = Self {
            folder: tempfile::tempdir().unwrap(),
            types: LogTypes::builtin().with_schema(SCHEMA).unwrap(),
            log_types: log_types.to_vec(),
            follower: Follower::new(Book::default(), Limits::default()),
            rows: BTreeMap::new(),
            elapsed: Duration::ZERO,
            began: SystemTime::now(),
            events: Vec::new(),
            quarantined: Vec::new(),
        };
        world.restart();
        world
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a.csv")
    }

    fn append(&self, content: &[u8]) {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path());
        let mut file = file.unwrap();
        file.write_all(content).unwrap();
        file.set_modified(self.began + self.elapsed).unwrap();
    }

    fn restart(&mut self) {
        let mut book = Book::default();
        for row in self.rows.values() {
            book.put(row.clone(), 0);
        }
        self.follower = Follower::new(book, Limits::default());
        let ends = EventEnds::new(&self.types, &self.log_types).unwrap();
        self.follower.set_ends(ends);
    }

    fn look(&mut self, is_killed: bool) {
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
        let chunks = self.follower.look(&watched, now).unwrap().chunks;
        if is_killed {
            self.restart();
            return;
        }
        for chunk in &chunks {
            self.rows
                .insert(chunk.after.id.clone(), chunk.after.clone());
            match &chunk.content {
                Content::Piece {
                    context,
                    body,
                    origin,
                } => {
                    let mut parts = PartsWriter::default();
                    if !context.is_empty() {
                        parts.head(origin, context);
                    }
                    parts.body(origin, body);
                    self.process(&PartsWriter::name("o"), &parts.finish());
                }
                Content::Whole(file, written) => {
                    let mut bytes = vec![0; usize::try_from(written.bytes).unwrap()];
                    file.read_exact_at(&mut bytes, 0).unwrap();
                    self.process("o", &bytes);
                }
                Content::Nothing => {}
            }
        }
        self.follower.written(chunks, 0);
    }

    fn settle(&mut self) {
        for _ in 0..80 {
            self.look(false);
        }
    }

    /// Reads an object as the log processor does.
    fn process(&mut self, name: &str, object: &[u8]) {
        let time = Timestamp::from(self.began);
        let context = EventContext::new("s", "s", name, time);
        let mut classifier = Classifier::new(&self.types, &self.log_types).unwrap();
        let mut reader = RawReader::new(name, object, Limits::default());
        let mut begun = Vec::new();
        loop {
            reader.set_within_event(classifier.is_within_event());
            let Some(piece) = reader.next_piece().unwrap() else {
                break;
            };
            let record = match piece {
                Piece::Input { .. } => {
                    classifier.begin_input();
                    continue;
                }
                Piece::Gap => {
                    classifier.gap();
                    continue;
                }
                Piece::Context(record) => {
                    classifier.classify(&record, &context);
                    continue;
                }
                Piece::Record(record) => record,
            };
            let text = String::from_utf8_lossy(&record.raw).into_owned();
            let outcome = classifier.classify(&record, &context);
            if let Outcome::Joined(_) = outcome {
                begun.clear();
            } else if !outcome.leaves_begun_open() {
                self.quarantined.append(&mut begun);
            }
            match outcome {
                Outcome::Begun { .. } => begun.push(text),
                Outcome::Unclassified { .. } => self.quarantined.push(text),
                Outcome::Skipped(_) => {}
                Outcome::Events(events) | Outcome::Joined(events) => {
                    for event in events {
                        let json: serde_json::Value = serde_json::from_slice(&event.json).unwrap();
                        let field = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
                        self.events.push((field("id"), field("left")));
                    }
                }
            }
        }
        self.quarantined.append(&mut begun);
    }
}

fn row(id: usize, value: &str) -> (String, String) {
    (id.to_string(), value.to_owned())
}

fn text(rows: &[(String, String)]) -> String {
    let line =
        |(id, value): &(String, String)| format!("{id},\"{}\"\n", value.replace('"', "\"\""));
    format!("id,left\n{}", rows.iter().map(line).collect::<String>())
}

#[test]
fn a_quoted_value_over_two_looks_is_one_event() {
    for log_types in [&["Custom.Rows"][..], &["Okta.SystemLog", "Custom.Rows"]] {
        for rows_before in [0, 400] {
            for is_killed in [false, true] {
                let mut world = World::new(log_types);
                let mut rows: Vec<_> = (0..rows_before).map(|id| row(id, "a value")).collect();
                rows.push(row(900, "first\n{\n[\nsecond, \"third\""));
                rows.push(row(901, "x"));
                let text = text(&rows);
                let cut = text.find("second").unwrap();
                world.append(&text.as_bytes()[..cut]);
                world.look(false);
                assert_eq!(world.events.len(), rows_before);
                world.look(is_killed);
                world.append(&text.as_bytes()[cut..]);
                world.settle();
                assert_eq!(world.events, rows);
                assert_eq!(world.quarantined, Vec::<String>::new());
            }
        }
    }
}

#[test]
fn lines_of_another_log_type_do_not_wait_for_the_end_of_a_value() {
    let mut world = World::new(&["GitLab.API", "Custom.Rows"]);
    // For CSV the second member begins a quoted value that does not end on the line.
    let line = r#"{"time":"2018-10-29T12:49:42.123Z","severity":"INFO","duration_s":0.7,"status":200,"method":"GET","path":"/api","host":"h","route":"/api"}"#;
    world.append(format!("{line}\n{line}\n").as_bytes());
    world.look(false);
    assert_eq!(world.quarantined, Vec::<String>::new());
    assert_eq!(world.events.len(), 2);
}

#[test]
fn a_value_that_never_ends_is_quarantined_up_to_its_limit_and_what_follows_is_read() {
    let mut world = World::new(&["Custom.Rows"]);
    let lines: String = (0..199)
        .map(|line| format!("in the value {line}\n"))
        .collect();
    world.append(format!("id,left\n1,\"never\n{lines}").as_bytes());
    world.look(false);
    assert_eq!(world.quarantined.len(), 200);
    world.append(b"2,\"an end\nof its own\"\n");
    world.look(false);
    assert_eq!(world.events, [row(2, "an end\nof its own")]);
    // One that waits for too long is taken as it is.
    world.append(b"3,\"never\n");
    world.settle();
    world.append(b"4,x\n");
    world.settle();
    assert_eq!(world.quarantined[200..], ["3,\"never"]);
    assert_eq!(world.events.last(), Some(&row(4, "x")));
}

#[test]
fn a_value_in_which_a_compressed_file_breaks_off_is_an_event_of_the_whole_file() {
    let mut world = World::new(&["Custom.Rows"]);
    let long: String = (0..20_000_u32)
        .map(|line| {
            if line % 150 == 0 {
                format!("a\n{}", line * 7_919 % 10_007)
            } else {
                line.to_string()
            }
        })
        .collect::<Vec<_>>()
        .join("-");
    let rows: Vec<_> = (0..60)
        .map(|id| row(id, &format!("{id}{}", &long[id * 97..id * 97 + 1_800])))
        .collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text(&rows).as_bytes()).unwrap();
    let whole = encoder.finish().unwrap();
    let path = world.folder.path().join("a.csv.gz");
    fs::write(&path, &whole[..whole.len() * 3 / 4]).unwrap();
    world.elapsed += Duration::from_secs(60);
    world.look(false);
    assert!(!world.quarantined.is_empty() && !world.events.is_empty());
    fs::write(&path, &whole).unwrap();
    world.elapsed += Duration::from_secs(60);
    world.settle();
    assert_eq!(world.events, rows);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_row_is_one_event_wherever_looks_end(
        values in prop::collection::vec("[a-c\"\n,{\\[]{0,12}", 1..60),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..12),
        is_mixed in any::<bool>(),
    ) {
        let log_types: &[&str] = if is_mixed { &["AWS.VPCFlow", "Custom.Rows", "GitLab.API"] } else { &["Custom.Rows"] };
        let rows: Vec<_> = values.iter().enumerate().map(|(id, value)| row(id, value)).collect();
        let text = text(&rows);
        let mut cuts: Vec<(usize, bool)> = cuts.iter().map(|(at, is_killed)| (at.index(text.len()), *is_killed)).collect();
        cuts.sort_unstable();
        let mut world = World::new(log_types);
        let mut at = 0;
        for (cut, is_killed) in cuts {
            world.append(&text.as_bytes()[at..cut]);
            at = cut;
            world.look(is_killed);
        }
        world.append(&text.as_bytes()[at..]);
        world.settle();
        prop_assert_eq!(world.events, rows);
        prop_assert_eq!(world.quarantined, Vec::<String>::new());
    }
}
