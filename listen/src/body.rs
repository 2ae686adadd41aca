//! Budget for request bytes in memory, and the longest pause within a request's body.
//!
//! gRPC sends the length of a message before its bytes and buffers the whole message until it is complete. Without a budget a caller could
//! start many calls with large messages and never complete one of them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tonic::Status;

/// A budget of bytes for request bodies. Clones share it.
#[derive(Clone)]
pub struct Budget {
    room: Arc<Semaphore>,
    bytes: usize,
}

impl Budget {
    /// Creates a budget of `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self {
            room: Arc::new(Semaphore::new(bytes)),
            bytes,
        }
    }

    /// Reserves bytes that arrive later, such as the messages of a stream. The reservation ends when the permit is dropped.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED`: the budget is used up by the requests in progress.
    pub fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Status> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.room
            .clone()
            .try_acquire_many_owned(permits)
            .map_err(|_| {
                Status::resource_exhausted(format!(
                    "more than {} bytes of requests are under way from this caller; try again",
                    self.bytes
                ))
            })
    }
}

/// The reservation of a body. It is released after the body and all clones of this handle are dropped, because the data that was read from
/// the body lives as long as its call.
pub type Held = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

/// A request body whose bytes are counted against a budget and whose pauses are limited.
pub struct Metered {
    body: Body,
    budget: Option<Budget>,
    held: Held,
    pause: Duration,
    waits: Pin<Box<Sleep>>,
}

impl Metered {
    /// Wraps a body. Without a budget only the pauses are limited. `pause` is the longest time between two frames.
    #[must_use]
    pub fn new(body: Body, budget: Option<Budget>, pause: Duration) -> Self {
        Self {
            body,
            budget,
            held: Held::default(),
            pause,
            waits: Box::pin(tokio::time::sleep(pause)),
        }
    }

    /// The reservation of this body.
    #[must_use]
    pub fn held(&self) -> Held {
        self.held.clone()
    }

    fn count(&self, data: &Bytes) -> Result<(), Status> {
        let Some(budget) = &self.budget else {
            return Ok(());
        };
        let more = budget.take(data.len())?;
        let mut held = self.held.lock();
        match &mut *held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                return self.waits.as_mut().poll(context).map(|()| {
                    let late = Status::deadline_exceeded("the request's body paused for too long");
                    Some(Err(late.into()))
                });
            }
        };
        let next = Instant::now() + self.pause;
        self.waits.as_mut().reset(next);
        Poll::Ready(frame.map(|frame| {
            let frame = frame?;
            if let Some(data) = frame.data_ref() {
                let data = data.clone();
                self.count(&data)?;
            }
            Ok(frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn frame(body: &mut Metered) -> Option<Result<Bytes, Status>> {
        let frame =
            std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        Some(match frame {
            Ok(frame) => Ok(frame.into_data().unwrap_or_default()),
            Err(error) => Err(Status::from_error(error)),
        })
    }

    #[tokio::test]
    async fn bodies_share_a_budget_until_they_are_dropped() {
        let budget = Budget::new(10);
        let metered = |text: &'static str| {
            Metered::new(
                Body::from(text),
                Some(budget.clone()),
                Duration::from_secs(1),
            )
        };
        let mut first = metered("123456");
        assert_eq!(frame(&mut first).await.unwrap().unwrap(), "123456");
        let refused = frame(&mut metered("12345")).await.unwrap().unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        drop(first);
        assert!(frame(&mut metered("12345")).await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_pauses_too_long_ends_with_an_error() {
        struct Silent;
        impl HttpBody for Silent {
            type Data = Bytes;
            type Error = axum::BoxError;
            fn poll_frame(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
                Poll::Pending
            }
        }
        let mut body = Metered::new(Body::new(Silent), None, Duration::from_secs(30));
        let late = frame(&mut body).await.unwrap().unwrap_err();
        assert_eq!(late.code(), tonic::Code::DeadlineExceeded);
    }
}
