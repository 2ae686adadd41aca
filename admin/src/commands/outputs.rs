//! outputs: where alerts are delivered.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use panther_proto::v1::{
    AddOutputRequest, DeleteOutputRequest, DeliveryResponse, FileConfig, GetOutputRequest,
    GetOutputsRequest, OutputSettings, OutputView, SendTestAlertRequest, UpdateOutputRequest,
    WebhookConfig, output_settings,
};

use super::{Context, Severity, names};
use crate::{
    confirm::Consent,
    failure::{Exit, Failure},
    input,
    output::{Cell, Details, Grid, Look, Tone, ago, clean, instant, moment, short},
};

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
                let output_id = one(context, &name.output).await?.output_id;
                let answer = context.call(GetOutputRequest { output_id }).await?;
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
    fn webhook(&self) -> Result<WebhookConfig, Failure> {
        webhook(&self.url, self.ca_file.as_deref())
    }
}

/// The configuration of a destination with a URL.
fn webhook(url: &str, ca_file: Option<&Path>) -> Result<WebhookConfig, Failure> {
    let url = input::text("the URL", url)?;
    let ca_certificate = ca_file
        .map(|path| input::text("the certificates", &format!("@{}", path.display())))
        .transpose()?;
    Ok(WebhookConfig {
        webhook_url: url.trim().to_owned(),
        ca_certificate,
    })
}

/// The configuration of a destination that is a file.
fn file(path: &Path) -> Result<FileConfig, Failure> {
    let path = input::absolute(path)?;
    let text = path
        .to_str()
        .ok_or_else(|| Failure::input("the path is not UTF-8").tried(path.display().to_string()))?;
    Ok(FileConfig {
        path: text.to_owned(),
    })
}

impl Update {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let output = one(context, &self.output).await?;
        let ca_file = self.ca_file.as_deref();
        let kind = match (&self.address, output.output_type()) {
            (None, _) => None,
            (Some(address), "slack") => {
                Some(output_settings::Kind::Slack(webhook(address, ca_file)?))
            }
            (Some(address), "file") => {
                let path = input::text("the path", address)?;
                Some(output_settings::Kind::File(file(Path::new(path.trim()))?))
            }
            (Some(address), _) => {
                let webhook = webhook(address, ca_file)?;
                Some(output_settings::Kind::CustomWebhook(webhook))
            }
        };
        let display_name = self
            .name
            .unwrap_or_else(|| output.display_name().to_owned());
        let request = UpdateOutputRequest {
            user_id: context.user.clone(),
            output_id: output.output_id,
            display_name,
            output_config: kind.map(|kind| OutputSettings { kind: Some(kind) }),
            default_for_severity: if self.routing.severity.is_empty() {
                output.default_for_severity
            } else {
                names(&self.routing.severity)
            },
            alert_types: if self.routing.alert_types.is_empty() {
                output.alert_types
            } else {
                self.routing.alert_types
            },
        };
        let answer = context.call(request).await?;
        context
            .screen
            .show(&answer, |look| details(&answer, look))?;
        Ok(Exit::Fine)
    }
}

impl Add {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (name, kind, routing) = match self {
            Self::Webhook(to) => {
                let webhook = to.webhook()?;
                let kind = output_settings::Kind::CustomWebhook(webhook);
                (to.name, kind, to.routing)
            }
            Self::Slack(to) => {
                let kind = output_settings::Kind::Slack(to.webhook()?);
                (to.name, kind, to.routing)
            }
            Self::File(File {
                name,
                path,
                routing,
            }) => (name, output_settings::Kind::File(file(&path)?), routing),
        };
        let severities = if routing.severity.is_empty() {
            Severity::value_variants()
        } else {
            &routing.severity
        };
        let request = AddOutputRequest {
            user_id: context.user.clone(),
            display_name: name,
            output_config: Some(OutputSettings { kind: Some(kind) }),
            default_for_severity: names(severities),
            alert_types: routing.alert_types,
        };
        let answer = context.call(request).await?;
        context
            .screen
            .show(&answer, |look| details(&answer, look))?;
        context.screen.note(&format!(
            "to see whether it works: pantherctl outputs test {}",
            answer.display_name()
        ));
        Ok(Exit::Fine)
    }
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let answer = context.call(GetOutputsRequest {}).await?;
    let outputs = &answer.outputs;
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
                output.display_name().into(),
                output.output_type().into(),
                if output.needs_secret {
                    Cell::toned(Tone::Bad, "its secret does not open")
                } else {
                    output.address().into()
                },
                output.default_for_severity.join(", ").into(),
                output.alert_types.join(", ").into(),
                output.output_id.as_str().into(),
                ago(look.now, instant(output.creation_time())).into(),
                output.created_by().into(),
            ]);
        }
        grid.render(look)
    })?;
    Ok(Exit::Fine)
}

fn details(output: &OutputView, look: &Look) -> String {
    let mut details = Details::default();
    details
        .add("name", output.display_name())
        .add("id", &output.output_id)
        .add("type", output.output_type());
    if output.needs_secret {
        details.toned(
            "address",
            Tone::Bad,
            "its secret does not open; `pantherctl outputs update NAME --address URL` gives it again",
        );
    } else {
        details.add("address", output.address());
    }
    details
        .add("severities", output.default_for_severity.join(", "))
        .add("alert types", output.alert_types.join(", "))
        .add("created", moment(look.now, instant(output.creation_time())))
        .add("by", output.created_by());
    details.render(look)
}

/// Attempts to deliver, a line each.
pub(super) fn attempts(attempts: &[DeliveryResponse], look: &Look) -> String {
    let mut grid = Grid::new(&["WHEN", "OUTPUT", "RESULT", "#STATUS", "MESSAGE"]);
    for attempt in attempts {
        grid.row([
            ago(look.now, instant(&attempt.dispatched_at)).into(),
            attempt.output_id.as_str().into(),
            if attempt.success {
                Cell::toned(Tone::Good, "delivered")
            } else {
                Cell::toned(Tone::Bad, "failed")
            },
            attempt.status_code.to_string().into(),
            short(&attempt.message, 160).into(),
        ]);
    }
    grid.render(look)
}

/// The output of that name or id.
async fn one(context: &Context, output: &str) -> Result<OutputView, Failure> {
    let answer = context.call(GetOutputsRequest {}).await?;
    find(&answer.outputs, output)
}

/// The ids of outputs given by name or id.
pub(super) async fn ids_of(context: &Context, outputs: &[String]) -> Result<Vec<String>, Failure> {
    let answer = context.call(GetOutputsRequest {}).await?;
    outputs
        .iter()
        .map(|output| Ok(find(&answer.outputs, output)?.output_id))
        .collect()
}

/// An id is unique; a name is looked at only where no id fits, and may be shared.
fn find(outputs: &[OutputView], wanted: &str) -> Result<OutputView, Failure> {
    let of = |text: fn(&OutputView) -> &str| -> Vec<&OutputView> {
        let fits = |output: &&OutputView| text(output) == wanted;
        outputs.iter().filter(fits).collect()
    };
    let mut found = of(|output| &output.output_id);
    if found.is_empty() {
        found = of(OutputView::display_name);
    }
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let known: Vec<&str> = outputs.iter().map(OutputView::display_name).collect();
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
            let ids: Vec<&str> = several
                .iter()
                .map(|output| output.output_id.as_str())
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
        let (name, id) = (output.display_name(), &output.output_id);
        self.consent
            .ask(
                context,
                &format!(
                    "remove output {name} ({}, {id}): no more alerts are delivered there, and its secrets are gone",
                    output.output_type()
                ),
            )
            .await?;
        let request = DeleteOutputRequest {
            output_id: id.clone(),
            ..DeleteOutputRequest::default()
        };
        let answer = context.call(request).await?;
        context
            .screen
            .show(&answer, |_| format!("output {} removed\n", clean(name)))?;
        Ok(Exit::Fine)
    }
}

impl Test {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let ids = ids_of(context, &self.outputs).await?;
        let wanted = ids.len();
        let request = SendTestAlertRequest { output_ids: ids };
        let answer = context.call(request).await?;
        let responses = &answer.responses;
        context
            .screen
            .show(&answer, |look| attempts(responses, look))?;
        let delivered = responses.iter().filter(|response| response.success).count();
        Ok(if delivered == wanted {
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
        let output = |id: &str, name: &str| OutputView {
            output_id: id.to_owned(),
            display_name: Some(name.to_owned()),
            ..OutputView::default()
        };
        let outputs = [
            output("1", "a"),
            output("2", "b"),
            output("3", "b"),
            output("4", "1"),
        ];
        let id = |wanted: &str| find(&outputs, wanted).map(|output| output.output_id);
        assert_eq!(id("1"), Ok("1".to_owned()));
        assert_eq!(id("a"), Ok("1".to_owned()));
        assert!(id("b").is_err() && id("c").is_err());
    }
}
