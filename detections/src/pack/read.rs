//! From files to a checked pack.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::files::Files;
use super::items::{Item, Reader, joined};
use super::types::{Pack, Problem};
use super::{check, yaml};
use crate::threads::side_by_side;

/// Folders of the public pack whose YAML files are examples and scenarios for its own tooling, not items.
const NOT_ITEMS: [&str; 2] = ["templates", "test_scenarios"];

/// Keys that a derived detection does not take from its base.
const NOT_INHERITED: [&str; 5] = [
    "RuleID",
    "PolicyID",
    "BaseDetection",
    "BaseVersion",
    "Tests",
];

/// Reads, checks and versions everything in `files`.
pub(crate) fn pack(files: &Files) -> Result<Pack, Vec<Problem>> {
    let mut problems = files.problems.clone();
    let mut ignored_files = Vec::new();
    let mut items = items(files, &mut ignored_files, &mut problems);
    derive(&mut items, &mut problems);
    let no_items = items.is_empty();
    let mut pack = Pack {
        ignored_files,
        ..Pack::default()
    };
    for (of_item, mut alone) in side_by_side(items, |item| read_item(files, &item)) {
        problems.extend(of_item);
        pack.detections.append(&mut alone.detections);
        pack.globals.append(&mut alone.globals);
        pack.data_models.append(&mut alone.data_models);
        pack.packs.append(&mut alone.packs);
        pack.unevaluated.append(&mut alone.unevaluated);
        pack.ignored_keys.append(&mut alone.ignored_keys);
    }
    pack.detections.sort_by(|a, b| a.id.cmp(&b.id));
    pack.globals.sort_by(|a, b| a.id.cmp(&b.id));
    pack.data_models.sort_by(|a, b| a.id.cmp(&b.id));
    pack.packs.sort_by(|a, b| a.id.cmp(&b.id));
    pack.unevaluated
        .sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
    pack.ignored_keys.sort();
    check::whole(&pack, &mut problems);
    if problems.is_empty() && no_items {
        problems.push(Problem {
            file: "pack".to_owned(),
            key: None,
            reason: format!(
                "no item found: looked at {} YAML, JSON and Python files and {} others, and none has a key AnalysisType",
                files.texts.len(),
                files.others.len()
            ),
        });
    }
    if !problems.is_empty() {
        problems.sort();
        problems.dedup();
        return Err(problems);
    }
    // A detection's own version stands for all of it.
    let detections = pack.detections.iter();
    let detections: Vec<_> = detections.map(|of| (&of.id, &of.version)).collect();
    pack.version = content_hash(&(
        &detections,
        &pack.globals,
        &pack.data_models,
        &pack.packs,
        &pack.unevaluated,
    ));
    Ok(pack)
}

/// The problems of one item, and a pack of that item alone.
fn read_item(files: &Files, item: &Item) -> (Vec<Problem>, Pack) {
    let mut reader = Reader {
        files,
        problems: Vec::new(),
        pack: Pack::default(),
    };
    reader.item(item);
    for detection in &mut reader.pack.detections {
        detection.version = content_hash(detection);
    }
    (reader.problems, reader.pack)
}

/// The first 128 bits of SHA-256 over the JSON form, as 32 hex digits.
fn content_hash(content: &impl Serialize) -> String {
    // Writing maps with text keys into memory has no way to fail; an empty hash would only mean that nothing is ever found unchanged.
    let json = serde_json::to_vec(content).unwrap_or_default();
    data_encoding::HEXLOWER.encode(&Sha256::digest(&json)[..16])
}

pub(super) fn items(
    files: &Files,
    ignored: &mut Vec<String>,
    problems: &mut Vec<Problem>,
) -> Vec<Item> {
    let mut items = Vec::new();
    let mut documents = Vec::new();
    for (path, text) in &files.texts {
        let is_json = path.ends_with(".json");
        if path.ends_with(".py") || (is_json && !text.contains("\"AnalysisType\"")) {
            continue;
        }
        if !text.contains("AnalysisType") || path.split('/').any(|part| NOT_ITEMS.contains(&part)) {
            ignored.push(path.clone());
            continue;
        }
        documents.push((path, text.as_str()));
    }
    for (path, read) in side_by_side(documents, |(path, text)| (path, yaml::read(text))) {
        match read {
            Ok(Value::Object(map)) if map.contains_key("AnalysisType") => items.push(Item {
                file: path.clone(),
                map,
            }),
            Ok(_) => ignored.push(path.clone()),
            Err(error) => problems.push(Problem {
                file: path.clone(),
                key: None,
                reason: error.to_string(),
            }),
        }
    }
    ignored.sort();
    items
}

/// Completes each derived detection (`BaseDetection: id`) by the keys of its base that it does not set itself.
fn derive(items: &mut [Item], problems: &mut Vec<Problem>) {
    let id_of = |item: &Item| {
        item.map
            .get("RuleID")
            .or_else(|| item.map.get("PolicyID"))
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let bases: BTreeMap<String, usize> = items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| Some((id_of(item)?, index)))
        .collect();
    for index in 0..items.len() {
        let Some(base_id) = items[index].map.get("BaseDetection") else {
            continue;
        };
        let base = base_id
            .as_str()
            .and_then(|id| bases.get(id))
            .copied()
            .filter(|base| *base != index);
        let reason = match base.map(|base| &items[base]) {
            Some(base) if base.map.contains_key("BaseDetection") => {
                "the base is itself a derived detection"
            }
            Some(base) => {
                let (file, inherited) = (base.file.clone(), base.map.clone());
                let derived = &mut items[index];
                for (key, value) in inherited {
                    if key == "Filename" && !derived.map.contains_key("Filename") {
                        // The body stands beside the base; the path is made one from the derived detection's folder.
                        let body = value
                            .as_str()
                            .map(|name| format!("/{}", joined(&file, name).unwrap_or_default()));
                        derived
                            .map
                            .insert(key, body.map_or(Value::Null, Value::String));
                    } else if !NOT_INHERITED.contains(&key.as_str())
                        && !derived.map.contains_key(&key)
                    {
                        derived.map.insert(key, value);
                    }
                }
                continue;
            }
            None => "no detection of this id is in the pack, so there is nothing to derive from",
        };
        problems.push(Problem {
            file: items[index].file.clone(),
            key: Some("BaseDetection".to_owned()),
            reason: reason.to_owned(),
        });
    }
}
