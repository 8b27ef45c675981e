//! The patch of one GitRepo (contract §5): the polling interval where it has none, then the commit.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{ApiError, Cluster, gitrepo_path, request};
use crate::{event::CommitId, gitrepo::GitRepo, verdict::Authorization};

/// How long the polling interval is tried: the commit is what matters.
const INTERVAL_TIME_LIMIT: Duration = Duration::from_millis(500);

/// What became of a GitRepo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patched {
    /// It has the commit now.
    Patched,
    /// It had it before.
    Unchanged,
    /// It was deleted meanwhile.
    Gone,
}

/// How GitRepos are patched.
#[derive(Clone, Debug)]
pub struct Patcher {
    cluster: Cluster,
    polling_interval: Option<String>,
}

impl Patcher {
    /// Writes `polling_interval`, a Go duration, where a GitRepo has none; `None` writes nothing there.
    pub const fn new(cluster: Cluster, polling_interval: Option<String>) -> Self {
        Self { cluster, polling_interval }
    }

    /// Announces `commit`, of which we heard when `received`, to a GitRepo that `_authorization` was given for; tries
    /// again until `until`, and counts in `trouble` while it has to.
    ///
    /// # Errors
    /// The [`ApiError`] for which the commit could not be written; the polling interval is then as it was.
    pub async fn patch(
        &self,
        gitrepo: &GitRepo,
        commit: &CommitId,
        received: Timestamp,
        _authorization: &Authorization,
        until: Instant,
        trouble: &AtomicUsize,
    ) -> Result<Patched, ApiError> {
        let (Some(namespace), Some(name)) = (&gitrepo.metadata.namespace, &gitrepo.metadata.name)
        else {
            return Ok(Patched::Gone);
        };
        if announces(gitrepo, commit) {
            // What was looked up may be a moment old, and the commit one that was pushed back to.
            match self.cluster.retrying(until, || self.cluster.gitrepo(namespace, name)).await? {
                None => return Ok(Patched::Gone),
                Some(now) if announces(&now, commit) => return Ok(Patched::Unchanged),
                Some(_) => {}
            }
        }
        let path = gitrepo_path(namespace, name);
        let interval = match &self.polling_interval {
            Some(interval) if gitrepo.spec.polling_interval.is_none() => {
                self.set_interval(&path, interval, until).await.then_some(interval)
            }
            _ => None,
        };
        let troubled = AtomicBool::new(false);
        let announce = || async {
            let outcome = self.announce(&path, commit, received).await;
            if outcome.is_err() && !troubled.swap(true, Ordering::Relaxed) {
                trouble.fetch_add(1, Ordering::Relaxed);
            }
            outcome
        };
        let announced = self.cluster.retrying(until, announce).await;
        if troubled.into_inner() && announced.is_ok() {
            trouble.fetch_sub(1, Ordering::Relaxed);
        }
        match announced {
            Ok(()) => Ok(Patched::Patched),
            Err(ApiError::NotFound) => Ok(Patched::Gone),
            Err(error) => {
                if let Some(interval) = interval {
                    self.take_interval_back(&path, interval).await;
                }
                Err(error)
            }
        }
    }

    async fn announce(
        &self,
        path: &str,
        commit: &CommitId,
        received: Timestamp,
    ) -> Result<(), ApiError> {
        let time = received.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let status =
            json!({ "status": { "webhookCommit": commit.as_str(), "lastWebhookTime": time } });
        self.send(&format!("{path}/status"), "application/merge-patch+json", &status).await
    }

    /// Sets the interval where there is none; tells whether it is ours now.
    async fn set_interval(&self, path: &str, interval: &str, until: Instant) -> bool {
        let patch = json!([
            { "op": "test", "path": "/spec/pollingInterval", "value": null },
            { "op": "add", "path": "/spec/pollingInterval", "value": interval },
        ]);
        let until = until.min(Instant::now() + INTERVAL_TIME_LIMIT);
        let set = self.cluster.retrying(until, || self.json_patch(path, &patch)).await;
        match set {
            Ok(()) => true,
            // Somebody was faster, or it is gone, which the next patch will find.
            Err(ApiError::Unprocessable | ApiError::NotFound) => false,
            Err(error) => {
                tracing::warn!(gitrepo.path = path, %error, "could not set the polling interval");
                // Without an answer it may have been set all the same.
                matches!(error, ApiError::TimedOut(_) | ApiError::Unreachable(_))
            }
        }
    }

    async fn take_interval_back(&self, path: &str, interval: &str) {
        let patch = json!([
            { "op": "test", "path": "/spec/pollingInterval", "value": interval },
            { "op": "remove", "path": "/spec/pollingInterval" },
        ]);
        let until = Instant::now() + INTERVAL_TIME_LIMIT;
        let back = self.cluster.retrying(until, || self.json_patch(path, &patch)).await;
        if let Err(error) = back {
            tracing::warn!(gitrepo.path = path, %error, "could not take the polling interval back");
        }
    }

    async fn json_patch(&self, path: &str, patch: &Value) -> Result<(), ApiError> {
        self.send(path, "application/json-patch+json", patch).await
    }

    async fn send(
        &self,
        path: &str,
        media_type: &'static str,
        patch: &Value,
    ) -> Result<(), ApiError> {
        let path = format!("{path}?fieldManager=fleet-webhook");
        let request = request(Method::PATCH, &path, media_type, patch.to_string().into_bytes());
        self.cluster.bytes(request).await.map(drop)
    }
}

fn announces(gitrepo: &GitRepo, commit: &CommitId) -> bool {
    let announced = gitrepo.status.as_ref().and_then(|status| status.webhook_commit.as_deref());
    announced == Some(commit.as_str())
}
