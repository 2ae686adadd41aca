//! Takes in what Python tells of a pack that it has loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use parking_lot::Mutex;
use serde_json::Value as Json;

use super::constants::Constant;
use super::memo::Memo;
use super::program::{Detection, Mapping, Model, Output, Program, Step};
use super::told::{Told, ToldAddresses, ToldDetection, ToldModel, ToldValue};
use super::{Native, address, compile, raised, source, strptime};
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
    pub(crate) fn new(told: &Told, pack: &Known, settings: &NativeSettings<'_>) -> Self {
        let definitions = source::definitions(told);
        let compiled = compile::Pack::new(told, &definitions);
        let reached = compiled.reached(&pack.globals);
        let mut program = Program {
            functions: compile::functions(&compiled),
            patterns: compiled.patterns(),
            written: compiled.written(),
            addresses: addresses(&told.addresses),
            in_utc: told.in_utc,
            iso_zones: told.iso_zones,
            times: times(&told.times),
            countries: told
                .countries
                .iter()
                .map(|(code, fields)| (code.as_str().into(), compiled.fixed_kind(fields)))
                .collect(),
            ..Program::default()
        };
        for told in &told.detections {
            let Some(detection) = pack.detections.get(told.index as usize) else {
                continue;
            };
            if settings.python_only.contains(&detection.id) {
                continue;
            }
            if let Some((rule, functions)) = functions_of(detection.kind, told, &compiled) {
                let all = || {
                    let others = functions.iter().map(|(_, function)| *function);
                    std::iter::once(rule).chain(others)
                };
                program.detections.insert(
                    told.index,
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
        for told in &told.models {
            let model = model(told, &compiled);
            program.models.insert(told.log_type.clone(), model);
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
    told: &ToldDetection,
    compiled: &compile::Pack<'_>,
) -> Option<(usize, Vec<(Output, usize)>)> {
    let place = |value: &ToldValue| match value {
        ToldValue::Function(name) => compiled.place(name),
        _ => None,
    };
    let rule = place(told.functions.get(match kind {
        DetectionKind::Policy => "policy",
        DetectionKind::Rule | DetectionKind::ScheduledRule => "rule",
    })?)?;
    let mut functions = Vec::new();
    for output in Output::ALL {
        if let Some(value) = told.functions.get(output.name()) {
            functions.push((output, place(value)?));
        }
    }
    Some((rule, functions))
}

fn model(told: &ToldModel, compiled: &compile::Pack<'_>) -> Model {
    let mut model = Model::default();
    for (name, steps) in &told.paths {
        let steps = steps.iter().map(|step| match step {
            Json::String(key) => Step::Key(key.as_str().into()),
            Json::Number(place) => Step::Place(place.as_i64().unwrap_or(i64::MAX)),
            _ => Step::Each,
        });
        let path = Mapping::Path(steps.collect());
        model.fields.insert(name.as_str().into(), path);
    }
    for (name, text) in &told.told {
        let (name, text) = (name.as_str(), text.as_str());
        model.told.insert(name.into(), text.into());
    }
    for (name, method) in &told.methods {
        let mapping = match compiled.constant(method) {
            Constant::Function(place) => Mapping::Method(place),
            _ => Mapping::Unknown("a data model's method".into()),
        };
        // A path of the same name goes first.
        model.fields.entry(name.as_str().into()).or_insert(mapping);
    }
    model
}

fn times(told: &BTreeMap<String, String>) -> strptime::Directives {
    let told = told.iter();
    let told = told.map(|(directive, how)| (directive.as_str(), how.as_str()));
    strptime::Directives::told(&told.collect())
}

fn addresses(told: &ToldAddresses) -> address::Tables {
    let networks = |list: &[String]| -> Option<Vec<address::Network>> {
        list.iter()
            .map(|network| address::Network::parse(network).ok())
            .collect()
    };
    match (networks(&told.private), networks(&told.not_private)) {
        (Some(private), Some(not_private)) => address::Tables {
            private,
            not_private,
        },
        _ => address::Tables::default(),
    }
}
