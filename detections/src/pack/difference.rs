//! What changes from one pack to another, item by item.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Pack;

/// An item of a pack by kind and id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Named {
    /// As people call it: `rule`, `global`, `lookup table`, ….
    pub kind: String,
    /// Its id or name.
    pub id: String,
}

/// An item that both packs have, differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedItem {
    /// The item.
    #[serde(flatten)]
    pub item: Named,
    /// What of it differs, in the words of a pack's own data: `severity`, `source`, `tests`, ….
    pub parts: Vec<String>,
}

/// Items by what happens to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// In the later pack alone.
    pub new: Vec<Named>,
    /// In both.
    pub changed: Vec<ChangedItem>,
    /// In the earlier pack alone.
    pub deleted: Vec<Named>,
    /// Alike in both.
    pub unchanged: usize,
}

impl Difference {
    /// From `before` to `after`.
    #[must_use]
    pub fn between(before: &Pack, after: &Pack) -> Self {
        let (before, mut after) = (items(before), items(after));
        let mut difference = Self::default();
        for (item, old) in before {
            match after.remove(&item) {
                None => difference.deleted.push(item),
                Some(new) if new == old => difference.unchanged += 1,
                Some(new) => {
                    let parts = parts(&old, &new);
                    difference.changed.push(ChangedItem { item, parts });
                }
            }
        }
        difference.new = after.into_keys().collect();
        difference
    }

    /// Whether the packs hold the same items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.changed.is_empty() && self.deleted.is_empty()
    }
}

/// Keys that say where an item stands or what it hashes to, and not what it is.
const NOT_CONTENT: [&str; 4] = ["version", "file", "unevaluated", "limitations"];

fn items(pack: &Pack) -> BTreeMap<Named, Value> {
    let named = |kind: String, id: &String| Named {
        kind,
        id: id.clone(),
    };
    let detections = pack.detections.iter().map(|of| {
        let kind = of.kind.as_str().to_lowercase().replace('_', " ");
        (named(kind, &of.id), content(of))
    });
    let globals = pack.globals.iter();
    let globals = globals.map(|of| (named("global".into(), &of.id), content(of)));
    let models = pack.data_models.iter();
    let models = models.map(|of| (named("data model".into(), &of.id), content(of)));
    let packs = pack.packs.iter();
    let packs = packs.map(|of| (named("pack".into(), &of.id), content(of)));
    let others = pack.unevaluated.iter();
    let others = others.map(|of| (named(of.kind.to_string(), &of.id), content(of)));
    detections
        .chain(globals)
        .chain(models)
        .chain(packs)
        .chain(others)
        .collect()
}

/// The content of an item. Maps with text keys go into memory without fail.
fn content(item: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(item).unwrap_or_default();
    if let Value::Object(map) = &mut value {
        map.retain(|key, _| !NOT_CONTENT.contains(&key.as_str()));
    }
    value
}

fn parts(old: &Value, new: &Value) -> Vec<String> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return Vec::new();
    };
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.retain(|key| old.get(*key) != new.get(*key));
    keys.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Detection, DetectionKind, Severity, Source};
    use super::*;

    fn detection(id: &str, severity: Severity) -> Detection {
        Detection {
            id: id.to_owned(),
            kind: DetectionKind::Rule,
            version: format!("{id}{severity}"),
            file: "a.yml".to_owned(),
            display_name: None,
            description: String::new(),
            reference: String::new(),
            runbook: String::new(),
            severity,
            enabled: true,
            create_alert: true,
            log_types: vec!["T".to_owned()],
            scheduled_queries: Vec::new(),
            dedup_minutes: 60,
            threshold: 1,
            tags: Vec::new(),
            reports: BTreeMap::new(),
            output_ids: Vec::new(),
            summary_attributes: Vec::new(),
            status: None,
            inline_filters: None,
            suppressions: Vec::new(),
            auto_remediation_id: None,
            auto_remediation_parameters: BTreeMap::new(),
            source: Source::Simple(BTreeMap::new()),
            tests: Vec::new(),
            unevaluated: None,
            limitations: Vec::new(),
        }
    }

    #[test]
    fn items_are_told_by_name_with_what_differs() {
        let pack = |detections: Vec<Detection>| Pack {
            detections,
            ..Pack::default()
        };
        let before = pack(vec![
            detection("Gone", Severity::Low),
            detection("Other", Severity::Low),
            detection("Same", Severity::Low),
        ]);
        let mut moved = detection("Same", Severity::Low);
        moved.file = "b.yml".to_owned();
        let after = pack(vec![
            detection("New", Severity::Low),
            detection("Other", Severity::High),
            moved,
        ]);
        let difference = Difference::between(&before, &after);
        let rule = |id: &str| Named {
            kind: "rule".to_owned(),
            id: id.to_owned(),
        };
        assert_eq!(difference.new, [rule("New")]);
        assert_eq!(difference.deleted, [rule("Gone")]);
        assert_eq!(difference.unchanged, 1, "a file that moved changes nothing");
        assert_eq!(difference.changed[0].item, rule("Other"));
        assert_eq!(difference.changed[0].parts, ["severity"]);
        assert!(Difference::between(&after, &after).is_empty());
    }
}
