//! Two of three machines are lost for good: the third continues alone and admits new nodes. Then all are lost: a backup becomes a cluster.

use std::path::Path;

use crate::cluster::{Cluster, PATIENCE, Store};
use crate::doors;
use crate::node::{Node, count, items, text};
use crate::receiver::Receiver;
use crate::{During, Failure, Result, until};

const SOURCE: &str = "posted";

/// One request that matches a rule of the samples.
fn line(number: u32) -> Vec<u8> {
    format!("10.9.0.{number} - - [05/Mar/2026:14:00:00 +0000] \"GET /{number}/.env HTTP/1.1\" 404 153 \"-\" \"curl/8.5.0\"\n").into_bytes()
}

/// Posts a line, and waits until its alert is delivered. This shows that the source's token, the detections, and the sealing key of the
/// destination's address are intact.
async fn alert(node: &Node, token: &str, receiver: &Receiver, number: u32) -> Result<()> {
    let url = format!("http://{}/ingest/{SOURCE}", node.ingest());
    let before = receiver.received().len();
    let key = format!("line-{number}");
    doors::post(&doors::client()?, &url, token, &key, line(number)).await?;
    until("an alert is delivered", PATIENCE, async || {
        let now = receiver.received().len();
        Ok((now == before).then(|| format!("{now} alerts so far")))
    })
    .await
}

async fn outputs(node: &Node) -> Result<Vec<String>> {
    let listed = node.ctl(&["outputs", "list"]).await?;
    let mut names: Vec<String> = items(&listed, "outputs")
        .iter()
        .map(|output| text(output, "displayName"))
        .collect();
    names.sort_unstable();
    Ok(names)
}

fn must(fine: bool, what: &str) -> Result<()> {
    if fine {
        Ok(())
    } else {
        Err(Failure::broken(what))
    }
}

/// The command must fail with this text.
fn refused(result: Result<String>, words: &str) -> Result<()> {
    match result {
        Err(Failure::Broken(said)) if said.contains(words) => Ok(()),
        other => Err(Failure::Broken(format!(
            "{words:?} is not what was said: {other:?}"
        ))),
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &place)?;
        } else {
            std::fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}

/// Runs the test.
///
/// # Errors
/// Data is missing, or a node of the old cluster is admitted.
pub async fn run() -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("panther-lineage-")
        .tempdir()
        .during("making a folder")?;
    let mut cluster = Cluster::three(folder.path().to_owned()).await?;
    let ran = played(folder.path(), &mut cluster).await;
    ran.map_err(|failure| failure.with_words(|| cluster.last_words()))
}

async fn played(folder: &Path, cluster: &mut Cluster) -> Result<()> {
    let receiver = Receiver::start().await?;
    let first = cluster.at(1)?;
    let pack = crate::samples().join("pack").display().to_string();
    first.ctl(&["detections", "upload", &pack]).await?;
    let url = receiver.url();
    first
        .ctl(&["outputs", "add", "webhook", "one", &url])
        .await?;
    let words = [
        "sources",
        "add",
        "http",
        SOURCE,
        "--log-types",
        "Nginx.Access",
    ];
    let token = text(&first.ctl(&words).await?, "token");
    alert(first, &token, &receiver, 1).await?;
    let backup = folder.join("backup").display().to_string();
    cluster.at(2)?.ctl(&["backup", "create", &backup]).await?;
    cluster.at(2)?.ctl(&["backup", "verify", &backup]).await?;
    first
        .ctl(&["outputs", "add", "webhook", "two", &url])
        .await?;
    // A copy of the present objects, for the restored cluster.
    let objects = folder.join("objects-restored");
    copy(&folder.join("objects"), &objects).during("copying the objects")?;

    // The third node has applied the last change. It is the only node that is kept.
    must(
        outputs(cluster.at(3)?).await? == ["one", "two"],
        "node 3 does not show both outputs",
    )?;
    for node in [1, 2, 3] {
        cluster.at_mut(node)?.kill().await?;
    }
    let left = cluster.at_mut(3)?;
    refused(left.once(&["force-new"]).await, "--yes")?;
    left.once(&["force-new", "--yes"]).await?;
    left.start()?;
    left.ready().await?;
    must(outputs(left).await? == ["one", "two"], "an output is gone")?;
    alert(left, &token, &receiver, 2).await?;
    let status = left.ctl(&["cluster", "status"]).await?;
    must(
        items(&status, "voters") == [3],
        "node 3 is not the only voter",
    )?;
    // A node of the old cluster that comes back is rejected by the new nodes, and does not start on the objects of the new cluster.
    let mut old = cluster
        .nodes
        .remove(&1)
        .ok_or_else(|| Failure::broken("no node 1"))?;
    drop(cluster.nodes.remove(&2));
    old.start()?;
    let started = tokio::time::timeout(std::time::Duration::from_secs(3), old.ready()).await;
    must(
        !matches!(started, Ok(Ok(()))),
        "a node of the old cluster goes on",
    )?;
    old.kill().await?;
    // New nodes join, with node ids that were never used.
    let joined = [cluster.join(3, &[]).await?, cluster.join(3, &[]).await?];
    must(
        joined == [4, 5],
        &format!("the nodes that join are {joined:?}"),
    )?;
    cluster.voters(3).await?;
    alert(cluster.at(5)?, &token, &receiver, 3).await?;
    cluster.equal().await?;

    // Everything is lost except the backup, the key and the objects.
    let machine = cluster.machine_with("restored", &Store::folder(&objects))?;
    let key = cluster
        .at(3)?
        .data()
        .join("sealing.key")
        .display()
        .to_string();
    let wrong = folder.join("wrong.key");
    std::fs::write(&wrong, [7; 32]).during("writing a key")?;
    let wrong = wrong.display().to_string();
    refused(
        machine
            .once(&["restore", &backup, "--sealing-key", &wrong])
            .await,
        "is not the key",
    )?;
    for (keep_seal, why) in [
        (true, "the seal of this backup is wrong"),
        (false, "the seal of this backup is missing"),
    ] {
        let to = folder.join(format!("forged-{keep_seal}"));
        let forged = forge(&folder.join("backup"), &to, keep_seal)?;
        let restored = machine
            .once(&["restore", &forged, "--sealing-key", &key])
            .await;
        refused(restored, why)?;
    }
    refused(
        machine
            .once(&["restore", &backup, "--sealing-key", &key])
            .await,
        "--take-over",
    )?;
    let restore = ["restore", &backup, "--sealing-key", &key, "--take-over"];
    machine.once(&restore).await?;
    let mut machine = machine;
    machine.start()?;
    machine.ready().await?;
    must(
        outputs(&machine).await? == ["one"],
        "the restored cluster has not the backup's outputs",
    )?;
    let alerts = machine.ctl(&["alerts", "list"]).await?;
    must(
        items(&alerts, "alertSummaries").len() == 1,
        &format!("not the backup's one alert: {alerts}"),
    )?;
    alert(&machine, &token, &receiver, 4).await?;
    let shown = machine.ctl(&["sources", "show", SOURCE]).await?;
    must(
        count(&shown, "received") == 2,
        "the ledger does not go on from the backup",
    )?;
    refused(machine.once(&restore).await, "already")?;
    machine.stop().await?;
    cluster.stop().await
}

/// A forged backup: changed without the key of the cluster. The seal is kept or removed.
fn forge(backup: &Path, to: &Path, keep_seal: bool) -> Result<String> {
    const ABOUT: &str = "backup.json";
    copy(backup, to).during("copying a backup")?;
    let text = std::fs::read_to_string(to.join(ABOUT)).during("reading a backup")?;
    let mut about: serde_json::Value = serde_json::from_str(&text).during("reading a backup")?;
    about["index"] = 1.into();
    if !keep_seal {
        about["seal"] = "".into();
    }
    std::fs::write(to.join(ABOUT), about.to_string()).during("writing a backup")?;
    Ok(to.display().to_string())
}
