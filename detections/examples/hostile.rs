//! Events that mean harm, for as long as it is asked: whether the engine stands, and whether what it remembers stays bounded.
//!
//! `PANTHER_PACK=<pack folder> [PANTHER_PYTHON=<interpreter>] [MINUTES=<n>] [SEED=<n>] cargo run --release -p panther-detections --example hostile`.
//! Events are those of the pack's unit tests with a field or three changed, and in a third of them something hostile in the place of a value or beside
//! it. Each minute it says how many there were and what memory the process takes. It ends with 1 if the engine fails, a rule's error is a defect of the
//! engine's own, or memory has grown by more than half from the first quarter of the time to the last.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use panther_detections::engine::{Engine, EngineSettings, EventInput};
use panther_detections::key_value::EmptyView;
use panther_detections::pack::Pack;
use panther_detections::testing::Changes;
use panther_detections::verdict::Outcome;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;

/// pantherd's, whose memory this is about.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Events of one call.
const AT_ONCE: usize = 64;
/// Stands for something hostile until the event is text: most of it cannot be said in a value.
const PLACE: &str = "@hostile@";

/// Why a run could not be made.
type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let Some(folder) = std::env::var_os("PANTHER_PACK") else {
        return Err("set PANTHER_PACK to the folder of a pack".into());
    };
    let pack = Pack::read(&PathBuf::from(folder)).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        format!("PANTHER_PACK is no valid pack: {}", problems.join("; "))
    })?;
    let time = Duration::from_secs(60 * number("MINUTES", 60)?);
    let seed = number("SEED", 1)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    if !runtime.block_on(run(&pack, time, seed))? {
        std::process::exit(1);
    }
    Ok(())
}

/// A number from the environment, or another.
fn number(name: &str, other: u64) -> Result<u64, Failure> {
    match std::env::var(name) {
        Ok(given) => given
            .parse()
            .map_err(|error| format!("{name}: {given}: {error}").into()),
        Err(_) => Ok(other),
    }
}

async fn run(pack: &Pack, time: Duration, seed: u64) -> Result<bool, Failure> {
    let settings = EngineSettings {
        python: std::env::var_os("PANTHER_PYTHON")
            .unwrap_or_else(|| "python3".into())
            .into(),
        workers: 1,
        // The same rules on the same terms from the first event to the last.
        shadow_one_in: 0,
        ..EngineSettings::default()
    };
    let engine = Engine::start(settings, pack).await?;
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
    if originals.is_empty() {
        return Err("the pack has no unit test of a rule that runs".into());
    }
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
                let (log_type, original) = originals[chance.random_range(0..originals.len())];
                let event = changes.of(original);
                let json = if chance.random_ratio(1, 3) {
                    with_hostility(event, &mut chance)
                } else {
                    event.to_string()
                };
                EventInput {
                    log_type: log_type.to_owned(),
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
            let resident = resident_kb()?;
            memory.push(resident);
            println!(
                "{:>3} min: {events} events, {pairs} pairs, {lost} workers lost, {} MB",
                begun.elapsed().as_secs() / 60,
                resident >> 10
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
    Ok(fine)
}

/// The event as text, with something hostile in it.
fn with_hostility(mut event: Value, chance: &mut StdRng) -> String {
    match &mut event {
        Value::Object(members) if members.is_empty() || chance.random_ratio(1, 3) => {
            drop(members.insert("beside".to_owned(), PLACE.into()));
        }
        event => replace(event, chance),
    }
    let text = event.to_string();
    text.replacen(&format!("\"{PLACE}\""), &hostile(chance), 1)
}

/// Puts it in the place of a value inside, as deep as the dice say.
fn replace(value: &mut Value, chance: &mut StdRng) {
    let inside: Vec<&mut Value> = match value {
        Value::Object(members) => members.values_mut().collect(),
        Value::Array(items) => items.iter_mut().collect(),
        _ => Vec::new(),
    };
    match inside.into_iter().choose(chance) {
        Some(inner) if chance.random_ratio(2, 3) => replace(inner, chance),
        Some(inner) => *inner = PLACE.into(),
        None => *value = PLACE.into(),
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
            ][chance.random_range(0..7)]
        ),
        14 => format!("\"x{:x}\"", chance.random::<u128>()),
        _ => format!(
            "[{}]",
            ["1e309", "-0.0", "18446744073709551616", "1E400", "0.1e-400"]
                [chance.random_range(0..5)]
        ),
    }
}

/// Memory that this process has in use, in kilobytes (`VmRSS`).
fn resident_kb() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .ok_or_else(|| "/proc/self/status has no VmRSS".into())
}
