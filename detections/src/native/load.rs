//! Takes in what Python tells of a pack that it has loaded.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use parking_lot::Mutex;
use serde_json::Value as Json;

use super::constants::Constant;
use super::memo::Memo;
use super::program::{Detection, Mapping, Model, Output, Program, Step};
use super::{Native, address, compile, raised, strptime, syntax};
use crate::pack::{DetectionKind, Pack, Severity};

/// How a pack is evaluated natively.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NativeSettings<'a> {
    /// Ids of detections that Python alone evaluates.
    pub(crate) python_only: &'a BTreeSet<String>,
    /// One event in this many is evaluated by Python as well. 0: no event.
    pub(crate) shadow_one_in: u32,
    /// One event in this many is timed. 0: no event.
    pub(crate) profile_one_in: u32,
    /// Whether the engine remembers which rules say no to which events.
    pub(crate) remembers: bool,
}

/// What has to be known of a pack beside what Python tells of it.
#[derive(Debug)]
pub(crate) struct Known {
    detections: Vec<KnownDetection>,
    globals: Vec<String>,
}

#[derive(Debug)]
struct KnownDetection {
    id: String,
    kind: DetectionKind,
    severity: Severity,
    log_types: Vec<String>,
}

impl Known {
    pub(crate) fn of(pack: &Pack) -> Self {
        let detections = pack.detections.iter().map(|of| KnownDetection {
            id: of.id.clone(),
            kind: of.kind,
            severity: of.severity,
            log_types: of.log_types.clone(),
        });
        let globals = pack.globals.iter().map(|global| global.id.clone());
        Self {
            detections: detections.collect(),
            globals: globals.collect(),
        }
    }
}

impl Native {
    /// Takes what Python told of a pack.
    pub(crate) fn new(mut dump: Json, pack: &Known, settings: &NativeSettings<'_>) -> Self {
        syntax::give_trees(&mut dump);
        let none = serde_json::Map::new();
        let told = |what: &str| dump[what].as_object().unwrap_or(&none);
        let compiled = compile::Pack::new(told("functions"), told("tables"));
        let reached = compiled.reached(&pack.globals);
        let mut program = Program {
            functions: compiled.functions(),
            patterns: compiled.patterns(),
            written: compiled.written(),
            addresses: addresses(&dump["addresses"]),
            in_utc: dump["in_utc"] == true,
            iso_zones: dump["iso_zones"] == true,
            times: times(&dump["times"]),
            countries: compiled.kinds(&dump["countries"]),
            ..Program::default()
        };
        for told in dump["detections"].as_array().into_iter().flatten() {
            let Some(index) = told["index"]
                .as_u64()
                .and_then(|index| u32::try_from(index).ok())
            else {
                continue;
            };
            let Some(detection) = pack.detections.get(index as usize) else {
                continue;
            };
            let in_python = settings.python_only.contains(&detection.id);
            if in_python {
                continue;
            }
            if let Some(functions) = functions_of(detection.kind, &told["functions"], &compiled) {
                let (rule, functions) = functions;
                let all = || {
                    let others = functions.iter().map(|(_, function)| *function);
                    std::iter::once(rule).chain(others)
                };
                program.detections.insert(
                    index,
                    Detection {
                        rule,
                        may_store: all().any(|function| reached[function].stores),
                        writes: all()
                            .flat_map(|function| reached[function].writes.iter().copied())
                            .collect(),
                        functions: functions.clone(),
                        demoted: AtomicBool::new(false),
                        exhausted: AtomicU32::new(0),
                        id: detection.id.clone(),
                        kind: detection.kind,
                        severity: detection.severity,
                    },
                );
            }
        }
        for told in dump["models"].as_array().into_iter().flatten() {
            if let Some(log_type) = told["log_type"].as_str() {
                program
                    .models
                    .insert(log_type.to_owned(), model(told, &compiled));
            }
        }
        Self {
            program,
            memos: pack
                .detections
                .iter()
                .filter(|_| settings.remembers)
                .flat_map(|detection| &detection.log_types)
                .map(|log_type| (log_type.clone(), Memo::new()))
                .collect(),
            events: AtomicU64::new(0),
            shadow_one_in: settings.shadow_one_in.into(),
            left: Mutex::default(),
            errors: raised::Errors::default(),
            spent: Mutex::default(),
            stages: Mutex::default(),
            profile_one_in: settings.profile_one_in.into(),
            looks: AtomicU64::new(0),
        }
    }
}

#[allow(clippy::type_complexity)]
fn functions_of(
    kind: DetectionKind,
    told: &Json,
    compiled: &compile::Pack<'_>,
) -> Option<(usize, Vec<(Output, usize)>)> {
    let place = |form: &Json| match (form[0].as_str(), form[1].as_str()) {
        (Some("F"), Some(name)) => compiled.place(name),
        _ => None,
    };
    let rule = place(match kind {
        DetectionKind::Policy => &told["policy"],
        DetectionKind::Rule | DetectionKind::ScheduledRule => &told["rule"],
    })?;
    let mut functions = Vec::new();
    for output in Output::ALL {
        if let Some(form) = told.get(output.name()) {
            functions.push((output, place(form)?));
        }
    }
    Some((rule, functions))
}

fn model(told: &Json, compiled: &compile::Pack<'_>) -> Model {
    let mut model = Model::default();
    for (name, steps) in told["paths"].as_object().into_iter().flatten() {
        let steps = steps
            .as_array()
            .into_iter()
            .flatten()
            .map(|step| match step {
                Json::String(key) => Step::Key(key.as_str().into()),
                Json::Number(place) => Step::Place(place.as_i64().unwrap_or(i64::MAX)),
                _ => Step::Each,
            })
            .collect();
        model
            .fields
            .insert(name.as_str().into(), Mapping::Path(steps));
    }
    for (name, text) in told["told"].as_object().into_iter().flatten() {
        if let Some(text) = text.as_str() {
            model.told.insert(name.as_str().into(), text.into());
        }
    }
    for (name, method) in told["methods"].as_object().into_iter().flatten() {
        let mapping = match compiled.constant(method) {
            Constant::Function(place) => Mapping::Method(place),
            _ => Mapping::Unknown("a data model's method".into()),
        };
        // A path of the same name goes first.
        model.fields.entry(name.as_str().into()).or_insert(mapping);
    }
    model
}

fn times(told: &Json) -> strptime::Directives {
    let told = told.as_object().into_iter().flatten();
    let told = told.filter_map(|(directive, how)| Some((directive.as_str(), how.as_str()?)));
    strptime::Directives::told(&told.collect())
}

fn addresses(told: &Json) -> address::Tables {
    let networks = |list: &Json| -> Option<Vec<address::Network>> {
        list.as_array()?
            .iter()
            .map(|network| address::Network::parse(network.as_str()?).ok())
            .collect()
    };
    match (networks(&told["private"]), networks(&told["not_private"])) {
        (Some(private), Some(not_private)) => address::Tables {
            private,
            not_private,
        },
        _ => address::Tables::default(),
    }
}
