//! schemas: log types, and schemas of one's own tested on log files without a server.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::SystemTime,
};

use clap::{Args, Subcommand};
use panther_logs::{
    Classifier, EventContext, Limits, LogTypes, ObjectReader, Outcome, Record, Rejection, Timestamp,
};
use serde_json::{Value, json};

use super::Context;
use crate::{
    answer::{Answer, Fields},
    failure::{Exit, Failure},
    output::{Grid, Look, Tone, clean, counted, one_line, short},
};

/// The component that answers here.
const API: &str = "panther-source-api";
/// The table of users' log types.
const TABLE: &str = "panther-logtypes";
/// Bytes that a schema may have: far more than any needs.
const SCHEMA_BYTES: u64 = 1 << 20;
/// Events and unclassified records kept of one file for `--json`.
const MOST_KEPT: usize = 10_000;
/// Different misfits told of one file.
const MOST_MISFITS: usize = 10;

/// `schemas`.
#[derive(Debug, Subcommand)]
pub(crate) enum Schemas {
    /// All log types; without a node, those built in
    List,
    /// The schema of a log type
    Show(Show),
    /// Add a log type, or replace one of your own, by its schema
    Add(Add),
    /// Read log files by a schema, without a server
    Test(Test),
}

/// `schemas show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The log type's name
    log_type: String,
}

/// `schemas add`.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The schema, a YAML file
    file: PathBuf,
}

/// `schemas test`.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The schema, a YAML file; or the name of a log type built in
    schema: PathBuf,
    /// Log files, compressed or not
    #[arg(required = true)]
    logs: Vec<PathBuf>,
    /// How many events of each file to print
    #[arg(long, default_value_t = 10)]
    events: usize,
    /// How many unclassified records of each file to print
    #[arg(long, default_value_t = 10)]
    unclassified: usize,
}

impl Schemas {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::List => list(context).await,
            Self::Show(show) => show.run(context).await,
            Self::Add(add) => add.run(context).await,
            Self::Test(test) => {
                let json = context.screen.json();
                let (answer, exit) = tokio::task::spawn_blocking(move || test.run(json))
                    .await
                    .map_err(|error| {
                    Failure::new("the test broke off").why(error.to_string())
                })??;
                context.screen.show(&answer, |look| {
                    answer
                        .items("files")
                        .iter()
                        .map(|file| tested(file, look))
                        .collect()
                })?;
                Ok(exit)
            }
        }
    }
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let answer = match context.read(API, "listSchemas", json!({})).await {
        Ok(answer) => answer,
        Err(error) if error.code.is_none() => {
            context.screen.note(&format!(
                "the log types of this program only, as no node was reached: {}",
                error.message
            ));
            Answer::of(json!({"schemas": builtin()}))
        }
        Err(error) => return Err(error.into()),
    };
    context.screen.show(&answer, |look| {
        let mut grid = Grid::new(&["LOG TYPE", "BUILT IN", "DESCRIPTION"]);
        for schema in answer.items("schemas") {
            grid.row([
                schema.text("logType").into(),
                if schema["builtin"] == true { "yes" } else { "" }.into(),
                short(&schema.text("description"), 100).into(),
            ]);
        }
        grid.render(look)
    })?;
    Ok(Exit::Fine)
}

/// The log types of this program, as a node lists them.
fn builtin() -> Vec<Value> {
    let known = LogTypes::builtin();
    known
        .names()
        .filter_map(|name| known.get(name))
        .map(|log_type| {
            json!({
                "logType": &**log_type.name(),
                "builtin": true,
                "description": log_type.description(),
                "reference": log_type.reference(),
            })
        })
        .collect()
}

/// No log type has this name.
fn unknown(name: &str, known: &LogTypes) -> Failure {
    let failure = Failure::input(format!("there is no log type {name}"));
    match known.nearest(name) {
        Some(nearest) => failure.next(format!("did you mean {nearest}?")),
        None => failure.next("`pantherctl schemas list` shows them all"),
    }
}

impl Show {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let known = LogTypes::builtin();
        let (name, yaml, builtin) = match known.get(&self.log_type) {
            Some(log_type) => (
                log_type.name().to_string(),
                log_type.yaml().to_owned(),
                true,
            ),
            None => {
                let input = json!({"table": TABLE, "hash": self.log_type, "range": ""});
                let row = match context.read("node", "table_get", input).await {
                    Ok(answer) => answer["row"].clone(),
                    Err(error) if error.code.is_none() => {
                        let failure = unknown(&self.log_type, &known);
                        return Err(failure.why(format!(
                            "it is not built in, and no node was reached that may have it: {}",
                            error.message
                        )));
                    }
                    Err(error) => return Err(error.into()),
                };
                match row["logSpec"].as_str() {
                    Some(yaml) => (self.log_type, yaml.to_owned(), false),
                    None => return Err(unknown(&self.log_type, &known)),
                }
            }
        };
        let answer = Answer::of(json!({"logType": name, "builtin": builtin, "yaml": yaml}));
        context
            .screen
            .show(&answer, |_| format!("{}\n", clean(yaml.trim_end())))?;
        Ok(Exit::Fine)
    }
}

fn schema_text(path: &Path) -> Result<String, Failure> {
    let failure = || Failure::input(format!("cannot read the schema {}", path.display()));
    let size = std::fs::metadata(path)
        .map_err(|error| failure().why(error.to_string()))?
        .len();
    if size > SCHEMA_BYTES {
        return Err(failure().why(format!(
            "it has {size} bytes; a schema may have {SCHEMA_BYTES}"
        )));
    }
    std::fs::read_to_string(path).map_err(|error| failure().why(error.to_string()))
}

impl Add {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let yaml = schema_text(&self.file)?;
        let answer = context
            .change(API, "putSchema", json!({"yaml": yaml}))
            .await?;
        let log_type = answer.text("logType");
        context.screen.show(&answer, |_| {
            format!("log type {} added\n", clean(&log_type))
        })?;
        context.screen.note(
            "records in quarantine that it takes come through with: pantherctl quarantine replay --source SOURCE",
        );
        Ok(Exit::Fine)
    }
}

impl Test {
    /// Reads the files. Blocking.
    fn run(&self, json: bool) -> Result<(Answer, Exit), Failure> {
        let (log_types, name) = self.log_types()?;
        let (events, unclassified) = if json {
            (MOST_KEPT, MOST_KEPT)
        } else {
            (self.events, self.unclassified)
        };
        let mut files = Vec::with_capacity(self.logs.len());
        let mut clean = true;
        for path in &self.logs {
            let file = read(path, &log_types, &name, events, unclassified)?;
            clean &= file["unclassified_records"] == 0 && file["error"].is_null();
            files.push(file);
        }
        let exit = if clean { Exit::Fine } else { Exit::Findings };
        Ok((Answer::of(json!({"logType": name, "files": files})), exit))
    }

    /// The log types and the name of the one to be tested.
    fn log_types(&self) -> Result<(LogTypes, String), Failure> {
        let builtin = LogTypes::builtin();
        if let Some(name) = self.schema.to_str().filter(|_| !self.schema.is_file()) {
            // a folder of a log type's name hides nothing
            if builtin.get(name).is_some() {
                let name = name.to_owned();
                return Ok((builtin, name));
            }
            let is_path = self.schema.exists()
                || self.schema.components().count() > 1
                || name.ends_with(".yml")
                || name.ends_with(".yaml");
            if !is_path {
                return Err(unknown(name, &builtin)
                    .why("no log type built in has this name, and there is no such file"));
            }
        }
        let yaml = schema_text(&self.schema)?;
        let wrong = |error: panther_logs::SchemaError| {
            Failure::input("the schema is wrong")
                .tried(format!("read {}", self.schema.display()))
                .why(error.to_string())
        };
        // Of an empty set and one schema, the one name there is.
        let alone = LogTypes::default().with_schema(&yaml).map_err(wrong)?;
        let name = alone
            .names()
            .next()
            .map(ToString::to_string)
            .unwrap_or_default();
        Ok((builtin.with_schema(&yaml).map_err(wrong)?, name))
    }
}

/// What a log type makes of a file.
fn read(
    path: &Path,
    log_types: &LogTypes,
    name: &str,
    most_events: usize,
    most_unclassified: usize,
) -> Result<Value, Failure> {
    let shown = path.display().to_string();
    let file = File::open(path)
        .map_err(|error| Failure::input(format!("cannot read {shown}")).why(error.to_string()))?;
    let mut classifier = Classifier::new(log_types, &[name])
        .map_err(|error| Failure::input("the schema is wrong").why(error.to_string()))?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|time| i64::try_from(time.as_millis()).ok())
        .and_then(Timestamp::from_unix_millis)
        .unwrap_or(Timestamp::EPOCH);
    let origin = EventContext::new("test", "test", &shown, now);
    let mut events: Vec<Value> = Vec::new();
    let mut unclassified: Vec<Value> = Vec::new();
    let mut begun: Vec<Value> = Vec::new();
    let mut misfits: Vec<String> = Vec::new();
    let mut error = None;
    let mut records = ObjectReader::new(shown.clone(), file, Limits::default());
    loop {
        records.set_within_event(classifier.is_within_event());
        let record = match records.next_record() {
            Ok(Some(record)) => record,
            Ok(None) => break,
            Err(fault) => {
                error = Some(fault.to_string());
                break;
            }
        };
        let outcome = classifier.classify(&record, &origin);
        match &outcome {
            Outcome::Joined(_) => begun.clear(),
            outcome if !outcome.leaves_begun_open() => unclassified.append(&mut begun),
            _ => {}
        }
        match outcome {
            Outcome::Events(found) | Outcome::Joined(found) => {
                for misfit in found.iter().flat_map(|event| &event.misfits) {
                    if misfits.len() < MOST_MISFITS && !misfits.contains(misfit) {
                        misfits.push(misfit.clone());
                    }
                }
                let room = most_events.saturating_sub(events.len());
                events.extend(found.iter().take(room).map(|event| {
                    serde_json::from_slice(&event.json).unwrap_or_else(|_| {
                        Value::String(String::from_utf8_lossy(&event.json).into_owned())
                    })
                }));
            }
            Outcome::Begun { reasons } => begun.push(refused(&record, &reasons)),
            Outcome::Unclassified { reasons } => {
                if unclassified.len() < most_unclassified {
                    unclassified.push(refused(&record, &reasons));
                }
            }
            Outcome::Skipped(_) => {}
        }
    }
    unclassified.append(&mut begun);
    unclassified.truncate(most_unclassified);
    let tally = classifier.tally();
    Ok(json!({
        "file": shown,
        "records": tally.records,
        "events_made": tally.events,
        "unclassified_records": tally.unclassified,
        "filtered_records": tally.filtered,
        "events": events,
        "unclassified": unclassified,
        "events_with_misfits": tally.misfits,
        "misfits": misfits,
        "error": error,
    }))
}

/// A record that makes no event, with each log type's reason.
fn refused(record: &Record, reasons: &[Rejection]) -> Value {
    let reasons: Vec<Value> = reasons
        .iter()
        .map(|reason| json!({"log_type": reason.log_type.as_deref(), "reason": reason.reason}))
        .collect();
    json!({
        "record": record.number,
        "text": String::from_utf8_lossy(&record.raw),
        "reasons": reasons,
    })
}

/// A file's events, one a line, then what is no event and why, then the counts.
fn tested(file: &Value, look: &Look) -> String {
    let mut text = look.heading(&file.text("file"));
    for event in file.items("events") {
        text.push_str(&format!("{}\n", clean(&event.to_string())));
    }
    let more = file.number("events_made") - file.items("events").len() as i64;
    if more > 0 {
        text.push_str(&look.toned(
            Tone::Dim,
            &format!("and {} (--events N shows more)", counted(more, "event")),
        ));
        text.push('\n');
    }
    for record in file.items("unclassified") {
        let head = format!("record {} is not taken", record.number("record"));
        text.push_str(&format!(
            "{}: {}\n",
            look.toned(Tone::Bad, &head),
            short(&record.text("text"), 200)
        ));
        for reason in record.items("reasons") {
            text.push_str(&format!("  {}\n", one_line(&reason.text("reason"))));
        }
    }
    let more = file.number("unclassified_records") - file.items("unclassified").len() as i64;
    if more > 0 {
        text.push_str(&format!(
            "and {} not taken (--unclassified N shows more)\n",
            counted(more, "record")
        ));
    }
    if file.number("events_with_misfits") > 0 {
        text.push_str(&look.toned(
            Tone::Warning,
            &format!(
                "{} with fields of another shape than declared, kept as they came:",
                counted(file.number("events_with_misfits"), "event")
            ),
        ));
        text.push('\n');
        for misfit in file.items("misfits") {
            text.push_str(&format!(
                "  {}\n",
                one_line(misfit.as_str().unwrap_or_default())
            ));
        }
    }
    if file.has("error") {
        text.push_str(&format!(
            "{} {}\n",
            look.toned(Tone::Bad, "the file cannot be read to its end:"),
            one_line(&file.text("error"))
        ));
    }
    text.push_str(&format!(
        "{}: {}, {} unclassified, {} filtered\n",
        counted(file.number("records"), "record"),
        counted(file.number("events_made"), "event"),
        file.number("unclassified_records"),
        file.number("filtered_records")
    ));
    text
}
