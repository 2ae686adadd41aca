//! What a type of destination has to say.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::files::Files;
use super::http::HttpPoster;
use super::notice::Notice;
use super::spec::DestinationSpec;

/// A destination, made of its configuration.
pub(super) trait Destination: Send + Sync {
    /// Whether alerts may go there. It looks at the configuration alone and connects to nothing.
    ///
    /// # Errors
    /// What is wrong, for the operator who entered the configuration.
    fn check(&self, means: &Means) -> Result<(), String>;

    /// Where alerts go, without what is secret.
    fn address(&self) -> String;

    /// Delivers an alert. Whatever happens is an answer: a destination that fails is no error of the node.
    fn deliver<'a>(&'a self, notice: &'a Notice<'a>, means: &'a Means) -> BoxFuture<'a, Answer>;
}

/// By what destinations are reached. Clones share connections.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) http: HttpPoster,
    pub(super) files: Files,
    /// Time for one attempt.
    pub(super) deadline: Duration,
}

/// Makes a destination of its configuration.
type Make = fn(Map<String, Value>) -> serde_json::Result<Arc<dyn Destination>>;

/// A type of destination, as the list in `destinations/mod.rs` names it.
#[derive(Clone, Copy)]
pub struct DestinationType {
    /// What operators know of it.
    pub spec: DestinationSpec,
    make: Make,
}

impl DestinationType {
    /// A type whose configuration is read into a `D`.
    pub(super) const fn of<D: Destination + DeserializeOwned + 'static>(
        spec: DestinationSpec,
    ) -> Self {
        Self {
            spec,
            make: |values| Ok(Arc::new(serde_json::from_value::<D>(values.into())?)),
        }
    }

    /// A destination of this type.
    pub(super) fn make(
        &self,
        values: Map<String, Value>,
    ) -> serde_json::Result<Arc<dyn Destination>> {
        (self.make)(values)
    }
}
