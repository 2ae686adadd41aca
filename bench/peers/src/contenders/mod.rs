//! Who is measured: how each is started, and what it can do.

mod etcd;
mod nats;
mod panther;
mod rabbitmq;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::load::{Cell, Kind, Measured};

/// Why there is no figure.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    Panther,
    /// The same with no fsync reaching the disk: what NATS is to be held against.
    PantherUnsynced,
    Etcd,
    Rabbitmq,
    /// As packaged: acknowledges what is written and not synced.
    Nats,
}

impl Contender {
    pub const ALL: [Self; 5] = [
        Self::Panther,
        Self::PantherUnsynced,
        Self::Etcd,
        Self::Rabbitmq,
        Self::Nats,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Panther => "panther",
            Self::PantherUnsynced => "panther-unsynced",
            Self::Etcd => "etcd",
            Self::Rabbitmq => "rabbitmq",
            Self::Nats => "nats-unsynced",
        }
    }

    pub fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Panther => &[Kind::Write, Kind::Read, Kind::Queue],
            Self::PantherUnsynced | Self::Rabbitmq | Self::Nats => &[Kind::Queue],
            Self::Etcd => &[Kind::Write, Kind::Read],
        }
    }

    /// Runs a verb of its script; what it prints.
    pub fn script(
        self,
        scripts: &Path,
        bin: &Path,
        verb: &str,
        folder: &Path,
    ) -> Result<String, Failure> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("panther");
        let script = match self {
            Self::Panther | Self::PantherUnsynced => own,
            Self::Etcd => scripts.join("etcd"),
            Self::Rabbitmq => scripts.join("rabbitmq"),
            Self::Nats => scripts.join("nats"),
        };
        let mut command = Command::new(&script);
        command.arg(verb).arg(folder).env("PANTHER_BIN", bin);
        if self == Self::PantherUnsynced {
            command.env("PANTHER_UNSYNCED", "1");
        }
        let done = command.output()?;
        if !done.status.success() {
            return Err(format!(
                "{} {verb}: {}",
                script.display(),
                String::from_utf8_lossy(&done.stderr)
            )
            .into());
        }
        Ok(String::from_utf8(done.stdout)?)
    }
}

/// Measures one cell.
pub async fn run(
    contender: Contender,
    endpoints: &[String],
    cell: Cell,
    time: Duration,
) -> Result<Measured, Failure> {
    match contender {
        Contender::Panther | Contender::PantherUnsynced => {
            panther::run(endpoints, cell, time).await
        }
        Contender::Etcd => etcd::run(endpoints, cell, time).await,
        Contender::Rabbitmq => rabbitmq::run(endpoints, cell, time).await,
        Contender::Nats => nats::run(endpoints, cell, time).await,
    }
}
