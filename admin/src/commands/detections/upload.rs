//! detections upload, rollback: a plan with the node's verdict over the pack, and then a new version.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use panther_detections::pack::Limits;
use panther_detections::testing::Filter;
use serde_json::{Value, json};
use tonic::Code;

use super::{archive, problems};
use crate::{
    answer::{Answer, Fields},
    client::{Call, CallError},
    commands::Context,
    confirm::Consent,
    failure::{Exit, Failure},
    output::{Look, bytes, clean, counted, one_line},
};

const API: &str = "panther-analysis-api";
/// Names of one kind of change that a plan shows; deletions are always shown whole.
const NAMES_SHOWN: usize = 20;
/// Reasons for which detections do not run that an upload shows.
const REASONS_SHOWN: usize = 10;
const REFUSED: &str =
    "the pack was refused, nothing of it is taken, and the version before it stays live";

/// `detections upload`.
#[derive(Debug, Args)]
pub(crate) struct Upload {
    /// The pack: a folder or a zip
    pack: PathBuf,
    /// Keep what is live and not in the folder, in place of deleting it
    #[arg(long)]
    add: bool,
    /// Only detections of which a YAML key has one of these values, and all globals and data models; KEY!=VALUE leaves them out. May be given several times
    #[arg(long, value_name = "KEY=VALUE[,VALUE]")]
    filter: Vec<String>,
    #[command(flatten)]
    way: Way,
}

/// `detections rollback`.
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The version: its number in `detections history`, or the beginning of its hash
    version: String,
    #[command(flatten)]
    way: Way,
}

/// How a new version is brought.
#[derive(Debug, Args)]
struct Way {
    /// Show what would change and what fails, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Take it although items do not load or tests fail
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    consent: Consent,
}

impl Upload {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        for filter in &self.filter {
            filter
                .parse::<Filter>()
                .map_err(|error| Failure::input("the filter is wrong").why(error.to_string()))?;
        }
        let path = self.pack.clone();
        let archive = tokio::task::spawn_blocking(move || archive::of(&path, &Limits::default()))
            .await
            .map_err(|error| Failure::new("zipping the pack broke off").why(error.to_string()))??;
        if !archive.emptied.is_empty() {
            context.screen.note(&format!(
                "too large to be part of a pack, sent by name only: {}",
                archive.emptied.join(", ")
            ));
        }
        context.screen.note(&format!(
            "checking and testing {} ({}) on the node",
            self.pack.display(),
            bytes(archive.bytes.len() as i64)
        ));
        let mut input = json!({"userId": context.user});
        if self.add {
            input["add"] = true.into();
        }
        if !self.filter.is_empty() {
            input["filters"] = json!(self.filter);
        }
        self.way.bring(context, input, archive.bytes).await
    }
}

impl Rollback {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let input = json!({"userId": context.user, "version": self.version});
        self.way.bring(context, input, Vec::new()).await
    }
}

impl Way {
    /// Plans, shows the plan, asks where something would be deleted, and makes the version live.
    async fn bring(
        self,
        context: &Context,
        mut input: Value,
        zip: Vec<u8>,
    ) -> Result<Exit, Failure> {
        let call = Call::read(API, "getUploadPlan", input.clone()).payload(zip.clone());
        let plan = match context.client.invoke(call).await {
            Ok(plan) => plan,
            Err(error) => return refused(context, error),
        };
        let failures = plan.items("failures");
        if self.dry_run {
            context
                .screen
                .show(&plan, |_| planned(&plan) + &states(&plan))?;
            if !failures.is_empty() {
                problems::show_to_people(context, failures, "the pack would be refused");
                return Ok(Exit::BadInput);
            }
            return Ok(Exit::Fine);
        }
        if !failures.is_empty() && !self.force {
            problems::show(context, failures.to_vec(), REFUSED)?;
            context
                .screen
                .note("--force takes it all the same; what does not load does not run");
            return Ok(Exit::BadInput);
        }
        let shown = planned(&plan);
        if plan["changes"].items("deleted").is_empty() {
            context.screen.note(&shown);
        } else {
            self.consent.ask(context, &shown).await?;
        }
        input["planned"] = plan["live"].clone();
        if self.force {
            input["force"] = true.into();
        }
        let call = Call::change(API, "bulkUpload", input).payload(zip);
        match context.client.invoke(call).await {
            Ok(answer) => {
                context
                    .screen
                    .show(&answer, |look| uploaded(&answer, look))?;
                Ok(Exit::Fine)
            }
            Err(error) => refused(context, error),
        }
    }
}

/// Shows the problems for which a pack was refused; any other error is the caller's.
fn refused(context: &Context, error: CallError) -> Result<Exit, Failure> {
    match found(&error) {
        Some(found) => {
            problems::show(context, found, REFUSED)?;
            Ok(Exit::BadInput)
        }
        None => Err(error.into()),
    }
}

/// The problems that an error tells of.
fn found(error: &CallError) -> Option<Vec<Value>> {
    if error.code != Some(Code::InvalidArgument) {
        return None;
    }
    let message: Value = serde_json::from_str(&error.message).ok()?;
    let problems = message.get("problems")?.as_array()?;
    (!problems.is_empty()).then(|| problems.clone())
}

/// What an upload would change, by name.
pub(super) fn changes(changes: &Value) -> String {
    let mut text = String::new();
    for (key, word, most) in [
        ("deleted", "deleted", usize::MAX),
        ("new", "new", NAMES_SHOWN),
        ("changed", "changed", NAMES_SHOWN),
    ] {
        let items = changes.items(key);
        for item in items.iter().take(most) {
            let parts: Vec<String> = item
                .items("parts")
                .iter()
                .map(crate::answer::plain)
                .collect();
            let parts = match parts.as_slice() {
                [] => String::new(),
                parts => format!(": {}", parts.join(", ")),
            };
            text.push_str(&format!(
                "{word:<8} {} {}{parts}\n",
                one_line(&item.text("kind")),
                one_line(&item.text("id")),
            ));
        }
        if items.len() > most {
            let rest = items.len() - most;
            text.push_str(&format!("{word:<8} {rest} more (--json names all)\n"));
        }
    }
    text
}

fn planned(plan: &Value) -> String {
    let of = &plan["changes"];
    let live = plan.number("live");
    let mut text = match live {
        0 => "plan: the first version\n".to_owned(),
        live => format!("plan: against version {live}, which is live\n"),
    };
    text.push_str(&changes(of));
    text.push_str(&format!(
        "{} new, {} changed, {} deleted, {} unchanged\n",
        of.items("new").len(),
        of.items("changed").len(),
        of.items("deleted").len(),
        of.number("unchanged"),
    ));
    let tests = &plan["tests"];
    if tests.is_object() {
        text.push_str(&format!(
            "{} passed, {} failed\n",
            counted(tests.number("tests_passed"), "test"),
            tests.number("tests_failed"),
        ));
    }
    text
}

/// How many detections run, and why others do not: a line for each reason.
fn states(answer: &Value) -> String {
    let counts = super::live::states(&answer["states"]);
    if counts.is_empty() {
        return String::new();
    }
    let mut text = format!("states: {counts}\n");
    let mut reasons: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for item in answer.items("notRunning") {
        let key = (item.text("state"), item.text("reason"));
        reasons.entry(key).or_default().push(item.text("id"));
    }
    let more = reasons.len().saturating_sub(REASONS_SHOWN);
    for ((state, reason), ids) in reasons.into_iter().take(REASONS_SHOWN) {
        let which = match ids.as_slice() {
            [id] => id.clone(),
            ids => counted(ids.len() as i64, "detection"),
        };
        text.push_str(&clean(&format!("{state}: {which}: {reason}\n")));
    }
    if more > 0 {
        text.push_str(&format!(
            "{more} more reasons: pantherctl detections list --state no-log-type,no-source,does-not-load\n"
        ));
    }
    text
}

fn uploaded(answer: &Answer, look: &Look) -> String {
    let number = answer.number("number");
    let mut text = look.heading(&if number > 0 && number == answer.number("live") {
        format!("version {number} is live already: nothing has changed")
    } else {
        format!("version {number} is live: pack {}", answer.text("version"))
    });
    let holds: Vec<String> = [
        ("rules", "rule"),
        ("policies", "policy"),
        ("globals", "global"),
        ("dataModels", "data model"),
    ]
    .iter()
    .map(|(key, noun)| counted(answer.number(key), noun))
    .collect();
    text.push_str(&format!("{}\n", holds.join(", ")));
    let of_changes: Vec<String> = ["new", "modified", "unchanged", "deleted"]
        .iter()
        .map(|key| format!("{} {key}", answer.number(key)))
        .collect();
    text.push_str(&format!("detections: {}\n", of_changes.join(", ")));
    text.push_str(&states(answer));
    text.push_str(&super::not_evaluated(answer.items("unevaluated")));
    text.push_str(&clean(&super::keys_without_effect(
        answer.items("ignoredKeys"),
    )));
    text
}
