//! Polling intervals that were left behind without a commit, by a process that was ended between the two patches of a
//! GitRepo (contract §5): they are taken back, so that it goes on polling.

use std::time::Duration;

use tokio::time::sleep;

use super::Receiver;
use crate::cluster::index::Index;

/// For how long an interval has to be without its commit: no process takes that long between the two.
const LEFT_FOR: Duration = Duration::from_secs(10);

/// How often it is looked whether the index is in use.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Receiver {
    /// Takes back what an earlier process has left, once `index` is in use: within 15 seconds of the start, if it is. And
    /// from then on what this one could not take back when it should have.
    pub async fn take_left_intervals_back(&self, index: &Index) {
        let Some(interval) = self.patcher.polling_interval() else { return };
        while index.state().1.is_none() {
            sleep(LOOK_EVERY).await;
        }
        loop {
            let found = index.unannounced(interval);
            if !found.is_empty() {
                sleep(LEFT_FOR).await;
            }
            let left = index.unannounced(interval).into_iter().filter(|gitrepo| {
                found.iter().any(|before| before.metadata.uid == gitrepo.metadata.uid)
            });
            for gitrepo in left {
                self.patcher.take_left_interval_back(&gitrepo).await;
            }
            self.patcher.left_one().await;
            // The index may not know yet what was left a moment ago.
            sleep(LOOK_EVERY).await;
        }
    }
}
