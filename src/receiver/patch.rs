//! The patch of one planned GitRepo (contract §5): the polling interval where it has none, and the commit, each only as
//! long as the GitRepo is what it was judged as. `announce` decides when, and what comes of a refusal.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{sync::Notify, time::Instant};

use crate::{
    cluster::{ApiError, Cluster, Resource, retrying},
    gitrepo::{GitRepo, GitRepoStatus},
    verdict::Planned,
};

/// For how long the polling interval is tried again: the commit is what matters.
const INTERVAL_TIME_LIMIT: Duration = Duration::from_millis(500);

/// How GitRepos are patched.
#[derive(Clone, Debug)]
pub struct Patcher {
    cluster: Cluster,
    polling_interval: Option<String>,
    /// Told where an interval could not be taken back.
    left: Arc<Notify>,
}

impl Patcher {
    /// Writes `polling_interval`, a Go duration, where a GitRepo has none; `None` writes nothing there.
    pub fn new(cluster: Cluster, polling_interval: Option<String>) -> Self {
        Self { cluster, polling_interval, left: Arc::default() }
    }

    /// What is written where a GitRepo has no polling interval.
    pub(super) fn polling_interval(&self) -> Option<&str> {
        self.polling_interval.as_deref()
    }

    /// Ends once an interval could not be taken back, and is still there.
    #[cfg(feature = "knative")]
    pub(super) async fn left_one(&self) {
        self.left.notified().await;
    }

    /// Announces the planned commit, of which we heard when `received`, unless the GitRepo is another than was judged,
    /// or something else was announced to it since it was read. Gives the GitRepo as it is since then.
    ///
    /// # Errors
    /// [`ApiError::Unprocessable`] if it is not as it was, or any other [`ApiError`] of the request.
    pub async fn patch(&self, planned: &Planned, received: Timestamp) -> Result<GitRepo, ApiError> {
        let mut gitrepo = planned.gitrepo().clone();
        let status = gitrepo.status.get_or_insert_default();
        status.webhook_commit = Some(planned.follows().after.as_str().to_owned());
        status.last_webhook_time = Some(time(planned.gitrepo(), received));
        let patch = status_patch(planned.gitrepo(), status);
        // A definition of Fleet before 0.15.3 drops the time: there it never showed.
        let shows_no_time =
            planned.gitrepo().announced().is_some() && planned.gitrepo().announced_at().is_none();
        if shows_no_time {
            status.last_webhook_time = None;
        }
        gitrepo.metadata.resource_version =
            self.cluster.patch_gitrepo(&gitrepo.metadata, Resource::Status, &patch).await?;
        Ok(gitrepo)
    }

    /// Sets the polling interval where there is none, and tries again until `until`; tells whether it may be ours now.
    pub(super) async fn set_interval(&self, planned: &Planned, until: Instant) -> bool {
        let Some(interval) = &self.polling_interval else { return false };
        let gitrepo = planned.gitrepo();
        if gitrepo.spec.polling_interval.is_some() {
            return false;
        }
        let patch = json!([
            test("/metadata/uid", gitrepo.metadata.uid.as_deref()),
            test("/spec/pollingInterval", None),
            { "op": "add", "path": "/spec/pollingInterval", "value": interval },
        ]);
        let until = until.min(Instant::now() + INTERVAL_TIME_LIMIT);
        // An attempt that got no answer may have set it all the same: then it is we whom the next one finds faster.
        let unanswered = AtomicBool::new(false);
        let attempt = || async {
            let outcome =
                self.cluster.patch_gitrepo(&gitrepo.metadata, Resource::Itself, &patch).await;
            let is_open = outcome.as_ref().is_err_and(ApiError::may_have_been_done);
            unanswered.fetch_or(is_open, Ordering::Relaxed);
            outcome
        };
        match retrying(until, attempt).await {
            Ok(_) => true,
            // Somebody was faster, or it is another GitRepo by now.
            Err(ApiError::Unprocessable) => unanswered.into_inner(),
            // The next patch will find the same.
            Err(ApiError::NotFound) => false,
            Err(error) => {
                tracing::warn!(gitrepo.name = name(gitrepo), %error, "could not set the polling interval");
                unanswered.into_inner() || error.may_have_been_done()
            }
        }
    }

    /// Takes back the polling interval of a GitRepo to which nothing was announced, if it is we who set it.
    pub(super) async fn take_left_interval_back(&self, gitrepo: &GitRepo) {
        let set = gitrepo.spec.polling_interval.as_deref();
        if set.is_none() || set != self.polling_interval() || gitrepo.announced().is_some() {
            return;
        }
        match self.cluster.interval(&gitrepo.metadata).await {
            Ok(Some(interval)) if interval.is_ours_alone() => {}
            Ok(_) => return,
            Err(error) => {
                self.left.notify_one();
                let name = name(gitrepo);
                return tracing::warn!(gitrepo.name = name, %error, "cannot tell who set the polling interval");
            }
        }
        let nothing_announced = match gitrepo.status {
            Some(_) => test("/status/webhookCommit", None),
            None => test("/status", None),
        };
        let patch = json!([
            test("/metadata/uid", gitrepo.metadata.uid.as_deref()),
            test("/spec/pollingInterval", set),
            nothing_announced,
            { "op": "remove", "path": "/spec/pollingInterval" },
        ]);
        match self.cluster.patch_gitrepo(&gitrepo.metadata, Resource::Itself, &patch).await {
            Ok(_) => tracing::info!(
                gitrepo.namespace = gitrepo.metadata.namespace,
                gitrepo.name = name(gitrepo),
                "took back a polling interval that was left without a commit"
            ),
            Err(ApiError::Unprocessable | ApiError::NotFound) => {}
            Err(error) => {
                self.left.notify_one();
                tracing::warn!(gitrepo.name = name(gitrepo), %error, "could not take the polling interval back");
            }
        }
    }

    /// Takes the polling interval back where it is still ours, and tries again until `until`.
    pub(super) async fn take_interval_back(&self, gitrepo: &GitRepo, until: Instant) {
        let Some(interval) = &self.polling_interval else { return };
        let patch = json!([
            test("/metadata/uid", gitrepo.metadata.uid.as_deref()),
            test("/spec/pollingInterval", Some(interval)),
            { "op": "remove", "path": "/spec/pollingInterval" },
        ]);
        let until = until.max(Instant::now() + INTERVAL_TIME_LIMIT);
        let take = || self.cluster.patch_gitrepo(&gitrepo.metadata, Resource::Itself, &patch);
        match retrying(until, take).await {
            Ok(_) | Err(ApiError::Unprocessable | ApiError::NotFound) => {}
            Err(error) => {
                self.left.notify_one();
                tracing::warn!(gitrepo.name = name(gitrepo), %error, "could not take the polling interval back");
            }
        }
    }
}

/// The JSON patch of the `status` subresource that makes `status` of what it is.
fn status_patch(gitrepo: &GitRepo, status: &GitRepoStatus) -> Value {
    let (commit, time) = (&status.webhook_commit, &status.last_webhook_time);
    let mut patch = tests(gitrepo);
    match gitrepo.status {
        Some(_) => patch.extend([
            json!({ "op": "add", "path": "/status/webhookCommit", "value": commit }),
            json!({ "op": "add", "path": "/status/lastWebhookTime", "value": time }),
        ]),
        // Fleet's controller has not seen it yet: there is nothing to add a field to.
        None => patch.push(json!({
            "op": "add", "path": "/status",
            "value": { "webhookCommit": commit, "lastWebhookTime": time },
        })),
    }
    Value::Array(patch)
}

/// What a patch begins with: it fails with 422 unless the GitRepo is the one that was judged, follows what it followed
/// under the same secret, and nothing was announced to it since it was read.
fn tests(GitRepo { metadata, spec, status }: &GitRepo) -> Vec<Value> {
    let mut tests = vec![
        test("/metadata/uid", metadata.uid.as_deref()),
        test("/spec/repo", spec.repo.as_deref()),
        test("/spec/branch", spec.branch.as_deref()),
        test("/spec/revision", spec.revision.as_deref()),
        test("/spec/webhookSecret", spec.webhook_secret.as_deref()),
    ];
    match status {
        Some(status) => tests.extend([
            test("/status/webhookCommit", status.webhook_commit.as_deref()),
            test("/status/lastWebhookTime", status.last_webhook_time.as_deref()),
        ]),
        None => tests.push(test("/status", None)),
    }
    tests
}

/// Whether a patch of one would be tested for the same as a patch of the other.
pub(super) fn is_tested_alike(one: &Planned, other: &Planned) -> bool {
    tests(one.gitrepo()) == tests(other.gitrepo())
}

/// What is written as the time of a push: when we heard of it. One that follows on a later one, by the clock, is no
/// reason to set the time back.
fn time(gitrepo: &GitRepo, received: Timestamp) -> String {
    let time = gitrepo.announced_at().map_or(received, |last| last.max(received));
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// An absent field tests equal to null.
fn test(path: &str, value: Option<&str>) -> Value {
    json!({ "op": "test", "path": path, "value": value })
}

fn name(gitrepo: &GitRepo) -> Option<&str> {
    gitrepo.metadata.name.as_deref()
}
