//! Memory for bodies, from their first byte until they are stored.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refusal::IngestError;

/// A budget of bytes for the bodies of all doors. Clones share it.
#[derive(Clone)]
pub struct ByteBudget {
    free: Arc<Semaphore>,
    bytes: usize,
}

impl ByteBudget {
    /// A budget of `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(bytes)),
            bytes,
        }
    }

    /// A body whose bytes have not arrived yet.
    #[must_use]
    pub fn begin(&self) -> BodyBuffer {
        BodyBuffer {
            budget: self.clone(),
            content: BytesMut::new(),
            held: None,
        }
    }

    /// A body that has arrived as a whole.
    ///
    /// # Errors
    /// It is larger than the whole budget, or the budget is used up for now.
    pub fn hold(&self, content: Bytes) -> Result<HeldBody, IngestError> {
        if content.len() > self.bytes {
            return Err(IngestError::TooLarge(format!(
                "a body may have {} bytes; split it",
                self.bytes
            )));
        }
        let held = Some(self.reserve(content.len())?);
        Ok(HeldBody { content, held })
    }

    fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, IngestError> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let reserved = self.free.clone().try_acquire_many_owned(permits);
        reserved.map_err(|_| IngestError::Crowded)
    }
}

/// A body that is arriving.
pub struct BodyBuffer {
    budget: ByteBudget,
    content: BytesMut,
    held: Option<OwnedSemaphorePermit>,
}

impl BodyBuffer {
    /// Bytes that have arrived.
    #[must_use]
    pub fn len(&self) -> usize {
        self.content.len()
    }

    /// True if no bytes have arrived.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.content.is_empty()
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// The budget is used up for now.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), IngestError> {
        let more = self.budget.reserve(piece.len())?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        self.content.extend_from_slice(piece);
        Ok(())
    }

    /// The whole body.
    #[must_use]
    pub fn finish(self) -> HeldBody {
        HeldBody {
            content: self.content.freeze(),
            held: self.held,
        }
    }
}

/// A body, and its part of the budget.
pub struct HeldBody {
    content: Bytes,
    held: Option<OwnedSemaphorePermit>,
}

impl HeldBody {
    /// Its bytes.
    #[must_use]
    pub const fn content(&self) -> &Bytes {
        &self.content
    }

    /// Its bytes, and its part of the budget, which ends when the second value is dropped.
    pub(super) fn into_parts(self) -> (Bytes, Option<OwnedSemaphorePermit>) {
        (self.content, self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_holds_its_bytes_until_it_is_dropped() {
        let budget = ByteBudget::new(10);
        let mut arriving = budget.begin();
        arriving.push(b"12345").unwrap();
        arriving.push(b"678").unwrap();
        let refused = budget.hold(Bytes::from_static(b"123"));
        assert!(matches!(refused, Err(IngestError::Crowded)));
        let body = arriving.finish();
        assert_eq!(body.content(), &Bytes::from_static(b"12345678"));
        let (content, held) = body.into_parts();
        assert!(matches!(
            budget.begin().push(b"123"),
            Err(IngestError::Crowded)
        ));
        drop(content);
        drop(held);
        assert!(budget.hold(Bytes::from_static(b"1234567890")).is_ok());
    }

    #[test]
    fn a_body_that_can_never_fit_is_too_large() {
        let refused = ByteBudget::new(3).hold(Bytes::from_static(b"1234"));
        assert!(matches!(refused, Err(IngestError::TooLarge(_))));
    }
}
