//! The names of one function while it is compiled, and their slots.

use std::collections::{HashMap, HashSet};

use serde_json::Value as Json;

use super::{class, items};

/// Names of one function while it is compiled.
#[derive(Default)]
pub(super) struct Scope<'d> {
    pub(super) slots: HashMap<&'d str, usize>,
    pub(super) next: usize,
    /// How often each local name is given a value.
    pub(super) given: HashMap<&'d str, u32>,
    pub(super) globals: HashSet<&'d str>,
    /// Names of the comprehensions that are being compiled, the innermost last.
    pub(super) inner: Vec<HashMap<&'d str, usize>>,
    pub(super) captured: Vec<(usize, usize)>,
    pub(super) captured_names: Vec<&'d str>,
}

impl<'d> Scope<'d> {
    pub(super) fn slot(&mut self, name: &'d str) -> usize {
        let next = &mut self.next;
        *self.slots.entry(name).or_insert_with(|| {
            *next += 1;
            *next - 1
        })
    }

    pub(super) fn fresh(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    /// Notes the names that statements and expressions give a value.
    pub(super) fn survey(&mut self, tree: &'d Json) {
        let Json::Array(parts) = tree else {
            return;
        };
        match class(tree) {
            "Lambda" => return,
            "FunctionDef" => {
                self.give(tree[1].as_str().unwrap_or_default());
                return;
            }
            "Global" => self
                .globals
                .extend(items(&tree[1]).filter_map(Json::as_str)),
            "Assign" => items(&tree[1]).for_each(|target| self.survey_target(target)),
            "AugAssign" | "AnnAssign" | "For" | "NamedExpr" => self.survey_target(&tree[1]),
            "ExceptHandler" => {
                if let Some(name) = tree[2].as_str() {
                    self.give(name);
                }
            }
            // The targets of comprehensions are their own; an assignment expression inside one is the function's.
            _ => {}
        }
        for part in parts {
            self.survey(part);
        }
    }

    pub(super) fn survey_target(&mut self, target: &'d Json) {
        match class(target) {
            "Name" => self.give(target[1].as_str().unwrap_or_default()),
            "Tuple" | "List" => items(&target[1]).for_each(|one| self.survey_target(one)),
            "Starred" => self.survey_target(&target[1]),
            _ => {}
        }
    }

    pub(super) fn give(&mut self, name: &'d str) {
        *self.given.entry(name).or_default() += 1;
    }
}
