//! What comes of a pair of detection and event: no match, a match with what its functions gave, or a question for Python.

use std::sync::Arc;

use serde_json::Value as Json;

use super::program::{Detection, Output};
use super::run::Run;
use super::stop::Stop;
use super::text;
use super::trail::Site;
use super::value::{Done, Value};
use crate::pack::Severity;
use crate::verdict::{Outputs, RuleError};

/// Characters of a text, beyond which it is cut (by Python).
const MOST_TEXT: usize = 1000;
/// Characters of a context, beyond which it becomes a note (by Python).
const MOST_CONTEXT: usize = 200 * 1024;

/// What came of a pair.
#[derive(Debug)]
pub(crate) enum Answer {
    No,
    /// And whether its texts hang on an order that Python draws anew in each process.
    Match(Box<Outputs>, bool),
    /// It asks the key-value store: see [`super::Native::with_rows`].
    Store,
    /// This row of the store has to be fetched; then it is to be evaluated again.
    Missing(String),
    /// It raises this, as is known from an event like it.
    Failed(Arc<RuleError>),
    /// Python is to evaluate it; where it raised, if what Python says of that is worth keeping.
    Python(Option<Site>),
}

impl Detection {
    /// Evaluates the pair. An exception is left to Python, unless it is one of a match's functions, and its text is known.
    pub(super) fn evaluate<'e>(&self, run: &mut Run<'e>) -> Done<'e, Option<Box<Outputs>>> {
        run.begin();
        if let Some(rows) = run.of_store {
            run.rows = self.may_store.then_some(rows);
        }
        match run.over_event(self.rule)? {
            Value::Bool(true) => {
                let matched = self.matched(run);
                // The functions of a match have defaults: an exception in one of them is no error of the rule.
                run.trail.clear();
                matched.map(Some)
            }
            Value::Bool(false) => Ok(None),
            _ => Err(Stop::Hole(&"a verdict that is no boolean")),
        }
    }

    fn matched<'e>(&self, run: &mut Run<'e>) -> Done<'e, Box<Outputs>> {
        let mut outputs = Outputs {
            title: None,
            dedup: String::new(),
            severity: self.severity,
            description: None,
            reference: None,
            runbook: None,
            destinations: None,
            context: None,
            unique: None,
            errors: std::collections::BTreeMap::new(),
        };
        let mut dedup = None;
        for (output, function) in &self.functions {
            let value = match run.over_event(*function) {
                Err(Stop::Raise(raised)) => {
                    let Some(said) = text::error(run.arena, raised)? else {
                        return Err(Stop::Raise(raised));
                    };
                    run.trail.clear();
                    self.default(*output, said, &mut outputs, &mut dedup)?;
                    continue;
                }
                value => value?,
            };
            match output {
                Output::Title => outputs.title = Some(short(&value)?),
                Output::Description => outputs.description = Some(short(&value)?),
                Output::Reference => outputs.reference = Some(short(&value)?),
                Output::Runbook => outputs.runbook = Some(short(&value)?),
                Output::Unique => outputs.unique = Some(short(&value)?),
                Output::Dedup => dedup = Some(short(&value)?),
                Output::Severity => outputs.severity = self.severity(&value)?,
                Output::Destinations => outputs.destinations = destinations(run, &value)?,
                Output::Context => outputs.context = Some(context(&value)?),
            }
        }
        outputs.dedup = dedup
            .or_else(|| outputs.title.clone())
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| format!("defaultDedupString:{}", self.id));
        Ok(Box::new(outputs))
    }

    /// What a function gives that has raised this.
    fn default<'e>(
        &self,
        output: Output,
        said: &'e str,
        outputs: &mut Outputs,
        dedup: &mut Option<String>,
    ) -> Done<'e, ()> {
        let empty = Some(String::new());
        match output {
            Output::Title if self.id.len() > MOST_TEXT => {
                return Err(Stop::Hole(&"a text that is cut"));
            }
            Output::Title => outputs.title = Some(self.id.clone()),
            Output::Description => outputs.description = empty,
            Output::Reference => outputs.reference = empty,
            Output::Runbook => outputs.runbook = empty,
            // The title does not stand in for one that was to be given.
            Output::Dedup => *dedup = empty,
            Output::Context => {
                outputs.context = Some(format!("{{\"_error\": {}}}", Json::from(said)));
            }
            Output::Severity | Output::Destinations | Output::Unique => {}
        }
        let name = output.name().to_owned();
        outputs.errors.insert(name, said.to_owned());
        Ok(())
    }

    pub(super) fn severity<'e>(&self, value: &Value<'e>) -> Done<'e, Severity> {
        let unknown = Stop::Hole(&"a severity that is none");
        let Value::Text(text) = value else {
            return Err(unknown);
        };
        if text.eq_ignore_ascii_case("default") {
            return Ok(self.severity);
        }
        [
            ("INFO", Severity::Info),
            ("LOW", Severity::Low),
            ("MEDIUM", Severity::Medium),
            ("HIGH", Severity::High),
            ("CRITICAL", Severity::Critical),
        ]
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text))
        .map(|(_, severity)| *severity)
        .ok_or(unknown)
    }
}

pub(super) fn short<'e>(value: &Value<'e>) -> Done<'e, String> {
    match value {
        Value::Text(text) if text.len() <= MOST_TEXT => Ok((*text).to_owned()),
        Value::Text(_) => Err(Stop::Hole(&"a text that is cut")),
        _ => Err(Stop::Hole(&"a text that is none")),
    }
}

pub(super) fn destinations<'e>(
    run: &mut Run<'e>,
    value: &Value<'e>,
) -> Done<'e, Option<Vec<String>>> {
    if matches!(value, Value::None) {
        return Ok(None);
    }
    if !value.is_list() {
        return Err(Stop::Hole(&"destinations that are no list"));
    }
    let mut names = Vec::new();
    for one in run.ordered(value)? {
        match one {
            Value::Text(name) if !name.is_empty() => names.push((*name).to_owned()),
            _ => return Err(Stop::Hole(&"a destination that is no name")),
        }
    }
    if names.is_empty() {
        names.push("SKIP".to_owned());
    }
    Ok(Some(names))
}

pub(super) fn context<'e>(value: &Value<'e>) -> Done<'e, String> {
    if !value.is_mapping() {
        return Err(Stop::Hole(&"a context that is no mapping"));
    }
    let mut out = String::with_capacity(1024);
    text::write_json(&mut out, value, true)?;
    if out.len() > MOST_CONTEXT {
        return Err(Stop::Hole(&"a context that is too long"));
    }
    out.shrink_to_fit();
    Ok(out)
}
