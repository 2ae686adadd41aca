//! An S3-compatible server for a run: moto, in its own Python virtual environment, which is created once and reused.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::cluster::Store;
use crate::{During, Failure, Result, until};

/// The server, as a pip requirement.
const PACKAGE: &str = "moto[server]==5.2.5";
/// Deadline for creating the environment and for starting the server.
const PATIENCE: Duration = Duration::from_secs(300);
/// The server accepts any credential, but a client must have one.
const CREDENTIAL: &str = "chaos";

/// A running server without objects. Dropping it ends the server.
pub struct Server {
    address: String,
    _process: Child,
}

impl Server {
    /// Starts a server. `place` is the folder in which environments are kept from run to run.
    ///
    /// # Errors
    /// Python cannot create environments, the package cannot be installed, or the server does not start.
    pub async fn start(place: &Path) -> Result<Self> {
        let program = installed(place).await?;
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .during("looking for a free port")?
            .port();
        let process = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .during("starting moto_server")?;
        let address = format!("127.0.0.1:{port}");
        until("moto_server listens", PATIENCE, async || {
            let connected = tokio::net::TcpStream::connect(&address).await;
            Ok(connected.err().map(|error| error.to_string()))
        })
        .await?;
        Ok(Self {
            address,
            _process: process,
        })
    }

    /// Creates a bucket. Returns the configuration with which a node reaches it, or a folder in it.
    ///
    /// # Errors
    /// The server rejects the request.
    pub async fn bucket(&self, name: &str, folder: &str) -> Result<Store> {
        let endpoint = format!("http://{}", self.address);
        let made = crate::doors::client()?
            .put(format!("{endpoint}/{name}"))
            .send()
            .await
            .during("making a bucket")?;
        made.error_for_status().during("making a bucket")?;
        let variables = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        Ok(Store {
            url: format!("s3://{name}/{folder}"),
            endpoint,
            environment: variables
                .map(|variable| (variable.to_owned(), CREDENTIAL.to_owned()))
                .to_vec(),
        })
    }
}

async fn python(words: &[&str]) -> Result<()> {
    let output = Command::new("python3")
        .args(words)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, output)
        .await
        .map_err(|_| Failure::Broken(format!("python3 {} does not end", words.join(" "))))?
        .during("running python3")?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::Broken(format!(
        "python3 {} failed: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr)
    )))
}

/// The path of the server's program. Installs it if it is missing.
async fn installed(place: &Path) -> Result<PathBuf> {
    let folder = place.join("moto");
    let program = folder.join("bin/moto_server");
    let ready = folder.join("ready");
    // Concurrent runs wait for this lock.
    let lock = std::fs::File::create(place.join("moto.lock")).during("locking the environment")?;
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock));
    let _lock = lock
        .await
        .during("locking the environment")?
        .during("locking the environment")?;
    if ready.exists() {
        return Ok(program);
    }
    // Debian's Python has no venv modules without the package python3-venv.
    if python(&["-c", "import venv, ensurepip"]).await.is_err() {
        return Err(Failure::CannotRun(
            "this Python makes no virtual environments (python3-venv is missing), so there is no server of S3's protocol".to_owned(),
        ));
    }
    python(&["-m", "venv", "--clear", &folder.display().to_string()]).await?;
    let pip = folder.join("bin/python").display().to_string();
    let installing = Command::new(pip)
        .args(["-m", "pip", "install", "--quiet", PACKAGE])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, installing)
        .await
        .map_err(|_| Failure::broken("pip does not end"))?
        .during("running pip")?;
    if !output.status.success() {
        return Err(Failure::Broken(format!(
            "pip cannot install {PACKAGE}: {}",
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    std::fs::write(ready, PACKAGE).during("noting that moto is installed")?;
    Ok(program)
}
