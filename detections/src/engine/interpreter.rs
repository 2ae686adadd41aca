//! A Python that has been started and has no pack yet: it starts while a pack is still being read.

use tokio::net::UnixStream;

use super::environment;
use super::folder::Folder;
use super::settings::{EngineFault, EngineSettings};
use super::template::Template;

/// A Python that waits for a pack: see [`super::Engine::start_in`]. Dropping it ends it.
#[derive(Debug)]
pub struct Interpreter {
    pub(super) settings: EngineSettings,
    pub(super) folder: Folder,
    pub(super) stream: UnixStream,
    pub(super) template: Template,
}

impl Interpreter {
    /// Starts a Python for an engine that is to run like this. The first time, the virtual environment that the settings ask for is made, which may take minutes.
    ///
    /// # Errors
    /// What is wrong with the node: no Python, no writable folder.
    pub async fn start(settings: EngineSettings) -> Result<Self, EngineFault> {
        let settings = EngineSettings {
            workers: settings.workers.max(1),
            batch_events: settings.batch_events.max(1),
            strikes: settings.strikes.max(1),
            python: environment::interpreter(&settings).await?,
            ..settings
        };
        let folder = Folder::new(settings.work_dir.clone()).await?;
        let (template, stream) = Template::spawn(&settings, &folder)?;
        Ok(Self {
            settings,
            folder,
            stream,
            template,
        })
    }
}
