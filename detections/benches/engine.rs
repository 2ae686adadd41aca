//! How fast events pass the engine, by stream, and where the time goes.
//!
//! `PANTHER_PACK=<pack folder> STREAMS=<folder> [PANTHER_PYTHON=<interpreter>] [OUT=<file>] [ROUNDS=<n>] [STREAM_SECONDS=<for each stream, at least>] [ONLY=usual] cargo bench -p panther-detections --bench engine`.
//! A stream is a file `<log type>.<name>.jsonl`; `detections/conformance/throughput.py` writes them, runs the baseline beside this on the same core
//! and compares what OUT says of every match. One worker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use panther_detections::engine::{Engine, EngineSettings, Evaluation, EventInput};
use panther_detections::key_value::EmptyView;
use panther_detections::pack::Pack;
use panther_detections::verdict::Outcome;
use serde_json::{Value, json};

/// pantherd's, in which the engine runs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Rounds at least, unless ROUNDS says otherwise; the best counts. The engine learns from the first 400 events of a log type, and a stream of tests is shorter.
const ROUNDS: usize = 20;

struct Stream {
    name: String,
    events: Vec<EventInput>,
}

fn streams(folder: &Path) -> Vec<Stream> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let read = |file: &PathBuf| {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let log_type = name.rsplit_once('.').unwrap().0.to_owned();
        let events = std::fs::read_to_string(file)
            .unwrap()
            .lines()
            .map(|line| EventInput {
                log_type: log_type.clone(),
                json: line.to_owned().into(),
            })
            .collect();
        Stream { name, events }
    };
    files.iter().map(read).collect()
}

/// Best of the rounds, in microseconds an event: all of it, and what of it was spent without Python and in Python. And what the first said.
async fn measured(engine: &Engine, events: &[EventInput]) -> ([f64; 3], Evaluation) {
    let mut least = [f64::INFINITY; 3];
    let mut first = None;
    let rounds = std::env::var("ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let seconds = std::env::var("STREAM_SECONDS").map_or(0, |seconds| seconds.parse().unwrap());
    let (started, mut round) = (Instant::now(), 0);
    while round < rounds || started.elapsed() < Duration::from_secs(seconds) {
        round += 1;
        let begun = Instant::now();
        let evaluation = engine
            .evaluate(events, SystemTime::now(), &EmptyView)
            .await
            .unwrap();
        let spent = [
            begun.elapsed().as_secs_f64() * 1e6,
            evaluation.statistics.native_micros as f64,
            evaluation.statistics.python_micros as f64,
        ];
        for (least, spent) in least.iter_mut().zip(spent) {
            *least = least.min(spent / events.len() as f64);
        }
        first.get_or_insert(evaluation);
    }
    (least, first.unwrap())
}

fn said(evaluation: &Evaluation, pack: &Pack) -> Vec<Value> {
    let answer = |verdict: &panther_detections::engine::Verdict| {
        let (what, of) = match &verdict.outcome {
            Outcome::Matched(outputs) => ("match", serde_json::to_value(outputs).unwrap()),
            Outcome::Failed(error) => ("error", serde_json::to_value(error).unwrap()),
        };
        json!({"event": verdict.event, "detection": pack.detections[verdict.detection].id, what: of})
    };
    evaluation.verdicts.iter().map(answer).collect()
}

/// Events that are learnt from before the time of stages is taken, at least, and rounds over which it is.
const LEARNT: usize = 800;
const STAGED: u64 = 40;

/// Where the time goes, in microseconds an event, in an engine that times each event and each rule, which takes time itself. And how many pairs of a round
/// are left to Python, by rule and reason, and what one takes there.
async fn staged(engine: &Engine, pack: &Pack, events: &[EventInput]) -> Value {
    let round = || engine.evaluate(events, SystemTime::now(), &EmptyView);
    for _ in 0..LEARNT.div_ceil(events.len()) {
        round().await.unwrap();
    }
    let left = || {
        let mut left = BTreeMap::new();
        for cost in engine.costs() {
            for (why, count) in cost.left_to_python {
                left.insert((cost.detection, why), count);
            }
        }
        left
    };
    let (before, left_before) = (engine.stages(), left());
    let (mut pairs, mut in_python) = (0, 0);
    for _ in 0..STAGED {
        let statistics = round().await.unwrap().statistics;
        pairs += statistics.pairs_called;
        in_python += statistics.python_micros;
    }
    let after = engine.stages();
    let taken = after.events - before.events;
    let micros = |nanos: u64| nanos as f64 / 1000.0 / taken as f64;
    let left: Vec<Value> = left()
        .into_iter()
        .filter_map(|((detection, why), count)| {
            let before = left_before.get(&(detection, why.clone()));
            let count = count - before.copied().unwrap_or(0);
            let id = &pack.detections[detection].id;
            (count > 0)
                .then(|| json!({"rule": id, "why": why, "pairs": count as f64 / STAGED as f64}))
        })
        .collect();
    json!({
        "reading": micros(after.reading - before.reading),
        "choosing": micros(after.choosing - before.choosing),
        "rules": micros(after.rules - before.rules),
        "python": in_python as f64 / taken as f64,
        "python_pair": if pairs > 0 { in_python as f64 / pairs as f64 } else { 0.0 },
        "left": left,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (Some(pack), Some(folder)) = (
        std::env::var_os("PANTHER_PACK"),
        std::env::var_os("STREAMS"),
    ) else {
        println!("set PANTHER_PACK and STREAMS");
        return;
    };
    let pack = Pack::read(Path::new(&pack)).unwrap();
    let streams = streams(Path::new(&folder));
    let mut out = serde_json::Map::new();
    let only = std::env::var("ONLY").ok();
    for (how, memory) in [("usual", true), ("called", false), ("staged", true)] {
        if only.as_deref().is_some_and(|only| only != how) {
            continue;
        }
        let settings = EngineSettings {
            python: std::env::var_os("PANTHER_PYTHON")
                .unwrap_or_else(|| "python3".into())
                .into(),
            workers: 1,
            memory,
            profile_one_in: u32::from(how == "staged"),
            ..EngineSettings::default()
        };
        let engine = Engine::start(settings, &pack).await.unwrap();
        for stream in &streams {
            if how == "staged" {
                let took = staged(&engine, &pack, &stream.events).await;
                let of = out.entry(stream.name.clone()).or_insert_with(|| json!({}));
                of[how] = took;
                continue;
            }
            let ([micros, native, python], evaluation) = measured(&engine, &stream.events).await;
            println!(
                "{} {how}: {micros:.1} us an event ({native:.2} without Python, {python:.2} in it), {} verdicts, {:?}",
                stream.name,
                evaluation.verdicts.len(),
                evaluation.statistics
            );
            let of = out
                .entry(stream.name.clone())
                .or_insert_with(|| json!({"events": stream.events.len()}));
            of[how] = json!({"micros": micros, "native_micros": native, "python_micros": python, "verdicts": said(&evaluation, &pack)});
        }
        for cost in engine.costs() {
            let id = &pack.detections[cost.detection].id;
            if how == "staged" {
                println!(
                    "{how} {:.2} ms, {} events, {:.0} ns each: {id}",
                    cost.spent.nanos as f64 / 1e6,
                    cost.spent.events,
                    cost.spent.nanos as f64 / cost.spent.events as f64,
                );
            }
            for (why, count) in cost.left_to_python {
                println!("{how} {count}: {id} was left to Python: {why}");
            }
        }
        engine.stop().await;
    }
    if let Some(file) = std::env::var_os("OUT") {
        std::fs::write(file, Value::Object(out).to_string()).unwrap();
    }
}
