//! `panther-storage-collector`: removes data that are older than their retention, and objects that no row names. One run per hour.

use panther_cluster::objects::Objects;
use panther_proto::v1::Message;

use crate::api::ApiError;
use crate::component::{Deps, Place};
use crate::pause::Pause;
use crate::retention;
use crate::supervision::Part;
use crate::worker::{Context, Failure, Handler, Plan, PlanContext};

/// The handler.
pub struct StorageCollector {
    /// The object store.
    pub objects: Objects,
    /// A paused cluster may share its store with the one that it was restored from, so it removes no data.
    pub pause: Pause,
}

/// The function.
///
/// # Errors
/// None.
pub fn build(deps: &Deps, place: Place<'_>) -> Result<Part, ApiError> {
    Ok(place.worker(deps, StorageCollector::new(deps)))
}

impl StorageCollector {
    /// The handler of a node.
    #[must_use]
    pub fn new(deps: &Deps) -> Self {
        Self {
            objects: deps.objects.clone(),
            pause: deps.pause.clone(),
        }
    }
}

impl Handler for StorageCollector {
    type Work = ();

    async fn ready(&self) -> Result<(), Failure> {
        self.pause.ended().await;
        Ok(())
    }

    async fn work(&self, _: &Message, context: &Context) -> Result<(), Failure> {
        // The sweep does not depend on the collection: a store that cannot be listed keeps no row from being removed.
        let collected = retention::collect::collect(&context.door).await;
        match &collected {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => {
                tracing::info!(%removed, "data older than their retention were removed");
            }
            Err(_) => {}
        }
        let swept = retention::sweep::sweep(&context.door, &self.objects).await;
        match &swept {
            Ok(0) | Err(_) => {}
            Ok(removed) => tracing::info!(removed, "objects that no row names were removed"),
        }
        collected.map_err(|error| {
            Failure::message(format!(
                "data older than their retention could not be removed: {error}"
            ))
        })?;
        swept.map_err(|error| {
            Failure::message(format!(
                "objects without a row could not be removed: {error}"
            ))
        })?;
        Ok(())
    }

    async fn plan((): &(), _: &Message, _: &PlanContext) -> Result<Plan, Failure> {
        Ok(Plan::default())
    }
}
