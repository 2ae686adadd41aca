//! outputs: where alerts are delivered.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{Context, Severity, names};
use crate::{
    answer::Fields,
    client::Call,
    confirm::Consent,
    failure::{Exit, Failure},
    input,
    output::{Cell, Details, Grid, Look, Tone, ago, clean, moment, short},
};

/// The component that answers here.
const API: &str = "panther-outputs-api";

/// `outputs`.
#[derive(Debug, Subcommand)]
pub(crate) enum Outputs {
    /// Deliver alerts to one more place
    #[command(subcommand)]
    Add(Add),
    /// All outputs
    List,
    /// One output; its secrets are never shown
    Show(Name),
    /// Give an output another address or other alerts; what is not given stays as it is
    Update(Update),
    /// Deliver no more alerts there
    Remove(Remove),
    /// Send a test alert
    Test(Test),
}

/// `outputs add`.
#[derive(Debug, Subcommand)]
pub(crate) enum Add {
    /// POST each alert as JSON
    Webhook(Url),
    /// A Slack channel, by an incoming webhook
    Slack(Url),
    /// A file on the node, one JSON object a line
    File(File),
}

/// An output with a URL.
#[derive(Debug, Args)]
pub(crate) struct Url {
    /// A name for it
    name: String,
    /// The URL, which is a secret; - reads it from standard input, @FILE from a file, which keeps it out of the shell's history
    url: String,
    /// Certificates in a PEM file by which alone the destination is trusted: its own, or those of your authority
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    routing: Routing,
}

/// An output that is a file.
#[derive(Debug, Args)]
pub(crate) struct File {
    /// A name for it
    name: String,
    /// The file; pantherd must be able to write it
    path: PathBuf,
    #[command(flatten)]
    routing: Routing,
}

/// Which alerts it gets, unless a rule names its outputs itself.
#[derive(Debug, Args)]
struct Routing {
    /// Alerts of these severities, by commas; all if not given
    #[arg(long, value_enum, ignore_case = true, value_delimiter = ',')]
    severity: Vec<Severity>,
    /// Only alerts of these types, such as RULE or RULE_ERROR, by commas
    #[arg(long = "alert-type", value_name = "TYPE", value_delimiter = ',')]
    alert_types: Vec<String>,
}

/// An output.
#[derive(Debug, Args)]
pub(crate) struct Name {
    /// Its name or id
    output: String,
}

/// `outputs update`.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Its name or id
    output: String,
    /// Its new URL, or the file's new path; - reads it from standard input, @FILE from a file
    #[arg(long)]
    address: Option<String>,
    /// Certificates in a PEM file; only together with --address
    #[arg(long, value_name = "FILE", requires = "address")]
    ca_file: Option<PathBuf>,
    /// Its new name
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    routing: Routing,
}

/// `outputs remove`.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Its name or id
    output: String,
    #[command(flatten)]
    consent: Consent,
}

/// `outputs test`.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Names or ids
    #[arg(required = true)]
    outputs: Vec<String>,
}

impl Outputs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Add(add) => add.run(context).await,
            Self::List => list(context).await,
            Self::Show(name) => {
                let id = one(context, &name.output).await?.text("outputId");
                let answer = context
                    .read(API, "getOutput", json!({"outputId": id}))
                    .await?;
                context
                    .screen
                    .show(&answer, |look| details(&answer, look))?;
                Ok(Exit::Fine)
            }
            Self::Update(update) => update.run(context).await,
            Self::Remove(remove) => remove.run(context).await,
            Self::Test(test) => test.run(context).await,
        }
    }
}

impl Url {
    fn config(self, kind: &str) -> Result<(String, Value, Routing), Failure> {
        let config = webhook(kind, &self.url, self.ca_file.as_deref())?;
        Ok((self.name, config, self.routing))
    }
}

/// The configuration of a destination with a URL.
fn webhook(kind: &str, url: &str, ca_file: Option<&Path>) -> Result<Value, Failure> {
    let url = input::text("the URL", url)?;
    let mut config = json!({"webhookURL": url.trim()});
    if let Some(path) = ca_file {
        let text = input::text("the certificates", &format!("@{}", path.display()))?;
        config["caCertificate"] = text.into();
    }
    Ok(json!({ kind: config }))
}

impl Update {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let output = one(context, &self.output).await?;
        let mut input = json!({
            "userId": context.user,
            "outputId": output.text("outputId"),
            "displayName": self.name.unwrap_or_else(|| output.text("displayName")),
            "defaultForSeverity": output["defaultForSeverity"],
            "alertTypes": output["alertTypes"],
        });
        if !self.routing.severity.is_empty() {
            input["defaultForSeverity"] = json!(names(&self.routing.severity));
        }
        if !self.routing.alert_types.is_empty() {
            input["alertTypes"] = json!(self.routing.alert_types);
        }
        if let Some(address) = &self.address {
            let ca_file = self.ca_file.as_deref();
            input["outputConfig"] = match output.text("outputType").as_str() {
                "slack" => webhook("slack", address, ca_file)?,
                "file" => {
                    let path = input::text("the path", address)?;
                    json!({"file": {"path": input::absolute(Path::new(path.trim()))?}})
                }
                _ => webhook("customWebhook", address, ca_file)?,
            };
        }
        let answer = context.change(API, "updateOutput", input).await?;
        context
            .screen
            .show(&answer, |look| details(&answer, look))?;
        Ok(Exit::Fine)
    }
}

impl Add {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (name, config, routing) = match self {
            Self::Webhook(to) => to.config("customWebhook")?,
            Self::Slack(to) => to.config("slack")?,
            Self::File(File {
                name,
                path,
                routing,
            }) => (
                name,
                json!({"file": {"path": input::absolute(&path)?}}),
                routing,
            ),
        };
        let severities = if routing.severity.is_empty() {
            Severity::value_variants()
        } else {
            &routing.severity
        };
        let input = json!({
            "userId": context.user,
            "displayName": name,
            "outputConfig": config,
            "defaultForSeverity": names(severities),
            "alertTypes": routing.alert_types,
        });
        let answer = context.change(API, "addOutput", input).await?;
        context
            .screen
            .show(&answer, |look| details(&answer, look))?;
        context.screen.note(&format!(
            "to see whether it works: pantherctl outputs test {}",
            answer.text("displayName")
        ));
        Ok(Exit::Fine)
    }
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let answer = context.read(API, "getOutputs", json!({})).await?;
    let outputs = answer.items("outputs");
    if outputs.is_empty() && !context.screen.json() {
        context
            .screen
            .note("there is no output, so alerts are kept and delivered nowhere; pantherctl outputs add webhook NAME URL");
        return Ok(Exit::Fine);
    }
    context.screen.show(&answer, |look| {
        let mut grid = Grid::new(&[
            "NAME",
            "TYPE",
            "ADDRESS",
            "SEVERITIES",
            "ALERT TYPES",
            "ID",
            "CREATED",
            "BY",
        ]);
        for output in outputs {
            grid.row([
                output.text("displayName").into(),
                output.text("outputType").into(),
                if output["needsSecret"] == true {
                    Cell::toned(Tone::Bad, "its secret does not open")
                } else {
                    output.text("address").into()
                },
                output.text("defaultForSeverity").into(),
                output.text("alertTypes").into(),
                output.text("outputId").into(),
                ago(look.now, output.instant("creationTime")).into(),
                output.text("createdBy").into(),
            ]);
        }
        grid.render(look)
    })?;
    Ok(Exit::Fine)
}

fn details(output: &Value, look: &Look) -> String {
    let mut details = Details::default();
    details
        .add("name", output.text("displayName"))
        .add("id", output.text("outputId"))
        .add("type", output.text("outputType"));
    if output["needsSecret"] == true {
        details.toned(
            "address",
            Tone::Bad,
            "its secret does not open; `pantherctl outputs update NAME --address URL` gives it again",
        );
    } else {
        details.add("address", output.text("address"));
    }
    details
        .add("severities", output.text("defaultForSeverity"))
        .add("alert types", output.text("alertTypes"))
        .add("created", moment(look.now, output.instant("creationTime")))
        .add("by", output.text("createdBy"));
    details.render(look)
}

/// Attempts to deliver, a line each.
pub(super) fn attempts(attempts: &[Value], look: &Look) -> String {
    let mut grid = Grid::new(&["WHEN", "OUTPUT", "RESULT", "#STATUS", "MESSAGE"]);
    for attempt in attempts {
        grid.row([
            ago(look.now, attempt.instant("dispatchedAt")).into(),
            attempt.text("outputId").into(),
            if attempt["success"] == true {
                Cell::toned(Tone::Good, "delivered")
            } else {
                Cell::toned(Tone::Bad, "failed")
            },
            attempt.text("statusCode").into(),
            short(&attempt.text("message"), 160).into(),
        ]);
    }
    grid.render(look)
}

/// The output of that name or id.
async fn one(context: &Context, output: &str) -> Result<Value, Failure> {
    let answer = context.read(API, "getOutputs", json!({})).await?;
    find(answer.items("outputs"), output)
}

/// The ids of outputs given by name or id.
pub(super) async fn ids_of(context: &Context, outputs: &[String]) -> Result<Vec<String>, Failure> {
    let answer = context.read(API, "getOutputs", json!({})).await?;
    outputs
        .iter()
        .map(|output| Ok(find(answer.items("outputs"), output)?.text("outputId")))
        .collect()
}

/// An id is unique; a name is looked at only where no id fits, and may be shared.
fn find(outputs: &[Value], wanted: &str) -> Result<Value, Failure> {
    let of = |key: &str| -> Vec<&Value> {
        let fits = |output: &&Value| output.text(key) == wanted;
        outputs.iter().filter(fits).collect()
    };
    let mut found = of("outputId");
    if found.is_empty() {
        found = of("displayName");
    }
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let known: Vec<String> = outputs
                .iter()
                .map(|output| output.text("displayName"))
                .collect();
            Err(Failure::new(format!("there is no output {wanted:?}"))
                .tried("look for it among the names and ids of all outputs")
                .why(if known.is_empty() {
                    "there is no output at all".to_owned()
                } else {
                    format!("the outputs are {}", known.join(", "))
                })
                .next("pantherctl outputs list"))
        }
        several => {
            let ids: Vec<String> = several
                .iter()
                .map(|output| output.text("outputId"))
                .collect();
            Err(
                Failure::input(format!("{} outputs are called {wanted:?}", several.len()))
                    .next(format!("name one by its id: {}", ids.join(", "))),
            )
        }
    }
}

impl Remove {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let output = one(context, &self.output).await?;
        let (name, id) = (output.text("displayName"), output.text("outputId"));
        self.consent
            .ask(
                context,
                &format!(
                    "remove output {name} ({}, {id}): no more alerts are delivered there, and its secrets are gone",
                    output.text("outputType")
                ),
            )
            .await?;
        let answer = context
            .change(API, "deleteOutput", json!({"outputId": id}))
            .await?;
        context
            .screen
            .show(&answer, |_| format!("output {} removed\n", clean(&name)))?;
        Ok(Exit::Fine)
    }
}

impl Test {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let ids = ids_of(context, &self.outputs).await?;
        let call = Call::change(API, "sendTestAlert", json!({"outputIds": ids}));
        let answer = context.client.invoke(call).await?;
        let responses = answer.items("responses");
        context
            .screen
            .show(&answer, |look| attempts(responses, look))?;
        let delivered = responses
            .iter()
            .filter(|response| response["success"] == true)
            .count();
        Ok(if delivered == ids.len() {
            Exit::Fine
        } else {
            Exit::Findings
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_found_by_id_first_and_by_a_name_that_only_one_has() {
        let outputs = [
            json!({"outputId": "1", "displayName": "a"}),
            json!({"outputId": "2", "displayName": "b"}),
            json!({"outputId": "3", "displayName": "b"}),
            json!({"outputId": "4", "displayName": "1"}),
        ];
        let id = |wanted: &str| find(&outputs, wanted).map(|output| output.text("outputId"));
        assert_eq!(id("1"), Ok("1".to_owned()));
        assert_eq!(id("a"), Ok("1".to_owned()));
        assert!(id("b").is_err() && id("c").is_err());
    }
}
