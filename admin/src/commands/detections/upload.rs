//! detections upload: a pack goes to the node as a whole, and lives as a whole or not at all.

use std::path::PathBuf;

use clap::Args;
use panther_detections::pack::Limits;
use serde_json::{Value, json};
use tonic::Code;

use super::{archive, problems};
use crate::{
    answer::Fields,
    client::{Call, CallError},
    commands::Context,
    failure::{Exit, Failure},
    output::{Look, bytes, clean, counted, one_line},
};

/// `detections upload`.
#[derive(Debug, Args)]
pub(crate) struct Upload {
    /// The pack: a folder or a zip
    pack: PathBuf,
}

impl Upload {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
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
            "uploading {} ({})",
            self.pack.display(),
            bytes(archive.bytes.len() as i64)
        ));
        let call = Call::change(
            "panther-analysis-api",
            "bulkUpload",
            json!({"userId": context.user}),
        )
        .payload(archive.bytes)
        .long();
        match context.client.invoke(call).await {
            Ok(answer) => {
                context
                    .screen
                    .show(&answer, |look| uploaded(&answer, look))?;
                Ok(Exit::Fine)
            }
            Err(error) => match found(&error) {
                Some(found) => {
                    problems::show(
                        context,
                        found,
                        "the pack was refused, nothing of it is taken, and the version before it stays live",
                    )?;
                    Ok(Exit::BadInput)
                }
                None => Err(error.into()),
            },
        }
    }
}

/// The problems for which a pack was refused.
fn found(error: &CallError) -> Option<Vec<Value>> {
    if error.code != Some(Code::InvalidArgument) {
        return None;
    }
    let message: Value = serde_json::from_str(&error.message).ok()?;
    let problems = message.get("problems")?.as_array()?;
    (!problems.is_empty()).then(|| problems.clone())
}

fn uploaded(answer: &Value, look: &Look) -> String {
    let mut text = look.heading(&format!("pack {} is live", answer.text("version")));
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
    let changes: Vec<String> = ["new", "modified", "unchanged", "deleted"]
        .iter()
        .map(|key| format!("{} {key}", answer.number(key)))
        .collect();
    text.push_str(&format!("{}\n", changes.join(", ")));
    let left_out = answer.items("unevaluated");
    if !left_out.is_empty() {
        text.push_str(&look.heading(&format!(
            "not evaluated in this version: {}",
            left_out.len()
        )));
        for item in left_out {
            text.push_str(&format!(
                "- {} {}: {}\n",
                one_line(&item.text("kind")),
                one_line(&item.text("id")),
                one_line(&item.text("reason"))
            ));
        }
    }
    text.push_str(&clean(&super::keys_without_effect(
        answer.items("ignoredKeys"),
    )));
    for problem in answer.items("problems") {
        text.push_str(&format!(
            "note: {}: {}\n",
            clean(&problem.text("file")),
            one_line(&problem.text("reason"))
        ));
    }
    text
}
