//! openraft's storage test suite, run over our log and state.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

use super::apply::StateMachine;
use super::log_store::LogStore;
use super::types::Types;
use crate::log::{DiskFiles, Log, LogSettings};
use crate::storage::{StateStore, StoreSettings};

struct Builder;

impl StoreBuilder<Types, LogStore, StateMachine, tempfile::TempDir> for Builder {
    async fn build(
        &self,
    ) -> Result<(tempfile::TempDir, LogStore, StateMachine), StorageError<Types>> {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(
            Arc::new(DiskFiles::new(&folder.path().join("log")).unwrap()),
            LogSettings {
                segment_bytes: 4_096,
                cache_bytes: 1_000,
            },
        )
        .unwrap();
        let store = StateStore::open(
            &folder.path().join("state"),
            StoreSettings::default(),
            None,
            None,
        )
        .unwrap();
        let machine =
            StateMachine::start(store, log.clone(), crate::state::FORMAT, Arc::new(|_| ()))
                .unwrap();
        Ok((folder, LogStore::new(log), machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_passes_over_log_and_state() {
    Suite::test_all(Builder).await.unwrap();
}
