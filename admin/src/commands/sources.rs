//! sources: where logs come from.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Context, given, ledger};
use crate::{
    answer::{Answer, Fields},
    confirm::Consent,
    failure::{Exit, Failure},
    input,
    output::{Details, Grid, Look, Tone, ago, clean, moment},
};

/// The component that answers here.
const API: &str = "panther-source-api";

/// `sources`.
#[derive(Debug, Subcommand)]
pub(crate) enum Sources {
    /// Take logs from one more place
    #[command(subcommand)]
    Add(Add),
    /// All sources and what came from them
    List,
    /// One source and its ledger of the last day
    Show(Name),
    /// Change a source; what is not given stays
    Update(Update),
    /// Take nothing more from a source
    Remove(Remove),
    /// Give an http source a new token; the old one stops working
    RotateToken(Name),
    /// Tell of a new object of an objects source, as S3 would
    Notify(Notify),
}

/// `sources add`.
#[derive(Debug, Subcommand)]
pub(crate) enum Add {
    /// Senders POST logs to the node
    Http(Http),
    /// Files in a folder of the node
    Folder(Folder),
    /// Objects in the object store, each told of by a notification
    Objects(Objects),
}

/// What every source has.
#[derive(Debug, Args)]
struct Common {
    /// Log types that come from it, by commas (`pantherctl schemas list`)
    #[arg(long, required = true, value_delimiter = ',', value_name = "LOG_TYPE")]
    log_types: Vec<String>,
}

/// A source of type http.
#[derive(Debug, Args)]
pub(crate) struct Http {
    /// A name for it
    name: String,
    #[command(flatten)]
    common: Common,
}

/// A source of type folder.
#[derive(Debug, Args)]
pub(crate) struct Folder {
    /// A name for it
    name: String,
    /// The folder; pantherd must be able to read it. Its files are followed as they grow, through rotation
    path: PathBuf,
    /// Follow symbolic links in the folder too, out of the folder as well
    #[arg(long)]
    follow_links: bool,
    #[command(flatten)]
    common: Common,
}

/// A source of type objects.
#[derive(Debug, Args)]
pub(crate) struct Objects {
    /// A name for it
    name: String,
    /// How the names of its objects begin
    #[arg(long)]
    prefix: String,
    #[command(flatten)]
    common: Common,
}

/// A source.
#[derive(Debug, Args)]
pub(crate) struct Name {
    /// Its label or id
    source: String,
}

/// `sources update`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(crate) struct Update {
    /// Its label or id
    source: String,
    /// Another name for it
    #[arg(long, group = "change")]
    label: Option<String>,
    /// The log types that come from it now, all of them, by commas
    #[arg(long, value_delimiter = ',', value_name = "LOG_TYPE", group = "change")]
    log_types: Vec<String>,
    /// Another folder, of a folder source
    #[arg(long, group = "change")]
    path: Option<PathBuf>,
    /// Whether symbolic links in the folder are followed, of a folder source
    #[arg(long, group = "change", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    follow_links: Option<bool>,
    /// Another prefix, of an objects source
    #[arg(long, group = "change")]
    prefix: Option<String>,
}

/// `sources remove`.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Its label or id
    source: String,
    #[command(flatten)]
    consent: Consent,
}

/// `sources notify`.
#[derive(Debug, Args)]
pub(crate) struct Notify {
    /// The source's label or id
    source: String,
    /// The object's name in the store
    object: String,
}

impl Sources {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Add(add) => add.run(context).await,
            Self::List => list(context).await,
            Self::Show(name) => show(context, &name.source).await,
            Self::Update(update) => update.run(context).await,
            Self::Remove(remove) => remove.run(context).await,
            Self::RotateToken(name) => rotate(context, &name.source).await,
            Self::Notify(notify) => notify.run(context).await,
        }
    }
}

/// The source of that label or id.
async fn one(context: &Context, source: &str) -> Result<Answer, Failure> {
    context
        .read(API, "getIntegration", json!({"integrationId": source}))
        .await
        .map_err(|error| {
            if error.is_not_found() {
                error
                    .next("`pantherctl sources list` lists them all")
                    .into()
            } else {
                error.into()
            }
        })
}

/// The id of a source given by label or id.
pub(super) async fn id_of(
    context: &Context,
    source: Option<&str>,
) -> Result<Option<String>, Failure> {
    match source {
        Some(source) => Ok(Some(one(context, source).await?.text("integrationId"))),
        None => Ok(None),
    }
}

impl Add {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let mut links = None;
        let (name, kind, common, path, prefix) = match self {
            Self::Http(Http { name, common }) => (name, "http", common, None, None),
            Self::Folder(Folder {
                name,
                path,
                follow_links,
                common,
            }) => {
                links = follow_links.then_some(true);
                (name, "folder", common, Some(input::absolute(&path)?), None)
            }
            Self::Objects(Objects {
                name,
                prefix,
                common,
            }) => (name, "objects", common, None, Some(prefix)),
        };
        let input = given(json!({
            "userId": context.user,
            "integrationLabel": name,
            "integrationType": kind,
            "logTypes": common.log_types,
            "path": path,
            "followLinks": links,
            "prefix": prefix,
        }));
        let answer = context.change(API, "putIntegration", input).await?;
        context
            .screen
            .show(&answer, |look| details(&answer, look))?;
        warn(context, &answer);
        if answer.has("token") {
            context.screen.note(
                "the token is shown this once; keep it, for senders give it with every request",
            );
            context.screen.note(&format!(
                "a sender posts lines, JSON or gzip: curl -H 'Authorization: Bearer {}' --data-binary @FILE {}",
                clean(&answer.text("token")),
                clean(&answer.text("ingestUrl"))
            ));
        }
        Ok(Exit::Fine)
    }
}

/// What the answer says beside success.
fn warn(context: &Context, answer: &Answer) {
    for warning in answer.items("warnings") {
        let warning = warning.as_str().unwrap_or_default();
        context.screen.note(&format!("warning: {}", clean(warning)));
    }
}

fn details(source: &Value, look: &Look) -> String {
    let mut details = Details::default();
    details
        .add("label", source.text("integrationLabel"))
        .add("id", source.text("integrationId"))
        .add("type", source.text("integrationType"))
        .add("log types", source.text("logTypes"))
        .add("path", source.text("path"))
        .add(
            "links",
            if source["followLinks"] == true {
                "symbolic links are followed"
            } else {
                ""
            },
        )
        .add("prefix", source.text("prefix"))
        .add("url", source.text("ingestUrl"))
        .toned("token", Tone::Warning, source.text("token"))
        .add("created", moment(look.now, source.instant("createdAtTime")))
        .add(
            "last event",
            moment(look.now, source.instant("lastEventReceived")),
        );
    if source.has("received") {
        let counts: Vec<String> = ["received", "stored", "quarantined", "filtered"]
            .iter()
            .map(|key| format!("{} {key}", source.number(key)))
            .collect();
        details.add("records", counts.join(", "));
    }
    if source["state"] == "troubled" {
        details.toned(
            "state",
            Tone::Warning,
            format!(
                "troubled: {} files or folders are not read",
                source.number("troubles")
            ),
        );
        for reason in source.items("reasons") {
            details.add(
                &format!("node {}", clean(&reason.text("node"))),
                reason.text("reason"),
            );
        }
    } else {
        details.add("state", source.text("state"));
    }
    details.render(look)
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let answer = context.read(API, "listIntegrations", json!({})).await?;
    let sources = answer.items("integrations");
    if sources.is_empty() && !context.screen.json() {
        context
            .screen
            .note("there is no source; pantherctl sources add folder NAME PATH --log-types LOG_TYPE, or `http`, or `objects`");
        return Ok(Exit::Fine);
    }
    context.screen.show(&answer, |look| {
        let mut grid = Grid::new(&[
            "LABEL",
            "TYPE",
            "STATE",
            "LOG TYPES",
            "LAST EVENT",
            "#RECEIVED",
            "#STORED",
            "#QUARANTINED",
            "#FILTERED",
            "ID",
        ]);
        for source in sources {
            grid.row([
                source.text("integrationLabel").into(),
                source.text("integrationType").into(),
                source.text("state").into(),
                source.text("logTypes").into(),
                match ago(look.now, source.instant("lastEventReceived")) {
                    none if none.is_empty() => "never".into(),
                    ago => ago.into(),
                },
                source.number("received").into(),
                source.number("stored").into(),
                source.number("quarantined").into(),
                source.number("filtered").into(),
                source.text("integrationId").into(),
            ]);
        }
        grid.render(look)
    })?;
    Ok(Exit::Fine)
}

async fn show(context: &Context, source: &str) -> Result<Exit, Failure> {
    let answer = one(context, source).await?;
    let rows = if context.screen.json() {
        None
    } else {
        let input = json!({"source": answer.text("integrationId"), "hours": 24});
        context.aside("node", "ledger", input).await
    };
    context.screen.show(&answer, |look| {
        let mut text = details(&answer, look);
        text.push('\n');
        text.push_str(&look.heading("last 24 hours"));
        match rows.as_ref().map(|rows| rows.items("rows")) {
            Some([]) | None => text.push_str("nothing was received\n"),
            Some(rows) => text.push_str(&ledger::table(rows, look)),
        }
        text
    })?;
    Ok(Exit::Fine)
}

impl Update {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let source = one(context, &self.source).await?;
        let path = self.path.as_deref().map(input::absolute).transpose()?;
        let log_types = if self.log_types.is_empty() {
            source["logTypes"].clone()
        } else {
            json!(self.log_types)
        };
        let input = given(json!({
            "userId": context.user,
            "integrationId": source["integrationId"],
            "integrationLabel": self.label.unwrap_or_else(|| source.text("integrationLabel")),
            "integrationType": source["integrationType"],
            "logTypes": log_types,
            "path": path.map_or_else(|| source["path"].clone(), |path| json!(path)),
            "followLinks": self.follow_links,
            "prefix": self.prefix.map_or_else(|| source["prefix"].clone(), Value::String),
        }));
        let answer = context
            .change(API, "updateIntegrationSettings", input)
            .await?;
        context
            .screen
            .show(&answer, |look| details(&answer, look))?;
        warn(context, &answer);
        Ok(Exit::Fine)
    }
}

impl Remove {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let source = one(context, &self.source).await?;
        let label = source.text("integrationLabel");
        self.consent
            .ask(
                context,
                &format!(
                    "remove source {label} ({}, {}): nothing more is taken from it; what came from it so far ({} records) is kept",
                    source.text("integrationType"),
                    source.text("integrationId"),
                    source.number("received")
                ),
            )
            .await?;
        let input = json!({"integrationId": source.text("integrationId")});
        let answer = context.change(API, "deleteIntegration", input).await?;
        context
            .screen
            .show(&answer, |_| format!("source {} removed\n", clean(&label)))?;
        Ok(Exit::Fine)
    }
}

async fn rotate(context: &Context, source: &str) -> Result<Exit, Failure> {
    let id = one(context, source).await?.text("integrationId");
    let answer = context
        .change(API, "rotateToken", json!({"integrationId": id}))
        .await?;
    context
        .screen
        .show(&answer, |_| format!("{}\n", clean(&answer.text("token"))))?;
    context
        .screen
        .note("the token is shown this once, and the one before it no longer works");
    Ok(Exit::Fine)
}

impl Notify {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let id = one(context, &self.source).await?.text("integrationId");
        let input = json!({"integrationId": id, "object": self.object});
        let answer = context.change(API, "notify", input).await?;
        context.screen.show(&answer, |_| {
            format!("{}\n", clean(&answer.text("messageId")))
        })?;
        Ok(Exit::Fine)
    }
}
