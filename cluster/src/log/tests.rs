use std::sync::Arc;
use std::sync::mpsc::channel;

use proptest::prelude::*;

use super::mark::Mark;
use super::*;

const SMALL: LogSettings = LogSettings {
    segment_bytes: 512,
    cache_bytes: 200,
};

fn position(term: u64, index: u64) -> LogPosition {
    LogPosition {
        term,
        node: 1,
        index,
    }
}

fn payload(term: u64, index: u64) -> Bytes {
    Bytes::from(format!(
        "entry {index} of term {term}, with some weight to fill segments"
    ))
}

fn wait(run: impl FnOnce(Told)) -> io::Result<()> {
    let (sender, receiver) = channel();
    run(Box::new(move |result| sender.send(result).unwrap()));
    receiver.recv().unwrap()
}

fn append(log: &Log, term: u64, indexes: Range<u64>) {
    let entries = indexes
        .map(|index| (position(term, index), payload(term, index)))
        .collect();
    wait(|told| log.append(entries, told)).unwrap();
}

fn contents(log: &Log) -> Vec<LogEntry> {
    log.read(0..u64::MAX, usize::MAX).unwrap()
}

#[test]
fn a_full_disk_holds_callers_back_until_there_is_room_and_loses_nothing() {
    let files = MemoryFiles::default();
    let log = Log::open(Arc::new(files.clone()), SMALL).unwrap();
    append(&log, 1, 1..4);
    files.fill(true);
    let (sender, receiver) = channel();
    // More than one segment holds, so that a second segment is needed.
    let entries = (4..12)
        .map(|index| (position(1, index), payload(1, index)))
        .collect();
    log.append(
        entries,
        Box::new(move |result| sender.send(result).unwrap()),
    );
    while files.refused() < 2 {
        std::thread::yield_now();
    }
    assert!(
        receiver.try_recv().is_err(),
        "told although nothing is durable"
    );
    files.fill(false);
    receiver.recv().unwrap().unwrap();
    append(&log, 1, 12..13);
    let before = contents(&log);
    drop(log);
    files.lose_power(0);
    let log = Log::open(Arc::new(files), SMALL).unwrap();
    assert_eq!(contents(&log), before);
    assert_eq!(before.len(), 12);
}

#[test]
fn a_log_that_waits_for_room_ends_when_it_is_closed() {
    let files = MemoryFiles::default();
    files.fill(true);
    let log = Log::open(Arc::new(files.clone()), SMALL).unwrap();
    let (sender, receiver) = channel();
    log.append(
        vec![(position(1, 1), payload(1, 1))],
        Box::new(move |result| sender.send(result).unwrap()),
    );
    while files.refused() == 0 {
        std::thread::yield_now();
    }
    drop(log);
    assert!(receiver.recv().unwrap().is_err());
}

#[test]
fn what_was_told_durable_is_there_after_a_power_cut_and_the_rest_is_cut() {
    for torn in [0, 1, 7, 40, 1_000] {
        let files = MemoryFiles::default();
        let log = Log::open(Arc::new(files.clone()), LogSettings::default()).unwrap();
        wait(|told| {
            log.save_vote(
                StoredVote {
                    term: 3,
                    node: 1,
                    committed: true,
                },
                told,
            )
        })
        .unwrap();
        append(&log, 3, 0..20);
        let before = contents(&log);
        drop(log);
        // A write that was not acknowledged.
        let file = files.open(&files.list().unwrap()[0]).unwrap();
        let mut record = bytes::BytesMut::new();
        Record::Entry(position(3, 20), payload(3, 20)).encode(3, &mut record);
        let end = {
            let mut content = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
            file.read_at(&mut content, 0).unwrap();
            content.iter().rposition(|&byte| byte != 0).unwrap() + 1
        };
        file.write_at(&record, end as u64).unwrap();
        files.lose_power(torn);
        let log = Log::open(Arc::new(files.clone()), LogSettings::default()).unwrap();
        let after = contents(&log);
        assert!(
            after == before || (torn == 1_000 && after.len() == 21),
            "torn {torn}: {} entries",
            after.len()
        );
        assert_eq!(
            log.state().vote,
            Some(StoredVote {
                term: 3,
                node: 1,
                committed: true
            })
        );
        append(&log, 4, after.len() as u64..30);
        drop(log);
        let log = Log::open(Arc::new(files), LogSettings::default()).unwrap();
        assert_eq!(contents(&log).len(), 30);
    }
}

/// A killed process leaves its writes in the page cache, synced or not, and the next process reads them from there.
#[test]
fn what_was_read_at_a_start_outlives_a_power_cut_behind_it() {
    let files = MemoryFiles::default();
    let log = Log::open(Arc::new(files.clone()), LogSettings::default()).unwrap();
    append(&log, 3, 0..20);
    drop(log);
    let file = files.open(&files.list().unwrap()[0]).unwrap();
    let mut content = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
    file.read_at(&mut content, 0).unwrap();
    let end = content.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    let mut record = bytes::BytesMut::new();
    Record::Entry(position(3, 20), payload(3, 20)).encode(2, &mut record);
    file.write_at(&record, end as u64).unwrap();
    let log = Log::open(Arc::new(files.clone()), LogSettings::default()).unwrap();
    assert_eq!(log.state().last, Some(position(3, 20)));
    drop(log);
    files.lose_power(0);
    let log = Log::open(Arc::new(files), LogSettings::default()).unwrap();
    assert_eq!(log.state().last, Some(position(3, 20)));
}

#[test]
fn a_flipped_byte_in_an_acknowledged_part_is_refused_and_named() {
    let files = MemoryFiles::default();
    let log = Log::open(Arc::new(files.clone()), LogSettings::default()).unwrap();
    for index in 0..5 {
        append(&log, 1, index..index + 1);
    }
    drop(log);
    let name = files.list().unwrap()[0].clone();
    files.flip(&name, 30);
    let error = Log::open(Arc::new(files), LogSettings::default())
        .err()
        .expect("refused");
    assert!(
        error.to_string().contains("damaged") && error.to_string().contains(&name),
        "{error}"
    );
}

/// A log of several segments that was closed cleanly, and its content.
fn closed() -> (MemoryFiles, Vec<LogEntry>) {
    let files = MemoryFiles::default();
    let log = Log::open(Arc::new(files.clone()), SMALL).unwrap();
    wait(|told| log.save_vote(vote(1), told)).unwrap();
    for index in 0..20 {
        append(&log, 1, index..index + 1);
    }
    let held = contents(&log);
    drop(log);
    assert!(files.list().unwrap().len() > 3);
    (files, held)
}

fn vote(term: u64) -> StoredVote {
    StoredVote {
        term,
        node: 1,
        committed: false,
    }
}

fn content(files: &MemoryFiles, name: &str) -> Vec<u8> {
    let file = files.open(name).unwrap();
    let mut content = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
    file.read_at(&mut content, 0).unwrap();
    content
}

fn everything(files: &MemoryFiles) -> Vec<(String, Vec<u8>)> {
    let names = files.list().unwrap();
    names
        .into_iter()
        .map(|name| (name.clone(), content(files, &name)))
        .collect()
}

/// Asserts that opening the log fails and changes nothing. Returns the loss.
fn loss(files: &MemoryFiles) -> Loss {
    let before = everything(files);
    let error = Log::open(Arc::new(files.clone()), SMALL)
        .err()
        .expect("refused");
    assert_eq!(everything(files), before);
    Loss::of(&error).expect("a loss").clone()
}

#[test]
fn a_lost_part_of_a_log_is_refused_by_name_and_changes_nothing() {
    type Harm = fn(&MemoryFiles, &[String]);
    let kinds: [(&str, Harm, &str); 8] = [
        (
            "all segments are gone",
            |files, names| names.iter().for_each(|name| files.remove(name).unwrap()),
            "log-empty",
        ),
        (
            "one in the middle is gone",
            |files, names| files.remove(&names[1]).unwrap(),
            "log-segment-missing",
        ),
        (
            "the first is gone",
            |files, names| files.remove(&names[0]).unwrap(),
            "log-segment-missing",
        ),
        (
            "the newest is gone",
            |files, names| files.remove(names.last().unwrap()).unwrap(),
            "log-segment-missing",
        ),
        (
            "the newest is zeroed",
            |files, names| files.wipe(names.last().unwrap(), 0),
            "log-cut",
        ),
        (
            "the newest is cut to nothing",
            |files, names| files.cut(names.last().unwrap(), 0),
            "log-cut",
        ),
        (
            "one in the middle is zeroed",
            |files, names| files.wipe(&names[1], 0),
            "log-damaged",
        ),
        (
            "a bit of the last batch has changed",
            |files, names| {
                let name = names.last().unwrap();
                let end = content(files, name).iter().rposition(|byte| *byte != 0);
                files.flip(name, end.unwrap());
            },
            "log-cut",
        ),
    ];
    for (what, harm, code) in kinds {
        let (files, _) = closed();
        harm(&files, &files.list().unwrap());
        let loss = loss(&files);
        assert_eq!(loss.code(), code, "{what}: {loss}");
    }
}

#[test]
fn a_vote_that_was_given_is_never_forgotten_although_the_log_ends_in_a_crash() {
    let files = MemoryFiles::default();
    let log = Log::open(Arc::new(files.clone()), LogSettings::default()).unwrap();
    append(&log, 1, 0..3);
    let name = files.list().unwrap()[0].clone();
    let end = content(&files, &name)
        .iter()
        .rposition(|byte| *byte != 0)
        .unwrap();
    wait(|told| log.save_vote(vote(7), told)).unwrap();
    // The mark on disk at this moment, before a clean close.
    let mark = files.read_mark().unwrap().unwrap();
    drop(log);
    files.write_mark(&mark).unwrap();
    files.wipe(&name, end + 1);
    let loss = loss(&files);
    assert_eq!(loss.code(), "log-cut", "{loss}");
}

#[test]
fn a_vote_that_the_mark_names_and_the_log_does_not_is_refused() {
    let (files, _) = closed();
    let marked = Mark::read(&files).unwrap().unwrap();
    for forgotten in [Some(vote(2)), None] {
        let other = Mark {
            vote: forgotten,
            ..marked
        };
        other.write(&files).unwrap();
        assert_eq!(loss(&files).code(), "vote-forgotten");
    }
    marked.write(&files).unwrap();
    Log::open(Arc::new(files), SMALL).unwrap();
}

#[test]
fn a_log_without_a_mark_opens_as_before_and_has_one_then() {
    let (files, held) = closed();
    files.forget_mark();
    let log = Log::open(Arc::new(files.clone()), SMALL).unwrap();
    assert_eq!(contents(&log), held);
    assert!(files.read_mark().unwrap().is_some());
    drop(log);
    files.write_mark(b"no mark at all").unwrap();
    let log = Log::open(Arc::new(files.clone()), SMALL).unwrap();
    assert_eq!(contents(&log), held);
    drop(log);
    files.remove(files.list().unwrap().last().unwrap()).unwrap();
    assert_eq!(loss(&files).code(), "log-segment-missing");
}

#[test]
fn the_mark_follows_while_nothing_is_written() {
    let files = MemoryFiles::default();
    let log = Log::open(Arc::new(files.clone()), LogSettings::default()).unwrap();
    append(&log, 1, 0..1);
    let first = files.read_mark().unwrap();
    append(&log, 1, 1..2);
    while files.read_mark().unwrap() == first {
        std::thread::yield_now();
    }
    let text = String::from_utf8(files.read_mark().unwrap().unwrap()).unwrap();
    assert!(text.contains("last 1\n"), "{text}");
    drop(log);
}

#[test]
fn an_entry_is_held_once_it_is_synced() {
    let files = MemoryFiles::default();
    let log = Log::open(Arc::new(files.clone()), LogSettings::default()).unwrap();
    append(&log, 1, 0..2);
    assert!(log.holds(1) && !log.holds(2));
    files.fill(true);
    let entries = (2..6)
        .map(|index| (position(1, index), Bytes::from(vec![b'x'; 8 << 20])))
        .collect();
    log.append(entries, Box::new(|_| ()));
    while files.refused() == 0 {
        std::thread::yield_now();
    }
    assert!(!log.holds(5));
    files.fill(false);
    wait(|told| log.settled(told)).unwrap();
    assert!(log.holds(5));
    let before = content(&files, &files.list().unwrap()[0]);
    wait(|told| log.settled(told)).unwrap();
    assert_eq!(content(&files, &files.list().unwrap()[0]), before);
}

#[derive(Debug, Clone)]
enum Harm {
    Remove,
    Wipe,
    Cut,
    Flip,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn a_closed_log_that_was_harmed_is_refused_or_holds_all(
        purged in prop::option::of(0_u64..19),
        harm in prop_oneof![Just(Harm::Remove), Just(Harm::Wipe), Just(Harm::Cut), Just(Harm::Flip)],
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
    ) {
        let (files, _) = closed();
        let log = Log::open(Arc::new(files.clone()), SMALL).unwrap();
        if let Some(upto) = purged {
            wait(|told| log.purge(position(1, upto), told)).unwrap();
            wait(|told| log.save_vote(vote(2), told)).unwrap();
        }
        let (held, state) = (contents(&log), log.state());
        drop(log);
        let names = files.list().unwrap();
        let name = &names[which.index(names.len())];
        let at = at.index(content(&files, name).len());
        match harm {
            Harm::Remove => files.remove(name).unwrap(),
            Harm::Wipe => files.wipe(name, at),
            Harm::Cut => files.cut(name, at),
            Harm::Flip => files.flip(name, at),
        }
        match Log::open(Arc::new(files), SMALL) {
            Ok(log) => {
                prop_assert_eq!(contents(&log), held);
                prop_assert_eq!(log.state(), state);
            }
            Err(error) => prop_assert!(Loss::of(&error).is_some(), "{}", error),
        }
    }
}

#[test]
fn purged_segments_go_and_votes_outlive_them() {
    let files = MemoryFiles::default();
    let log = Log::open(Arc::new(files.clone()), SMALL).unwrap();
    wait(|told| {
        log.save_vote(
            StoredVote {
                term: 9,
                node: 2,
                committed: false,
            },
            told,
        )
    })
    .unwrap();
    for index in 0..100 {
        append(&log, 1, index..index + 1);
    }
    let before = files.list().unwrap().len();
    wait(|told| log.purge(position(1, 90), told)).unwrap();
    assert!(
        files.list().unwrap().len() < before / 3,
        "{} of {before} segments are left",
        files.list().unwrap().len()
    );
    drop(log);
    let log = Log::open(Arc::new(files), SMALL).unwrap();
    assert_eq!(
        log.state().vote,
        Some(StoredVote {
            term: 9,
            node: 2,
            committed: false
        })
    );
    assert_eq!(log.state().purged, Some(position(1, 90)));
    assert_eq!(contents(&log).len(), 9);
}

#[derive(Debug, Clone)]
enum Step {
    Append(u64),
    Truncate(u64),
    Purge(u64),
    Vote(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u64..6).prop_map(Step::Append),
        1 => (0_u64..8).prop_map(Step::Truncate),
        1 => (0_u64..8).prop_map(Step::Purge),
        1 => any::<u64>().prop_map(Step::Vote),
        2 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn a_log_holds_what_a_list_would_through_any_steps_and_restarts(steps in prop::collection::vec(step(), 1..40)) {
        let files = MemoryFiles::default();
        let mut log = Log::open(Arc::new(files.clone()), SMALL).unwrap();
        let mut model: Vec<LogEntry> = Vec::new();
        let (mut next, mut term, mut vote, mut purged) = (0, 1, None, None);
        for step in steps {
            match step {
                Step::Append(count) => {
                    append(&log, term, next..next + count);
                    model.extend((next..next + count).map(|index| (position(term, index), payload(term, index))));
                    next += count;
                }
                Step::Truncate(count) => {
                    let keep = model.len().saturating_sub(usize::try_from(count).unwrap());
                    model.truncate(keep);
                    let after = model.last().map(|(at, _)| at.index).or(purged.map(|at: LogPosition| at.index));
                    wait(|told| log.truncate(after, told)).unwrap();
                    next = after.map_or(0, |after| after + 1);
                    term += 1;
                }
                Step::Purge(count) => {
                    let count = usize::try_from(count).unwrap().min(model.len());
                    if count > 0 {
                        let upto = model[count - 1].0;
                        model.drain(..count);
                        purged = Some(upto);
                        wait(|told| log.purge(upto, told)).unwrap();
                    }
                }
                Step::Vote(term) => {
                    let given = StoredVote { term, node: 1, committed: false };
                    vote = Some(given);
                    wait(|told| log.save_vote(given, told)).unwrap();
                }
                Step::Reopen => {
                    drop(log);
                    files.lose_power(0);
                    log = Log::open(Arc::new(files.clone()), SMALL).unwrap();
                }
            }
            prop_assert_eq!(contents(&log), model.clone());
            let state = log.state();
            prop_assert_eq!(state.vote, vote);
            prop_assert_eq!(state.purged, purged);
            prop_assert_eq!(state.last, model.last().map(|(at, _)| *at).or(purged));
        }
    }
}

#[test]
fn to_apply_many_small_entries_again_costs_as_much_as_to_apply_large_ones() {
    let log = Log::open(Arc::new(MemoryFiles::default()), LogSettings::default()).unwrap();
    append(&log, 1, 1..101);
    assert!(log.entry_bytes() < 10_000);
    assert_eq!(log.replay_cost(), 100 * LEAST_COST);
    let large = Bytes::from(vec![0; 5 << 10]);
    wait(|told| log.append(vec![(position(1, 101), large)], told)).unwrap();
    assert_eq!(log.replay_cost(), 105 * LEAST_COST);
    wait(|told| log.purge(position(1, 100), told)).unwrap();
    assert_eq!(log.replay_cost(), 5 * LEAST_COST);
}

#[tokio::test]
async fn a_caller_at_a_full_queue_waits_without_blocking_its_thread() {
    let log = Log::open(Arc::new(MemoryFiles::default()), SMALL).unwrap();
    // The writer is busy until the gate opens.
    let (gate, closed) = std::sync::mpsc::channel::<()>();
    log.save_vote(
        vote(1),
        Box::new(move |_| {
            let _ = closed.recv(); // an error once the gate is open
        }),
    );
    for number in 0..u64::try_from(WAITING).unwrap() {
        log.room().await;
        log.save_vote(vote(2 + number), Box::new(|_| ()));
    }
    // The writer may have taken one batch before it was busy.
    let mut full = false;
    for number in 0..u64::try_from(WAITING).unwrap() {
        let room = std::pin::pin!(log.room());
        if futures::poll!(room).is_pending() {
            full = true;
            break;
        }
        log.save_vote(vote(10_000 + number), Box::new(|_| ()));
    }
    assert!(full, "the queue has no bound");
    drop(gate);
    log.room().await;
    let (sender, told) = tokio::sync::oneshot::channel();
    log.settled(Box::new(move |result| drop(sender.send(result))));
    told.await.unwrap().unwrap();
}
