//! Crash loop: the node is killed repeatedly while logs arrive through three doors; the totals must equal those of an undisturbed run.
//!
//! Both runs get the same files, each through the same door. In the disturbed run the files are released gradually, so that there is work
//! in progress at every kill. The times of the kills come from the seed: mostly after the node has started, sometimes during its start,
//! sometimes during a snapshot.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::sync::watch;

use crate::compare::differences;
use crate::doors::{Doors, LABELS};
use crate::node::{Binaries, Node, NodeSettings, Place, count, items, text};
use crate::receiver::Receiver;
use crate::tally::{Tally, delivered, is_of_the_machine};
use crate::{During, Failure, Result, until};

/// Settings of a run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Seed of the kills.
    pub seed: u64,
    /// Number of kills.
    pub rounds: usize,
    /// After this time there are no further kills, whatever their number.
    pub limit: Duration,
    /// Minimum time between kills.
    pub min: Duration,
    /// Maximum time between kills, if the node has started by then.
    pub max: Duration,
    /// The pack of detections.
    pub pack: PathBuf,
    /// The folder of log files.
    pub logs: PathBuf,
    /// The log types of the files, separated by commas.
    pub log_types: String,
    /// Rules whose matches depend on the order of events.
    pub order_dependent: Vec<String>,
    /// The Python interpreter for detections.
    pub python: String,
    /// Deadline of a start, and of everything after the last kill.
    pub patience: Duration,
}

impl Settings {
    /// Settings for the project's own samples.
    #[must_use]
    pub fn on_samples(seed: u64) -> Self {
        Self {
            seed,
            rounds: 10,
            limit: Duration::from_secs(60),
            min: Duration::from_millis(300),
            max: Duration::from_millis(1500),
            pack: crate::samples().join("pack"),
            logs: crate::samples().join("logs"),
            log_types: "AWS.CloudTrail,Okta.SystemLog,Nginx.Access".to_owned(),
            order_dependent: Vec::new(),
            python: "python3".to_owned(),
            patience: Duration::from_secs(120),
        }
    }
}

/// Results of a run.
#[derive(Debug)]
pub struct Report {
    /// The undisturbed run.
    pub undisturbed: Tally,
    /// The run with kills.
    pub disturbed: Tally,
    /// Duration of the run with kills.
    pub took: Duration,
    /// Number of kills after and during a start.
    pub kills: [usize; 2],
    /// Messages in progress at a kill, summed over all kills.
    pub in_flight: u64,
    /// Differences between the two runs.
    pub differences: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            undisturbed,
            disturbed,
            kills: [up, starting],
            ..
        } = self;
        writeln!(
            to,
            "{} kills in {:.0} s ({up} while up, {starting} while starting), {} messages in flight at them",
            up + starting,
            self.took.as_secs_f64(),
            self.in_flight
        )?;
        for (name, tally) in [("undisturbed", undisturbed), ("disturbed", disturbed)] {
            let sum = |place: usize| tally.ledger.values().map(|sums| sums[place]).sum::<u64>();
            writeln!(
                to,
                "{name:<12} {} received, {} stored, {} quarantined; {} matches, {} rule errors, {} alerts, {} posts to the webhook; alarms meanwhile: {:?}",
                sum(0),
                sum(1),
                sum(2),
                tally.match_count(),
                tally.errors.values().sum::<u64>(),
                tally.alert_count(),
                tally.posts,
                tally.alarms_seen
            )?;
        }
        write!(to, "{} differences", self.differences.len())
    }
}

/// The path of a file to its alerts takes about a second; most kills happen within this time after files were released.
const LEAD: Duration = Duration::from_millis(1_200);

/// Timing of one kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Round {
    /// Time since the previous kill.
    spacing: Duration,
    /// If true, the kill happens at that time even if the node has not started yet.
    early: bool,
    /// How long before the kill the next files are released, so that the kill hits the work on them.
    lead: Duration,
    /// How long before the kill a snapshot is requested; `None` means without a snapshot.
    snapshot: Option<Duration>,
}

/// All kills of a seed. They do not depend on events during the run.
fn rounds(settings: &Settings) -> Vec<Round> {
    let mut random = StdRng::seed_from_u64(settings.seed);
    let mut draw = || Round {
        spacing: random.random_range(settings.min..=settings.max),
        early: random.random_ratio(1, 5),
        lead: random.random_range(Duration::ZERO..=LEAD),
        snapshot: random
            .random_ratio(1, 5)
            .then(|| Duration::from_millis(random.random_range(0..40))),
    };
    (0..settings.rounds).map(|_| draw()).collect()
}

/// Runs both runs and compares them.
///
/// # Errors
/// A run did not complete. Wrong results are part of the report.
pub async fn run(settings: &Settings) -> Result<Report> {
    let binaries = Binaries::find()?;
    let (undisturbed, _, _) = one(settings, &binaries, &[]).await?;
    let (disturbed, kills, took) = one(settings, &binaries, &rounds(settings)).await?;
    Ok(Report {
        differences: differences(&undisturbed, &disturbed, took, &settings.order_dependent),
        undisturbed,
        disturbed,
        took,
        kills: kills.number,
        in_flight: kills.in_flight,
    })
}

async fn one(
    settings: &Settings,
    binaries: &Binaries,
    rounds: &[Round],
) -> Result<(Tally, Kills, Duration)> {
    let folder = tempfile::Builder::new()
        .prefix("panther-chaos-")
        .tempdir()
        .during("making a folder")?;
    let mut node = Node::new(NodeSettings {
        binaries: binaries.clone(),
        folder: folder.path().to_owned(),
        data: folder.path().join("data"),
        python: settings.python.clone(),
        patience: settings.patience,
        environment: Vec::new(),
        configuration: String::new(),
        place: Place::default(),
    })?;
    let ran = flow(settings, &mut node, rounds).await;
    ran.map_err(|failure| match failure {
        Failure::Broken(what) => Failure::Broken(format!(
            "{what}\nthe node's log ends with:\n{}",
            node.last_words()
        )),
        other => other,
    })
}

async fn flow(
    settings: &Settings,
    node: &mut Node,
    rounds: &[Round],
) -> Result<(Tally, Kills, Duration)> {
    let receiver = Receiver::start().await?;
    node.start()?;
    node.ready().await?;
    let pack = settings.pack.display().to_string();
    node.ctl(&["detections", "upload", &pack]).await?;
    node.ctl(&["outputs", "add", "webhook", "webhook", &receiver.url()])
        .await?;
    let file = delivered(node).display().to_string();
    node.ctl(&["outputs", "add", "file", "file", &file]).await?;
    let doors = Doors::open(node, &settings.log_types).await?;

    let files = log_files(&settings.logs)?;
    let began = Instant::now();
    let (release, released) = watch::channel(if rounds.is_empty() { files.len() } else { 0 });
    let feeders = doors.feed(&files, &released);
    let kills = kill_again_and_again(node, rounds, settings.limit, &release, files.len()).await?;
    release.send_replace(files.len());
    node.ready().await?;
    for feeder in feeders {
        tokio::time::timeout(settings.patience, feeder)
            .await
            .map_err(|_| Failure::broken("a file is not acknowledged although the node is up"))?
            .during("feeding")??;
    }
    settle(node, files.len(), settings.patience).await?;
    let took = began.elapsed();
    let mut tally = Tally::take(node, &receiver).await?;
    node.stop().await?;
    let left = async || Ok(node.left_behind().into_iter().next());
    if let Err(failure) = until(
        "processes of the node end with it",
        Duration::from_secs(10),
        left,
    )
    .await
    {
        tally.problems.push(failure.to_string());
    }
    Ok((tally, kills, took))
}

/// Statistics of the kills.
#[derive(Debug, Default, Clone)]
struct Kills {
    /// Number of kills after and during a start.
    number: [usize; 2],
    in_flight: u64,
}

async fn kill_again_and_again(
    node: &mut Node,
    rounds: &[Round],
    limit: Duration,
    release: &watch::Sender<usize>,
    files: usize,
) -> Result<Kills> {
    let mut kills = Kills::default();
    let began = tokio::time::Instant::now();
    let mut last = began;
    for (place, round) in rounds.iter().enumerate() {
        if began.elapsed() > limit {
            break;
        }
        let free = (files * (place + 1)).div_ceil(rounds.len());
        let at = last + round.spacing;
        if round.early {
            release.send_replace(free);
            tokio::time::sleep_until(at).await;
        } else {
            node.ready().await?;
            // A node that starts late still gets some time to work; otherwise the test would show nothing on a slow machine.
            let at = at.max(tokio::time::Instant::now() + round.spacing / 2);
            tokio::time::sleep_until(at - round.lead).await;
            release.send_replace(free);
            let caller = node.caller();
            if let Some(before) = round.snapshot {
                tokio::time::sleep_until(at - before).await;
                // The answer is lost with the node.
                tokio::spawn(
                    async move { caller.invoke("node", "snapshot", &json!({}), None).await },
                );
                tokio::time::sleep_until(at).await;
            } else {
                tokio::time::sleep_until(at).await;
                if let Ok(status) = caller.invoke("node", "status", &json!({}), None).await {
                    kills.in_flight += count(&status["queues"], "in_flight");
                }
            }
        }
        node.kill().await?;
        kills.number[usize::from(round.early)] += 1;
        last = tokio::time::Instant::now();
        node.start()?;
    }
    Ok(kills)
}

/// Waits until the watched folder is read, the queues are empty, and no alarm is raised.
async fn settle(node: &Node, files: usize, patience: Duration) -> Result<()> {
    let watched = (0..files).filter(|place| place % LABELS.len() == 1).count();
    until("everything settles", patience, async || {
        let taken = node.rows("panther-watched-files").await?.len();
        if taken < watched {
            return Ok(Some(format!(
                "{taken} of {watched} files of the watched folder are taken"
            )));
        }
        let queues = node.ctl(&["queue", "ls"]).await?;
        let busy = items(&queues, "queues").iter().find(|queue| {
            queue["kind"] != "dlq"
                && ["waiting", "delayed", "in_flight"]
                    .iter()
                    .any(|name| count(queue, name) > 0)
        });
        if let Some(busy) = busy {
            return Ok(Some(busy.to_string()));
        }
        let alarms = node.ctl(&["alarms"]).await?;
        let left = items(&alarms, "alarms")
            .iter()
            .find(|alarm| !is_of_the_machine(&text(alarm, "name")));
        let Some(left) = left else { return Ok(None) };
        Ok(Some(format!("{left}{}", letters(node, &queues).await?)))
    })
    .await
}

/// The content of the dead letter queues, with the reasons.
async fn letters(node: &Node, queues: &serde_json::Value) -> Result<String> {
    let mut said = String::new();
    for queue in items(queues, "queues") {
        if queue["kind"] == "dlq" && count(queue, "waiting") > 0 {
            let name = text(queue, "name");
            let peeked = node.ctl(&["queue", "peek", &name]).await?;
            said.push_str(&format!("\n{name}: {peeked}"));
        }
    }
    Ok(said)
}

/// Log files below a folder, sorted by path, without their descriptions.
fn log_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).during(format!("listing {}", folder.display()))?;
        for entry in entries {
            let path = entry
                .during(format!("listing {}", folder.display()))?
                .path();
            let ending = path.extension().unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if ["gz", "json", "ndjson", "jsonl", "log"]
                .iter()
                .any(|known| ending == *known)
            {
                files.push(path);
            }
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Failure::CannotRun(format!(
            "{} holds no log files",
            folder.display()
        )));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_kills_each_time() {
        let settings = Settings::on_samples(7);
        assert_eq!(rounds(&settings), rounds(&settings));
        assert_ne!(rounds(&settings), rounds(&Settings::on_samples(8)));
        assert!(
            rounds(&settings)
                .iter()
                .all(|round| (settings.min..=settings.max).contains(&round.spacing))
        );
    }

    #[test]
    fn what_describes_the_files_is_no_log() {
        let files = log_files(&crate::samples().join("logs")).unwrap();
        assert_eq!(files.len(), 6);
    }
}
