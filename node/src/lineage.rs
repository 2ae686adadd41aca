//! `pantherd restore`, `pantherd force-new` and `pantherd salvage`: a new cluster of one node that goes on with an old one's data, from a backup or from what this node has.
//!
//! It is another cluster, with an authority of its own, so that no node of the old one can ever speak with it and bring back what it has left behind.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use panther_actors::sealing::fingerprint;
use panther_cluster::objects::{Objects, proof};
use panther_cluster::raft::lineage::{self, Forced};
use panther_proto::v1::BackupAbout;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::runtime::{Builder, Runtime};

use crate::backup_seal;
use crate::config::Configuration;
use crate::data_dir::{DataDir, SealingKey, new_cluster};
use crate::keys::Keys;
use crate::{Failure, daemon};

/// The node that a restored cluster begins with.
const FIRST: u64 = 1;

/// What a backup says of itself: `backup.json`, beside the state.
#[derive(Debug, Deserialize)]
struct About {
    cluster: String,
    time: String,
    bytes: u64,
    sha256: String,
    sealing_key: String,
    #[serde(default)]
    node: u64,
    #[serde(default)]
    version: String,
    #[serde(default)]
    format: u32,
    #[serde(default)]
    term: u64,
    #[serde(default)]
    index: u64,
    #[serde(default)]
    items: u64,
    #[serde(default)]
    time_ms: u64,
    /// Empty: an older release made the backup.
    #[serde(default)]
    seal: String,
}

/// The format from which on every backup has a seal.
const SEALED_SINCE: u32 = 2;

impl About {
    /// Looks whether a node of the cluster made the backup; what to say to the operator, if that cannot be known.
    fn prove(&self, key: &SealingKey) -> Result<&'static str, Failure> {
        if key.is_new {
            return Ok(
                "Whether a node of the old cluster made the backup cannot be checked without its sealing key.\n",
            );
        }
        if self.seal.is_empty() && self.format < SEALED_SINCE {
            return Ok(
                "An older release made the backup, without a seal: a change that was made to it since cannot be found.\n",
            );
        }
        let said = BackupAbout {
            cluster: self.cluster.clone(),
            node: self.node,
            version: self.version.clone(),
            format: self.format,
            term: self.term,
            index: self.index,
            items: self.items,
            bytes: self.bytes,
            sha256: self.sha256.clone(),
            time_ms: self.time_ms,
            sealing_key: self.sealing_key.clone(),
            seal: self.seal.clone(),
        };
        let key = <&[u8; 32]>::try_from(key.bytes.as_slice()).ok();
        if key.is_some_and(|key| backup_seal::holds(key, &said)) {
            return Ok("");
        }
        Err(wrong(format!(
            "the seal of this backup is {}: it was changed after a node of cluster {} made it, or it was made without the key of that cluster. Take another backup",
            if self.seal.is_empty() {
                "missing"
            } else {
                "wrong"
            },
            self.cluster
        )))
    }
}

/// What an operator gives for a restore.
#[derive(Debug)]
pub(crate) struct Restore<'a> {
    /// The backup's folder.
    pub(crate) backup: &'a Path,
    /// The old cluster's key; without it an operator has to enter the secrets again.
    pub(crate) sealing_key: Option<&'a Path>,
    /// The old cluster is gone, and its object store is this one's.
    pub(crate) take_over: bool,
    /// Nothing is done outside until an operator resumes.
    pub(crate) paused: bool,
}

fn wrong(text: String) -> Failure {
    Failure::Configuration(text)
}

fn runtime() -> Result<Runtime, Failure> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::Failed(format!("no runtime: {error}")))
}

/// Makes this machine the first node of a new cluster with a backup's data; what to say to the operator.
///
/// # Errors
/// The backup is damaged, the key is another, this machine is a node already, or the object store is another cluster's.
pub(crate) fn restore(
    configuration: &Configuration,
    given: &Restore<'_>,
) -> Result<String, Failure> {
    DataDir::unused(configuration)?;
    let about = about(given.backup)?;
    let state = given.backup.join("state.snapshot");
    check(&state, &about)?;
    let sealing_key = sealing_key(given, &about)?;
    let unproved = about.prove(&sealing_key)?;
    let runtime = runtime()?;
    let cluster = new_cluster();
    let objects = runtime.block_on(daemon::objects(&configuration.objects))?;
    let owner = runtime.block_on(proof::owner(&objects));
    let owner = owner.map_err(|error| wrong(error.to_string()))?;
    let seen = match &owner {
        Some(owner) if *owner == about.cluster && !given.take_over => {
            return Err(wrong(format!(
                "{} holds the objects of cluster {owner}, which this is a backup of. If that cluster still runs, give this one a copy of them (objects.url); if it is gone for good, \
                 add --take-over: none of its nodes starts on these objects then",
                configuration.objects
            )));
        }
        Some(owner) if *owner != about.cluster => {
            return Err(wrong(format!(
                "{} holds the objects of cluster {owner}, and this is a backup of {}: set objects.url to this one's",
                configuration.objects, about.cluster
            )));
        }
        Some(_) => "",
        None => {
            "The object store holds nothing of the old cluster: copy its objects there, or what alerts and rows name is not found.\n"
        }
    };
    let group = configuration.paths.data_dir.join("group");
    let began = std::fs::create_dir_all(&group).map_err(|error| failed(&group, &error));
    let settings = daemon::door_settings(configuration).group;
    let restored = began.and_then(|()| {
        let address = &configuration.cluster.advertise;
        let restoring = lineage::restore(&group, &state, FIRST, address, settings);
        let last = runtime.block_on(restoring);
        last.map_err(|error| Failure::Failed(format!("{}: {error}", state.display())))
    });
    let last = restored.inspect_err(|_| {
        // A next try finds it empty again.
        let _ = std::fs::remove_dir_all(&group);
    })?;
    take_over(&runtime, &objects, &cluster)?;
    if given.paused {
        DataDir::pause(configuration)?;
    }
    let keys = Keys::new(&cluster, FIRST)?;
    let came_from = Some(about.cluster.as_str());
    DataDir::take_place(
        configuration,
        &cluster,
        FIRST,
        came_from,
        &sealing_key,
        &keys,
    )?;
    let paused = if given.paused {
        "The cluster is paused: no alert is delivered and no folder is watched until `pantherctl resume`.\n"
    } else {
        ""
    };
    Ok(format!(
        "this machine is node {FIRST} of cluster {cluster} now, with the data of cluster {} as of {} (entry {}). What was changed there later is not in it, and messages that were handled \
         since may be handled again.\n{unproved}{seen}{paused}Start pantherd; then invite other nodes.\n",
        about.cluster, about.time, last.index
    ))
}

/// Makes this node a cluster of its own, with the data that it has, when the others are gone for good; what to say to the operator.
///
/// # Errors
/// It has not been agreed to, the daemon runs, or this machine is no node.
pub(crate) fn force_new(configuration: &Configuration, agreed: bool) -> Result<String, Failure> {
    let folder = &configuration.paths.data_dir;
    let mut data = existing(configuration)?;
    let (node, old) = (data.node(), data.cluster().to_owned());
    let runtime = runtime()?;
    let settings = daemon::door_settings(configuration).group;
    let group = data.group();
    if !agreed {
        let last = runtime.block_on(lineage::last(&group, settings));
        let last =
            last.map_err(|error| Failure::Failed(format!("{}: {error}", group.display())))?;
        return Err(wrong(format!(
            "this node ({node}, data in {}) would go on alone, as a new cluster, with what it has of cluster {old}: whatever the others acknowledged without it is lost, and none of them can ever come \
             back with its data. This node's log ends with entry {} of term {}. Do this only if a majority is gone for good, and only at one node: the one whose log has the highest term, and \
             of those the highest entry (TERM and LOG in `pantherctl cluster status`). Add --yes to go on",
            folder.display(),
            last.index,
            last.term
        )));
    }
    let address = &configuration.cluster.advertise;
    let forcing = lineage::force_new(&group, node, address, settings);
    let Forced { last, uncertain } = runtime
        .block_on(forcing)
        .map_err(|error| Failure::Failed(format!("{}: {error}", group.display())))?;
    let cluster = new_cluster();
    let objects = runtime.block_on(daemon::objects(&configuration.objects))?;
    take_over(&runtime, &objects, &cluster)?;
    Keys::new(&cluster, node)?.keep(data.folder())?;
    data.begin_anew(&cluster)?;
    Ok(format!(
        "this machine is node {node} of cluster {cluster} now, alone, with the data of cluster {old} in {} up to entry {} of term {}; the last {uncertain} of these were not known to be acknowledged, and \
         are kept. Start pantherd; empty the other machines and invite them again.\n",
        folder.display(),
        last.index,
        last.term
    ))
}

/// Makes a new sealing key where the old one is lost; what to say to the operator.
///
/// # Errors
/// It has not been agreed to, the daemon runs, or this machine is no node.
pub(crate) fn new_sealing_key(
    configuration: &Configuration,
    agreed: bool,
) -> Result<String, Failure> {
    let mut data = existing(configuration)?;
    if !agreed {
        return Err(wrong(format!(
            "node {} of cluster {} would seal secrets with a new key: those of destinations that are sealed with the old one never open again, and have to be entered again (`pantherctl outputs update`). Do \
             this only if the old key is lost, and this is the only node. Add --yes to go on",
            data.node(),
            data.cluster()
        )));
    }
    data.new_sealing_key()?;
    Ok("a new sealing.key was made; an old one was kept beside it. Keep a copy of the new one apart from the backups, start pantherd, and give each output that `pantherctl outputs list` names its secret again.\n".to_owned())
}

/// Makes a node that has lost a part of its log the only node of a new cluster, with the state that is left; what to say to the operator.
///
/// # Errors
/// Nothing is lost, others vote too, no state can be read, the daemon runs, or the disk does not take it.
pub(crate) fn salvage(configuration: &Configuration, agreed: bool) -> Result<String, Failure> {
    let folder = &configuration.paths.data_dir;
    let mut data = existing(configuration)?;
    let (node, old, group) = (data.node(), data.cluster().to_owned(), data.group());
    let runtime = runtime()?;
    let settings = daemon::door_settings(configuration).group;
    let remains = runtime
        .block_on(lineage::remains(&group, settings.clone()))
        .map_err(|error| {
            wrong(format!(
                "neither the state nor a snapshot of it can be read below {}: {error}; restore a backup (`pantherd restore`)",
                group.display()
            ))
        })?;
    let Some(loss) = &remains.loss else {
        return Err(wrong(format!(
            "nothing of node {node} of cluster {old} is lost, as far as {} can say, so there is nothing to salvage: start pantherd",
            group.display()
        )));
    };
    if remains.voters.iter().any(|voter| *voter != node) {
        return Err(wrong(format!(
            "nodes {:?} vote in cluster {old}, and the others have what this one has lost: `pantherctl cluster invite --replace {node}` at one of them, then empty {} here and join. If they are \
             gone for good as well, restore a backup",
            remains.voters,
            folder.display()
        )));
    }
    let found = format!(
        "node {node} of cluster {old}, data in {}\nlost ({}): {loss}\nkept: the state up to entry {}, as of {} cluster time{}\nmay be lost: everything that was acknowledged behind entry {} \
         and before the node ended; messages that were done there are handled again\n",
        folder.display(),
        loss.code(),
        remains.applied.index,
        utc(remains.time_ms),
        if remains.snapshot.is_some() {
            " (from the newest snapshot, because the state itself cannot be read)"
        } else {
            ""
        },
        remains.applied.index,
    );
    if !agreed {
        return Ok(format!(
            "{found}Nothing was changed. `pantherd salvage --yes` makes a new cluster of this node with what is kept. The data as they are stay in a folder beside it.\n"
        ));
    }
    let new = folder.join("group.new");
    put_by(folder, &new)?;
    std::fs::create_dir(&new).map_err(|error| failed(&new, &error))?;
    let address = &configuration.cluster.advertise;
    let filled = lineage::salvage(&group, &new, &remains, node, address, settings);
    runtime
        .block_on(filled)
        .map_err(|error| failed(&new, &error))?;
    let cluster = new_cluster();
    let objects = runtime.block_on(daemon::objects(&configuration.objects))?;
    take_over(&runtime, &objects, &cluster)?;
    Keys::new(&cluster, node)?.keep(data.folder())?;
    data.begin_anew(&cluster)?;
    // Last, and in one step: until then a start is refused as before, and this can be called again.
    renameat_with(CWD, &new, CWD, &group, RenameFlags::EXCHANGE)
        .map_err(|error| failed(&group, &error.into()))?;
    let aside = put_by(folder, &new)?;
    Ok(format!(
        "{found}This machine is node {node} of cluster {cluster} now, alone. The data as they were are in {}; remove them when nothing is missed. Start pantherd; then invite other nodes.\n",
        aside.unwrap_or(new).display()
    ))
}

/// Gives a folder that is in the way a name of its own; nothing is removed.
fn put_by(data_dir: &Path, folder: &Path) -> Result<Option<PathBuf>, Failure> {
    if !folder.exists() {
        return Ok(None);
    }
    let free = (1..u32::MAX)
        .map(|number| data_dir.join(format!("group.before-salvage-{number}")))
        .find(|path| !path.exists());
    let aside = free.ok_or_else(|| wrong(format!("{}: too many of them", folder.display())))?;
    std::fs::rename(folder, &aside)
        .and_then(|()| File::open(data_dir)?.sync_all())
        .map_err(|error| failed(folder, &error))?;
    Ok(Some(aside))
}

fn utc(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis);
    time.map_or_else(
        || format!("{ms} ms since 1970"),
        |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true),
    )
}

/// The folder of a node that there is.
fn existing(configuration: &Configuration) -> Result<DataDir, Failure> {
    let folder = &configuration.paths.data_dir;
    if !folder.join("identity").exists() {
        return Err(wrong(format!(
            "data_dir {} holds no node, so there is nothing to go on with; name the folder of the node's data (--data-dir, or data_dir in the configuration)",
            folder.display()
        )));
    }
    DataDir::open(configuration)
}

fn take_over(runtime: &Runtime, objects: &Objects, cluster: &str) -> Result<(), Failure> {
    let taken = runtime.block_on(proof::take_over(objects, cluster));
    taken.map_err(|error| Failure::Failed(error.to_string()))
}

fn about(backup: &Path) -> Result<About, Failure> {
    let path = backup.join("backup.json");
    let text = std::fs::read_to_string(&path).map_err(|error| {
        wrong(format!(
            "{} is no backup: {}: {error}",
            backup.display(),
            path.display()
        ))
    })?;
    serde_json::from_str(&text).map_err(|error| wrong(format!("{}: {error}", path.display())))
}

fn check(state: &Path, about: &About) -> Result<(), Failure> {
    let mut hash = Sha256::new();
    let bytes = File::open(state).and_then(|mut file| io::copy(&mut file, &mut hash));
    let bytes = bytes.map_err(|error| wrong(format!("{}: {error}", state.display())))?;
    if (bytes, format!("{:x}", hash.finalize())) != (about.bytes, about.sha256.clone()) {
        return Err(wrong(format!(
            "{} is damaged: it is not what was written ({bytes} of {} bytes); take another backup",
            state.display(),
            about.bytes
        )));
    }
    Ok(())
}

/// The old cluster's key, or a new one where it is lost.
fn sealing_key(given: &Restore<'_>, about: &About) -> Result<SealingKey, Failure> {
    let Some(path) = given.sealing_key else {
        return Ok(SealingKey {
            bytes: rand::random::<[u8; 32]>().to_vec(),
            is_new: true,
        });
    };
    let key = std::fs::read(path).map_err(|error| wrong(format!("{}: {error}", path.display())))?;
    if fingerprint(&key) != about.sealing_key {
        return Err(wrong(format!(
            "{} is not the key that cluster {} sealed its secrets with: that one lies in the data_dir of each of its nodes as sealing.key",
            path.display(),
            about.cluster
        )));
    }
    Ok(SealingKey {
        bytes: key,
        is_new: false,
    })
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("{}: {error}", path.display()))
}
