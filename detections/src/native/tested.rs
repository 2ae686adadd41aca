//! Unit tests: what each function of a detection gives, whatever its verdict.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use bumpalo::Bump;
use serde_json::Value as Json;

use super::Native;
use super::outputs::{context, destinations, short};
use super::program::{Detection, Output};
use super::run::{Bounds, Run};
use super::stop::Stop;
use super::value::{Done, Value, plain};
use crate::event::{Node, read};
use crate::pack::DetectionKind;
use crate::verdict::{Tested, TestedFunction};

/// The event of a test.
#[derive(Debug)]
pub(crate) struct TestEvent {
    /// The test's name.
    pub(crate) name: String,
    /// What it says its log type is, by which its data model goes.
    pub(crate) log_type: String,
    pub(crate) json: String,
}

/// What came of a test.
#[derive(Debug)]
pub(crate) struct InRust {
    pub(crate) tested: Tested,
    /// Whether Python might put its texts otherwise.
    pub(crate) loose: bool,
}

impl Native {
    /// What a test of a detection gives; `None` if it is for Python.
    pub(crate) fn tested(&self, index: u32, test: &TestEvent) -> Option<InRust> {
        let detection = self.program.detections.get(&index)?;
        // Rows outlive a test.
        if detection.may_store || detection.demoted.load(Ordering::Relaxed) {
            return None;
        }
        let arena = Bump::new();
        match self.one_tested(detection, &arena, test) {
            Ok(tested) => Some(tested),
            Err(stop) => {
                let why = match stop {
                    Stop::Raise(raised) => format!("it raises {}", raised.classes.name()),
                    Stop::Hole(what) | Stop::Missing(what) => (*what).to_owned(),
                    Stop::NoForm(what) => what.to_string(),
                };
                self.leave(index, &why);
                None
            }
        }
    }

    fn one_tested<'e>(
        &'e self,
        detection: &Detection,
        arena: &'e Bump,
        test: &TestEvent,
    ) -> Done<'e, InRust> {
        let json = arena.alloc_str(&test.json);
        let event = read(arena, json.as_bytes())
            .map_err(|_| Stop::Hole(&"an event that is not read here"))?;
        let of_rule = detection.kind == DetectionKind::Rule;
        let model = self.program.models.get(&test.log_type);
        let mut run = Run::new(arena, &self.program, model.filter(|_| of_rule), event);
        run.bounds = Bounds::TEST;
        if detection.kind == DetectionKind::Policy {
            // A dict of its own: it may change it.
            run.subject = plain(arena, Node::Map(event))?;
        }
        let mut tested = detection.tested(&mut run)?;
        tested.name.clone_from(&test.name);
        Ok(InRust {
            tested,
            loose: run.loose,
        })
    }
}

impl Detection {
    fn tested<'e>(&self, run: &mut Run<'e>) -> Done<'e, Tested> {
        run.begin();
        let Value::Bool(output) = run.over_event(self.rule)? else {
            return Err(Stop::Hole(&"a verdict that is no boolean"));
        };
        let mut functions = BTreeMap::new();
        let (mut title, mut dedup) = (None, None);
        for (output, function) in &self.functions {
            let value = run.over_event(*function)?;
            let said = match output {
                Output::Severity => Json::from(self.severity(&value)?.as_str()),
                Output::Destinations => destinations(run, &value)?.into(),
                Output::Context => context(&value)?.into(),
                Output::Title => title.insert(short(&value)?).as_str().into(),
                Output::Dedup => dedup.insert(short(&value)?).as_str().into(),
                Output::Description | Output::Reference | Output::Runbook | Output::Unique => {
                    short(&value)?.into()
                }
            };
            functions.insert(output.name().to_owned(), gave(said));
        }
        let dedup = dedup.or(title).filter(|text| !text.is_empty());
        let dedup = dedup.unwrap_or_else(|| format!("defaultDedupString:{}", self.id));
        functions.insert(Output::Dedup.name().to_owned(), gave(dedup.into()));
        Ok(Tested {
            name: String::new(),
            output: Some(output),
            error: None,
            functions,
            printed: String::new(),
        })
    }
}

fn gave(output: Json) -> TestedFunction {
    TestedFunction {
        output,
        error: None,
    }
}
