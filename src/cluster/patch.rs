//! The patch of one GitRepo (contract §5): the polling interval where it has none, then the commit.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{ApiError, Cluster, TABLE, by, gitrepo_path, request};
use crate::{event::CommitId, gitrepo::GitRepo, verdict::Authorization};

/// For how long the polling interval is tried again: the commit is what matters.
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
    /// A later push was announced to it meanwhile.
    Superseded,
}

/// What is announced to which GitRepo.
struct Announcement<'a> {
    namespace: &'a str,
    name: &'a str,
    commit: &'a CommitId,
    received: Timestamp,
}

/// How long patching a GitRepo may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until when what failed is tried again.
    pub retry_until: Instant,
    /// When the last attempt is cut off. Taking the polling interval back comes after it.
    pub end: Instant,
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

    /// Announces `commit`, of which we heard when `received`, to a GitRepo that `_authorization` was given for, within
    /// `limits`; counts in `trouble` while an attempt has failed.
    ///
    /// # Errors
    /// The [`ApiError`] for which the commit could not be written. A polling interval that was set for it is then taken
    /// back, as far as the API server can be had.
    pub async fn patch(
        &self,
        gitrepo: &GitRepo,
        commit: &CommitId,
        received: Timestamp,
        _authorization: &Authorization,
        limits: Limits,
        trouble: &AtomicUsize,
    ) -> Result<Patched, ApiError> {
        let (Some(namespace), Some(name)) = (&gitrepo.metadata.namespace, &gitrepo.metadata.name)
        else {
            return Ok(Patched::Gone);
        };
        if gitrepo.announces(commit) {
            // What was looked up may be a moment old, and the commit one that was pushed back to.
            let read = || self.cluster.gitrepo(namespace, name);
            match self.cluster.retrying(limits.retry_until, read).await? {
                None => return Ok(Patched::Gone),
                Some(now) if now.announces(commit) => return Ok(Patched::Unchanged),
                Some(_) => {}
            }
        }
        let path = gitrepo_path(namespace, name);
        let interval = match &self.polling_interval {
            Some(interval) if gitrepo.spec.polling_interval.is_none() => {
                self.set_interval(&path, interval, limits).await.then_some(interval)
            }
            _ => None,
        };
        let announcement = Announcement { namespace, name, commit, received };
        match self.announce_within(limits, &announcement, trouble).await {
            Err(ApiError::NotFound) => Ok(Patched::Gone),
            Err(error) => {
                if let Some(interval) = interval {
                    self.take_interval_back(&path, interval, limits.end).await;
                }
                Err(error)
            }
            patched => patched,
        }
    }

    async fn announce_within(
        &self,
        limits: Limits,
        announcement: &Announcement<'_>,
        trouble: &AtomicUsize,
    ) -> Result<Patched, ApiError> {
        let troubled = AtomicBool::new(false);
        let announce = || async {
            let outcome = match troubled.load(Ordering::Relaxed) {
                false => self.announce(announcement).await,
                true => self.announce_again(announcement).await,
            };
            if outcome.is_err() && !troubled.swap(true, Ordering::Relaxed) {
                trouble.fetch_add(1, Ordering::Relaxed);
            }
            outcome
        };
        let announced = by(limits.end, self.cluster.retrying(limits.retry_until, announce)).await;
        if announced.is_ok() && troubled.into_inner() {
            trouble.fetch_sub(1, Ordering::Relaxed);
        }
        announced
    }

    /// Announces after an attempt that failed, unless a later push was announced meanwhile.
    async fn announce_again(&self, announcement: &Announcement<'_>) -> Result<Patched, ApiError> {
        match self.cluster.gitrepo(announcement.namespace, announcement.name).await? {
            None => Ok(Patched::Gone),
            Some(now) if now.announced_after(announcement.received) => Ok(Patched::Superseded),
            Some(_) => self.announce(announcement).await,
        }
    }

    async fn announce(&self, announcement: &Announcement<'_>) -> Result<Patched, ApiError> {
        let Announcement { namespace, name, commit, received } = announcement;
        let time = received.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let status =
            json!({ "status": { "webhookCommit": commit.as_str(), "lastWebhookTime": time } });
        let path = format!("{}/status", gitrepo_path(namespace, name));
        self.send(&path, "application/merge-patch+json", &status).await?;
        Ok(Patched::Patched)
    }

    /// Sets the interval where there is none; tells whether it may be ours now.
    async fn set_interval(&self, path: &str, interval: &str, limits: Limits) -> bool {
        let patch = json!([
            { "op": "test", "path": "/spec/pollingInterval", "value": null },
            { "op": "add", "path": "/spec/pollingInterval", "value": interval },
        ]);
        let until = limits.retry_until.min(Instant::now() + INTERVAL_TIME_LIMIT);
        // An attempt that got no answer may have set it all the same: then it is we whom the next one finds faster.
        let unanswered = AtomicBool::new(false);
        let attempt = || async {
            let outcome = self.json_patch(path, &patch).await;
            let is_open = outcome.as_ref().is_err_and(ApiError::may_have_been_done);
            unanswered.fetch_or(is_open, Ordering::Relaxed);
            outcome
        };
        match by(limits.end, self.cluster.retrying(until, attempt)).await {
            Ok(()) => true,
            // Somebody was faster.
            Err(ApiError::Unprocessable) => unanswered.into_inner(),
            // The next patch will find the same.
            Err(ApiError::NotFound) => false,
            Err(error) => {
                tracing::warn!(gitrepo.path = path, %error, "could not set the polling interval");
                unanswered.into_inner() || error.may_have_been_done()
            }
        }
    }

    async fn take_interval_back(&self, path: &str, interval: &str, end: Instant) {
        let patch = json!([
            { "op": "test", "path": "/spec/pollingInterval", "value": interval },
            { "op": "remove", "path": "/spec/pollingInterval" },
        ]);
        let until = end.max(Instant::now() + INTERVAL_TIME_LIMIT);
        let back = self.cluster.retrying(until, || self.json_patch(path, &patch)).await;
        match back {
            Ok(()) | Err(ApiError::Unprocessable | ApiError::NotFound) => {}
            Err(error) => {
                tracing::warn!(gitrepo.path = path, %error, "could not take the polling interval back");
            }
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
        // The answer is not read: as a table of one row it is a fraction of the object.
        let path = format!("{path}?fieldManager=fleet-webhook&includeObject=None");
        let mut request = request(Method::PATCH, &path, media_type, patch.to_string().into_bytes());
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(TABLE));
        self.cluster.bytes(request).await.map(drop)
    }
}
