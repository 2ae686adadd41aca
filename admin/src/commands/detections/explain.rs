//! detections explain: why a rule says what it says of an event, condition by condition.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use panther_detections::engine::{Engine, EngineSettings, EventInput, Explanation, Operand};
use panther_detections::pack::{Detection, Pack};
use serde_json::{Value, json};

use crate::{
    answer::Answer,
    commands::Context,
    failure::{Exit, Failure},
    output::{Look, Tone, clean},
};

/// `detections explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The pack: a folder or a zip
    pack: PathBuf,
    /// The rule's id
    rule: String,
    /// The event: a file with one JSON object
    #[arg(required_unless_present = "test")]
    event: Option<PathBuf>,
    /// Instead of a file: the event of the rule's unit test with this name
    #[arg(long, value_name = "NAME", conflicts_with = "event")]
    test: Option<String>,
    /// The event's log type; by default what its p_log_type says, or the rule's first
    #[arg(long, value_name = "TYPE")]
    log_type: Option<String>,
    #[command(flatten)]
    interpreter: super::Interpreter,
}

impl Explain {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Some(pack) = super::read(context, self.pack.clone()).await? else {
            return Ok(Exit::BadInput);
        };
        let (index, detection) = find(&pack, &self.rule)?;
        let event = self.event(detection).await?;
        let log_type = self
            .log_type
            .clone()
            .or_else(|| event["p_log_type"].as_str().map(str::to_owned))
            .or_else(|| detection.log_types.first().cloned())
            .unwrap_or_default();
        let input = EventInput {
            log_type,
            json: event.to_string().into(),
        };
        let settings = EngineSettings {
            python: self.interpreter.absolute(),
            workers: 1,
            native: false,
            ..EngineSettings::default()
        };
        // Nothing but what is asked for is loaded.
        let engine = Engine::start_with(settings, &pack, |place, _| place == index)
            .await
            .map_err(super::test::fault)?;
        let explained = engine.explain(index, &input, SystemTime::now()).await;
        engine.stop().await;
        let explanation = explained.map_err(super::test::fault)?;
        let answer = Answer::of(json!({"rule": detection.id, "explanation": explanation}));
        context
            .screen
            .show(&answer, |look| text(detection, &explanation, look))?;
        Ok(match explanation.error {
            None => Exit::Fine,
            Some(_) => Exit::Findings,
        })
    }

    async fn event(&self, detection: &Detection) -> Result<Value, Failure> {
        let Some(path) = &self.event else {
            let wanted = self.test.as_deref().unwrap_or_default();
            let names: Vec<&str> = detection
                .tests
                .iter()
                .map(|test| test.name.as_str())
                .collect();
            let found = detection.tests.iter().find(|test| test.name == wanted);
            return found.map(|test| test.input.clone()).ok_or_else(|| {
                Failure::new(format!("{} has no test of that name", detection.id))
                    .exiting(Exit::BadInput)
                    .next(format!("its tests are: {}", names.join("; ")))
            });
        };
        let unreadable = |why: String| {
            Failure::new(format!("{} is no event", path.display()))
                .exiting(Exit::BadInput)
                .why(why)
        };
        let text = tokio::fs::read(path).await;
        let text = text.map_err(|error| unreadable(error.to_string()))?;
        let event: Value =
            serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        if event.is_object() {
            Ok(event)
        } else {
            Err(unreadable("it holds no JSON object".to_owned()))
        }
    }
}

fn find<'p>(pack: &'p Pack, id: &str) -> Result<(usize, &'p Detection), Failure> {
    let mut detections = pack.detections.iter().enumerate();
    detections
        .find(|(_, detection)| detection.id == id)
        .ok_or_else(|| {
            let like = |other: &&Detection| other.id.to_lowercase().contains(&id.to_lowercase());
            let close: Vec<&str> = pack
                .detections
                .iter()
                .filter(like)
                .take(5)
                .map(|of| of.id.as_str())
                .collect();
            let failure =
                Failure::new(format!("the pack has no detection {id}")).exiting(Exit::BadInput);
            if close.is_empty() {
                failure
            } else {
                failure.next(format!("did you mean {}", close.join(" or ")))
            }
        })
}

/// The verdict, what decided it, and the way there.
fn text(detection: &Detection, explanation: &Explanation, look: &Look) -> String {
    let (mark, tone) = match (explanation.verdict, &explanation.error) {
        (_, Some(_)) => ("it failed", Tone::Bad),
        (Some(true), _) => ("it matches", Tone::Good),
        _ => ("it does not match", Tone::Warning),
    };
    let mut text = format!("{}: {}\n", clean(&detection.id), look.toned(tone, mark));
    if let Some(error) = &explanation.error {
        text.push_str(&format!(
            "  {}: {}\n",
            clean(&error.kind),
            clean(&error.message)
        ));
    }
    if let Some(decided) = &explanation.decided {
        let value = decided.value.as_deref().unwrap_or("nothing");
        let before = if explanation.error.is_some() {
            "before that"
        } else {
            "decided by"
        };
        text.push_str(&format!(
            "  {before} line {}: {} is {}\n",
            decided.line,
            clean(&decided.code),
            clean(value)
        ));
        text.push_str(&operands(&decided.operands, "    "));
    }
    text.push_str("\nstep by step\n");
    for step in &explanation.steps {
        let (word, arrow) = match step.kind.as_str() {
            "return" => ("return ", "->"),
            "test" => ("if ", "->"),
            "raise" => ("", "raises"),
            _ => ("", "->"),
        };
        text.push_str(&format!(
            "  line {:>4}  {word}{} {arrow} {}\n",
            step.line,
            clean(&step.code),
            clean(&step.value)
        ));
        text.push_str(&operands(&step.operands, "               "));
    }
    if !explanation.printed.is_empty() {
        text.push_str("\nprinted\n");
        for line in explanation.printed.lines() {
            text.push_str(&format!("  {}\n", clean(line)));
        }
    }
    text
}

fn operands(operands: &[Operand], indent: &str) -> String {
    let lines = operands
        .iter()
        .map(|of| format!("{indent}{} is {}\n", clean(&of.code), clean(&of.value)));
    lines.collect()
}
