//! What only shows once all items of a pack are known.

use std::collections::{BTreeMap, HashMap};

use super::{Pack, Problem};

/// Modules that a global must not hide.
const RESERVED_MODULES: [&str; 3] = ["panther_core", "panther_detection_helpers", "runner"];

/// Why a `GlobalID` cannot be imported under its name, if it cannot.
pub(crate) fn unfit_module_name(id: &str) -> Option<String> {
    let mut characters = id.chars();
    let identifier = characters
        .next()
        .is_some_and(|first| first.is_alphabetic() || first == '_')
        && characters.all(|c| c.is_alphanumeric() || c == '_');
    if !identifier {
        return Some(format!(
            "{id:?} is no Python module name, so no detection could import it"
        ));
    }
    if RESERVED_MODULES.contains(&id) || id.starts_with("_panther") {
        return Some(format!("{id} is the name of a module of the engine itself"));
    }
    None
}

pub(crate) fn whole(pack: &Pack, problems: &mut Vec<Problem>) {
    let detections = pack.detections.iter().map(|item| (&item.id, &item.file));
    // Correlation rules share the id space of rules.
    let others = pack
        .unevaluated
        .iter()
        .filter(|item| item.kind == super::ItemKind::CorrelationRule)
        .map(|item| (&item.id, &item.file));
    unique("detection", detections.chain(others), problems);
    unique(
        "global",
        pack.globals.iter().map(|item| (&item.id, &item.file)),
        problems,
    );
    unique(
        "data model",
        pack.data_models.iter().map(|item| (&item.id, &item.file)),
        problems,
    );

    let mut models: BTreeMap<&str, &str> = BTreeMap::new();
    for model in pack.data_models.iter().filter(|model| model.enabled) {
        if let Some(first) = models.insert(&model.log_type, &model.id) {
            problems.push(Problem {
                file: model.file.clone(),
                key: Some("LogTypes".to_owned()),
                reason: format!(
                    "{} has two enabled data models, {first} and {}; disable one",
                    model.log_type, model.id
                ),
            });
        }
    }
}

fn unique<'a>(
    what: &str,
    items: impl Iterator<Item = (&'a String, &'a String)>,
    problems: &mut Vec<Problem>,
) {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for (id, file) in items {
        if let Some(first) = seen.insert(id, file) {
            problems.push(Problem {
                file: file.clone(),
                key: None,
                reason: format!("the {what} {id} is also defined in {first}"),
            });
        }
    }
}
