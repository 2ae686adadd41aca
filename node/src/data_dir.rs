//! The node's own folder: held by one daemon at a time, with the identity of its cluster and the key that seals secrets.
//!
//! A second file with the identity lies outside the folder, where the configuration or systemd gives it a place. It is
//! written once the cluster has started, so where it is there and the data are not, the data are gone: starting would
//! begin a new, empty cluster under the name of the old one. The daemon refuses that.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use config::{Config, FileFormat};
use panther_actors::sealing::fingerprint;
use rand::RngCore;

use crate::Failure;
use crate::config::Configuration;
use crate::keys::Keys;

/// Bytes of the key that seals secrets.
const KEY: usize = 32;
/// Bytes of a path in which sockets can have names of their own (a socket's path has 107).
const WORK_PATH: usize = 65;
/// The node that begins a cluster. Numbers of others are given when they join.
const FIRST: u64 = 1;
/// What to do without the right sealing key.
pub(crate) const KEY_WAY_OUT: &str = "Put back the cluster's sealing.key: from another node's data_dir, or from where it is kept with the backups. If it is lost and this is the only node, `pantherd \
     new-sealing-key --yes` makes a new one, and each destination's secret has to be given again. docs/recovery.md explains it";
/// A file that a restore leaves: the cluster is to begin paused.
const PAUSED: &str = "paused";

/// The folder, held until this is dropped.
pub(crate) struct DataDir {
    folder: PathBuf,
    outside: Option<PathBuf>,
    identity: Identity,
    /// What the lock hangs on.
    _lock: File,
}

/// Which node of which cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    cluster: String,
    node: u64,
    /// It has taken part: without data it must not do so again, since it may have voted for what it no longer knows.
    started: bool,
    /// Its keys were made: they are not made a second time, since the others know the first.
    keyed: bool,
    /// The cluster whose data it goes on with, if it began with another's.
    came_from: Option<String>,
    /// The fingerprint of the key that it has sealed secrets with.
    sealing_key: Option<String>,
    /// An operator has put a new key in the place of a lost one, and the cluster does not know it yet.
    new_sealing_key: bool,
}

/// The key that a node begins with.
pub(crate) struct SealingKey {
    pub(crate) bytes: Vec<u8>,
    /// It takes the place of the cluster's, which is lost.
    pub(crate) is_new: bool,
}

impl DataDir {
    /// Makes the folder if it is not there, takes its lock, and checks that the identities inside and outside agree.
    ///
    /// # Errors
    /// Another daemon holds it, it cannot be written, or the data are not those that should be there.
    pub(crate) fn open(configuration: &Configuration) -> Result<Self, Failure> {
        let folder = &configuration.paths.data_dir;
        let outside = configuration.paths.identity.clone();
        make(folder).map_err(|error| {
            wrong(format!(
                "data_dir {} cannot be made: {error}; make it, or name another place (--data-dir)",
                folder.display()
            ))
        })?;
        let lock = lock(folder)?;
        let has_data = has_entries(&group(folder))?;
        let inside = Identity::read(&folder.join("identity"))?;
        let known = match &outside {
            Some(path) => Identity::read(path)?,
            None => None,
        };
        if let (Some(inside), false) = (&inside, has_data)
            && inside.started
        {
            return Err(wrong(format!(
                "data_dir {} is that of node {} of cluster {}, but the log and state that it had ({}) are gone. If they lie elsewhere, put them back; if they are lost and the cluster has \
                 other nodes, `pantherctl cluster invite --replace {}` at one of them, empty data_dir here, and join anew; if this was the only node, restore a backup",
                folder.display(),
                inside.node,
                inside.cluster,
                group(folder).display(),
                inside.node,
            )));
        }
        if let (Some(known), Some(path), false) = (&known, &outside, has_data) {
            return Err(wrong(format!(
                "{} says that this machine is node {} of cluster {}, but data_dir {} holds none of its data. If the data lie elsewhere (a disk that is not mounted?), set data_dir \
                 to that place; if they are lost, restore a backup of the folder; to start a new, empty cluster in place of the lost one, remove {} and start again",
                path.display(),
                known.node,
                known.cluster,
                folder.display(),
                path.display()
            )));
        }
        if let (Some(known), Some(inside), Some(path)) = (&known, &inside, &outside)
            && (known.node, &known.cluster) != (inside.node, &inside.cluster)
        {
            return Err(wrong(format!(
                "data_dir {} belongs to node {} of cluster {}, but {} says node {} of cluster {}: these are not this machine's data. Set data_dir to its own, or remove {} if this \
                 machine is to go on with the data that it finds",
                folder.display(),
                inside.node,
                inside.cluster,
                path.display(),
                known.node,
                known.cluster,
                path.display()
            )));
        }
        let file = folder.join("identity");
        let (identity, is_kept) = match (inside, known) {
            (Some(inside), _) => (inside, true),
            (None, Some(known)) => (known, false),
            (None, None) if has_data => {
                return Err(wrong(format!(
                    "{file} is missing or empty, but {group} holds the data of a node: it is not known of which cluster and which node they are. Restore {file} from a copy of data_dir, or write it \
                     with the two lines `cluster = \"…\"` and `node = …` that `pantherctl cluster status` shows at another node; if no other node is left, `pantherd restore` makes a cluster of a backup",
                    file = file.display(),
                    group = group(folder).display(),
                )));
            }
            (None, None) => (Identity::fresh(), false),
        };
        if !is_kept {
            identity
                .write(&file)
                .map_err(|error| failed(&file, &error))?;
        }
        Ok(Self {
            folder: folder.clone(),
            outside,
            identity,
            _lock: lock,
        })
    }

    /// Whether this machine may become a node of a cluster: it is none yet.
    ///
    /// # Errors
    /// It is one.
    pub(crate) fn unused(configuration: &Configuration) -> Result<(), Failure> {
        let folder = &configuration.paths.data_dir;
        let mut places = vec![folder.join("identity")];
        places.extend(configuration.paths.identity.clone());
        for path in places {
            if let Some(Identity { cluster, node, .. }) = Identity::read(&path)? {
                return Err(wrong(format!(
                    "{} says that this machine is node {node} of cluster {cluster} already. To give it up for another cluster, stop pantherd, remove {} and {} and join then",
                    path.display(),
                    folder.display(),
                    path.display()
                )));
            }
        }
        if has_entries(&group(folder))? {
            return Err(wrong(format!(
                "data_dir {} holds data of a node; join with an empty one",
                folder.display()
            )));
        }
        Ok(())
    }

    /// Keeps what a cluster gave to this machine, which is its node from then on. The identity comes last: before it, nothing counts.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn take_place(
        configuration: &Configuration,
        cluster: &str,
        node: u64,
        came_from: Option<&str>,
        sealing_key: &SealingKey,
        keys: &Keys,
    ) -> Result<(), Failure> {
        let folder = &configuration.paths.data_dir;
        make(folder).map_err(|error| failed(folder, &error))?;
        let _lock = lock(folder)?;
        keys.keep(folder)?;
        let path = folder.join("sealing.key");
        write_key(folder, &path, &sealing_key.bytes).map_err(|error| failed(&path, &error))?;
        let identity = Identity {
            cluster: cluster.to_owned(),
            node,
            started: false,
            keyed: true,
            came_from: came_from.map(str::to_owned),
            sealing_key: Some(fingerprint(&sealing_key.bytes)),
            new_sealing_key: sealing_key.is_new,
        };
        let path = folder.join("identity");
        identity
            .write(&path)
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(|error| failed(&path, &error))
    }

    /// Leaves word that the cluster is to begin paused.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn pause(configuration: &Configuration) -> Result<(), Failure> {
        let folder = &configuration.paths.data_dir;
        let path = folder.join(PAUSED);
        make(folder)
            .and_then(|()| File::create(&path)?.sync_all())
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(|error| failed(&path, &error))
    }

    /// Whether the cluster is to begin paused.
    pub(crate) fn is_paused(&self) -> bool {
        self.folder.join(PAUSED).exists()
    }

    /// The cluster has been paused, so that it is not once more at the next start.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub(crate) fn forget_pause(&self) -> Result<(), Failure> {
        let path = self.folder.join(PAUSED);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path, &error)),
            _ => Ok(()),
        }
    }

    /// Whether this node has taken part before.
    pub(crate) fn started(&self) -> bool {
        self.identity.started
    }

    /// The cluster whose data this node's began with, if it was another.
    pub(crate) fn came_from(&self) -> Option<&str> {
        self.identity.came_from.as_deref()
    }

    /// This node begins a new cluster with the data that it has. The identity outside the folder is emptied first and written at the next start, so that the two
    /// never contradict each other, wherever this breaks off.
    ///
    /// # Errors
    /// They cannot be written.
    pub(crate) fn begin_anew(&mut self, cluster: &str) -> Result<(), Failure> {
        let identity = Identity {
            cluster: cluster.to_owned(),
            node: self.identity.node,
            started: false,
            keyed: true,
            came_from: Some(self.identity.cluster.clone()),
            ..self.identity.clone()
        };
        let inside = self.folder.join("identity");
        if let Some(path) = self.outside.as_ref().filter(|path| path.exists()) {
            File::create(path)
                .and_then(|file| file.sync_all())
                .map_err(|error| failed(path, &error))?;
        }
        identity
            .write(&inside)
            .map_err(|error| failed(&inside, &error))?;
        self.identity = identity;
        Ok(())
    }

    /// Whether this node began its cluster.
    pub(crate) fn founded(&self) -> bool {
        self.identity.node == FIRST
    }

    /// The keys of this node; the first node of a cluster makes them once, and the authority with them.
    ///
    /// # Errors
    /// They cannot be read or made, or were made and are missing.
    pub(crate) fn keys(&self) -> Result<Keys, Failure> {
        let (cluster, node) = (self.cluster(), self.node());
        let keys = Keys::open(
            &self.folder,
            cluster,
            node,
            self.founded() && !self.identity.keyed,
        )?;
        let inside = self.folder.join("identity");
        // As it is there now: it may have been noted meanwhile that the node has started.
        if let Some(known) = Identity::read(&inside)?.filter(|known| !known.keyed) {
            let keyed = Identity {
                keyed: true,
                ..known
            };
            keyed
                .write(&inside)
                .map_err(|error| failed(&inside, &error))?;
        }
        Ok(keys)
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the log and the state of the group lie.
    pub(crate) fn group(&self) -> PathBuf {
        group(&self.folder)
    }

    /// An empty folder for what lives no longer than the daemon; what one that was killed left there is removed.
    ///
    /// # Errors
    /// It cannot be made, or its path is too long for sockets in it.
    pub(crate) fn work_dir(&self) -> io::Result<PathBuf> {
        let folder = self.folder.join("work");
        if folder.as_os_str().len() > WORK_PATH {
            return Err(io::Error::other(format!(
                "{} is too long a path",
                folder.display()
            )));
        }
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => make(&folder)?,
        }
        Ok(folder)
    }

    /// This node's number.
    pub(crate) fn node(&self) -> u64 {
        self.identity.node
    }

    /// The cluster that it is of.
    pub(crate) fn cluster(&self) -> &str {
        &self.identity.cluster
    }

    /// Whether this node's sealing key takes the place of the cluster's, which is lost.
    pub(crate) fn replaces_sealing_key(&self) -> bool {
        self.identity.new_sealing_key
    }

    /// The cluster knows this node's sealing key: from now on no other is taken.
    pub(crate) fn note_sealing_key(&self, sealing_key: &[u8]) {
        let inside = self.folder.join("identity");
        let Ok(Some(known)) = Identity::read(&inside) else {
            return; // it was warned of when the start was noted
        };
        let keyed = Identity {
            sealing_key: Some(fingerprint(sealing_key)),
            new_sealing_key: false,
            ..known.clone()
        };
        if keyed != known
            && let Err(error) = keyed.write(&inside)
        {
            tracing::warn!(path = %inside.display(), %error, "it cannot be noted which sealing key this node has");
        }
    }

    /// Makes a new sealing key in the place of one that is lost; an old one is kept beside it.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn new_sealing_key(&mut self) -> Result<(), Failure> {
        let path = self.folder.join("sealing.key");
        if path.exists() {
            let old = (1..u32::MAX)
                .map(|number| self.folder.join(format!("sealing.key.old-{number}")))
                .find(|old| !old.exists());
            let old = old.ok_or_else(|| wrong(format!("{}: too many of them", path.display())))?;
            std::fs::rename(&path, &old).map_err(|error| failed(&path, &error))?;
        }
        let key: [u8; KEY] = rand::random();
        // The word first: a key that the identity does not know is refused.
        let identity = Identity {
            sealing_key: Some(fingerprint(&key)),
            new_sealing_key: true,
            ..self.identity.clone()
        };
        let inside = self.folder.join("identity");
        identity
            .write(&inside)
            .map_err(|error| failed(&inside, &error))?;
        self.identity = identity;
        write_key(&self.folder, &path, &key).map_err(|error| failed(&path, &error))
    }

    /// The key that seals secrets, made on the first start.
    ///
    /// # Errors
    /// It cannot be read or made, is another one than before, or is missing although there are data that it sealed.
    pub(crate) fn sealing_key(&self) -> Result<[u8; KEY], Failure> {
        let path = self.folder.join("sealing.key");
        let mut content = Vec::new();
        match File::open(&path) {
            Ok(mut file) => {
                file.read_to_end(&mut content)
                    .and_then(|_| file.set_permissions(Permissions::from_mode(0o600)))
                    .map_err(|error| failed(&path, &error))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // What cannot be looked at may hold everything.
                if self.group().try_exists().unwrap_or(true) {
                    return Err(wrong(format!(
                        "{} is missing, and without it the secrets of destinations cannot be opened. {KEY_WAY_OUT}",
                        path.display(),
                    )));
                }
                content = vec![0; KEY];
                rand::rng().fill_bytes(&mut content);
                write_key(&self.folder, &path, &content).map_err(|error| failed(&path, &error))?;
            }
            Err(error) => return Err(failed(&path, &error)),
        }
        let bytes = content.len();
        let key: [u8; KEY] = content.try_into().map_err(|_| {
            wrong(format!(
                "{} has {bytes} bytes instead of {KEY}: it is no sealing key. {KEY_WAY_OUT}",
                path.display()
            ))
        })?;
        let (own, known) = (fingerprint(&key), self.identity.sealing_key.as_deref());
        if let Some(known) = known.filter(|known| *known != own) {
            return Err(wrong(format!(
                "{} is another key (fingerprint {own}) than this node has sealed secrets with ({known}): with it no secret would open, and other nodes would not open what is sealed. {KEY_WAY_OUT}",
                path.display()
            )));
        }
        Ok(key)
    }

    /// Notes that the node has taken part: in the folder, and outside it, if there is a place.
    pub(crate) fn note_started(&self) {
        let inside = self.folder.join("identity");
        let known = match Identity::read(&inside) {
            Ok(Some(known)) => known,
            _ => self.identity.clone(),
        };
        let started = Identity {
            started: true,
            ..known
        };
        if !matches!(Identity::read(&inside), Ok(Some(known)) if known == started)
            && let Err(error) = started.write(&inside)
        {
            tracing::warn!(path = %inside.display(), %error, "it cannot be noted that this node has started");
        }
        let Some(path) = &self.outside else { return };
        if matches!(Identity::read(path), Ok(Some(_))) {
            return;
        }
        // It is written once, and a key may change.
        let outside = Identity {
            sealing_key: None,
            new_sealing_key: false,
            ..started
        };
        match outside.write(path) {
            Ok(()) => tracing::info!(
                path = %path.display(),
                "noted which cluster this node is of; the file keeps it from starting a new one should its data be gone"
            ),
            Err(error) => tracing::warn!(
                path = %path.display(), %error,
                "the identity file cannot be written, so nothing would keep this node from starting an empty cluster should its data be gone; \
                 make an empty file there that the daemon may write, or set `identity` to another place"
            ),
        }
    }
}

/// A name that no cluster has had.
pub(crate) fn new_cluster() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Whole or not at all: half a key would be taken for a broken one.
fn write_key(folder: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

fn group(folder: &Path) -> PathBuf {
    folder.join("group")
}

/// Whether something lies in a folder. Only a folder that is not there is taken for an empty one: what cannot be read may hold everything.
fn has_entries(folder: &Path) -> Result<bool, Failure> {
    match folder.read_dir() {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(wrong(format!(
            "{} cannot be read: {error}; the data may be whole: give the folder back to the user that pantherd runs as, or mount its disk, and start again",
            folder.display()
        ))),
    }
}

fn wrong(text: String) -> Failure {
    Failure::Configuration(text)
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("{}: {error}", path.display()))
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(folder)
}

fn lock(folder: &Path) -> Result<File, Failure> {
    let path = folder.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .open(&path)
        .map_err(|error| {
            wrong(format!(
                "data_dir {} cannot be written: {error}; give it to the user that pantherd runs as, or name another place (--data-dir)",
                folder.display()
            ))
        })?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder); // only to tell more
            return Err(Failure::Failed(format!(
                "another pantherd{} runs on {}; stop it first, or give this one a folder of its own (--data-dir)",
                match holder.trim() {
                    "" => String::new(),
                    process => format!(" (process {process})"),
                },
                folder.display()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(failed(&path, &error)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|error| failed(&path, &error))?;
    Ok(file)
}

impl Identity {
    fn fresh() -> Self {
        Self {
            cluster: new_cluster(),
            node: FIRST,
            started: false,
            keyed: false,
            came_from: None,
            sealing_key: None,
            new_sealing_key: false,
        }
    }

    /// `None` if there is no such file, or an empty one.
    fn read(path: &Path) -> Result<Option<Self>, Failure> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(wrong(format!(
                    "the identity file {} cannot be read: {error}",
                    path.display()
                )));
            }
        };
        if text.trim().is_empty() {
            return Ok(None);
        }
        let read = Config::builder()
            .add_source(config::File::from_str(&text, FileFormat::Toml))
            .build()
            .and_then(|file| {
                Ok(Self {
                    cluster: file.get("cluster")?,
                    node: file.get("node")?,
                    started: file.get("started").unwrap_or(false),
                    keyed: file.get("keyed").unwrap_or(false),
                    came_from: file.get("came_from").ok(),
                    sealing_key: file.get("sealing_key").ok(),
                    new_sealing_key: file.get("new_sealing_key").unwrap_or(false),
                })
            });
        read.map(Some).map_err(|error| {
            wrong(format!(
                "{} is no identity file ({error}); restore it, or remove it if this machine was never part of a cluster",
                path.display()
            ))
        })
    }

    /// Beside it and then by a rename, so that it is whole or as it was. Only where the folder around it is not ours to write it is written in place.
    fn write(&self, path: &Path) -> io::Result<()> {
        let text = self.text();
        let new = path.with_extension("new");
        let options = |mut options: OpenOptions| {
            options.write(true).create(true).truncate(true).mode(0o640);
            options
        };
        let mut file = match options(File::options()).open(&new) {
            Ok(file) => file,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                let mut file = options(File::options()).open(path)?;
                file.write_all(text.as_bytes())?;
                return file.sync_all();
            }
            Err(error) => return Err(error),
        };
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        path.parent()
            .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    fn text(&self) -> String {
        let mut text = format!(
            "# Written by pantherd. Says which cluster this machine is a node of, so that it never starts a new one by mistake.\ncluster = \"{}\"\nnode = {}\nstarted = {}\nkeyed = {}\n",
            self.cluster, self.node, self.started, self.keyed
        );
        if let Some(old) = &self.came_from {
            text.push_str(&format!("came_from = \"{old}\"\n"));
        }
        if let Some(key) = &self.sealing_key {
            text.push_str(&format!("sealing_key = \"{key}\"\n"));
        }
        if self.new_sealing_key {
            text.push_str("new_sealing_key = true\n");
        }
        text
    }
}

#[cfg(test)]
mod tests;
