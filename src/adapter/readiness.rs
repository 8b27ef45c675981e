//! Whether deliveries are wanted: once the API server was reached, until the process is told to stop.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

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
    stopping: AtomicBool,
    asked: Remembered<bool>,
}

impl Readiness {
    /// Not ready until the API server was reached; `at_once` where a retry queue takes deliveries until then.
    pub fn new(at_once: bool) -> Self {
        Self { reached: AtomicBool::new(at_once), ..Self::default() }
    }

    /// Is never ready again.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Tells whether deliveries are wanted; asks the API server if it was never reached.
    pub async fn check(&self, cluster: &Cluster) -> bool {
        if self.stopping.load(Ordering::Relaxed) {
            return false;
        }
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
