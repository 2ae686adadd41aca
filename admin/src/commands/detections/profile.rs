//! detections profile: what each rule of a pack costs over a file of events, and why some of it is left to Python.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use clap::Args;
use panther_detections::engine::{EmptyView, Engine, EngineSettings, EventInput, Outcome};
use panther_detections::pack::Pack;
use serde_json::{Value, json};

use crate::{
    answer::Answer,
    commands::Context,
    failure::{Exit, Failure},
    output::{Cell, Grid, Look, Tone, clean},
};

/// `detections profile`.
#[derive(Debug, Args)]
pub(crate) struct Profile {
    /// The pack: a folder or a zip
    pack: PathBuf,
    /// The events: a JSON object on each line, or a CloudTrail file as AWS writes it
    events: PathBuf,
    /// Their log type
    #[arg(long, value_name = "TYPE")]
    log_type: String,
    /// How many rules are shown, the dearest first; 0 for all
    #[arg(long, default_value_t = 20, value_name = "N")]
    top: usize,
    #[command(flatten)]
    interpreter: super::Interpreter,
}

/// What was seen of one rule.
#[derive(Debug, Default)]
struct Seen {
    events: u64,
    nanos: u64,
    matches: u64,
    errors: u64,
    in_python: u64,
    reasons: Vec<String>,
}

impl Profile {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Some(pack) = super::read(context, self.pack.clone()).await? else {
            return Ok(Exit::BadInput);
        };
        let path = self.events.clone();
        let text = tokio::fs::read_to_string(&path).await.map_err(|error| {
            Failure::new(format!("{} cannot be read", path.display())).why(error.to_string())
        })?;
        let events = events(&text, &self.log_type);
        if events.is_empty() {
            context
                .screen
                .note(&format!("{} holds no event", path.display()));
            return Ok(Exit::Findings);
        }
        let settings = EngineSettings {
            python: self.interpreter.absolute(),
            workers: 1,
            profile: true,
            shadow_one_in: 0,
            ..EngineSettings::default()
        };
        let engine = Engine::start(settings, &pack)
            .await
            .map_err(super::test::fault)?;
        let begun = Instant::now();
        let evaluation = engine
            .evaluate(&events, SystemTime::now(), &EmptyView)
            .await
            .map_err(super::test::fault)?;
        let micros = begun.elapsed().as_secs_f64() * 1e6 / events.len() as f64;
        let mut seen: BTreeMap<usize, Seen> = BTreeMap::new();
        for (rule, spent) in engine.spent() {
            let of = seen.entry(rule).or_default();
            (of.events, of.nanos) = (spent.events, spent.nanos);
        }
        for verdict in &evaluation.verdicts {
            let of = seen.entry(verdict.detection).or_default();
            match verdict.outcome {
                Outcome::Matched(_) => of.matches += 1,
                Outcome::Failed(_) => of.errors += 1,
            }
        }
        for (rule, why, count) in engine.left_to_python() {
            let of = seen.entry(rule).or_default();
            of.in_python += count;
            of.reasons.push(why);
        }
        let rules = engine.rules(&self.log_type);
        engine.stop().await;
        let mut seen: Vec<(usize, Seen)> = seen.into_iter().collect();
        seen.sort_by_key(|(_, of)| std::cmp::Reverse((of.nanos, of.in_python)));
        let shown = match self.top {
            0 => seen.len(),
            top => top.min(seen.len()),
        };
        let statistics = evaluation.statistics;
        let answer = Answer::of(json!({
            "events": events.len(),
            "rules": rules,
            "microsPerEvent": micros,
            "microsInPythonPerEvent": statistics.python_micros as f64 / events.len() as f64,
            "statistics": statistics,
            "detections": seen[..shown].iter().map(|(rule, of)| told(&pack, *rule, of)).collect::<Vec<_>>(),
        }));
        context.screen.show(&answer, |look| {
            let mut text = format!(
                "{} events, {rules} rules of {}: {micros:.1} us an event, {:.1} of them in Python; a rule looked at an event {} times in Rust, {} times in Python\n\n",
                events.len(),
                clean(&self.log_type),
                statistics.python_micros as f64 / events.len() as f64,
                statistics.pairs_native,
                statistics.pairs_called,
            );
            text.push_str(&table(&pack, &seen[..shown], look));
            text
        })?;
        Ok(Exit::Fine)
    }
}

fn told(pack: &Pack, rule: usize, of: &Seen) -> Value {
    json!({
        "id": pack.detections[rule].id, "events": of.events, "nanos": of.nanos, "matches": of.matches, "errors": of.errors,
        "leftToPython": of.in_python, "reasons": of.reasons,
    })
}

fn table(pack: &Pack, seen: &[(usize, Seen)], look: &Look) -> String {
    let total: u64 = seen.iter().map(|(_, of)| of.nanos).sum();
    let mut grid = Grid::new(&[
        "RULE",
        "EVENTS",
        "US EACH",
        "SHARE",
        "MATCHES",
        "ERRORS",
        "TO PYTHON",
        "WHY",
    ]);
    for (rule, of) in seen {
        let each = of.nanos as f64 / 1e3 / of.events.max(1) as f64;
        let share = 100.0 * of.nanos as f64 / total.max(1) as f64;
        let plain = |text: String| Cell::toned(Tone::Plain, text);
        grid.row([
            plain(clean(&pack.detections[*rule].id)),
            plain(of.events.to_string()),
            plain(format!("{each:.2}")),
            plain(format!("{share:.0} %")),
            plain(of.matches.to_string()),
            plain(of.errors.to_string()),
            plain(of.in_python.to_string()),
            Cell::toned(Tone::Dim, clean(&of.reasons.join("; "))),
        ]);
    }
    grid.render(look)
}

/// The events of a file: one a line, or the `Records` of a document.
fn events(text: &str, log_type: &str) -> Vec<EventInput> {
    let event = |json: String| EventInput {
        log_type: log_type.to_owned(),
        json: json.into(),
    };
    if let Ok(Value::Object(document)) = serde_json::from_str::<Value>(text)
        && let Some(Value::Array(records)) = document.get("Records")
    {
        return records
            .iter()
            .map(|record| event(record.to_string()))
            .collect();
    }
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| event(line.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_or_records() {
        assert_eq!(events("{\"a\":1}\n\n{\"a\":2}\n", "T").len(), 2);
        assert_eq!(
            events("{\"Records\":[{\"a\":1},{\"a\":2},{}]}", "T").len(),
            3
        );
        assert_eq!(events("{\"Records\":1}", "T").len(), 1);
        assert_eq!(events("", "T").len(), 0);
    }
}
