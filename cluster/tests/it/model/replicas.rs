//! The same commands on several machines: batched into other entries, through restarts, snapshots and crashes, they end
//! with the same hash and the same contents.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use panther_cluster::state::{Base, Machine, MemoryBase, Writes};
use panther_cluster::storage::{AppliedAt, SnapshotFile, StateStore, StoreSettings};
use panther_proto::v1::{Command, Entry, LogPosition};
use proptest::prelude::*;

use super::steps;
use super::structure::{everything, pairs_of};
use super::world::World;

/// Batches commands into entries. A new time starts a new entry, and so does a command for which `cut` returns true.
fn entries(script: &[(u64, Command)], mut cut: impl FnMut(usize) -> bool) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (number, (time, command)) in script.iter().enumerate() {
        match entries.last_mut() {
            Some(entry) if entry.time_ms == *time && !cut(number) => {
                entry.commands.push(command.clone());
            }
            _ => entries.push(Entry {
                group: 1,
                format: 1,
                time_ms: *time,
                commands: vec![command.clone()],
                era: 0,
            }),
        }
    }
    entries
}

fn at(index: usize) -> AppliedAt {
    AppliedAt {
        last: Some(position(index)),
        membership: None,
    }
}

fn position(index: usize) -> LogPosition {
    LogPosition {
        term: 1,
        node: 1,
        index: index as u64 + 1,
    }
}

/// Layers so small that most writes are soon flushed to disk.
fn settings(layer_bytes: usize) -> StoreSettings {
    StoreSettings {
        cache_bytes: 1 << 20,
        layer_bytes,
        layer_age: Duration::from_millis(5),
    }
}

fn open(root: &Path, layer_bytes: usize, last: Option<usize>) -> StateStore {
    StateStore::open(root, settings(layer_bytes), None, last.map(position)).unwrap()
}

fn step_on(machine: &mut Machine, store: &StateStore, index: usize, entry: &Entry) {
    let applied = machine.apply(store, entry).unwrap();
    store.store(applied.writes, at(index));
}

fn history() -> impl Strategy<Value = Vec<steps::Step>> {
    prop::collection::vec(steps::step(), 10..80)
}

fn played(history: &[steps::Step]) -> World {
    let mut world = World::new();
    for step in history {
        world.act(step);
    }
    world
}

proptest! {
    #![proptest_config(super::cases(24))]

    #[test]
    fn replicas_end_equal_however_commands_are_cut_into_entries_and_whatever_restarts(
        history in history(),
        dice in prop::collection::vec(any::<u8>(), 32),
    ) {
        let world = played(&history);
        let roll = |number: usize| dice[number % dice.len()].wrapping_add((number / dice.len()) as u8 * 31);
        // As few entries as possible.
        let mut base = MemoryBase::default();
        let mut machine = Machine::open(&base).unwrap();
        for entry in entries(&world.script, |_| false) {
            base.store(&machine.apply(&base, &entry).unwrap().writes);
        }
        prop_assert_eq!(machine.globals().hash, world.hash());
        prop_assert_eq!(everything(&base), everything(&world.base));
        // Random entries, and random restarts of the machine.
        let mut base = MemoryBase::default();
        let mut machine = Machine::open(&base).unwrap();
        for (index, entry) in entries(&world.script, |number| roll(number) & 1 == 0).iter().enumerate() {
            base.store(&machine.apply(&base, entry).unwrap().writes);
            if roll(index) % 5 == 0 {
                machine = Machine::open(&base).unwrap();
            }
        }
        prop_assert_eq!(machine.globals().hash, world.hash());
        prop_assert_eq!(everything(&base), everything(&world.base));
    }
}

proptest! {
    #![proptest_config(super::cases(10))]

    #[test]
    fn a_replica_on_disk_ends_equal_through_snapshots_installed_elsewhere_and_restarts(
        history in history(),
        dice in prop::collection::vec(any::<u8>(), 32),
    ) {
        let world = played(&history);
        let roll = |number: usize| dice[number % dice.len()].wrapping_add((number / dice.len()) as u8 * 31);
        let folders = tempfile::tempdir().unwrap();
        let mut nodes = vec![open(&folders.path().join("a"), 300, None), open(&folders.path().join("b"), 3_000, None)];
        let mut machine = Machine::open(&nodes[0]).unwrap();
        let entries = entries(&world.script, |number| roll(number) & 2 == 0);
        for (index, entry) in entries.iter().enumerate() {
            step_on(&mut machine, &nodes[0], index, entry);
            match roll(index) % 16 {
                0 => {
                    // The other node takes over from a snapshot.
                    let file = nodes[0].take_snapshot().unwrap();
                    prop_assert_eq!(file.header.last, Some(position(index)));
                    prop_assert_eq!(&file.header.running_hash[..], &machine.globals().hash.to_be_bytes()[..]);
                    nodes[1].install(&file).unwrap();
                    prop_assert_eq!(everything(&nodes[0]), everything(&nodes[1]));
                    nodes.swap(0, 1);
                    machine = Machine::open(&nodes[0]).unwrap();
                }
                1 => {
                    let root = nodes[0].root().to_owned();
                    nodes[0].close().unwrap();
                    nodes.remove(0);
                    nodes.insert(0, open(&root, 300, Some(index)));
                    prop_assert_eq!(nodes[0].applied(), at(index));
                    machine = Machine::open(&nodes[0]).unwrap();
                }
                _ => {}
            }
        }
        prop_assert_eq!(machine.globals().hash, world.hash());
        prop_assert_eq!(everything(&nodes[0]), everything(&world.base));
    }

    #[test]
    fn after_a_crash_the_log_brings_back_what_was_in_memory(
        history in history(),
        dice in prop::collection::vec(any::<u8>(), 32),
    ) {
        let world = played(&history);
        let roll = |number: usize| dice[number % dice.len()].wrapping_add((number / dice.len()) as u8 * 31);
        let folder = tempfile::tempdir().unwrap();
        let entries = entries(&world.script, |number| roll(number) & 4 == 0);
        let mut store = open(folder.path(), 500, None);
        let mut machine = Machine::open(&store).unwrap();
        let mut index = 0;
        let mut crashes = 0;
        while index < entries.len() {
            step_on(&mut machine, &store, index, &entries[index]);
            if roll(index) % 16 == 1 {
                let _ = store.take_snapshot().unwrap();
            }
            if roll(index) % 16 == 0 && crashes < 3 {
                // No close: what was in memory is lost, and what the log holds is applied again.
                crashes += 1;
                drop(store);
                store = open(folder.path(), 500, Some(index));
                machine = Machine::open(&store).unwrap();
                index = store.applied().last.map_or(0, |last| last.index as usize);
                continue;
            }
            index += 1;
        }
        prop_assert_eq!(machine.globals().hash, world.hash());
        prop_assert_eq!(everything(&store), everything(&world.base));
    }
}

/// The writes of entry `number` for a store that is only written to: each key gets the number in turn; some values are
/// long.
fn numbered(number: u64, keys: u64) -> Writes {
    let mut writes = Writes::new();
    for step in 0..4 {
        let key = (number * 7 + step * (keys / 4)) % keys;
        let long = key.is_multiple_of(50);
        let mut value = number.to_be_bytes().to_vec();
        value.resize(
            if long {
                7_000 * (1 + (number % 3) as usize)
            } else {
                16
            },
            key as u8,
        );
        let gone = (number + step).is_multiple_of(11);
        writes.insert(
            format!("k{key:06}").into_bytes(),
            (!gone).then(|| Bytes::from(value)),
        );
    }
    writes
}

/// Stops the concurrent writer when dropped, also if the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn told(number: u64) -> AppliedAt {
    at(number as usize)
}

/// The expected contents of a store of numbered entries up to `last`.
fn expected(last: Option<LogPosition>, keys: u64) -> MemoryBase {
    let mut base = MemoryBase::default();
    for number in 0..last.map_or(0, |at| at.index) {
        base.store(&numbered(number, keys));
    }
    base
}

#[test]
fn a_snapshot_holds_the_state_of_its_position_though_writing_goes_on() {
    const KEYS: u64 = 3_000;
    let folders = tempfile::tempdir().unwrap();
    let store = open(&folders.path().join("from"), 100_000, None);
    let mut number = 0;
    while number < KEYS * 2 {
        store.store(numbered(number, KEYS), told(number));
        number += 1;
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                store.store(numbered(number, KEYS), told(number));
                number += 1;
            }
        });
        let mut round = 0;
        while round < 3 {
            let began = store.applied().last.unwrap().index;
            let file = store.take_snapshot().unwrap();
            if file.header.last.unwrap().index == began {
                std::thread::yield_now(); // nothing was written meanwhile, so this round proves nothing
                continue;
            }
            round += 1;
            // The next snapshot deletes this file.
            let kept = folders.path().join(format!("{round}.snapshot"));
            std::fs::copy(&file.path, &kept).unwrap();
            let other = open(&folders.path().join(format!("to-{round}")), 100_000, None);
            other.install(&SnapshotFile::open(kept).unwrap()).unwrap();
            assert_eq!(other.applied().last, file.header.last);
            let same = everything(&other) == everything(&expected(file.header.last, KEYS));
            assert!(same, "the snapshot is not the state of its position");
        }
    });
}

#[test]
fn installing_while_layers_are_written_leaves_nothing_of_the_old_state() {
    const KEYS: u64 = 500;
    let folders = tempfile::tempdir().unwrap();
    let source = open(&folders.path().join("from"), 100_000, None);
    for number in 0..2_000 {
        source.store(numbered(number, KEYS), told(number));
    }
    let file = source.take_snapshot().unwrap();
    let target = folders.path().join("to");
    let mut store = open(&target, 200, None);
    for round in 0..20_u64 {
        // Writes that are not in the snapshot, with many layers of them waiting for the disk.
        for number in 0..200 {
            let mut writes = numbered(number, KEYS);
            writes.insert(
                format!("old {round}").into_bytes(),
                Some(Bytes::from_static(b"x")),
            );
            store.store(writes, told(number));
        }
        store.install(&file).unwrap();
        std::thread::yield_now();
        assert_eq!(store.applied().last, file.header.last);
        if round % 5 == 4 {
            drop(store);
            store = StateStore::open(&target, settings(200), None, file.header.last).unwrap();
            assert_eq!(store.applied().last, file.header.last);
        }
        assert!(
            everything(&store) == everything(&expected(file.header.last, KEYS)),
            "round {round}: something of the old state is left"
        );
    }
}

#[test]
fn a_folder_copied_while_layers_are_written_opens_at_one_position_with_exactly_its_writes() {
    const KEYS: u64 = 400;
    let folders = tempfile::tempdir().unwrap();
    let root = folders.path().join("live");
    // Every entry is a layer, so the files on disk may end between any two writes at any moment.
    let store = open(&root, 1, None);
    let stop = AtomicBool::new(false);
    let (mut base, mut next) = (MemoryBase::default(), 0);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                store.store(numbered(number, KEYS), told(number));
                number += 1;
            }
        });
        for round in 0..16 {
            std::thread::sleep(Duration::from_millis(20)); // time for the disk to write, not a wait for an event
            let copy = folders.path().join(format!("copy-{round}"));
            copy_folder(&root, &copy);
            let upto = store.applied().last;
            let opened = StateStore::open(&copy, settings(1 << 20), None, upto).unwrap();
            let last = opened.applied().last.map_or(0, |at| at.index);
            while next < last {
                base.store(&numbered(next, KEYS));
                next += 1;
            }
            let same = next == last && everything(&opened) == everything(&base);
            assert!(
                same,
                "the database holds other writes than its position says"
            );
        }
    });
}

/// Whichever byte is wrong: either the state that is read is exactly that of its stated position (the log has the
/// rest), or the read reports corruption.
#[test]
fn a_flipped_byte_in_the_database_is_never_read_as_if_it_were_right() {
    const KEYS: u64 = 400;
    const ENTRIES: u64 = 1_000;
    const FLIPS: u64 = 100;
    let folders = tempfile::tempdir().unwrap();
    let root = folders.path().join("live");
    let store = open(&root, 20_000, None);
    for number in 0..ENTRIES {
        store.store(numbered(number, KEYS), told(number));
        if number == ENTRIES / 2 {
            let _ = store.take_snapshot().unwrap();
        }
    }
    store.close().unwrap();
    let (purged, last) = (told(ENTRIES / 4).last, store.applied().last);
    drop(store);
    let length = root.join("state-1/db").metadata().unwrap().len();
    let mut outcomes = BTreeMap::new();
    for flip in 0..FLIPS {
        let copy = folders.path().join(format!("copy-{flip}"));
        copy_folder(&root, &copy);
        // Spread over the file, and another bit each time.
        let at = length * flip / FLIPS + (flip * 7_919) % (length / FLIPS);
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).write(true);
        let file = file.open(copy.join("state-1/db")).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        let wrong = byte[0] ^ (1 << (flip % 8));
        file.write_all_at(&[wrong], at).unwrap();
        drop(file);
        let opened = StateStore::open(&copy, settings(1 << 20), purged, last).unwrap();
        let position = opened.applied().last.map(|at| at.index);
        let outcome = match opened.scan(&[], &[0xFF; 9], usize::MAX, false) {
            Err(_) => {
                // Detected while in use: the state is given up, and the next start rebuilds it.
                assert!(opened.broken().is_some());
                drop(opened);
                let again = StateStore::open(&copy, settings(1 << 20), purged, last).unwrap();
                assert!(copy.join("state-2").exists());
                let found = again.scan(&[], &[0xFF; 9], usize::MAX, false).unwrap();
                let base = expected(again.applied().last, KEYS);
                assert!(pairs_of(found) == everything(&base));
                std::fs::remove_dir_all(copy).unwrap();
                *outcomes
                    .entry("given up and rebuilt".to_owned())
                    .or_insert(0) += 1;
                continue;
            }
            Ok(found) => {
                let base = expected(opened.applied().last, KEYS);
                assert!(
                    pairs_of(found) == everything(&base),
                    "byte {at} of {length} was flipped, and what is read is not the state of {position:?}"
                );
                match copy.join("state-2").exists() {
                    true => "rebuilt from the snapshot".to_owned(),
                    false if position == last.map(|at| at.index) => "whole".to_owned(),
                    false => "of an earlier position".to_owned(),
                }
            }
        };
        *outcomes.entry(outcome).or_insert(0) += 1;
        drop(opened);
        std::fs::remove_dir_all(copy).unwrap();
    }
    println!("{outcomes:#?}");
}

/// Corruption that occurs while the database is open is detected late, by the read that meets it. It is reported as
/// corruption. No later start opens that database, even if it then looks intact.
#[test]
fn damage_that_is_come_upon_in_use_gives_the_state_up_and_the_next_start_builds_it_anew() {
    const KEYS: u64 = 4_000;
    let folders = tempfile::tempdir().unwrap();
    let root = folders.path().join("live");
    let store = open(&root, 100_000, None);
    for number in 0..KEYS {
        store.store(numbered(number, KEYS), told(number));
    }
    let _ = store.take_snapshot().unwrap();
    store.close().unwrap();
    let last = store.applied().last;
    let file = root.join("state-1/db");
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).open(file).unwrap();
    let mut whole = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut whole, 0).unwrap();
    file.write_all_at(&vec![0; whole.len()], 0).unwrap();
    assert!(store.broken().is_none());
    let error = store.scan(&[], &[0xFF; 9], usize::MAX, false).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    assert!(store.broken().unwrap().contains("damaged"));
    drop(store);
    file.write_all_at(&whole, 0).unwrap();
    let again = StateStore::open(&root, settings(100_000), None, last).unwrap();
    assert!(again.broken().is_none());
    assert!(root.join("state-2").exists() && root.join("state-1.aside").exists());
    let found = again.scan(&[], &[0xFF; 9], usize::MAX, false).unwrap();
    let base = expected(again.applied().last, KEYS);
    assert!(pairs_of(found) == everything(&base));
}

/// If the node's database is damaged too, its state is refused, not guessed.
#[test]
fn a_flipped_byte_in_a_snapshot_is_refused_wherever_it_is() {
    const FLIPS: usize = 100;
    let folders = tempfile::tempdir().unwrap();
    let root = folders.path().join("live");
    let store = open(&root, 20_000, None);
    for number in 0..200 {
        store.store(numbered(number, 100), told(number));
    }
    let file = store.take_snapshot().unwrap();
    let whole = std::fs::read(&file.path).unwrap();
    let elsewhere = folders.path().join("other");
    let other = open(&elsewhere, 20_000, None);
    for number in 0..50 {
        other.store(numbered(number, 100), told(number));
    }
    let had = other.applied();
    for flip in 0..FLIPS {
        let mut bytes = whole.clone();
        // The header is at the end of the file: its bytes are flipped one by one.
        let at = match flip {
            0..50 => whole.len() - 1 - flip,
            _ => whole.len() * (flip - 50) / 50,
        };
        bytes[at] ^= 1 << (flip % 8);
        let path = folders.path().join("flipped.snapshot");
        std::fs::write(&path, bytes).unwrap();
        let installed = SnapshotFile::open(path).and_then(|file| other.install(&file));
        assert!(
            installed.is_err(),
            "byte {at} of {} was flipped",
            whole.len()
        );
        assert_eq!(other.applied(), had);
    }
    // The old state stays in force, also after a restart.
    other.close().unwrap();
    drop(other);
    let other = StateStore::open(&elsewhere, settings(1 << 20), None, had.last).unwrap();
    assert_eq!(other.applied(), had);
    assert_eq!(everything(&other), everything(&expected(had.last, 100)));
    store.close().unwrap();
    let (purged, last) = (told(150).last, store.applied().last);
    drop(store);
    let mut bytes = whole;
    bytes[20] ^= 1;
    std::fs::write(&file.path, bytes).unwrap();
    let database = root.join("state-1/db");
    std::fs::write(&database, [0x5A; 1_000]).unwrap();
    let opened = StateStore::open(&root, settings(1 << 20), purged, last);
    let refused = opened.err().unwrap().to_string();
    assert!(refused.contains("damaged"), "{refused}");
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            // A file that was removed meanwhile would not be left by a crash either.
            let _ = std::fs::copy(entry.path(), target);
        }
    }
}

#[test]
fn scans_go_on_while_long_values_are_replaced() {
    const KEYS: u64 = 60;
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), 1, None);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                store.store(numbered(number, KEYS), told(number));
                number += 1;
            }
        });
        for _ in 0..300 {
            store.scan(b"k", b"l", 1_000, false).unwrap();
        }
    });
}
