//! Whether deliveries are wanted: once the API server and the delivery queue were reached, until the process is told to
//! stop.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{ApiError, Cluster},
    remembered::Remembered,
};

/// How often probes may ask the API server.
const ASK_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Answers `/readyz`.
#[derive(Debug, Default)]
pub struct Readiness {
    reached: AtomicBool,
    stopping: CancellationToken,
    /// Whether the delivery queue was never read so far, where there is one.
    queue_unread: AtomicBool,
    queue_fails: AtomicBool,
    asked: Remembered<bool>,
}

impl Readiness {
    /// Not ready until the API server was reached; `at_once` where a retry queue takes deliveries until then.
    pub fn new(at_once: bool) -> Self {
        Self { reached: AtomicBool::new(at_once), ..Self::default() }
    }

    /// Not ready either until the delivery queue was read.
    #[must_use]
    pub fn awaiting_queue(self) -> Self {
        Self { queue_unread: AtomicBool::new(true), ..self }
    }

    /// Notes whether the delivery queue could be read just now.
    pub fn queue_is_read(&self, read: bool) {
        if read {
            self.queue_unread.store(false, Ordering::Relaxed);
        }
        self.queue_fails.store(!read, Ordering::Relaxed);
    }

    /// Whether the delivery queue could not be read when it was tried last. That keeps nobody out who comes by HTTP.
    pub fn queue_fails(&self) -> bool {
        self.queue_fails.load(Ordering::Relaxed)
    }

    /// Is never ready again.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Done once the process is told to stop.
    pub fn stopped(&self) -> impl Future<Output = ()> + use<> {
        self.stopping.clone().cancelled_owned()
    }

    /// Tells whether deliveries are wanted; asks the API server if it was never reached. Where deliveries go on to
    /// queues there is no `cluster`.
    pub async fn check(&self, cluster: Option<&Cluster>) -> bool {
        if self.stopping.is_cancelled() || self.queue_unread.load(Ordering::Relaxed) {
            return false;
        }
        let Some(cluster) = cluster else { return true };
        if self.reached.load(Ordering::Relaxed) {
            return true;
        }
        // An answer that gives no right is an answer.
        let ask = async {
            let answer = cluster.reach().await;
            matches!(answer, Ok(()) | Err(ApiError::Forbidden(_) | ApiError::Unauthorized(_)))
        };
        let reached = self.asked.get(|_, age| age < ASK_AT_MOST_EVERY, ask).await;
        self.reached.fetch_or(reached, Ordering::Relaxed);
        reached
    }
}
