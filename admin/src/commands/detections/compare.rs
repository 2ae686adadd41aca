//! detections compare: whether Rust and Python say the same of each rule of a pack, as every node asks of what it is given.

use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use clap::Args;
use panther_detections::engine::{Engine, EngineSettings};
use panther_detections::testing::{self, Differing};
use serde_json::{Value, json};

use crate::{
    answer::Answer,
    commands::Context,
    failure::{Exit, Failure},
    output::{Tone, clean, counted},
};

/// `detections compare`.
#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The pack: a folder or a zip
    pack: PathBuf,
    /// Events that are made of the event of each unit test
    #[arg(long, default_value_t = 200, value_name = "N")]
    each: usize,
    /// What they are made from; the same seed makes the same events
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    interpreter: super::Interpreter,
}

impl Compare {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Some(pack) = super::read(context, self.pack).await? else {
            return Ok(Exit::BadInput);
        };
        let settings = EngineSettings {
            python: self.interpreter.absolute(),
            shadow_one_in: 0,
            // Scheduled rules and what is not enabled have tests, too.
            load_disabled: true,
            ..EngineSettings::default()
        };
        let at_once = settings.workers;
        let engine = Engine::start(settings, &pack)
            .await
            .map_err(super::test::fault)?;
        let begun = Instant::now();
        let (mut rules, mut events, mut compared) = (0_i64, 0, 0);
        let mut found = Vec::new();
        let trials = testing::trials(
            &engine,
            &pack,
            self.each,
            self.seed,
            at_once,
            SystemTime::now(),
            |detection, tried| {
                rules += 1;
                events += tried.events;
                compared += tried.compared;
                let differing = tried.differences.iter();
                found.extend(differing.map(|differing| told(&detection.id, differing)));
            },
        );
        tokio::select! {
            ended = trials => ended.map_err(super::test::fault)?,
            _ = tokio::signal::ctrl_c() => return Err(Failure::new("interrupted").tried("compare")),
        }
        engine.stop().await;
        let agree = found.is_empty();
        let answer = Answer::of(json!({
            "version": pack.version, "rules": rules, "events": events, "compared": compared, "seconds": begun.elapsed().as_secs_f64(),
            "differences": found,
        }));
        context.screen.show(&answer, |look| {
            use crate::answer::Fields;
            let mut text = format!(
                "{}, {events} events, {compared} of them evaluated both ways in {:.0} s: {}\n",
                counted(rules, "rule"),
                begun.elapsed().as_secs_f64(),
                if agree {
                    "no difference".to_owned()
                } else {
                    counted(i64::try_from(found.len()).unwrap_or(i64::MAX), "difference")
                }
            );
            for item in answer.items("differences") {
                text.push_str(&format!(
                    "\n{}\n  in Rust:   {}\n  in Python: {}\n  event:     {}\n",
                    look.toned(Tone::Bad, &clean(&item.text("rule"))),
                    clean(&item.text("native")),
                    clean(&item.text("python")),
                    clean(&item.text("event")),
                ));
            }
            text
        })?;
        Ok(if agree { Exit::Fine } else { Exit::Findings })
    }
}

fn told(rule: &str, differing: &Differing) -> Value {
    json!({
        "rule": rule, "native": differing.difference.native, "python": differing.difference.python,
        "event": String::from_utf8_lossy(&differing.event),
    })
}
