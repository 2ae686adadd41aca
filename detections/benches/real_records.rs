//! How fast real CloudTrail records pass the guards and the engine.
//!
//! `PANTHER_PACK=<pack folder> SAMPLES=<folder of CloudTrail .json.gz files> [PANTHER_PYTHON=<interpreter>] cargo bench -p panther-detections --bench real_records`.
//! One worker, so that the figures are of one core (Python's) beside the host.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Read;
use std::path::Path;
use std::time::{Instant, SystemTime};

use panther_detections::engine::{EmptyView, Engine, EngineSettings, EventInput, Outcome};
use panther_detections::guard::Index;
use panther_detections::pack::{DetectionKind, Pack};

const LOG_TYPE: &str = "AWS.CloudTrail";
const ROUNDS: usize = 5;

fn records(folder: &Path) -> Vec<EventInput> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut events = Vec::new();
    for file in files
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "gz"))
    {
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(std::fs::File::open(file).unwrap())
            .read_to_string(&mut text)
            .unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        for record in document["Records"].as_array().unwrap() {
            events.push(EventInput {
                log_type: LOG_TYPE.to_owned(),
                json: record.to_string().into(),
            });
        }
    }
    events
}

fn best(mut run: impl FnMut() -> f64) -> f64 {
    (0..ROUNDS).map(|_| run()).fold(f64::INFINITY, f64::min)
}

#[tokio::main]
async fn main() {
    let (Some(pack), Some(samples)) = (
        std::env::var_os("PANTHER_PACK"),
        std::env::var_os("SAMPLES"),
    ) else {
        println!("set PANTHER_PACK and SAMPLES");
        return;
    };
    let begun = Instant::now();
    let pack = Pack::read(Path::new(&pack)).unwrap();
    println!(
        "pack: {} detections, read in {:?}",
        pack.detections.len(),
        begun.elapsed()
    );
    let events = records(Path::new(&samples));
    let bytes: usize = events.iter().map(|event| event.json.len()).sum();
    println!(
        "{} records, {} bytes each",
        events.len(),
        bytes / events.len()
    );

    let settings = EngineSettings {
        python: std::env::var_os("PANTHER_PYTHON")
            .unwrap_or_else(|| "python3".into())
            .into(),
        workers: 1,
        ..EngineSettings::default()
    };
    let begun = Instant::now();
    let engine = Engine::start(settings.clone(), &pack).await.unwrap();
    println!(
        "engine started in {:?}, {} rules for {LOG_TYPE}",
        begun.elapsed(),
        engine.rules(LOG_TYPE)
    );
    let report = engine.load_report();
    for loaded in report
        .detections
        .iter()
        .filter(|loaded| loaded.error.is_some())
    {
        println!(
            "{} did not load: {:?}",
            pack.detections[loaded.index].id, loaded.error
        );
    }
    let unguarded: Vec<&str> = report
        .detections
        .iter()
        .filter(|loaded| loaded.guard == panther_detections::guard::Guard::Always)
        .map(|loaded| &pack.detections[loaded.index])
        .filter(|detection| {
            detection.kind == DetectionKind::Rule
                && detection
                    .log_types
                    .iter()
                    .any(|log_type| log_type == LOG_TYPE)
        })
        .map(|detection| detection.id.as_str())
        .collect();
    println!(
        "{} rules of {LOG_TYPE} without a guard: {unguarded:?}",
        unguarded.len()
    );

    let index = Index::new(report.detections.iter().filter_map(|loaded| {
        let detection = &pack.detections[loaded.index];
        (detection.kind == DetectionKind::Rule).then_some((
            u32::try_from(loaded.index).ok()?,
            detection.log_types.as_slice(),
            &loaded.guard,
        ))
    }));
    let seconds = best(|| {
        let begun = Instant::now();
        let candidates: usize = events
            .iter()
            .map(|event| index.candidates(LOG_TYPE, &event.json).len())
            .sum();
        std::hint::black_box(candidates);
        begun.elapsed().as_secs_f64()
    });
    println!(
        "guards: {:.2} us an event",
        seconds * 1e6 / events.len() as f64
    );
    let seconds = best(|| {
        let begun = Instant::now();
        for event in &events {
            std::hint::black_box(serde_json::from_slice::<serde_json::Value>(&event.json).unwrap());
        }
        begun.elapsed().as_secs_f64()
    });
    println!(
        "serde_json::Value for comparison: {:.2} us an event",
        seconds * 1e6 / events.len() as f64
    );

    evaluate(&engine, &events, &pack, "with guards").await;
    engine.stop().await;
    let unguarded = EngineSettings {
        guards: false,
        ..settings
    };
    let engine = Engine::start(unguarded, &pack).await.unwrap();
    evaluate(&engine, &events, &pack, "without guards").await;
    engine.stop().await;
}

async fn evaluate(engine: &Engine, events: &[EventInput], pack: &Pack, how: &str) {
    let mut least = f64::INFINITY;
    for round in 0..ROUNDS {
        let begun = Instant::now();
        let evaluation = engine
            .evaluate(events, SystemTime::now(), &EmptyView)
            .await
            .unwrap();
        least = least.min(begun.elapsed().as_secs_f64());
        if round == 0 {
            let matches = evaluation
                .verdicts
                .iter()
                .filter(|verdict| matches!(verdict.outcome, Outcome::Matched(_)))
                .count();
            println!(
                "{matches} matches, {} rule errors, {:?}",
                evaluation.verdicts.len() - matches,
                evaluation.statistics
            );
            for verdict in &evaluation.verdicts {
                if let Outcome::Failed(error) = &verdict.outcome {
                    println!(
                        "  {}: {}: {}",
                        pack.detections[verdict.detection].id, error.kind, error.message
                    );
                }
            }
        }
    }
    println!(
        "engine {how}: {:.1} us an event, {:.0} events/s",
        least * 1e6 / events.len() as f64,
        events.len() as f64 / least
    );
}
