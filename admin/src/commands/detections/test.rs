//! detections test: a pack's own tests, run here.

use std::{
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    time::SystemTime,
};

use clap::Args;
use panther_detections::{
    engine::{EngineFault, EngineSettings},
    testing::{self, Detail, Filter, Interpreters, Kept, Options},
};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    commands::Context,
    failure::{Exit, Failure},
    output::{Look, Tone, clean},
};

/// Detections up to which all of a report is shown: whoever tests one rule wants to see what it gives.
const SHOWN_WHOLE: usize = 5;

/// `detections test`.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The pack: a folder or a zip
    pack: PathBuf,
    /// Only detections of which a YAML key has one of these values; KEY!=VALUE leaves them out. May be given several times
    #[arg(long, value_name = "KEY=VALUE[,VALUE]")]
    filter: Vec<Filter>,
    /// How many tests each detection must have; from 2 on, one must expect True and one False
    #[arg(long, default_value_t = 0, value_name = "N")]
    minimum_tests: usize,
    /// Leave out detections that are not enabled
    #[arg(long)]
    skip_disabled: bool,
    /// Show every detection with what each function gave, after what failed
    #[arg(long, conflicts_with = "failures_only")]
    all: bool,
    /// Show what failed alone, and not what rules printed
    #[arg(long)]
    failures_only: bool,
    /// Run all, also what passed before and has not changed since
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    interpreter: super::Interpreter,
    /// Worker processes; 0 for one on each processor core
    #[arg(long, default_value_t = 0, value_name = "N")]
    workers: usize,
}

impl Test {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let path = self.pack.clone();
        let mut settings = EngineSettings {
            python: self.interpreter.absolute(),
            ..EngineSettings::default()
        };
        if self.workers > 0 {
            settings.workers = self.workers;
        }
        let python = interpreter(&settings.python);
        let place = kept_at(&path);
        let known = place
            .as_ref()
            .filter(|place| !self.fresh && place.is_file());
        // Python starts as the pack is read: for all detections, or for the few that are asked for or have changed.
        let count = match known {
            None if self.filter.is_empty() => settings.workers,
            _ => 1,
        };
        let filtered = !self.filter.is_empty();
        let (all, failures_only) = (self.all, self.failures_only);
        let options = Options {
            filters: self.filter,
            minimum_tests: self.minimum_tests,
            skip_disabled: self.skip_disabled,
        };
        let testing = async {
            let (pack, interpreters) = tokio::join!(
                super::read(context, self.pack),
                Interpreters::ahead(settings, count)
            );
            let Some(pack) = pack? else {
                return Ok::<_, Failure>(None);
            };
            let mut kept = match known {
                Some(place) => Kept::read(place, &pack, &python),
                None => Kept::nothing(&pack, &python),
            };
            let now = SystemTime::now();
            let report = testing::run(&pack, interpreters, &options, now, Some(&mut kept)).await;
            Ok(Some((pack, report.map_err(fault)?, kept)))
        };
        // Interrupted, the engine is dropped, which ends its workers and removes its folder.
        let tested = tokio::select! {
            tested = testing => tested?,
            _ = tokio::signal::ctrl_c() => return Err(Failure::new("interrupted").tried("run the tests")),
        };
        let Some((pack, report, kept)) = tested else {
            return Ok(Exit::BadInput);
        };
        // The process ends with this: letting go of a pack and a report piece by piece would only take time.
        let (pack, report) = (ManuallyDrop::new(pack), ManuallyDrop::new(report));
        let keeping = place.map(|place| {
            tokio::task::spawn_blocking(move || {
                kept.write(&place)
                    .map_err(|error| format!("{}: {error}", place.display()))
            })
        });
        let as_json = || {
            json!({
                "version": pack.version,
                "passed": report.passed(),
                "summary": report.summary(),
                "report": *report,
            })
        };
        let shown = context.screen.show_made(as_json, |look| {
            let few = report.detections.len() <= SHOWN_WHOLE;
            let detail = match () {
                () if failures_only => Detail::Failures,
                () if all || few => Detail::All,
                () => Detail::Short,
            };
            marked(&report.shown(detail).to_string(), look)
        });
        if let Some(keeping) = keeping
            && let Err(error) = keeping.await.map_err(|error| error.to_string()).flatten()
        {
            let told = format!("what passed is not kept for the next run: {error}");
            context.screen.note(&told);
        }
        shown?;
        if report.detections.is_empty() {
            let why = if filtered || report.left_out > 0 {
                format!(
                    "none of its {} detections passes the filters",
                    report.left_out
                )
            } else {
                "it has no detections: no YAML file in it has an AnalysisType of rule, policy or scheduled_rule".to_owned()
            };
            context.screen.note(&format!(
                "nothing was tested: looked at {}; {why}",
                path.display()
            ));
            return Ok(Exit::Findings);
        }
        Ok(if report.passed() {
            Exit::Fine
        } else {
            Exit::Findings
        })
    }
}

/// Where results of a pack are kept: in the user's cache, by the place of the pack. `None` if the user has none.
fn kept_at(pack: &Path) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")))?;
    let place = std::fs::canonicalize(pack).ok()?;
    let hash = Sha256::digest(place.as_os_str().as_encoded_bytes());
    let name = data_encoding::HEXLOWER.encode(&hash[..8]);
    Some(cache.join(format!("panther-cluster/tests-{name}.json")))
}

/// What tells an interpreter and what is installed for it from others: where it is, and when it and its packages were last changed.
fn interpreter(python: &Path) -> String {
    let found = if python.components().count() < 2 {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .map(|folder| folder.join(python))
            .find(|place| place.is_file())
    } else {
        Some(python.to_owned())
    };
    let found = found.unwrap_or_else(|| python.to_owned());
    let changed = |place: &Path| {
        let changed = std::fs::metadata(place).and_then(|of| of.modified());
        format!("{} {changed:?}\n", place.display())
    };
    let mut told = changed(&found);
    let libraries = found
        .parent()
        .and_then(Path::parent)
        .map(|of| of.join("lib"));
    for folder in libraries
        .and_then(|of| std::fs::read_dir(of).ok())
        .into_iter()
        .flatten()
        .flatten()
    {
        for packages in ["site-packages", "dist-packages"] {
            let packages = folder.path().join(packages);
            if packages.is_dir() {
                told.push_str(&changed(&packages));
            }
        }
    }
    told.push_str(&format!("{:?}", std::env::var_os("PYTHONPATH")));
    told
}

/// The engine could not be run.
pub(super) fn fault(fault: EngineFault) -> Failure {
    let configuration = matches!(
        fault,
        EngineFault::Python { .. } | EngineFault::Start { .. } | EngineFault::Io { .. }
    );
    if let EngineFault::Refused { .. } = fault {
        return Failure::new("the pack cannot be loaded")
            .why(fault.to_string())
            .exiting(Exit::BadInput);
    }
    let failure = Failure::new("the rules could not be run").why(fault.to_string());
    if configuration {
        failure
            .exiting(Exit::BadConfiguration)
            .next("--python PATH, or PANTHER_PYTHON in the environment, names another Python")
    } else {
        failure
    }
}

/// The report with its marks coloured. What rules gave is in it, hence cleaned.
fn marked(report: &str, look: &Look) -> String {
    let mut text = clean(report);
    for (mark, tone) in [
        ("[PASS]", Tone::Good),
        ("[FAIL]", Tone::Bad),
        ("[NOTE]", Tone::Warning),
    ] {
        let painted = look.palette.paint(tone, mark);
        if painted != mark {
            text = text.replace(mark, &painted);
        }
    }
    text
}
