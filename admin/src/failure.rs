//! Failures as a person has to hear them: what could not be done, what was tried, why it failed, what to do next.

use std::process::ExitCode;

use crate::output::{Palette, Tone, clean};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, nothing to complain of.
    Fine,
    /// Done with findings, or failed.
    Findings,
    /// The detections, or what was typed in, are wrong.
    BadInput,
    /// What this machine would have to offer is missing, such as Python.
    BadConfiguration,
    /// The node does not answer.
    Unreachable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Fine => 0,
            Exit::Findings => 1,
            Exit::BadInput => 2,
            Exit::BadConfiguration => 3,
            Exit::Unreachable => 4,
        })
    }
}

/// Why a command could not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    what: String,
    tried: Option<String>,
    why: Option<String>,
    next: Vec<String>,
    exit: Exit,
    silent: bool,
}

impl Failure {
    /// `what` could not be done: a short clause, such as "cannot reach pantherd".
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            tried: None,
            why: None,
            next: Vec::new(),
            exit: Exit::Findings,
            silent: false,
        }
    }

    /// Wrong input: exit code 2.
    pub(crate) fn input(what: impl Into<String>) -> Self {
        Self::new(what).exiting(Exit::BadInput)
    }

    /// Whoever read our output has had enough, which is no failure of ours.
    pub(crate) fn reader_gone() -> Self {
        Self {
            silent: true,
            ..Self::new("").exiting(Exit::Fine)
        }
    }

    /// What was tried, on what.
    pub(crate) fn tried(mut self, tried: impl Into<String>) -> Self {
        self.tried = Some(tried.into());
        self
    }

    /// The reason, in the words of whoever found it.
    pub(crate) fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// One thing to do next. May be told several times.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next.push(next.into());
        self
    }

    /// The exit code that goes with it.
    pub(crate) fn exiting(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Nothing is to be said about it.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    /// One JSON object, for who asked for JSON.
    pub(crate) fn as_json(&self) -> serde_json::Value {
        serde_json::json!({"error": self.what, "tried": self.tried, "why": self.why, "next": self.next})
    }

    /// For standard error.
    pub(crate) fn render(&self, palette: Palette) -> String {
        let mut text = format!(
            "{} {}\n",
            palette.paint(Tone::Bad, "error:"),
            clean(&self.what)
        );
        let lines = [("tried", &self.tried), ("why", &self.why)]
            .into_iter()
            .filter_map(|(label, line)| line.as_ref().map(|line| (label, line)))
            .chain(self.next.iter().map(|line| ("next", line)));
        for (label, line) in lines {
            let line = clean(line.trim_end()).replace('\n', "\n         ");
            let label = palette.paint(Tone::Dim, &format!("{label:<5}"));
            text.push_str(&format!("  {label}  {line}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_tried_why_it_failed_and_what_is_next() {
        let failure = Failure::new("cannot reach pantherd")
            .tried("connect to /run/x")
            .why("no such file")
            .next("start it")
            .next("or look elsewhere");
        assert_eq!(
            failure.render(Palette::PLAIN),
            "error: cannot reach pantherd\n  tried  connect to /run/x\n  why    no such file\n  next   start it\n  next   or look elsewhere\n"
        );
    }

    #[test]
    fn what_a_server_or_a_log_said_cannot_command_the_terminal() {
        let shown = Failure::new("x")
            .why("\u{1b}[2Jgone\u{7}")
            .render(Palette::PLAIN);
        assert!(
            !shown.contains('\u{1b}') && !shown.contains('\u{7}'),
            "{shown:?}"
        );
    }
}
