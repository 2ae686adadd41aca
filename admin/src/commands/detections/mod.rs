//! detections: from a folder of rules on one's own machine to the pack that is live.

mod archive;
mod check;
mod compare;
mod explain;
mod live;
mod problems;
mod profile;
mod test;
mod upload;
mod versions;

pub(crate) use live::states;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use panther_detections::pack::Pack;
use serde_json::{Value, json};

use super::Context;
use crate::{
    answer::Fields,
    failure::{Exit, Failure},
    output::{clean, counted},
};

/// `detections`.
#[derive(Debug, Subcommand)]
pub(crate) enum Detections {
    /// Run the tests of a pack, without a server
    ///
    /// Exit codes: 0 all passed, 1 some failed, 2 a file is no valid detection, 3 Python cannot be run.
    Test(test::Test),
    /// Check a pack without running it, without a server: its files, Python, modules, ids, conditions and log types
    ///
    /// Exit codes: 0 nothing is wrong, 2 something is.
    Check(check::Check),
    /// Evaluate each rule in Rust and in Python, over the events of its tests and many that are made of them, without a server
    ///
    /// Exit codes: 0 they agree, 1 they do not of some rule, 2 a file is no valid detection, 3 Python cannot be run.
    Compare(compare::Compare),
    /// What each rule costs, on the node or, without a server, over a file of events
    Profile(profile::Profile),
    /// Why a rule says what it says of an event, condition by condition, without a server
    Explain(explain::Explain),
    /// Make a pack live: a folder, or a zip of one. It is checked, loaded and tested first; deletions are asked about
    ///
    /// Exit codes: 0 it is live, 2 it was refused.
    Upload(upload::Upload),
    /// The versions that were live: the last 50
    History(versions::History),
    /// What differs between two versions
    Diff(versions::Diff),
    /// Make an earlier version live again
    Rollback(upload::Rollback),
    /// Write the files of a version into a new folder
    Download(versions::Download),
    /// The detections that are live
    List(live::List),
    /// One detection, its code and tests, and how it fares
    Show(live::Show),
    /// Keep a detection from running
    Suspend(live::Name),
    /// Let a suspended detection run again
    Resume(live::Name),
}

/// Which Python runs detections.
#[derive(Debug, Args)]
struct Interpreter {
    /// The Python to run them with, 3.11 or newer
    #[arg(
        long,
        env = "PANTHER_PYTHON",
        default_value = "python3",
        value_name = "PATH"
    )]
    python: PathBuf,
}

impl Interpreter {
    /// Workers run in a folder of their own: a path is one from where the command was given, a name is looked up in PATH.
    fn absolute(&self) -> PathBuf {
        if self.python.components().count() < 2 {
            return self.python.clone();
        }
        std::path::absolute(&self.python).unwrap_or_else(|_| self.python.clone())
    }
}

impl Detections {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Test(test) => test.run(context).await,
            Self::Check(check) => check.run(context).await,
            Self::Compare(compare) => compare.run(context).await,
            Self::Profile(profile) => profile.run(context).await,
            Self::Explain(explain) => explain.run(context).await,
            Self::Upload(upload) => upload.run(context).await,
            Self::History(history) => history.run(context).await,
            Self::Diff(diff) => diff.run(context).await,
            Self::Rollback(rollback) => rollback.run(context).await,
            Self::Download(download) => download.run(context).await,
            Self::List(list) => list.run(context).await,
            Self::Show(show) => show.run(context).await,
            Self::Suspend(name) => name.set(context, "suspended").await,
            Self::Resume(name) => name.set(context, "live").await,
        }
    }
}

/// A pack read from disk; or, its problems having been shown, none.
async fn read(context: &Context, path: PathBuf) -> Result<Option<Pack>, Failure> {
    let outcome = tokio::task::spawn_blocking(move || Pack::read(&path))
        .await
        .map_err(|error| Failure::new("reading the pack broke off").why(error.to_string()))?;
    match outcome {
        Ok(pack) => Ok(Some(pack)),
        Err(found) => {
            let found = found
                .iter()
                .map(|problem| json!({"file": problem.file, "key": problem.key, "reason": problem.reason}))
                .collect();
            problems::show(context, found, "the pack is not valid")?;
            Ok(None)
        }
    }
}

/// What is not evaluated, a line for each kind and reason.
fn not_evaluated(items: &[Value]) -> String {
    let mut names: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for item in items {
        let key = (item.text("kind"), item.text("reason"));
        names.entry(key).or_default().push(item.text("id"));
    }
    let lines = names.iter().map(|((kind, reason), names)| {
        let which = match names.as_slice() {
            [name] => name.clone(),
            names => format!("{} such items", names.len()),
        };
        let kind = kind.to_lowercase().replace('_', " ");
        clean(&format!("not evaluated: {kind} {which}: {reason}\n"))
    });
    lines.collect()
}

/// A line for each key that has no effect, with the files that hold it.
fn keys_without_effect(ignored: &[Value]) -> String {
    let mut files: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for of in ignored {
        let key = (of.text("key"), of.text("reason"));
        files.entry(key).or_default().push(of.text("file"));
    }
    let lines = files.iter().map(|((key, reason), files)| {
        let where_it_is = match files.as_slice() {
            [file] => file.clone(),
            files => counted(files.len() as i64, "file"),
        };
        format!("no effect: {key} in {where_it_is}: {reason}\n")
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_effect_is_one_line_however_many_files_hold_it() {
        let of = |file: &str, key: &str| json!({"file": file, "key": key, "reason": "why"});
        assert_eq!(
            keys_without_effect(&[of("a.yml", "A"), of("b.yml", "B"), of("c.yml", "B")]),
            "no effect: A in a.yml: why\nno effect: B in 2 files: why\n"
        );
    }

    #[test]
    fn a_path_to_python_is_taken_from_where_the_command_was_given() {
        let absolute = |python: &str| {
            let python = python.into();
            Interpreter { python }.absolute()
        };
        assert_eq!(absolute("python3"), PathBuf::from("python3"));
        let here = std::env::current_dir().unwrap();
        let path = "venv/bin/python";
        assert_eq!(absolute(path), here.join(path));
    }
}
