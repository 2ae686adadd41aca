//! backup: the cluster's state in a folder, and whether what lies there is whole.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use chrono::{DateTime, SecondsFormat};
use clap::{Args, Subcommand};
use panther_proto::v1::{BackupAbout, backup_piece};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Context;
use crate::{
    answer::{Answer, Fields},
    failure::{Exit, Failure},
    output::{Details, Tone},
};

/// What the backup is.
const ABOUT: &str = "backup.json";
/// The state itself.
const STATE: &str = "state.snapshot";
/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// `backup`.
#[derive(Debug, Subcommand)]
pub(crate) enum Backup {
    /// Write the whole state as of now into a new folder: tables, queues with their messages, detections, settings
    Create(Folder),
    /// Say whether a backup is what was written
    Verify(Folder),
}

/// A backup's place.
#[derive(Debug, Args)]
pub(crate) struct Folder {
    /// The backup's folder
    folder: PathBuf,
}

impl Backup {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Create(Folder { folder }) => create(context, &folder).await,
            Self::Verify(Folder { folder }) => verify(context, &folder),
        }
    }
}

fn disk(path: &Path, error: &io::Error) -> Failure {
    Failure::new("the backup cannot be written")
        .tried(path.display().to_string())
        .why(error.to_string())
        .next("name a folder that is not there yet, on a disk with room for it")
}

async fn create(context: &Context, folder: &Path) -> Result<Exit, Failure> {
    // Who may read it may read everything in it.
    DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .map_err(|error| disk(folder, &error))?;
    let written = write(context, folder).await;
    if written.is_err() {
        // Half a backup would be taken for one.
        let _ = std::fs::remove_dir_all(folder);
    }
    let about = written?;
    context.screen.note(&format!(
        "not in it, keep it apart: sealing.key, from the data_dir of any node, which opens the secrets in the backup. The objects (objects.url) are not in it either: copy them after the backup, and keep what is \
         there. `pantherd restore {}` makes a cluster of it",
        folder.display()
    ));
    show(context, folder, &about)?;
    Ok(Exit::Fine)
}

async fn write(context: &Context, folder: &Path) -> Result<Value, Failure> {
    let broken_off = |why: &str| {
        Failure::new("the backup broke off")
            .tried("node.backup")
            .why(why)
            .next("`pantherctl health` tells whether the node is well; then take another")
    };
    let mut pieces = context.client.backup().await?;
    let mut next = async || {
        let piece = pieces.message().await;
        piece.map_err(|status| broken_off(status.message()))
    };
    let first = next().await?.and_then(|piece| piece.kind);
    let Some(backup_piece::Kind::About(about)) = first else {
        return Err(broken_off("the node did not say what it sends"));
    };
    let path = folder.join(STATE);
    let failed = |error: &io::Error| disk(&path, error);
    let mut file = new_file(&path).map_err(|error| failed(&error))?;
    let mut hash = Sha256::new();
    let mut bytes = 0;
    while let Some(piece) = next().await? {
        let Some(backup_piece::Kind::Content(content)) = piece.kind else {
            return Err(broken_off(
                "the node sent something that this pantherctl does not know",
            ));
        };
        hash.update(&content);
        bytes += content.len() as u64;
        file.write_all(&content).map_err(|error| failed(&error))?;
    }
    if bytes != about.bytes || format!("{:x}", hash.finalize()) != about.sha256 {
        return Err(broken_off("what came is not what the node sent"));
    }
    file.sync_all().map_err(|error| failed(&error))?;
    let about = described(&about);
    let path = folder.join(ABOUT);
    new_file(&path)
        .and_then(|mut file| {
            writeln!(file, "{about:#}")?;
            file.sync_all()?;
            File::open(folder)?.sync_all()
        })
        .map_err(|error| disk(&path, &error))?;
    Ok(about)
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn described(about: &BackupAbout) -> Value {
    let time = i64::try_from(about.time_ms).unwrap_or(i64::MAX);
    let time = DateTime::from_timestamp_millis(time).unwrap_or_default();
    json!({
        "cluster": about.cluster,
        "node": about.node,
        "version": about.version,
        "format": about.format,
        "time": time.to_rfc3339_opts(SecondsFormat::Secs, true),
        "term": about.term,
        "index": about.index,
        "items": about.items,
        "bytes": about.bytes,
        "sha256": about.sha256,
        "sealing_key": about.sealing_key,
        "time_ms": about.time_ms,
        "seal": about.seal,
    })
}

fn verify(context: &Context, folder: &Path) -> Result<Exit, Failure> {
    let no_backup = |path: &Path, why: String| {
        Failure::input("this is no whole backup")
            .tried(path.display().to_string())
            .why(why)
            .next("`pantherctl backup create` takes another")
    };
    let path = folder.join(ABOUT);
    let about: Value = std::fs::read_to_string(&path)
        .map_err(|error| error.to_string())
        .and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()))
        .map_err(|why| no_backup(&path, why))?;
    let path = folder.join(STATE);
    let (bytes, sha256) = hash(&path).map_err(|error| no_backup(&path, error.to_string()))?;
    if about["bytes"].as_u64() != Some(bytes) {
        let why = format!("it has {bytes} bytes, and {} were written", about["bytes"]);
        return Err(no_backup(&path, why));
    }
    if about.text("sha256") != sha256 {
        let why = "its content has changed since it was written".to_owned();
        return Err(no_backup(&path, why));
    }
    show(context, folder, &about)?;
    Ok(Exit::Fine)
}

fn hash(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut piece = vec![0; PIECE];
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok((bytes, format!("{:x}", hash.finalize())));
        }
        hash.update(&piece[..length]);
        bytes += length as u64;
    }
}

fn show(context: &Context, folder: &Path, about: &Value) -> Result<(), Failure> {
    let answer = Answer {
        raw: about.to_string(),
        value: about.clone(),
    };
    context.screen.show(&answer, |look| {
        let mut details = Details::default();
        details.toned("backup", Tone::Good, format!("{}, whole", folder.display()));
        for name in ["cluster", "time", "version", "index", "items", "bytes"] {
            details.add(name, about.text(name));
        }
        details.render(look)
    })
}
