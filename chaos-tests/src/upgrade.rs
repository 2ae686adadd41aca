//! Rolling upgrade of a cluster to a release with the next format, under load. Old and new nodes run together, with any of them as the
//! leader. A command raises the format when all nodes support it. After that an old build does not start, and gives the reason.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, PATIENCE};
use crate::node::{Node, count};
use crate::under_load::{Account, Load};
use crate::{During, Failure, Result, until};

/// How long the load runs with each node as the leader, in each state of the upgrade.
const LED_FOR: Duration = Duration::from_secs(3);

/// Results of a run.
#[derive(Debug)]
pub struct Report {
    /// Totals of the load.
    pub account: Account,
    /// The error for raising the format while a node did not support it.
    pub refused: String,
    /// The message of an old build that was started afterwards.
    pub too_old: String,
    /// The formats before and after.
    pub formats: [u64; 2],
    /// Time from the first stop until the format was raised.
    pub took: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, after] = self.formats;
        writeln!(
            to,
            "upgrade from format {before} to {after} in {:.1} s, with each node in the lead in between",
            self.took.as_secs_f64()
        )?;
        writeln!(to, "raised too early: {}", self.refused)?;
        writeln!(to, "an old build afterwards: {}", self.too_old)?;
        write!(to, "{}", self.account)
    }
}

/// Runs the test: from the daemon next to this program to `next`.
///
/// # Errors
/// Acknowledged data is lost or duplicated, or a step of the upgrade has another result than expected.
pub async fn run(next: &Path) -> Result<Report> {
    if !next.is_file() {
        return Err(Failure::CannotRun(format!(
            "there is no {}; `make chaos` builds it",
            next.display()
        )));
    }
    let folder = tempfile::Builder::new()
        .prefix("panther-upgrade-")
        .tempdir()
        .during("making a folder")?;
    let mut cluster = Cluster::three(folder.path().to_owned()).await?;
    let ran = upgraded(&mut cluster, next).await;
    ran.map_err(|failure| failure.with_words(|| cluster.last_words()))
}

async fn upgraded(cluster: &mut Cluster, next: &Path) -> Result<Report> {
    let mut load = Load::begin(cluster).await?;
    let old = cluster.any()?.installed().to_owned();
    let before = format(cluster.any()?).await?;
    let numbers: Vec<u64> = cluster.nodes.keys().copied().collect();
    let began = Instant::now();
    let mut refused = String::new();
    for number in &numbers {
        let node = cluster.at_mut(*number)?;
        node.stop().await?;
        node.install(next.to_owned());
        node.start()?;
        node.ready().await?;
        // Old and new nodes run together; each of them leads for a while.
        for leader in &numbers {
            lead(cluster, *leader).await?;
            tokio::time::sleep(LED_FOR).await;
            load.goes_on().await?;
        }
        if Some(number) != numbers.last() {
            let raised = cluster.at(*number)?.ctl(&["cluster", "raise-format"]).await;
            refused = said(raised, "knows no newer one")?;
        }
        if format(cluster.at(*number)?).await? != before {
            return Err(Failure::broken("the format has risen by itself"));
        }
    }
    cluster.any()?.ctl(&["cluster", "raise-format"]).await?;
    let took = began.elapsed();
    let after = format(cluster.any()?).await?;
    if after != before + 1 {
        return Err(Failure::Broken(format!("the format is {after}")));
    }
    let node = cluster.at_mut(numbers[0])?;
    node.stop().await?;
    node.install(old);
    node.start()?;
    let too_old = said(node.ready().await, "upgrade this node")?;
    node.install(next.to_owned());
    until("the node has ended", PATIENCE, async || {
        Ok((!node.start_if_ended()?).then(|| "it runs".to_owned()))
    })
    .await?;
    node.ready().await?;
    let account = load.end(cluster).await?;
    cluster.stop().await?;
    Ok(Report {
        account,
        refused,
        too_old,
        formats: [before, after],
        took,
    })
}

/// The format in force, as reported by a node.
async fn format(node: &Node) -> Result<u64> {
    Ok(count(&node.ctl(&["cluster", "status"]).await?, "format"))
}

async fn lead(cluster: &Cluster, wanted: u64) -> Result<()> {
    until("the wanted node leads", PATIENCE, async || {
        let leader = cluster.leader().await?;
        if leader != wanted {
            let node = cluster.at(leader)?;
            node.ctl(&["cluster", "transfer-leader", &wanted.to_string()])
                .await?;
        }
        Ok((leader != wanted).then(|| format!("node {leader} does")))
    })
    .await
}

/// The command must fail with this text. Returns the sentence that contains it.
fn said<T: fmt::Debug>(result: Result<T>, words: &str) -> Result<String> {
    match result {
        Err(Failure::Broken(said)) if said.contains(words) => {
            let line = said.lines().find(|line| line.contains(words));
            Ok(line.unwrap_or_default().to_owned())
        }
        other => Err(Failure::Broken(format!(
            "{words:?} is not what was said: {other:?}"
        ))),
    }
}
