//! What came of a pack's tests, and how it is shown.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pack::DetectionKind;
use crate::verdict::{RuleError, Tested};

/// What came of all tests that were run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// By detection, in the order of their ids.
    pub detections: Vec<DetectionReport>,
    /// How many of them had passed before and were not run again, nothing having changed.
    #[serde(default)]
    pub unchanged: usize,
    /// Globals and data models that did not load, with the reason.
    pub broken_helpers: Vec<(String, RuleError)>,
    /// Detections that the filters left out.
    pub left_out: usize,
    /// Items whose tests cannot be run in this version, with the reason.
    pub unevaluated: Vec<(String, String)>,
}

/// What came of one detection's tests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectionReport {
    /// Its id.
    pub id: String,
    /// What it looks at.
    pub kind: DetectionKind,
    /// Its YAML file.
    pub file: String,
    /// Why its Python did not load, if it did not.
    pub load_error: Option<RuleError>,
    /// What its tests lack to be enough.
    pub lacking: Option<String>,
    /// In the order of the file.
    pub tests: Vec<TestReport>,
    /// What of it is not evaluated in this version.
    pub remarks: Vec<String>,
}

/// What came of one test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestReport {
    /// Whether all was as it should be.
    pub passed: bool,
    /// What `rule()` or `policy()` should have given.
    pub expected: bool,
    /// Functions other than that whose failure fails the test.
    pub failing_functions: Vec<String>,
    /// What every function gave.
    pub tested: Tested,
}

/// Counts over a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Detections whose tests were run.
    pub detections: usize,
    /// Tests that passed.
    pub tests_passed: usize,
    /// Tests that failed.
    pub tests_failed: usize,
    /// Detections with no failed test, that loaded and lack nothing.
    pub passed: usize,
    /// The others.
    pub failed: usize,
}

impl DetectionReport {
    /// Whether it loaded, lacks nothing and no test failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.load_error.is_none()
            && self.lacking.is_none()
            && self.tests.iter().all(|test| test.passed)
    }
}

impl Report {
    /// Counts.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = Summary {
            detections: self.detections.len(),
            ..Summary::default()
        };
        for detection in &self.detections {
            let passed = detection.tests.iter().filter(|test| test.passed).count();
            summary.tests_passed += passed;
            summary.tests_failed += detection.tests.len() - passed;
            if detection.passed() {
                summary.passed += 1;
            } else {
                summary.failed += 1;
            }
        }
        summary
    }

    /// Whether nothing failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.summary().failed == 0 && self.broken_helpers.is_empty()
    }
}

fn mark(passed: bool) -> &'static str {
    if passed { "PASS" } else { "FAIL" }
}

/// How much of a report is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Detail {
    /// What failed, and the summary.
    Failures,
    /// What failed, then what printed something, then the summary.
    #[default]
    Short,
    /// What failed, then every other detection, then the summary.
    All,
}

/// A report as text for people, at some [`Detail`]: failures first, the summary last.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'r> {
    report: &'r Report,
    detail: Detail,
}

impl Report {
    /// The report as text.
    #[must_use]
    pub fn shown(&self, detail: Detail) -> Shown<'_> {
        Shown {
            report: self,
            detail,
        }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report;
        for (helper, error) in &report.broken_helpers {
            writeln!(
                f,
                "{helper}\n\t[FAIL] did not load: {}: {}\n",
                error.kind, error.message
            )?;
        }
        let (passed, failed): (Vec<_>, Vec<_>) =
            report.detections.iter().partition(|of| of.passed());
        for detection in failed {
            detection.write(f, self.detail)?;
        }
        for detection in passed {
            let shown = match self.detail {
                Detail::Failures => false,
                Detail::Short => detection.printed(),
                Detail::All => true,
            };
            if shown {
                detection.write(f, self.detail)?;
            }
        }
        report.write_summary(f)
    }
}

impl Report {
    fn write_summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let summary = self.summary();
        writeln!(f, "--------------------------")?;
        writeln!(f, "Test Summary")?;
        writeln!(
            f,
            "\tDetections: {} ({} passed, {} failed, {} left out by filters)",
            summary.detections, summary.passed, summary.failed, self.left_out
        )?;
        writeln!(
            f,
            "\tTests: {} passed, {} failed",
            summary.tests_passed, summary.tests_failed
        )?;
        if !self.broken_helpers.is_empty() {
            writeln!(
                f,
                "\tDid not load: {} globals and data models",
                self.broken_helpers.len()
            )?;
        }
        if self.unchanged > 0 {
            writeln!(
                f,
                "\tNot run again: {} detections that passed before and have not changed since (--fresh runs them)",
                self.unchanged
            )?;
        }
        if !self.unevaluated.is_empty() {
            writeln!(
                f,
                "\tNot evaluated in this version: {} items (correlation rules, queries, lookup tables)",
                self.unevaluated.len()
            )?;
        }
        Ok(())
    }

    /// Why each detection and helper failed, one line each: name, file, reason.
    #[must_use]
    pub fn failures(&self) -> Vec<Failed> {
        let helpers = self.broken_helpers.iter().map(|(helper, error)| Failed {
            id: helper.clone(),
            file: String::new(),
            reason: format!("does not load: {}: {}", error.kind, error.message),
        });
        let detections = self.detections.iter().filter(|of| !of.passed());
        let detections = detections.flat_map(|detection| {
            detection.failures().into_iter().map(|reason| Failed {
                id: detection.id.clone(),
                file: detection.file.clone(),
                reason,
            })
        });
        helpers.chain(detections).collect()
    }
}

/// One reason for which a pack's tests are not passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The detection; or the sort and id of a helper.
    pub id: String,
    /// Its YAML file; empty for a helper.
    pub file: String,
    /// What failed.
    pub reason: String,
}

impl DetectionReport {
    fn printed(&self) -> bool {
        self.tests
            .iter()
            .any(|test| !test.tested.printed.is_empty())
    }

    /// At [`Detail::All`] every test; else those that failed, and, where it asks for them, those that printed something.
    fn write(&self, f: &mut fmt::Formatter<'_>, detail: Detail) -> fmt::Result {
        writeln!(f, "{} ({})", self.id, self.file)?;
        if let Some(error) = &self.load_error {
            writeln!(
                f,
                "\t[FAIL] did not load: {}: {}",
                error.kind, error.message
            )?;
        }
        if let Some(lacking) = &self.lacking {
            writeln!(f, "\t[FAIL] {lacking}")?;
        }
        if detail == Detail::All {
            for remark in &self.remarks {
                writeln!(f, "\t[NOTE] {remark}")?;
            }
            if self.tests.is_empty() {
                writeln!(f, "\tno tests")?;
            }
        }
        for test in &self.tests {
            let shown = match detail {
                // What did not load fails each of its tests for the reason that stands above.
                _ if self.load_error.is_some() => false,
                Detail::All => true,
                Detail::Short => !test.passed || !test.tested.printed.is_empty(),
                Detail::Failures => !test.passed,
            };
            if shown {
                test.write(f, self.kind)?;
            }
        }
        writeln!(f)
    }

    fn failures(&self) -> Vec<String> {
        if let Some(error) = &self.load_error {
            return vec![format!("does not load: {}: {}", error.kind, error.message)];
        }
        let failed = self.tests.iter().filter(|test| !test.passed);
        let tests = failed.map(|test| format!("test {}: {}", test.tested.name, test.reason()));
        self.lacking.iter().cloned().chain(tests).collect()
    }
}

impl TestReport {
    /// Why the test failed, in one line; empty if it did not.
    #[must_use]
    pub fn reason(&self) -> String {
        if self.passed {
            return String::new();
        }
        if let Some(error) = &self.tested.error {
            return format!("{}: {}", error.kind, error.message);
        }
        if self.tested.output != Some(self.expected) {
            return format!(
                "expected {}, got {}",
                self.expected,
                shown_output(self.tested.output)
            );
        }
        let mut reason = String::new();
        for name in &self.failing_functions {
            let error = self
                .tested
                .functions
                .get(name)
                .and_then(|function| function.error.as_ref());
            let text = error.map_or(String::new(), |error| {
                format!("{}: {}", error.kind, error.message)
            });
            let separator = if reason.is_empty() { "" } else { "; " };
            let _ = write!(reason, "{separator}{name}() {text}");
        }
        reason
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, kind: DetectionKind) -> fmt::Result {
        writeln!(f, "\t[{}] {}", mark(self.passed), self.tested.name)?;
        let function = if kind == DetectionKind::Policy {
            "policy"
        } else {
            "rule"
        };
        let as_expected = self.tested.error.is_none() && self.tested.output == Some(self.expected);
        let output = match &self.tested.error {
            Some(error) => format!("{}: {}", error.kind, error.message),
            None if as_expected => shown_output(self.tested.output),
            None => format!(
                "expected {}, got {}",
                self.expected,
                shown_output(self.tested.output)
            ),
        };
        writeln!(f, "\t\t[{}] [{function}] {output}", mark(as_expected))?;
        // What the other functions give matters only for an event that the detection takes.
        if self.expected {
            for (name, given) in &self.tested.functions {
                match (&given.error, &given.output) {
                    (Some(error), _) => {
                        writeln!(f, "\t\t[FAIL] [{name}] {}: {}", error.kind, error.message)?
                    }
                    (None, Value::Null) => {}
                    (None, Value::String(text)) => writeln!(f, "\t\t[PASS] [{name}] {text}")?,
                    (None, other) => writeln!(f, "\t\t[PASS] [{name}] {other}")?,
                }
            }
        }
        if !self.tested.printed.is_empty() {
            writeln!(f, "\t\tprinted:")?;
            for line in self.tested.printed.lines() {
                writeln!(f, "\t\t\t{line}")?;
            }
        }
        Ok(())
    }
}

fn shown_output(output: Option<bool>) -> String {
    output.map_or_else(|| "nothing".to_owned(), |output| output.to_string())
}
