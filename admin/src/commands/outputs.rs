//! outputs: where alerts are delivered. The types of outputs and the fields of each are the server's: see [`settings`].

mod settings;

use clap::{Args, Subcommand, ValueEnum};
use panther_proto::v1::{
    AddOutputRequest, DeleteOutputRequest, DeliveryResponse, GetOutputRequest,
    GetOutputTypesRequest, GetOutputsRequest, OutputView, SendTestAlertRequest,
    UpdateOutputRequest,
};

use self::settings::Settings;
use super::{Context, Severity, names};
use crate::{
    confirm::Consent,
    failure::{Exit, Failure},
    output::{Cell, Details, Grid, Look, Tone, ago, clean, instant, moment, short},
};

/// `outputs`.
#[derive(Debug, Subcommand)]
pub(crate) enum Outputs {
    /// Deliver alerts to one more place
    Add(Add),
    /// The types of outputs, and what each needs
    Types,
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
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// What kind of place it is, such as webhook; `pantherctl outputs types` lists all
    #[arg(value_name = "TYPE")]
    of: String,
    /// A name for it
    name: String,
    /// The URL or the file to which alerts go. A URL is a secret; - reads it from standard input, @FILE from a file, which keeps it out of the shell's history
    address: Option<String>,
    #[command(flatten)]
    settings: Settings,
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
    /// Its new URL, or the file's new path; - reads it from standard input, @FILE from a file. Whatever says how the output is reached is given again with it
    #[arg(long)]
    address: Option<String>,
    #[command(flatten)]
    settings: Settings,
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
            Self::Types => types(context).await,
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

impl Update {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let output = one(context, &self.output).await?;
        let config = if self.address.is_none() && self.settings.is_empty() {
            None
        } else {
            let answer = context.call(GetOutputTypesRequest {}).await?;
            let of = answer
                .types
                .iter()
                .find(|of| of.output_type == output.output_type());
            let of = of.ok_or_else(|| settings::unknown(output.output_type(), &answer.types))?;
            Some(self.settings.read(of, self.address.as_deref())?)
        };
        let display_name = self
            .name
            .unwrap_or_else(|| output.display_name().to_owned());
        let request = UpdateOutputRequest {
            user_id: context.user.clone(),
            output_id: output.output_id,
            display_name,
            output_config: config.map(Into::into),
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
        let answer = context.call(GetOutputTypesRequest {}).await?;
        let of = answer.types.iter().find(|of| of.name == self.of);
        let of = of.ok_or_else(|| settings::unknown(&self.of, &answer.types))?;
        let config = self.settings.read(of, self.address.as_deref())?;
        let routing = self.routing;
        let severities = if routing.severity.is_empty() {
            Severity::value_variants()
        } else {
            &routing.severity
        };
        let request = AddOutputRequest {
            user_id: context.user.clone(),
            display_name: self.name,
            output_config: Some(config.into()),
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

async fn types(context: &Context) -> Result<Exit, Failure> {
    let answer = context.call(GetOutputTypesRequest {}).await?;
    context.screen.show(&answer, |look| {
        let mut grid = Grid::new(&["TYPE", "FIELD", "NEEDED", "WHAT IT IS"]);
        for of in &answer.types {
            grid.row([
                of.name.as_str().into(),
                "".into(),
                "".into(),
                of.about.as_str().into(),
            ]);
            for field in &of.fields {
                let needed = if field.required { "yes" } else { "no" };
                grid.row([
                    "".into(),
                    field.name.as_str().into(),
                    needed.into(),
                    settings::about(field).into(),
                ]);
            }
        }
        grid.render(look)
    })?;
    Ok(Exit::Fine)
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
