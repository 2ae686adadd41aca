//! detections profile: what each rule costs, over a file of events or on a node that runs, and why some of it is left to Python.

use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use clap::Args;
use panther_detections::engine::{Cost, Engine, EngineSettings, Evaluation, EventInput};
use panther_detections::key_value::EmptyView;
use panther_detections::pack::Pack;
use panther_detections::verdict::Outcome;
use serde_json::{Value, json};

use crate::{
    answer::{Answer, Fields},
    commands::Context,
    failure::{Exit, Failure},
    output::{Cell, Grid, Look, Tone, clean},
};

/// `detections profile`.
#[derive(Debug, Args)]
pub(crate) struct Profile {
    /// The pack: a folder or a zip. Without it, the pack that is live, over the events that the node has seen since it was loaded
    #[arg(requires = "events")]
    pack: Option<PathBuf>,
    /// The events: a JSON object on each line, or a CloudTrail file as AWS writes it
    #[arg(requires = "log_type")]
    events: Option<PathBuf>,
    /// Their log type
    #[arg(long, value_name = "TYPE", requires = "events")]
    log_type: Option<String>,
    /// How many rules are shown, the dearest first; 0 for all
    #[arg(long, default_value_t = 20, value_name = "N")]
    top: usize,
    #[command(flatten)]
    interpreter: super::Interpreter,
}

impl Profile {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match (&self.pack, &self.events, &self.log_type) {
            (Some(pack), Some(events), Some(log_type)) => {
                self.of_file(context, pack.clone(), events.clone(), log_type)
                    .await
            }
            _ => self.of_node(context).await,
        }
    }

    async fn of_file(
        &self,
        context: &Context,
        pack: PathBuf,
        path: PathBuf,
        log_type: &str,
    ) -> Result<Exit, Failure> {
        let Some(pack) = super::read(context, pack).await? else {
            return Ok(Exit::BadInput);
        };
        let text = tokio::fs::read_to_string(&path).await.map_err(|error| {
            Failure::new(format!("{} cannot be read", path.display())).why(error.to_string())
        })?;
        let events = events(&text, log_type);
        if events.is_empty() {
            context
                .screen
                .note(&format!("{} holds no event", path.display()));
            return Ok(Exit::Findings);
        }
        let settings = EngineSettings {
            python: self.interpreter.absolute(),
            workers: 1,
            profile_one_in: 1,
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
        let costs: Vec<Value> = engine
            .costs()
            .iter()
            .map(|cost| told(&pack, cost, &evaluation))
            .collect();
        let (rules, stages) = (engine.rules(log_type), engine.stages());
        engine.stop().await;
        let statistics = evaluation.statistics;
        let in_python = statistics.python_micros as f64 / events.len() as f64;
        let stage = |nanos: u64| nanos as f64 / 1e3 / stages.events.max(1) as f64;
        let (reading, choosing) = (stage(stages.reading), stage(stages.choosing));
        let in_rules = stage(stages.rules);
        let answer = Answer::of(json!({
            "events": events.len(),
            "rules": rules,
            "microsPerEvent": micros,
            "microsInPythonPerEvent": in_python,
            "microsReadingPerEvent": reading,
            "microsChoosingRulesPerEvent": choosing,
            "microsInRulesPerEvent": in_rules,
            "statistics": statistics,
            "detections": self.shown(&costs),
        }));
        context.screen.show(&answer, |look| {
            format!(
                "{} events, {rules} rules of {}: {micros:.1} us an event: {reading:.1} to read it, {choosing:.1} to choose the rules, {in_rules:.1} in rules, {in_python:.1} in Python; a rule looked at an event {} times in Rust, {} times in Python\n\n{}",
                events.len(),
                clean(log_type),
                statistics.pairs_native,
                statistics.pairs_called,
                table(self.shown(&costs), look),
            )
        })?;
        Ok(Exit::Fine)
    }

    async fn of_node(&self, context: &Context) -> Result<Exit, Failure> {
        let mut answer = context
            .read("panther-analysis-api", "profileDetections", json!({}))
            .await?;
        let costs = self.shown(answer.items("detections")).to_vec();
        answer.value["detections"] = Value::Array(costs);
        if answer.items("detections").is_empty() && !context.screen.json() {
            context.screen.note(
                "this node has evaluated nothing in Rust since the pack was loaded; pantherctl detections list shows what is live",
            );
            return Ok(Exit::Fine);
        }
        context.screen.show(&answer, |look| {
            format!(
                "node {}, since pack {} was loaded; times and matches are of one event in {}\n\n{}",
                answer.text("node"),
                answer.text("version"),
                answer.text("oneIn"),
                table(answer.items("detections"), look),
            )
        })?;
        Ok(Exit::Fine)
    }

    fn shown<'a>(&self, costs: &'a [Value]) -> &'a [Value] {
        match self.top {
            0 => costs,
            top => &costs[..top.min(costs.len())],
        }
    }
}

/// A rule's cost, in the form in which a node tells it; matches and errors are those of the whole file.
fn told(pack: &Pack, cost: &Cost, evaluation: &Evaluation) -> Value {
    let of = |failed: bool| {
        let of_rule = evaluation
            .verdicts
            .iter()
            .filter(|verdict| verdict.detection == cost.detection);
        of_rule
            .filter(|verdict| matches!(verdict.outcome, Outcome::Failed(_)) == failed)
            .count()
    };
    let reasons: Vec<&String> = cost.left_to_python.iter().map(|(why, _)| why).collect();
    json!({
        "id": pack.detections[cost.detection].id, "events": cost.spent.events, "nanos": cost.spent.nanos, "matches": of(false), "errors": of(true),
        "leftToPython": cost.pairs_left(), "reasons": reasons,
    })
}

fn table(costs: &[Value], look: &Look) -> String {
    let total: i64 = costs.iter().map(|cost| cost.number("nanos")).sum();
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
    for cost in costs {
        let nanos = cost.number("nanos") as f64;
        let each = nanos / 1e3 / cost.number("events").max(1) as f64;
        let share = 100.0 * nanos / total.max(1) as f64;
        let plain = |text: String| Cell::toned(Tone::Plain, text);
        let reasons: Vec<&str> = cost
            .items("reasons")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        grid.row([
            plain(clean(&cost.text("id"))),
            plain(cost.text("events")),
            plain(format!("{each:.2}")),
            plain(format!("{share:.0} %")),
            plain(cost.text("matches")),
            plain(cost.text("errors")),
            plain(cost.text("leftToPython")),
            Cell::toned(Tone::Dim, clean(&reasons.join("; "))),
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
    fn a_rule_is_shown_with_its_share_and_why_it_went_to_python() {
        let costs = [
            json!({"id": "A", "events": 4, "nanos": 6000, "matches": 1, "errors": 0, "leftToPython": 0, "reasons": []}),
            json!({"id": "B", "events": 2, "nanos": 2000, "matches": 0, "errors": 2, "leftToPython": 2, "reasons": ["it raises KeyError", "many steps"]}),
            json!({"id": "C", "events": 0, "nanos": 0, "matches": 0, "errors": 0, "leftToPython": 7, "reasons": ["it has no form here"]}),
        ];
        assert_eq!(
            table(&costs, &Look::plain_at(0)),
            "RULE  EVENTS  US EACH  SHARE  MATCHES  ERRORS  TO PYTHON  WHY\n\
             A     4       1.50     75 %   1        0       0\n\
             B     2       1.00     25 %   0        2       2          it raises KeyError; many steps\n\
             C     0       0.00     0 %    0        0       7          it has no form here\n"
        );
    }

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
