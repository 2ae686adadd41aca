//! Events that Python evaluates as well, with all rules of their log type, to see whether Rust and the memory of events are right.

use std::collections::BTreeMap;

use super::evaluation::{Difference, Evaluation};
use crate::native::Native;
use crate::verdict::{Outcome, RuleError};

/// Characters that are kept of what each side said.
const KEPT: usize = 400;

/// What Python is expected to say of one event.
pub(super) struct Shadow {
    event: usize,
    /// By rule: no match, or a match or error, and whether Python might put its texts otherwise.
    expected: BTreeMap<u32, Option<(Outcome, bool)>>,
}

impl Shadow {
    pub(super) fn new(event: usize) -> Self {
        Self {
            event,
            expected: BTreeMap::new(),
        }
    }

    /// Notes what Rust said of a rule.
    pub(super) fn expect(&mut self, rule: u32, said: Option<Outcome>, loose: bool) {
        self.expected
            .insert(rule, said.map(|outcome| (outcome, loose)));
    }

    /// The rules that Python is to evaluate: those that are left to it, and others, of which no match is expected unless Rust said so.
    pub(super) fn with(&mut self, left: &[u32], others: impl Iterator<Item = u32>) -> Vec<u32> {
        for rule in others {
            self.expected.entry(rule).or_insert(None);
        }
        let mut all: Vec<u32> = self.expected.keys().chain(left).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn agrees(&self, rule: u32, said: Option<&Outcome>) -> bool {
        match (self.expected.get(&rule), said) {
            (None, _) | (Some(None), None) => true,
            (Some(Some((Outcome::Matched(outputs), loose))), Some(Outcome::Matched(said))) => {
                *loose || outputs == said
            }
            (Some(Some((Outcome::Failed(error), _))), Some(Outcome::Failed(said)))
                if error == said =>
            {
                true
            }
            (_, Some(said)) => says_nothing(said),
            _ => false,
        }
    }

    fn native(&self, rule: u32) -> String {
        let expected = self.expected.get(&rule).and_then(Option::as_ref);
        in_short(expected.map(|(said, _)| said))
    }
}

/// Compares, and leaves to Python the rules of which something else was said.
pub(super) fn compare(native: &Native, shadows: &[Shadow], evaluation: &mut Evaluation) {
    for shadow in shadows {
        let said: BTreeMap<usize, &Outcome> = evaluation
            .verdicts
            .iter()
            .filter(|verdict| verdict.event == shadow.event)
            .map(|verdict| (verdict.detection, &verdict.outcome))
            .collect();
        let mut found = Vec::new();
        for rule in shadow.expected.keys() {
            let python = said.get(&(*rule as usize)).copied();
            if shadow.agrees(*rule, python) {
                continue;
            }
            native.demote(*rule);
            found.push(Difference {
                event: shadow.event,
                detection: *rule as usize,
                native: shadow.native(*rule),
                python: in_short(python),
            });
        }
        evaluation.differences.append(&mut found);
    }
}

/// What became of the worker says nothing of the rule.
pub(super) fn says_nothing(said: &Outcome) -> bool {
    let Outcome::Failed(error) = said else {
        return false;
    };
    is_of_the_worker(error)
}

/// Whether an error tells what became of the worker.
pub(super) fn is_of_the_worker(error: &RuleError) -> bool {
    matches!(
        error.kind.as_str(),
        "DetectionTimeout" | "WorkerDied" | "SharedStateChanged" | "DetectionSuspended"
    )
}

/// What was said, in short.
pub(super) fn in_short(said: Option<&Outcome>) -> String {
    said.map_or_else(|| "no match".to_owned(), |said| cut(&format!("{said:?}")))
}

pub(super) fn cut(text: &str) -> String {
    text.chars().take(KEPT).collect()
}
