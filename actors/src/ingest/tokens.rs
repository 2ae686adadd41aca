//! Who may send: the token of a source.

use std::time::Duration;

use super::refusal::IngestError;
use crate::callers::Callers;
use crate::components::sources::{Source, SourceKind, SourceRegistry};
use crate::sealing::token_hash;

/// When a sender whose token could not be checked may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The right to send logs of one source.
#[derive(Debug, Clone)]
pub struct Admitted {
    id: String,
}

impl Admitted {
    /// The source's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// Checks tokens of senders.
#[derive(Clone)]
pub(super) struct Tokens {
    sources: SourceRegistry,
    callers: Callers,
}

impl Tokens {
    pub(super) const fn new(sources: SourceRegistry, callers: Callers) -> Self {
        Self { sources, callers }
    }

    /// The source with this id or label, if the token is its own.
    ///
    /// # Errors
    /// [`IngestError::Unknown`], [`IngestError::Guessing`], or [`IngestError::Busy`] if there is no leader.
    pub(super) async fn check(&self, name: &str, token: &str) -> Result<Admitted, IngestError> {
        let busy = |reason: String| IngestError::Busy {
            reason,
            retry_after: RETRY_AFTER,
        };
        // Hashes are compared, so the time of the comparison tells nothing of a token.
        let given = token_hash(token);
        let takes = |source: &Source| source.kind == SourceKind::Http && source.token_hash == given;
        // Each question to the leader costs all nodes. While tokens are guessed, what this node's own state does not know has to come again: a source
        // that was made a moment ago is known then.
        if self.callers.is_guessing() {
            let known = self.sources.find_here(name).await;
            let known = known.map_err(|error| busy(error.to_string()))?;
            if !known.is_some_and(|source| takes(&source)) {
                return Err(IngestError::Guessing {
                    retry_after: RETRY_AFTER,
                });
            }
        }
        let found = self.sources.find(name).await;
        let found = found.map_err(|error| busy(error.to_string()))?;
        let source = found.filter(takes).ok_or(IngestError::Unknown)?;
        Ok(Admitted { id: source.id })
    }
}
