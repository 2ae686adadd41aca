//! What came of a pack's tests, and how it is shown.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::{RuleError, Tested};
use crate::pack::DetectionKind;

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

/// For people: a heading per detection, a line per test and function, then the summary and what failed.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for detection in &self.detections {
            detection.write(f)?;
        }
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
        if !self.passed() {
            writeln!(f, "--------------------------")?;
            writeln!(f, "Failed")?;
            for (helper, error) in &self.broken_helpers {
                writeln!(
                    f,
                    "\t{helper}\n\t\tdid not load: {}: {}",
                    error.kind, error.message
                )?;
            }
            for detection in self
                .detections
                .iter()
                .filter(|detection| !detection.passed())
            {
                detection.write_failures(f)?;
            }
        }
        Ok(())
    }
}

impl DetectionReport {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.id)?;
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
        for remark in &self.remarks {
            writeln!(f, "\t[NOTE] {remark}")?;
        }
        if self.tests.is_empty() {
            writeln!(f, "\tno tests")?;
        }
        for test in &self.tests {
            test.write(f, self.kind)?;
        }
        writeln!(f)
    }

    fn write_failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\t{} ({})", self.id, self.file)?;
        if let Some(error) = &self.load_error {
            return writeln!(f, "\t\tdid not load: {}: {}", error.kind, error.message);
        }
        if let Some(lacking) = &self.lacking {
            writeln!(f, "\t\t{lacking}")?;
        }
        for test in self.tests.iter().filter(|test| !test.passed) {
            writeln!(f, "\t\t{}: {}", test.tested.name, test.reason())?;
        }
        Ok(())
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
            None => shown_output(self.tested.output),
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
        Ok(())
    }
}

fn shown_output(output: Option<bool>) -> String {
    output.map_or_else(|| "nothing".to_owned(), |output| output.to_string())
}
