//! The files that a pack is written in. A version keeps them, so that it can be given back as its author wrote it and joined with others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::files::{Files, Limits};
use super::items::{Item, joined};
use super::{Detection, Pack, Problem, read};

/// Where items of a live pack go whose file names other items take: `kept`, `kept-2`, ….
const MOVED: &str = "kept";

/// YAML and Python files by path, and the names of what else lies beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sources {
    texts: BTreeMap<String, String>,
    #[serde(skip)]
    others: BTreeSet<String>,
    #[serde(skip)]
    problems: Vec<Problem>,
}

impl Sources {
    /// From a folder, or from a zip file, within the default [`Limits`]. Blocking.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        let files = Files::from_path(path, &Limits::default());
        Ok(Self::of(files.map_err(|problem| vec![problem])?))
    }

    /// From the bytes of a zip file, within the default [`Limits`].
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_zip(bytes: &[u8]) -> Result<Self, Vec<Problem>> {
        let files = Files::from_zip(bytes, &Limits::default());
        Ok(Self::of(files.map_err(|problem| vec![problem])?))
    }

    /// Of these paths and texts.
    #[cfg(test)]
    pub(super) fn of_texts(texts: &[(&str, &str)]) -> Self {
        let texts = texts.iter();
        let texts = texts.map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Self {
            texts: texts.collect(),
            ..Self::default()
        }
    }

    fn of(files: Files) -> Self {
        let Files {
            texts,
            others,
            problems,
        } = files;
        Self {
            texts,
            others,
            problems,
        }
    }

    fn files(&self) -> Files {
        Files {
            texts: self.texts.clone(),
            others: self.others.clone(),
            problems: self.problems.clone(),
        }
    }

    /// The texts, by path.
    #[must_use]
    pub fn texts(&self) -> &BTreeMap<String, String> {
        &self.texts
    }

    /// The pack that they are. CPU-bound: a large pack takes some hundred milliseconds.
    ///
    /// # Errors
    /// Every problem of the pack, in the order of its files; never an empty list.
    pub fn pack(&self) -> Result<Pack, Vec<Problem>> {
        read::pack(&self.files())
    }

    /// The files of those detections that `takes` says yes to, with all globals and data models. Other items are left out: a selection of
    /// detections says nothing of them.
    ///
    /// # Errors
    /// The pack has problems.
    pub fn selected(&self, takes: impl Fn(&Detection) -> bool) -> Result<Self, Vec<Problem>> {
        let pack = self.pack()?;
        let taken: BTreeSet<&str> = pack
            .detections
            .iter()
            .filter(|detection| takes(detection))
            .map(|detection| detection.file.as_str())
            .collect();
        let items = self.items();
        let stays = |item: &&Item| match kind(item) {
            "global" | "datamodel" => true,
            "rule" | "policy" | "scheduled_rule" => taken.contains(item.file.as_str()),
            _ => false,
        };
        Ok(self.of_items(items.iter().filter(stays)))
    }

    /// These, and what of `live` has no item of the same kind and id here. A kept item whose files have other files' names here moves into a
    /// folder of its own.
    #[must_use]
    pub fn added_to(mut self, live: &Self) -> Self {
        let own = self.items();
        let replaced: BTreeSet<(&str, &str)> = own.iter().filter_map(identity).collect();
        let live_items = live.items();
        let kept = live_items
            .iter()
            .filter(|item| identity(item).is_none_or(|identity| !replaced.contains(&identity)));
        let kept = live.of_items(kept);
        let collides = |path: &String, text: &String| {
            self.texts.get(path).is_some_and(|own| own != text) || self.others.contains(path)
        };
        let moves = kept.texts.iter().any(|(path, text)| collides(path, text));
        let free = |folder: &String| {
            let below = format!("{folder}/");
            !self.texts.keys().any(|path| path.starts_with(&below))
        };
        let mut names =
            std::iter::once(MOVED.to_owned()).chain((2..).map(|n| format!("{MOVED}-{n}")));
        let folder = if moves { names.find(free) } else { None };
        for (path, text) in kept.texts {
            let path = match &folder {
                Some(folder) => format!("{folder}/{path}"),
                None => path,
            };
            self.texts.insert(path, text);
        }
        self
    }

    /// Without files that no item uses.
    #[must_use]
    pub fn used(&self) -> Self {
        self.of_items(self.items().iter())
    }

    fn items(&self) -> Vec<Item> {
        let (mut ignored, mut problems) = (Vec::new(), Vec::new());
        read::items(&self.files(), &mut ignored, &mut problems)
    }

    /// The files of some items: each one's YAML and the file that it names.
    fn of_items<'i>(&self, items: impl Iterator<Item = &'i Item>) -> Self {
        let paths = items.flat_map(|item| {
            let body = item.map.get("Filename").and_then(Value::as_str);
            let body = body.and_then(|name| joined(&item.file, name));
            [Some(item.file.clone()), body].into_iter().flatten()
        });
        let paths: BTreeSet<String> = paths.collect();
        let of = |path: &String| Some((path.clone(), self.texts.get(path)?.clone()));
        let others = paths.iter().filter(|path| self.others.contains(*path));
        Self {
            texts: paths.iter().filter_map(of).collect(),
            others: others.cloned().collect(),
            problems: self.problems.clone(),
        }
    }
}

fn kind(item: &Item) -> &str {
    let kind = item.map.get("AnalysisType").and_then(Value::as_str);
    kind.unwrap_or_default()
}

/// What an item replaces: its id among those that share a space of ids.
fn identity(item: &Item) -> Option<(&str, &str)> {
    let (space, key) = match kind(item) {
        "rule" | "scheduled_rule" | "correlation_rule" => ("detection", "RuleID"),
        "policy" => ("detection", "PolicyID"),
        "global" => ("global", "GlobalID"),
        "datamodel" => ("data model", "DataModelID"),
        "pack" => ("pack", "PackID"),
        "lookup_table" => ("lookup table", "LookupName"),
        "saved_query" | "scheduled_query" => ("query", "QueryName"),
        "scheduled_prompt" => ("prompt", "PromptName"),
        _ => return None,
    };
    Some((space, item.map.get(key)?.as_str()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A pack of rules by id and body; `file` names the files.
    fn rules(rules: &[(&str, &str)], file: impl Fn(&str) -> String) -> Sources {
        let mut sources = Sources::default();
        for (id, body) in rules {
            let name = file(id);
            let base = name.rsplit('/').next().unwrap_or_default();
            sources.texts.insert(
                format!("{name}.yml"),
                format!("AnalysisType: rule\nRuleID: {id}\nFilename: {base}.py\nLogTypes: [T]\nSeverity: Low\n"),
            );
            let body = format!("# {body}\ndef rule(event):\n    return True\n");
            sources.texts.insert(format!("{name}.py"), body);
        }
        sources
    }

    fn ids(sources: &Sources) -> Vec<String> {
        let pack = sources.pack().unwrap();
        pack.detections.into_iter().map(|of| of.id).collect()
    }

    fn body(sources: &Sources, id: &str) -> String {
        let pack = sources.pack().unwrap();
        let super::super::Source::Python { text, .. } = &pack.detection(id).unwrap().source else {
            panic!("{id} has no Python");
        };
        text.lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn what_is_added_replaces_its_like_and_nothing_else() {
        let named = |id: &str| format!("rules/{id}");
        let live = rules(&[("A", "old"), ("B", "old")], named);
        let new = rules(&[("B", "new"), ("C", "new")], |id| format!("mine/{id}"));
        let both = new.added_to(&live);
        assert_eq!(ids(&both), ["A", "B", "C"]);
        assert_eq!(body(&both, "A"), "# old");
        assert_eq!(body(&both, "B"), "# new");
        assert!(
            !both.texts.contains_key("rules/B.py"),
            "nothing is left of the replaced rule"
        );
    }

    #[test]
    fn rules_whose_files_have_one_name_live_beside_each_other() {
        let live = rules(&[("A", "old")], |_| "rule".to_owned());
        let new = rules(&[("B", "new")], |_| "rule".to_owned());
        let both = new.added_to(&live);
        assert_eq!(
            (body(&both, "A"), body(&both, "B")),
            ("# old".into(), "# new".into())
        );
        // And again, with what was moved before.
        let third = rules(&[("C", "third")], |_| "kept/rule".to_owned()).added_to(&both);
        assert_eq!(ids(&third), ["A", "B", "C"]);
        assert_eq!(body(&third, "A"), "# old");
    }

    #[test]
    fn a_selection_keeps_helpers_and_no_other_detection() {
        let mut all = rules(&[("A", "a"), ("B", "b")], str::to_owned);
        let global = "AnalysisType: global\nGlobalID: g\nFilename: g.py\n";
        all.texts.insert("g.yml".into(), global.into());
        all.texts.insert("g.py".into(), String::new());
        all.texts.insert("mkdocs.yml".into(), "a: 1\n".into());
        let selected = all.selected(|detection| detection.id == "B").unwrap();
        let paths: Vec<&str> = selected.texts.keys().map(String::as_str).collect();
        assert_eq!(paths, ["B.py", "B.yml", "g.py", "g.yml"]);
        assert!(!all.used().texts.contains_key("mkdocs.yml"));
    }

    proptest! {
        /// Whatever is live and whatever is added, in files of whatever names: the new items are as they were given, and every other live item as it was.
        #[test]
        fn nothing_that_is_live_is_lost_or_changed(
            live in proptest::collection::btree_map("[A-E]", ("[xy]", "[ab]"), 0..5),
            new in proptest::collection::btree_map("[A-E]", ("[xy]", "[ab]"), 0..5),
        ) {
            let make = |of: &BTreeMap<String, (String, String)>, text: &str| {
                let mut sources = Sources::default();
                for (id, (folder, _)) in of {
                    let one = rules(&[(id, text)], |id| format!("{folder}/{}", id.to_lowercase().replace(['c', 'd', 'e'], "b")));
                    // Two of one name in one folder would be one file: the later one is left out.
                    if one.texts.keys().all(|path| !sources.texts.contains_key(path)) {
                        sources.texts.extend(one.texts);
                    }
                }
                sources
            };
            let (live, new) = (make(&live, "old"), make(&new, "new"));
            let listed = |sources: &Sources| if sources.texts.is_empty() { Vec::new() } else { ids(sources) };
            let (old_ids, new_ids) = (listed(&live), listed(&new));
            let both = new.added_to(&live);
            let all: BTreeSet<&String> = old_ids.iter().chain(&new_ids).collect();
            let found = listed(&both);
            prop_assert_eq!(found.iter().collect::<BTreeSet<_>>(), all.clone());
            for id in all {
                let expected = if new_ids.contains(id) { "# new" } else { "# old" };
                prop_assert_eq!(body(&both, id), expected);
            }
        }
    }
}
