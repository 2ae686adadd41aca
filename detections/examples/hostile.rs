//! Events that mean harm, for as long as it is asked: whether the engine stands, and whether what it remembers stays bounded.
//!
//! `PANTHER_PACK=<pack folder> [PANTHER_PYTHON=<interpreter>] [MINUTES=<n>] [SEED=<n>] cargo run --release -p panther-detections --example hostile`.
//! Events are those of the pack's unit tests with a field or three changed, and in a third of them something hostile in the place of a value or beside
//! it. Each minute it says how many there were and what memory the process takes. It ends with 1 if the engine fails, a rule's error is a defect of the
//! engine's own, or memory has grown by more than half from the first quarter of the time to the last.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use panther_detections::engine::{EmptyView, Engine, EngineSettings, EventInput, Outcome};
use panther_detections::pack::Pack;
use panther_detections::testing::Changes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;

/// Events of one call.
const AT_ONCE: usize = 64;
/// Stands for something hostile until the event is text: most of it cannot be said in a value.
const PLACE: &str = "@hostile@";

fn main() {
    let variable =
        |name: &str, other: u64| std::env::var(name).map_or(other, |given| given.parse().unwrap());
    let Some(pack) = std::env::var_os("PANTHER_PACK") else {
        println!("set PANTHER_PACK");
        return;
    };
    let pack = Pack::read(&PathBuf::from(pack)).unwrap();
    let time = Duration::from_secs(60 * variable("MINUTES", 60));
    let seed = variable("SEED", 1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    if !runtime.block_on(run(&pack, time, seed)) {
        std::process::exit(1);
    }
}

async fn run(pack: &Pack, time: Duration, seed: u64) -> bool {
    let settings = EngineSettings {
        python: std::env::var_os("PANTHER_PYTHON")
            .unwrap_or_else(|| "python3".into())
            .into(),
        workers: 1,
        // The same rules on the same terms from the first event to the last.
        shadow_one_in: 0,
        ..EngineSettings::default()
    };
    let engine = Engine::start(settings, pack).await.unwrap();
    let originals: Vec<(&str, &Value)> = pack
        .detections
        .iter()
        .flat_map(|detection| {
            let types = detection.log_types.iter().map(String::as_str);
            types.flat_map(|log_type| {
                detection
                    .tests
                    .iter()
                    .map(move |test| (log_type, &test.input))
            })
        })
        .filter(|(log_type, event)| engine.rules(log_type) > 0 && event.is_object())
        .collect();
    let mut changes = Changes::new(seed, originals.iter().map(|(_, event)| *event));
    let mut chance = StdRng::seed_from_u64(seed);
    let begun = Instant::now();
    let mut told = Instant::now();
    let (mut events, mut pairs, mut lost) = (0_u64, 0_u64, 0_u64);
    let mut errors: BTreeMap<String, u64> = BTreeMap::new();
    let mut memory: Vec<u64> = Vec::new();
    let mut fine = true;
    while begun.elapsed() < time {
        let batch: Vec<EventInput> = (0..AT_ONCE)
            .map(|_| {
                let (log_type, original) = originals.choose(&mut chance).unwrap();
                let event = changes.of(original);
                let json = if chance.random_ratio(1, 3) {
                    with_hostility(event, &mut chance)
                } else {
                    event.to_string()
                };
                EventInput {
                    log_type: (*log_type).to_owned(),
                    json: json.into(),
                }
            })
            .collect();
        match engine.evaluate(&batch, SystemTime::now(), &EmptyView).await {
            Ok(evaluation) => {
                pairs += evaluation.statistics.pairs;
                lost += evaluation.statistics.workers_lost;
                for verdict in evaluation.verdicts {
                    if let Outcome::Failed(error) = verdict.outcome {
                        *errors.entry(error.kind).or_default() += 1;
                    }
                }
            }
            Err(fault) => {
                println!("after {events} events: {fault}");
                fine = false;
                break;
            }
        }
        events += batch.len() as u64;
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            memory.push(resident_kb());
            println!(
                "{:>3} min: {events} events, {pairs} pairs, {lost} workers lost, {} MB",
                begun.elapsed().as_secs() / 60,
                memory.last().unwrap() >> 10
            );
        }
    }
    println!("errors of rules by kind: {errors:?}");
    engine.stop().await;
    let quarter = memory.len() / 4;
    let most = |some: &[u64]| some.iter().copied().max().unwrap_or(0);
    let (first, last) = (
        most(&memory[..quarter]),
        most(&memory[memory.len() - quarter..]),
    );
    if quarter > 0 {
        println!(
            "memory at most: {} MB in the first quarter, {} MB in the last",
            first >> 10,
            last >> 10
        );
        fine &= last <= first + first / 2;
    }
    println!(
        "{events} events, {pairs} pairs: {}",
        if fine {
            "it stands"
        } else {
            "it does not stand"
        }
    );
    fine
}

/// The event as text, with something hostile in it.
fn with_hostility(mut event: Value, chance: &mut StdRng) -> String {
    let members = event.as_object_mut().unwrap();
    let keys: Vec<String> = members.keys().cloned().collect();
    match keys.choose(chance).filter(|_| chance.random_ratio(2, 3)) {
        Some(key) => replace(&mut members[key.as_str()], chance),
        None => drop(members.insert("beside".to_owned(), PLACE.into())),
    }
    let text = event.to_string();
    text.replacen(&format!("\"{PLACE}\""), &hostile(chance), 1)
}

/// Puts it in the place of a value, as deep inside as the dice say.
fn replace(value: &mut Value, chance: &mut StdRng) {
    let deeper = chance.random_ratio(2, 3);
    match value {
        Value::Object(members) if deeper && !members.is_empty() => {
            let place = chance.random_range(0..members.len());
            replace(members.values_mut().nth(place).unwrap(), chance);
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let place = chance.random_range(0..items.len());
            replace(&mut items[place], chance);
        }
        other => *other = PLACE.into(),
    }
}

fn hostile(chance: &mut StdRng) -> String {
    let size = |chance: &mut StdRng, most: u32| 10_usize.pow(chance.random_range(1..=most));
    match chance.random_range(0..16) {
        0 => {
            let deep = size(chance, 5);
            format!("{}1{}", "[".repeat(deep), "]".repeat(deep))
        }
        1 => {
            let deep = size(chance, 5);
            format!("{}1{}", "{\"a\":".repeat(deep), "}".repeat(deep))
        }
        2 => format!("{{\"{}\":1}}", "k".repeat(size(chance, 6))),
        // A million distinct keys come seldom: they are sixteen megabytes.
        3 => {
            let most = if chance.random_ratio(1, 50) { 6 } else { 4 };
            let from: u64 = chance.random();
            let keys = (0..size(chance, most))
                .map(|key| format!("\"{:x}\":0", from.wrapping_add(key as u64)));
            format!("{{{}}}", keys.collect::<Vec<_>>().join(","))
        }
        4 => "9".repeat(size(chance, 4)),
        5 => format!(
            "-{}.{}e{}",
            "1".repeat(size(chance, 4)),
            "3".repeat(size(chance, 4)),
            size(chance, 6)
        ),
        6 => "\"\\ud800\"".to_owned(),
        7 => "{\"\\udfff\\ud800\":\"\\ud83d\"}".to_owned(),
        8 => format!("\"{}\"", "a".repeat(size(chance, 6))),
        9 => format!("\"{}!\"", "a\\u0000".repeat(size(chance, 4))),
        10 => format!("[{}0]", "0,".repeat(size(chance, 5))),
        11 => "{\"a\":1,\"a\":{\"a\":2},\"A\":[],\"\":null}".to_owned(),
        12 => format!(
            "\"{}\"",
            "\u{10FFFF}\u{202e}\u{0}"
                .replace('\0', "\\u0000")
                .repeat(size(chance, 3))
        ),
        13 => format!(
            "\"{}\"",
            [
                "9999-99-99T99:99:99Z",
                "::ffff:999.1.1.1",
                "arn:::::::::",
                "%s%n{0}{}",
                "../../etc/passwd",
                "1e999",
                "NaN"
            ]
            .choose(chance)
            .unwrap()
        ),
        14 => format!("\"x{:x}\"", chance.random::<u128>()),
        _ => format!(
            "[{}]",
            ["1e309", "-0.0", "18446744073709551616", "1E400", "0.1e-400"]
                .choose(chance)
                .unwrap()
        ),
    }
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap()
}
