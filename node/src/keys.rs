//! What this node shows of itself to others, kept in its folder: the cluster's authority and the node's own certificate, each with its key.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use panther_actors::sealing::Sealer;
use panther_cluster::membership::KeyKeeper;
use panther_cluster::net::{Authority, CertificateError, Certificates};

use crate::Failure;

/// The folder, in data_dir.
const FOLDER: &str = "keys";
const AUTHORITY: &str = "authority.pem";
const AUTHORITY_KEY: &str = "authority.key";
const NODE: &str = "node.pem";
const NODE_KEY: &str = "node.key";

/// The authority and the node's own.
pub(crate) struct Keys {
    /// The authority that takes in others.
    pub(crate) authority: Authority,
    pub(crate) certificates: Certificates,
}

impl Keys {
    /// The keys that are kept. Without any, new ones are made for a node that may make them: the first of its cluster, once.
    ///
    /// # Errors
    /// They cannot be read or made, or are missing although the node was given some.
    pub(crate) fn open(
        data_dir: &Path,
        cluster: &str,
        node: u64,
        may_make: bool,
    ) -> Result<Self, Failure> {
        let folder = data_dir.join(FOLDER);
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => Failure::Configuration(format!(
                    "{} is missing, and without it this node can prove nothing to the others. Restore it from a backup, or take the node out (`pantherctl cluster remove {node}` at another) and join anew",
                    path.display()
                )),
                _ => Failure::Failed(format!("{}: {error}", path.display())),
            })
        };
        let is_there = folder
            .try_exists()
            .map_err(|error| Failure::Failed(format!("{}: {error}", folder.display())))?;
        if may_make && !is_there {
            let keys = Self::new(cluster, node)?;
            keys.keep(data_dir)?;
            return Ok(keys);
        }
        // The first is that of the key; a second one is believed while one takes the place of the other.
        let believed = certificates(&read(AUTHORITY)?);
        let first = believed.first().map_or("", String::as_str);
        let authority = Authority::open(cluster, &read(AUTHORITY_KEY)?, first);
        Ok(Self {
            authority: authority.map_err(no_keys)?,
            certificates: Certificates::kept(
                cluster,
                node,
                believed.clone(),
                &read(NODE)?,
                &read(NODE_KEY)?,
            ),
        })
    }

    /// Those of a node with which a cluster begins.
    ///
    /// # Errors
    /// They cannot be made.
    pub(crate) fn new(cluster: &str, node: u64) -> Result<Self, Failure> {
        let authority = Authority::create(cluster).map_err(no_keys)?;
        let certificates = authority.issue(node).map_err(no_keys)?;
        Ok(Self {
            authority,
            certificates,
        })
    }

    /// Keeps them in the node's folder in place of those that are there: all, or none.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn keep(&self, data_dir: &Path) -> Result<(), Failure> {
        let kept = keep(data_dir, &self.authority, &self.certificates);
        let folder = data_dir.join(FOLDER);
        kept.map_err(|error| Failure::Failed(format!("{}: {error}", folder.display())))
    }
}

/// The certificates in a file of one or several.
fn certificates(pem: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let parts = pem.split_inclusive(END).map(str::trim);
    let whole = parts.filter(|part| part.ends_with(END));
    whole.map(|part| format!("{part}\n")).collect()
}

/// Keeps both in the node's folder in place of what is there: all, or nothing.
fn keep(data_dir: &Path, authority: &Authority, certificates: &Certificates) -> io::Result<()> {
    let folder = data_dir.join(FOLDER);
    // That of the key comes first.
    let issues = authority.certificate();
    let others = certificates.believed().iter();
    let others = others.filter(|believed| believed.trim() != issues.trim());
    let believed: Vec<&str> = std::iter::once(issues)
        .chain(others.map(String::as_str))
        .collect();
    let new = data_dir.join("keys.new");
    match std::fs::remove_dir_all(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => DirBuilder::new().mode(0o700).create(&new)?,
    }
    let files = [
        (AUTHORITY, believed.join("")),
        (AUTHORITY_KEY, authority.key()),
        (NODE, certificates.certificate().to_owned()),
        (NODE_KEY, certificates.key().to_owned()),
    ];
    for (name, content) in files {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(new.join(name))?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
    }
    File::open(&new)?.sync_all()?;
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => std::fs::rename(&new, &folder)?,
    }
    File::open(data_dir)?.sync_all()
}

/// Keeps in the node's folder what a new authority gives to it.
pub(crate) struct Keeper {
    data_dir: PathBuf,
    sealer: Sealer,
}

impl Keeper {
    /// In this folder; what goes to other nodes is sealed with the cluster's key.
    pub(crate) fn new(data_dir: &Path, sealing_key: &[u8; 32]) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            sealer: Sealer::new(sealing_key),
        }
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "the keeper of {}", self.data_dir.display())
    }
}

impl KeyKeeper for Keeper {
    fn keep(&self, authority: &Authority, certificates: &Certificates) -> io::Result<()> {
        keep(&self.data_dir, authority, certificates)
    }

    fn seal(&self, place: &str, secret: &[u8]) -> io::Result<Vec<u8>> {
        self.sealer.seal(place, secret).map_err(io::Error::other)
    }

    fn open(&self, place: &str, sealed: &[u8]) -> io::Result<Vec<u8>> {
        self.sealer.open(place, sealed).map_err(io::Error::other)
    }
}

fn no_keys(error: CertificateError) -> Failure {
    Failure::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_made_once_for_the_first_node_and_never_for_another() {
        let folder = tempfile::tempdir().unwrap();
        let made = Keys::open(folder.path(), "c1", 1, true).unwrap();
        let again = Keys::open(folder.path(), "c1", 1, true).unwrap();
        assert_eq!(again.authority.key(), made.authority.key());
        assert_eq!(again.certificates.key(), made.certificates.key());
        let mode = std::fs::metadata(folder.path().join("keys/node.key")).unwrap();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
            0o600
        );
        // While one authority takes the place of the other, both are kept, and that of the key is known.
        let new = Authority::create("c1").unwrap();
        let both = vec![
            again.authority.certificate().to_owned(),
            new.certificate().to_owned(),
        ];
        keep(
            folder.path(),
            &new,
            &new.issue(1).unwrap().believing(both.clone()),
        )
        .unwrap();
        let kept = Keys::open(folder.path(), "c1", 1, true).unwrap();
        assert_eq!(kept.authority.key(), new.key());
        let mut believed = kept.certificates.believed().to_vec();
        believed.reverse();
        assert_eq!(believed, both);
        let other = tempfile::tempdir().unwrap();
        let refused = Keys::open(other.path(), "c1", 2, false).err().unwrap();
        assert!(matches!(refused, Failure::Configuration(_)));
    }
}
