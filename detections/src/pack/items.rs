//! From one item's YAML to the typed thing that it describes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::check;
use super::fields::{Fields, MAX_BODY, MAX_ID, MAX_TEXT};
use super::files::Files;
use super::schema;
use super::types::{
    Detection, DetectionKind, Global, IgnoredKey, ItemKind, Mock, Pack, PackDefinition, Problem,
    Severity, Source, Test, UnevaluatedItem,
};

/// Minutes for which matches are grouped if a detection does not say.
pub(crate) const DEFAULT_DEDUP_MINUTES: u32 = 60;

/// The longest period: ten years.
const MAX_DEDUP_MINUTES: u64 = 5_256_000;

/// One YAML file with an `AnalysisType`.
pub(super) struct Item {
    pub(super) file: String,
    pub(super) map: Map<String, Value>,
}

/// Takes items one by one into a pack.
pub(super) struct Reader<'a> {
    pub(super) files: &'a Files,
    pub(super) problems: Vec<Problem>,
    pub(super) pack: Pack,
}

impl Reader<'_> {
    pub(super) fn item(&mut self, item: &Item) {
        let kind = item
            .map
            .get("AnalysisType")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if let Some(kind) = schema::of(kind) {
            let mut fields = Fields::new(&item.file, "", &item.map, &mut self.problems);
            let ignored = fields.only(kind.keys);
            self.ignore(item, ignored);
        }
        match kind {
            "rule" => self.detection(item, DetectionKind::Rule),
            "policy" => self.detection(item, DetectionKind::Policy),
            "scheduled_rule" => self.detection(item, DetectionKind::ScheduledRule),
            "global" => self.global(item),
            "datamodel" => self.data_model(item),
            "pack" => self.definition(item),
            "correlation_rule" => self.unevaluated(item, ItemKind::CorrelationRule, "RuleID", "correlation of stored matches is not built yet"),
            "lookup_table" => self.unevaluated(item, ItemKind::LookupTable, "LookupName", "enrichment by lookup tables is not built yet"),
            "saved_query" => self.unevaluated(item, ItemKind::SavedQuery, "QueryName", "queries over stored events are not built yet"),
            "scheduled_query" => self.unevaluated(item, ItemKind::ScheduledQuery, "QueryName", "queries over stored events are not built yet"),
            "scheduled_prompt" => self.unevaluated(item, ItemKind::ScheduledPrompt, "PromptName", "prompts to a language model are not part of this system"),
            other => self.problems.push(Problem {
                file: item.file.clone(),
                key: Some("AnalysisType".to_owned()),
                reason: format!(
                    "{other:?} is none of rule, policy, scheduled_rule, global, datamodel, pack, correlation_rule, lookup_table, saved_query, scheduled_query, scheduled_prompt"
                ),
            }),
        }
    }

    fn detection(&mut self, item: &Item, kind: DetectionKind) {
        let file = item.file.as_str();
        let id_key = if kind == DetectionKind::Policy {
            "PolicyID"
        } else {
            "RuleID"
        };
        let mut fields = Fields::new(file, "", &item.map, &mut self.problems);
        let id = fields.id(id_key);
        let severity = fields.required_text("Severity", MAX_ID).and_then(|text| {
            match text.parse::<Severity>() {
                Ok(severity) => Some(severity),
                Err(error) => {
                    fields.problem("Severity", error.to_string());
                    None
                }
            }
        });
        let types_key = if kind == DetectionKind::Policy {
            "ResourceTypes"
        } else {
            "LogTypes"
        };
        let log_types = fields.texts(types_key);
        let scheduled_queries = fields.texts("ScheduledQueries");
        // Both kinds of rule may name either: what names queries alone waits for them.
        if log_types.is_empty() && scheduled_queries.is_empty() {
            match kind {
                DetectionKind::Rule => {
                    fields.problem("LogTypes", "names no log type, so the rule would never run");
                }
                DetectionKind::ScheduledRule => fields.problem(
                    "ScheduledQueries",
                    "names no query, so the rule would never run",
                ),
                DetectionKind::Policy => {}
            }
        }
        let dedup_minutes = fields
            .unsigned("DedupPeriodMinutes", MAX_DEDUP_MINUTES)
            .and_then(|minutes| u32::try_from(minutes).ok())
            .unwrap_or(DEFAULT_DEDUP_MINUTES);
        let threshold = fields
            .unsigned("Threshold", u64::from(u32::MAX))
            .unwrap_or(1)
            .max(1);
        let mut tags = fields.texts("Tags");
        tags.sort();
        let simple: BTreeMap<String, Value> = schema::SIMPLE
            .iter()
            .filter_map(|key| Some((key.name.to_owned(), fields.value(key.name)?.clone())))
            .collect();
        let inline_filters = fields
            .value("InlineFilters")
            .filter(|filters| !filters_nothing(filters))
            .cloned();
        let mut limitations = Vec::new();
        let has_file = fields.has("Filename");
        let has_simple = simple.contains_key("Detection");
        if has_file == has_simple {
            fields.problem(
                "Filename",
                "exactly one of Filename (Python) and Detection (simple detection) is needed",
            );
        }
        if has_simple && kind == DetectionKind::Policy {
            fields.problem("Detection", "a policy cannot be a simple detection");
        }
        if has_file && !simple.is_empty() && !has_simple {
            let keys: Vec<_> = simple.keys().map(String::as_str).collect();
            limitations.push(format!(
                "{} stand beside Python and are read only in simple detections",
                keys.join(", ")
            ));
        }
        let display_name = fields.text("DisplayName", MAX_ID);
        let description = fields.text("Description", MAX_TEXT).unwrap_or_default();
        let reference = fields.text("Reference", MAX_TEXT).unwrap_or_default();
        let runbook = fields.text("Runbook", MAX_TEXT).unwrap_or_default();
        let enabled = fields.boolean("Enabled").unwrap_or(true);
        let create_alert = fields.boolean("CreateAlert").unwrap_or(true);
        let reports = fields.reports("Reports");
        let output_ids = fields.texts("OutputIds");
        let summary_attributes = fields.texts("SummaryAttributes");
        let status = fields.text("Status", MAX_ID);
        let suppressions = fields.texts("Suppressions");
        let auto_remediation_id = fields.text("AutoRemediationID", MAX_ID);
        let auto_remediation_parameters = fields.parameters("AutoRemediationParameters");
        let test_maps = fields.mappings("Tests");
        let tests = self.tests(item, kind, test_maps);
        let source = if has_simple && !has_file {
            Some(Source::Simple(simple))
        } else if has_file {
            self.body(item)
                .map(|(file, text)| Source::Python { file, text })
        } else {
            None
        };
        if let Some(Source::Python { text, .. }) = &source
            && threshold > 1
            && defines(text, "unique")
        {
            limitations.push(
                "unique() is not evaluated: the threshold counts matches, not distinct values"
                    .to_owned(),
            );
        }
        let waits_for_queries = kind == DetectionKind::ScheduledRule
            || !scheduled_queries.is_empty() && log_types.is_empty();
        let unevaluated = waits_for_queries.then(|| {
            "scheduled queries are not built yet, so a scheduled rule has no rows to look at; its unit tests run"
                .to_owned()
        });
        let (Some(id), Some(severity), Some(source)) = (id, severity, source) else {
            return;
        };
        self.pack.detections.push(Detection {
            id,
            kind,
            version: String::new(),
            file: file.to_owned(),
            display_name,
            description,
            reference,
            runbook,
            severity,
            enabled,
            create_alert,
            log_types,
            scheduled_queries,
            dedup_minutes,
            threshold,
            tags,
            reports,
            output_ids,
            summary_attributes,
            status,
            inline_filters,
            suppressions,
            auto_remediation_id,
            auto_remediation_parameters,
            source,
            tests,
            unevaluated,
            limitations,
        });
    }

    fn tests(
        &mut self,
        item: &Item,
        kind: DetectionKind,
        maps: Vec<(String, &Map<String, Value>)>,
    ) -> Vec<Test> {
        let file = item.file.as_str();
        let mut tests = Vec::with_capacity(maps.len());
        let mut ignored: Vec<(String, &'static str)> = Vec::new();
        for (place, map) in maps {
            let mut fields = Fields::new(file, place, map, &mut self.problems);
            let of_test = fields.only(&[schema::TEST]).into_iter();
            ignored.extend(of_test.map(|(key, reason)| (format!("Tests.{key}"), reason)));
            let input_key = match kind {
                _ if fields.has("Log") && !fields.has("Resource") => "Log",
                _ if fields.has("Resource") && !fields.has("Log") => "Resource",
                DetectionKind::Policy => "Resource",
                _ => "Log",
            };
            let name = fields.required_text("Name", MAX_ID);
            let expected = fields.boolean("ExpectedResult");
            if !fields.has("ExpectedResult") {
                fields.problem("ExpectedResult", "is missing");
            }
            let input = match fields.value(input_key) {
                Some(Value::String(text)) => {
                    serde_json::from_str(text).ok().filter(Value::is_object)
                }
                Some(value @ Value::Object(_)) => Some(value.clone()),
                _ => None,
            };
            if input.is_none() {
                fields.problem(
                    input_key,
                    "must be a mapping (the event or resource), or such a mapping as JSON text",
                );
            }
            let mut mocks = Vec::new();
            for (place, map) in fields.mappings("Mocks") {
                let mut fields = Fields::new(file, place, map, &mut self.problems);
                fields.only(&[schema::MOCK]);
                if let Some(object_name) = fields.required_text("objectName", MAX_ID) {
                    let return_value = fields.value("returnValue").cloned().unwrap_or(Value::Null);
                    mocks.push(Mock {
                        object_name,
                        return_value,
                    });
                }
            }
            if let (Some(name), Some(expected), Some(input)) = (name, expected, input) {
                tests.push(Test {
                    name,
                    expected,
                    input,
                    mocks,
                });
            }
        }
        ignored.sort();
        ignored.dedup();
        self.ignore(item, ignored);
        tests
    }

    /// Notes keys of an item that have no effect, each with the reason.
    fn ignore(&mut self, item: &Item, keys: Vec<(String, &'static str)>) {
        let ignored = keys.into_iter().map(|(key, reason)| IgnoredKey {
            file: item.file.clone(),
            key,
            reason: reason.to_owned(),
        });
        self.pack.ignored_keys.extend(ignored);
    }

    /// The Python file that `Filename` names, relative to the YAML file.
    pub(super) fn body(&mut self, item: &Item) -> Option<(String, String)> {
        let mut fields = Fields::new(&item.file, "", &item.map, &mut self.problems);
        let name = fields.required_text("Filename", MAX_ID)?;
        let Some(path) = joined(&item.file, &name) else {
            fields.problem("Filename", format!("{name:?} leaves the pack"));
            return None;
        };
        let Some(text) = self.files.texts.get(&path) else {
            let reason = if self.files.contains(&path) {
                format!("{path} is no Python file")
            } else {
                format!("{path} is not in the pack")
            };
            fields.problem("Filename", reason);
            return None;
        };
        let length = text.chars().count();
        if length > MAX_BODY {
            fields.problem(
                "Filename",
                format!("{path} has {length} characters; at most {MAX_BODY}"),
            );
        }
        Some((path, text.clone()))
    }

    fn global(&mut self, item: &Item) {
        let mut fields = Fields::new(&item.file, "", &item.map, &mut self.problems);
        let id = fields.id("GlobalID");
        let description = fields.text("Description", MAX_TEXT).unwrap_or_default();
        if let Some(reason) = id.as_deref().and_then(check::unfit_module_name) {
            fields.problem("GlobalID", reason);
        }
        let body = self.body(item);
        if let (Some(id), Some((file, text))) = (id, body) {
            self.pack.globals.push(Global {
                id,
                file,
                description,
                text,
            });
        }
    }

    fn definition(&mut self, item: &Item) {
        let mut fields = Fields::new(&item.file, "", &item.map, &mut self.problems);
        let id = fields.id("PackID");
        let display_name = fields.text("DisplayName", MAX_ID);
        let description = fields.text("Description", MAX_TEXT).unwrap_or_default();
        let ids = match fields.value("PackDefinition") {
            Some(Value::Object(definition)) => Fields::new(
                &item.file,
                "PackDefinition.",
                definition,
                &mut self.problems,
            )
            .texts("IDs"),
            _ => {
                fields.problem("PackDefinition", "must be a mapping with IDs");
                Vec::new()
            }
        };
        if let Some(id) = id {
            self.pack.packs.push(PackDefinition {
                id,
                file: item.file.clone(),
                display_name,
                description,
                ids,
            });
        }
    }

    fn unevaluated(&mut self, item: &Item, kind: ItemKind, id_key: &str, reason: &str) {
        let mut fields = Fields::new(&item.file, "", &item.map, &mut self.problems);
        let id = fields.id(id_key);
        let enabled = fields.boolean("Enabled").unwrap_or(true);
        if let Some(id) = id {
            self.pack.unevaluated.push(UnevaluatedItem {
                kind,
                id,
                file: item.file.clone(),
                enabled,
                reason: reason.to_owned(),
                definition: Value::Object(item.map.clone()),
            });
        }
    }
}

/// `name` as seen from the folder of `file`, or from the pack's root if it starts with a slash; `None` if it leaves the pack.
pub(super) fn joined(file: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = match name.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => file
            .rsplit_once('/')
            .map_or(Vec::new(), |(folder, _)| folder.split('/').collect()),
    };
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            other => parts.push(other),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Lists of filters that let every event through: `[]`, `[{All: []}]`.
fn filters_nothing(filters: &Value) -> bool {
    filters.as_array().is_some_and(|items| {
        items.iter().all(|item| {
            item.as_object().is_some_and(|map| {
                map.len() == 1
                    && map
                        .get("All")
                        .and_then(Value::as_array)
                        .is_some_and(Vec::is_empty)
            })
        })
    })
}

/// Whether Python text defines a module-level function of this name. A look at the text suffices for a remark; the engine asks the module itself.
fn defines(text: &str, function: &str) -> bool {
    text.lines().any(|line| {
        line.strip_prefix("def ").is_some_and(|rest| {
            rest.trim_start()
                .strip_prefix(function)
                .is_some_and(|rest| rest.trim_start().starts_with('('))
        })
    })
}
