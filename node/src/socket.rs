//! The Unix socket of a node: made, taken over from a daemon that ended without removing it, and removed. A file that is no socket
//! is never touched.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use tokio::net::{UnixListener, UnixStream};

use crate::Failure;

/// Listens on a socket that no daemon listens on.
///
/// # Errors
/// Another daemon listens, the path is something else than a socket, or its folder cannot be written.
pub(crate) async fn listen(path: &Path) -> Result<UnixListener, Failure> {
    let failed = |error: &io::Error| {
        Failure::Failed(format!(
            "the socket {} cannot be made: {error}; name a place that the daemon may write (--socket)",
            path.display()
        ))
    };
    match tokio::fs::symlink_metadata(path).await {
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(Failure::Configuration(format!(
                "{} is there and is no socket, so it is left as it is; name another place for the socket (--socket)",
                path.display()
            )));
        }
        Ok(_) => match UnixStream::connect(path).await {
            Ok(_) => {
                return Err(Failure::Failed(format!(
                    "another daemon listens on {}; stop it, or give this one a socket of its own (--socket)",
                    path.display()
                )));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                tokio::fs::remove_file(path)
                    .await
                    .map_err(|error| failed(&error))?;
            }
            Err(_) => {}
        },
        Err(_) => {}
    }
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder)
            .await
            .map_err(|error| failed(&error))?;
    }
    let listener = UnixListener::bind(path).map_err(|error| failed(&error))?;
    tokio::fs::set_permissions(path, PermissionsExt::from_mode(0o660))
        .await
        .map_err(|error| failed(&error))?;
    Ok(listener)
}

/// Removes the socket at a stop, so that it is not taken for that of a daemon which has crashed.
pub(crate) async fn remove(path: &Path) {
    let is_socket = tokio::fs::symlink_metadata(path)
        .await
        .is_ok_and(|meta| meta.file_type().is_socket());
    if is_socket {
        let _ = tokio::fs::remove_file(path).await; // the node ends anyway
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious.txt");
        std::fs::write(&path, "my data").unwrap();
        assert!(
            matches!(listen(&path).await, Err(Failure::Configuration(text)) if text.contains("no socket"))
        );
        remove(&path).await;
        assert_eq!(std::fs::read(&path).unwrap(), b"my data");
    }

    #[tokio::test]
    async fn a_socket_that_a_daemon_left_is_taken_over_and_one_that_is_listened_on_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pantherd.sock");
        drop(listen(&path).await.unwrap());
        let listener = listen(&path).await.unwrap();
        assert!(listen(&path).await.is_err());
        drop(listener);
        remove(&path).await;
        assert!(!path.exists());
    }
}
