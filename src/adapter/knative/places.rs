//! The places of `connections`, and when they are a crowd; `progress` has them given back then.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// More than one in so many places taken is a crowd: then no connection is kept open after its answer, so that those
/// which wait for another request never take the places of those that have one.
const CROWD: usize = 4;

/// The places of the connections.
#[derive(Clone)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    number: usize,
}

impl Places {
    pub(super) fn new(number: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(number)), number }
    }

    /// The next place that is free; it is given back when what this gives is dropped.
    pub(super) async fn next(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    #[cfg(test)]
    pub(super) fn take(&self, number: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_many_owned(number).ok()
    }

    pub(super) fn are_crowded(&self) -> bool {
        self.number - self.free.available_permits() > self.number / CROWD
    }
}
