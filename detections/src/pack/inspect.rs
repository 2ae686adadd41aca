//! What is wrong with a pack that its YAML does not show: Python that does not parse, functions, modules, ids and conditions that do not exist. Nothing is run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::module::Module;
use super::{DetectionKind, MappingTarget, Pack, Problem, Source, nearest};
use crate::threads::side_by_side;

/// Modules that the engine brings, or stands in for.
const OF_THE_ENGINE: [&str; 4] = [
    "panther_core",
    "panther_detection_helpers",
    "boto3",
    "botocore",
];

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// What cannot work.
    pub problems: Vec<Problem>,
    /// Modules that neither the pack nor the engine brings: the Python that evaluates the pack must have them. By module, where it is imported.
    pub modules: BTreeMap<String, Vec<Problem>>,
}

/// Looks through a pack. CPU-bound: the files are parsed on all cores.
#[must_use]
pub fn inspect(pack: &Pack) -> Findings {
    let mut findings = Findings {
        problems: missing_ids(pack),
        ..Findings::default()
    };
    let mut texts: BTreeMap<&str, &str> = BTreeMap::new();
    for detection in &pack.detections {
        if let Source::Python { file, text } = &detection.source {
            texts.insert(file, text);
        }
    }
    texts.extend(pack.globals.iter().map(|of| (&*of.file, &*of.text)));
    let models = pack.data_models.iter();
    texts.extend(models.filter_map(|of| Some((of.text_file.as_deref()?, of.text.as_deref()?))));
    let read = side_by_side(texts.into_iter().collect(), |(file, text)| {
        (file, Module::read(text))
    });
    let mut modules: BTreeMap<&str, Module> = BTreeMap::new();
    for (file, read) in read {
        match read {
            Ok(module) => {
                modules.insert(file, module);
            }
            Err((at, reason)) => findings.problems.push(Problem {
                file: file.to_owned(),
                key: Some(at.to_string()),
                reason: format!("it does not parse: {reason}"),
            }),
        }
    }
    for (file, module) in &modules {
        imports(pack, file, module, &modules, &mut findings);
    }
    for detection in &pack.detections {
        if let Source::Simple(keys) = &detection.source {
            for (key, value) in keys {
                conditions(value, &detection.file, key, &mut findings.problems);
            }
        }
        if let Some(filters) = &detection.inline_filters {
            conditions(
                filters,
                &detection.file,
                "InlineFilters",
                &mut findings.problems,
            );
        }
        let Source::Python { file, .. } = &detection.source else {
            continue;
        };
        let Some(module) = modules.get(file.as_str()) else {
            continue;
        };
        let function = match detection.kind {
            DetectionKind::Rule => Some("rule"),
            DetectionKind::Policy => Some("policy"),
            // One without looks at every row.
            DetectionKind::ScheduledRule => None,
        };
        if let Some(function) = function.filter(|function| !module.may_have(function)) {
            findings.problems.push(Problem {
                file: file.clone(),
                key: None,
                reason: format!(
                    "{} needs a function {function}, and the file has none{}",
                    detection.id,
                    meant(function, module)
                ),
            });
        }
        for test in &detection.tests {
            for mock in &test.mocks {
                if !module.may_have(&mock.object_name) {
                    findings.problems.push(Problem {
                        file: detection.file.clone(),
                        key: Some(format!("Tests, {}, Mocks", test.name)),
                        reason: format!(
                            "{file} has nothing named {}{}",
                            mock.object_name,
                            meant(&mock.object_name, module)
                        ),
                    });
                }
            }
        }
    }
    for model in &pack.data_models {
        let module = model
            .text_file
            .as_deref()
            .and_then(|file| modules.get(file));
        let Some(module) = module else { continue };
        for mapping in &model.mappings {
            if let MappingTarget::Method(method) = &mapping.target
                && !module.may_have(method)
            {
                findings.problems.push(Problem {
                    file: model.file.clone(),
                    key: Some(format!("Mappings, {}", mapping.name)),
                    reason: format!(
                        "{} has no function {method}{}",
                        model.text_file.as_deref().unwrap_or_default(),
                        meant(method, module)
                    ),
                });
            }
        }
    }
    findings.problems.sort();
    findings.problems.dedup();
    findings
}

/// Ids that pack definitions name and no item has.
#[must_use]
pub fn missing_ids(pack: &Pack) -> Vec<Problem> {
    let detections = pack.detections.iter().map(|of| of.id.as_str());
    let globals = pack.globals.iter().map(|of| of.id.as_str());
    let models = pack.data_models.iter().map(|of| of.id.as_str());
    let others = pack.unevaluated.iter().map(|of| of.id.as_str());
    let known: BTreeSet<&str> = detections
        .chain(globals)
        .chain(models)
        .chain(others)
        .collect();
    let definitions = pack.packs.iter();
    let missing = definitions.flat_map(|definition| {
        let ids = definition.ids.iter();
        let missing = ids.filter(|id| !known.contains(id.as_str()));
        missing.map(|id| Problem {
            file: definition.file.clone(),
            key: Some("PackDefinition.IDs".to_owned()),
            reason: format!(
                "nothing in the pack has the id {id}{}",
                question(nearest(id, known.iter().copied()))
            ),
        })
    });
    missing.collect()
}

/// Log types of enabled rules and data models that are not among `known`, by log type: the nearest known name, and the files.
#[must_use]
pub fn unknown_log_types<'p>(
    pack: &'p Pack,
    known: &BTreeSet<&str>,
) -> BTreeMap<&'p str, (Option<String>, Vec<&'p str>)> {
    let rules = pack.detections.iter();
    let rules = rules.filter(|of| of.kind == DetectionKind::Rule && of.enabled);
    let rules = rules.flat_map(|of| of.log_types.iter().map(|log_type| (&**log_type, &*of.file)));
    let models = pack.data_models.iter().filter(|of| of.enabled);
    let models = models.map(|of| (&*of.log_type, &*of.file));
    let mut unknown: BTreeMap<&str, (Option<String>, Vec<&str>)> = BTreeMap::new();
    for (log_type, file) in rules.chain(models) {
        if !known.contains(log_type) {
            let of = unknown.entry(log_type).or_insert_with(|| {
                let meant = nearest(log_type, known.iter().copied());
                (meant.map(str::to_owned), Vec::new())
            });
            of.1.push(file);
        }
    }
    unknown
}

fn meant(name: &str, module: &Module) -> String {
    question(nearest(name, module.names.iter().map(String::as_str)))
}

fn question(meant: Option<&str>) -> String {
    meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"))
}

fn imports(
    pack: &Pack,
    file: &str,
    module: &Module,
    modules: &BTreeMap<&str, Module>,
    findings: &mut Findings,
) {
    for import in &module.imports {
        let root = import.module.split('.').next().unwrap_or_default();
        let problem = |reason: String| Problem {
            file: file.to_owned(),
            key: Some(import.at.to_string()),
            reason,
        };
        if let Some(global) = pack.globals.iter().find(|global| global.id == root) {
            let Some(helper) = modules.get(global.file.as_str()) else {
                continue; // it does not parse, which is said there
            };
            for name in import.names.iter().filter(|name| !helper.may_have(name)) {
                let reason = format!("{root} has nothing named {name}{}", meant(name, helper));
                findings.problems.push(problem(reason));
            }
        } else if !OF_THE_ENGINE.contains(&root) {
            let globals = pack.globals.iter().map(|global| global.id.as_str());
            let reason = format!(
                "there is no module {root}{}",
                question(nearest(root, globals))
            );
            let of = findings.modules.entry(root.to_owned()).or_default();
            of.push(problem(reason));
        }
    }
}

/// Conditions on texts: the form that detections/python/_panther_conditions.py takes.
const TEXTUAL: &str =
    r"^(?:(DoesNot)?(I)?|(I)(DoesNot)?)(Equal|StartsWith|StartWith|EndsWith|EndWith|Contain)s?$";
/// The other conditions, and those on the elements of a list.
const OTHERS: [&str; 27] = [
    "IsGreaterThan",
    "IsGreaterThanOrEqual",
    "IsGreaterThanOrEquals",
    "IsLessThan",
    "IsLessThanOrEqual",
    "IsLessThanOrEquals",
    "IsIn",
    "IsNotIn",
    "IsIPAddressInCIDR",
    "IsIPAddressNotInCIDR",
    "Exists",
    "DoesNotExist",
    "IsNull",
    "IsNotNull",
    "IsNullOrEmpty",
    "IsNotNullOrEmpty",
    "IsIPAddress",
    "IsIPv4Address",
    "IsIPv6Address",
    "IsIPAddressPublic",
    "IsIPAddressPrivate",
    "AlwaysTrue",
    "AlwaysFalse",
    "AnyElement",
    "AllElements",
    "OnlyOneElement",
    "NoElement",
];
/// Usual spellings of conditions on texts, to be proposed.
const USUAL: [&str; 8] = [
    "Equals",
    "DoesNotEqual",
    "StartsWith",
    "EndsWith",
    "Contains",
    "DoesNotContain",
    "IEquals",
    "IContains",
];

fn is_condition(name: &str) -> bool {
    // A pattern that did not compile would take every condition for known; a test sees that it does.
    static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(TEXTUAL).ok());
    OTHERS.contains(&name)
        || PATTERN
            .as_ref()
            .is_none_or(|pattern| pattern.is_match(name))
}

/// Conditions in a simple detection or inline filter that do not exist.
fn conditions(value: &Value, file: &str, place: &str, problems: &mut Vec<Problem>) {
    match value {
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                conditions(item, file, &format!("{place}[{number}]"), problems);
            }
        }
        Value::Object(map) => {
            if let Some(Value::String(name)) = map.get("Condition")
                && !is_condition(name)
            {
                let known = OTHERS.iter().chain(&USUAL).copied();
                problems.push(Problem {
                    file: file.to_owned(),
                    key: Some(format!("{place}.Condition")),
                    reason: format!("unknown condition {name}{}", question(nearest(name, known))),
                });
            }
            // What is compared with may look like anything.
            let inner = map
                .iter()
                .filter(|(key, _)| !matches!(key.as_str(), "Value" | "Values"));
            for (key, inner) in inner {
                conditions(inner, file, &format!("{place}.{key}"), problems);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sources;
    use super::*;

    const RULE: &str =
        "AnalysisType: rule\nRuleID: R\nFilename: r.py\nLogTypes: [T]\nSeverity: Low\n";
    const HELPER: &str = "AnalysisType: global\nGlobalID: own_helpers\nFilename: h.py\n";

    fn found(files: &[(&str, &str)]) -> Findings {
        inspect(&Sources::of_texts(files).pack().unwrap())
    }

    fn lines(files: &[(&str, &str)]) -> Vec<String> {
        found(files)
            .problems
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn python_that_cannot_be_a_rule_is_found_with_its_place() {
        let rule = |text: &str| lines(&[("r.yml", RULE), ("r.py", text)]);
        assert!(rule("def rule(event):\n    return True\n").is_empty());
        assert!(
            rule("def rule(event)\n    return True\n")[0]
                .starts_with("r.py: line 1, column 16: it does not parse")
        );
        assert_eq!(
            rule("def ruel(event):\n    return True\n"),
            ["r.py: R needs a function rule, and the file has none; did you mean ruel?"]
        );
    }

    #[test]
    fn modules_and_their_names_are_looked_up() {
        let text = "import json\nfrom own_helpers import is_good, is_bad\nfrom own_helper import x\ndef rule(event):\n    import later\n    return is_good\n";
        let findings = found(&[
            ("r.yml", RULE),
            ("r.py", text),
            ("h.yml", HELPER),
            ("h.py", "def is_good():\n    return 1\n"),
        ]);
        assert_eq!(findings.problems.len(), 1, "{findings:?}");
        assert_eq!(
            findings.problems[0].to_string(),
            "r.py: line 2, column 1: own_helpers has nothing named is_bad"
        );
        let modules: Vec<&String> = findings.modules.keys().collect();
        assert_eq!(modules, ["json", "own_helper"]);
        assert!(
            findings.modules["own_helper"][0]
                .reason
                .contains("did you mean own_helpers?")
        );
    }

    #[test]
    fn ids_methods_and_mocks_that_do_not_exist_are_found() {
        let body = "def rule(event):\n    return True\n";
        let pack = "AnalysisType: pack\nPackID: P\nPackDefinition: {IDs: [R, Gone, own_helper]}\n";
        let model = "AnalysisType: datamodel\nDataModelID: M\nLogTypes: [T]\nFilename: h.py\nMappings: [{Name: user, Method: get_usr}]\n";
        let mocked = format!(
            "{RULE}Tests: [{{Name: t, ExpectedResult: true, Log: {{}}, Mocks: [{{objectName: lookup, returnValue: x}}]}}]\n"
        );
        let found = lines(&[
            ("r.yml", &mocked),
            ("r.py", body),
            ("h.yml", HELPER),
            ("h.py", "def get_user(event):\n    return 1\n"),
            ("m.yml", model),
            ("p.yml", pack),
        ]);
        assert_eq!(
            found,
            [
                "m.yml: Mappings, user: h.py has no function get_usr; did you mean get_user?",
                "p.yml: PackDefinition.IDs: nothing in the pack has the id Gone",
                "p.yml: PackDefinition.IDs: nothing in the pack has the id own_helper; did you mean own_helpers?",
                "r.yml: Tests, t, Mocks: r.py has nothing named lookup",
            ]
        );
    }

    #[test]
    fn unknown_conditions_are_found_wherever_they_stand() {
        let simple = "AnalysisType: rule\nRuleID: S\nLogTypes: [T]\nSeverity: Low\nDetection:\n  - Any:\n      - {Key: a, Condition: Equal, Value: {Condition: x}}\n      - {Key: a, Condition: Equalz, Value: 1}\nDynamicSeverities: [{ChangeTo: High, Conditions: [{Key: b, Condition: IsHuge}]}]\n";
        let found = lines(&[("s.yml", simple)]);
        assert_eq!(
            found,
            [
                "s.yml: Detection[0].Any[1].Condition: unknown condition Equalz; did you mean Equals?",
                "s.yml: DynamicSeverities[0].Conditions[0].Condition: unknown condition IsHuge",
            ]
        );
    }

    #[test]
    fn the_conditions_are_those_that_the_engine_takes() {
        let python = include_str!("../../python/_panther_conditions.py");
        assert!(python.contains(&format!("re.compile(r\"{TEXTUAL}\")")));
        assert!(!is_condition("IsHuge") && is_condition("DoesNotIEqual"));
        let quoted = python
            .lines()
            .filter_map(|line| line.trim().strip_prefix('"')?.split_once("\": "));
        for (name, _) in quoted {
            assert!(is_condition(name), "{name}");
        }
        let simple = include_str!("../../python/_panther_simple.py");
        for name in OTHERS {
            assert!(
                python.contains(&format!("\"{name}\"")) || simple.contains(&format!("\"{name}\"")),
                "{name}"
            );
        }
    }

    #[test]
    fn unknown_log_types_are_named_with_the_nearest() {
        let pack = Sources::of_texts(&[
            ("r.yml", &RULE.replace("[T]", "[AWS.CloudTrial]")),
            ("r.py", "def rule(event):\n    return True\n"),
        ])
        .pack()
        .unwrap();
        let known = BTreeSet::from(["AWS.CloudTrail"]);
        let unknown = unknown_log_types(&pack, &known);
        assert_eq!(
            unknown["AWS.CloudTrial"],
            (Some("AWS.CloudTrail".to_owned()), vec!["r.yml"])
        );
    }
}
