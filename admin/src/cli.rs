//! The command line: what holds for every verb. The verbs themselves stand in `commands/`, a file for each group.

use std::{path::PathBuf, time::Duration};

use chrono::{DateTime, Utc};
use clap::Parser;

use crate::{
    client::Client,
    commands::{Command, Context},
    output::{Colour, Screen},
};

/// Where pantherd listens as a service, unless its configuration says otherwise.
const SOCKET: &str = "/run/panther/pantherd.sock";

/// The socket of the service. If the service has no socket, the socket of a pantherd that the same user started by hand.
fn socket(variable: impl Fn(&str) -> Option<String>) -> PathBuf {
    let service = PathBuf::from(SOCKET);
    let data = variable("XDG_DATA_HOME")
        .or_else(|| Some(format!("{}/.local/share", variable("HOME")?)))
        .map(|folder| PathBuf::from(folder).join("panther/pantherd.sock"));
    match data {
        Some(own) if !service.exists() && own.exists() => own,
        _ => service,
    }
}

/// Operate a panther-cluster and write detections for it.
///
/// Data goes to standard output, everything else to standard error.
/// Exit codes: 0 fine, 1 findings or failures, 2 bad detections or input, 3 bad configuration, 4 the node does not answer.
#[derive(Debug, Parser)]
#[command(name = "pantherctl", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// The Unix socket of the node to speak to; by default /run/panther/pantherd.sock, or else that of your own pantherd in ~/.local/share/panther
    #[arg(long, global = true, env = "PANTHER_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// How long one call may take; uploads and mass changes have at least 300 s
    #[arg(long, global = true, default_value = "30", value_name = "SECONDS", value_parser = seconds)]
    timeout: Duration,
    /// Print the answer as it came: one JSON object
    #[arg(long, global = true)]
    json: bool,
    /// When to colour
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN"
    )]
    color: Colour,
    /// Who does this, for the records of alerts, sources and outputs; by default your login name
    #[arg(long, global = true, env = "PANTHER_USER", value_name = "NAME")]
    user: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// What every verb works with.
    pub(crate) fn context(&self) -> Context {
        let login = || {
            // Behind sudo the person is who called it.
            ["SUDO_USER", "USER", "LOGNAME"]
                .iter()
                .filter_map(|name| std::env::var(name).ok())
                .find(|name| !name.is_empty())
                .unwrap_or_else(|| "pantherctl".to_owned())
        };
        let user = self.user.clone().unwrap_or_else(login);
        Context {
            client: Client::new(
                self.socket.clone().unwrap_or_else(|| {
                    socket(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
                }),
                self.timeout,
                user.clone(),
            ),
            screen: Screen::new(self.json, self.color, now()),
            user,
        }
    }
}

/// The present. The one place that looks at the clock for rendering and arguments.
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.strip_suffix('s')
        .unwrap_or(text)
        .parse::<f64>()
        .ok()
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "write a number of seconds above 0, such as 30 or 0.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_of_the_handbook_is_read() {
        for line in [
            "status",
            "health",
            "version",
            "snapshot",
            "components",
            "describe panther-rules-engine",
            "describe panther-analysis/table",
            "runbook",
            "alarms",
            "alarms --all",
            "queue ls",
            "queue show panther-alerts-queue",
            "queue peek panther-alerts-queue-dlq --limit 3 --after 7",
            "queue send panther-alerts-queue {} --attribute type=RULE --delay 5",
            "queue purge panther-alerts-queue --yes",
            "requeue panther-alerts-queue",
            "requeue panther-datacatalog-updater-queue --from panther-datacatalog-updater-dlq --message m1 --limit 2 --dry-run --yes",
            "table ls",
            "table get panther-outputs a",
            "table get panther-outputs a b",
            "table scan panther-outputs --limit 3 --cursor c",
            "quarantine",
            "quarantine ls --source okta",
            "quarantine show obj",
            "quarantine replay --object obj",
            "quarantine replay --source okta",
            "alerts list --status open --severity HIGH --since 7d",
            "alerts show a1 --events 3",
            "alerts close a1 a2 --disposition false --reason noise",
            "alerts triage a1",
            "alerts resolve a1",
            "alerts reopen a1",
            "alerts assign alice a1 a2",
            "alerts deliver a1 ops",
            "detections test pack --filter Severity=High --filter Tags=x --minimum-tests 2 --python python3.11",
            "detections check pack",
            "detections upload pack",
            "detections list --severity high",
            "detections show A.Rule",
            "detections suspend A.Rule",
            "detections resume A.Rule",
            "sources add http okta --log-types Okta.SystemLog",
            "sources add folder nginx /var/log/nginx --log-types Nginx.Access",
            "sources add objects trail --prefix trail/ --log-types AWS.CloudTrail,AWS.ALB",
            "sources list",
            "sources show okta",
            "sources update okta --log-types A.B --label okta2",
            "sources remove okta --yes",
            "sources rotate-token okta",
            "sources notify trail obj",
            "schemas list",
            "schemas add x.yml",
            "schemas test x.yml a.log b.log",
            "outputs add webhook ops https://example.com --severity HIGH,CRITICAL",
            "outputs add slack team https://example.com",
            "outputs add file local /var/log/alerts.ndjson",
            "outputs add ticket team --set project=SEC --set apiKey=@key",
            "outputs types",
            "outputs list",
            "outputs show ops",
            "outputs test ops",
            "outputs remove ops -y",
            "ledger",
            "ledger okta --hours 3",
            "trace 00",
            "tail",
            "tail alarms",
            "--json --socket /tmp/s --timeout 5 status",
            "status --json --socket /tmp/s --timeout 5s --color never",
        ] {
            let words = std::iter::once("pantherctl").chain(line.split(' '));
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn slips_are_refused() {
        for line in [
            "",
            "queue",
            "requeue",
            "sources add http okta",
            "sources update okta",
            "quarantine replay",
            "quarantine replay --object a --source b",
            "detections test",
            "detections test pack --filter Severity",
            "alerts list --severity Huge",
            "queue send q body --attribute x",
            "status --timeout 0",
            "status --timeout soon",
        ] {
            let words = std::iter::once("pantherctl")
                .chain(line.split(' ').filter(|word| !word.is_empty()));
            let error = Cli::try_parse_from(words).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
