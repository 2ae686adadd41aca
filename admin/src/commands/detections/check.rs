//! detections check: what is wrong with a pack, without running it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use panther_detections::pack::{self, Findings, Pack};
use panther_logs::LogTypes;
use serde_json::json;

use super::{keys_without_effect, not_evaluated, problems, read};
use crate::{
    answer::{Answer, Fields},
    commands::Context,
    failure::{Exit, Failure},
    output::{clean, counted},
};

/// Asks the interpreter which of some modules it does not find. It imports none of them.
const MISSING: &str = "import importlib.util, json, sys; print(json.dumps([name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]))";

/// `detections check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The pack: a folder or a zip
    pack: PathBuf,
    #[command(flatten)]
    interpreter: super::Interpreter,
}

/// Takes from what was found the modules that the interpreter has; the others are problems. A note if the interpreter cannot be asked.
async fn look_up_modules(findings: &mut Findings, python: &std::path::Path) -> Option<String> {
    if findings.modules.is_empty() {
        return None;
    }
    let asked = tokio::process::Command::new(python)
        .args(["-c", MISSING])
        .args(findings.modules.keys())
        .current_dir("/")
        .output()
        .await;
    let missing: Option<BTreeSet<String>> = asked
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| serde_json::from_slice(&output.stdout).ok());
    let Some(missing) = missing else {
        return Some(format!(
            "modules were not looked up: {} cannot be asked; --python names another Python",
            python.display()
        ));
    };
    let modules = std::mem::take(&mut findings.modules);
    let modules = modules
        .into_iter()
        .filter(|(name, _)| missing.contains(name));
    for mut problem in modules.flat_map(|(_, places)| places) {
        problem.reason.push_str(&format!(
            ": not in the pack, and not installed for {}; a node installs what python.packages names",
            python.display()
        ));
        findings.problems.push(problem);
    }
    findings.problems.sort();
    None
}

impl Check {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Some(pack) = read(context, self.pack).await? else {
            return Ok(Exit::BadInput);
        };
        let (pack, mut findings) = tokio::task::spawn_blocking(move || {
            let findings = pack::inspect(&pack);
            (pack, findings)
        })
        .await
        .map_err(|error| Failure::new("checking the pack broke off").why(error.to_string()))?;
        let note = look_up_modules(&mut findings, &self.interpreter.absolute()).await;
        if let Some(note) = &note {
            context.screen.note(note);
        }
        if !findings.problems.is_empty() {
            let found = findings.problems.iter();
            let found = found.map(|problem| json!(problem)).collect();
            problems::show(context, found, "the pack is not valid")?;
            return Ok(Exit::BadInput);
        }
        Self::show(context, &pack)?;
        Ok(Exit::Fine)
    }

    fn show(context: &Context, pack: &Pack) -> Result<(), Failure> {
        let known = LogTypes::builtin();
        let known: BTreeSet<&str> = known.names().map(AsRef::as_ref).collect();
        let unknown: Vec<_> = pack::unknown_log_types(pack, &known)
            .into_iter()
            .map(|(name, (meant, files))| json!({"logType": name, "meant": meant, "files": files}))
            .collect();
        let count = |kind: &str| {
            pack.detections
                .iter()
                .filter(|detection| detection.kind.as_str() == kind)
                .count()
        };
        let unevaluated: Vec<_> = pack
            .unevaluated
            .iter()
            .map(
                |item| json!({"id": item.id, "kind": item.kind.to_string(), "reason": item.reason}),
            )
            .chain(pack.detections.iter().filter_map(|detection| {
                let reason = detection.unevaluated.as_ref()?;
                Some(json!({"id": detection.id, "kind": detection.kind.as_str(), "reason": reason}))
            }))
            .collect();
        let limitations: Vec<_> = pack
            .detections
            .iter()
            .flat_map(|detection| {
                detection
                    .limitations
                    .iter()
                    .map(move |note| (&detection.id, note))
            })
            .collect();
        let answer = Answer::of(json!({
            "version": pack.version,
            "rules": count("RULE"),
            "policies": count("POLICY"),
            "scheduledRules": count("SCHEDULED_RULE"),
            "globals": pack.globals.len(),
            "dataModels": pack.data_models.len(),
            "packs": pack.packs.len(),
            "tests": pack.detections.iter().map(|detection| detection.tests.len()).sum::<usize>(),
            "unevaluated": unevaluated,
            "limitations": limitations.iter().map(|(id, note)| json!({"id": id, "note": note})).collect::<Vec<_>>(),
            "ignoredFiles": pack.ignored_files,
            "ignoredKeys": pack.ignored_keys,
            "unknownLogTypes": unknown,
            "problems": [],
        }));
        context.screen.show(&answer, |_| {
            let mut text = format!("pack {} is valid: ", pack.version);
            let parts: Vec<String> = [
                ("rules", "rule"),
                ("policies", "policy"),
                ("scheduledRules", "scheduled rule"),
                ("globals", "global"),
                ("dataModels", "data model"),
                ("packs", "pack definition"),
                ("tests", "test"),
            ]
            .iter()
            .filter(|(key, _)| answer.number(key) > 0)
            .map(|(key, noun)| counted(answer.number(key), noun))
            .collect();
            text.push_str(&format!(
                "{}\n",
                if parts.is_empty() {
                    "there is nothing in it".to_owned()
                } else {
                    parts.join(", ")
                }
            ));
            text.push_str(&not_evaluated(answer.items("unevaluated")));
            for (id, note) in &limitations {
                text.push_str(&format!("note: {id}: {note}\n"));
            }
            text.push_str(&keys_without_effect(answer.items("ignoredKeys")));
            for item in answer.items("unknownLogTypes") {
                let files = item.items("files");
                let meant = match item.text("meant") {
                    none if none.is_empty() => String::new(),
                    meant => format!("; did you mean {meant}?"),
                };
                let which = match files {
                    [file] => crate::answer::plain(file),
                    files => counted(files.len() as i64, "file"),
                };
                text.push_str(&format!(
                    "unknown log type: {} in {which}, which is not built in{meant}\n",
                    item.text("logType")
                ));
            }
            for file in &pack.ignored_files {
                text.push_str(&format!("ignored: {file}: has no AnalysisType\n"));
            }
            clean(&text)
        })?;
        Ok(())
    }
}
