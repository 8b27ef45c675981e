//! One watch: a list to begin with, then every change, and at each moment whether what is held can be relied on.
//!
//! Not kube's watcher: it keeps to itself what tells a live watch from a dead one (bookmarks, reconnects), and where
//! the API server streams no lists it reads every object from etcd, or holds all of them at once. This one lists from
//! the API server's cache and keeps of each object a record, while the answer arrives.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use kube::client::Body;
use tokio::time::{sleep, timeout_at};

use super::{
    Part,
    changes::{Change, Changes},
    list::ListSeed,
};
use crate::cluster::{ApiError, Cluster, encoded, gitrepos_path, request, scan::parse};

/// After how long the API server ends a watch; so soon that a connection which died unheard is noticed.
const WATCH_TIME: Duration = Duration::from_secs(30);

/// How much later than that it may end before the connection counts as dead.
const WATCH_TIME_MARGIN: Duration = Duration::from_secs(5);

/// How long the list may take, to its last byte.
const LIST_TIME_LIMIT: Duration = Duration::from_mins(1);

/// How long opening a watch may take; while the index is in use, it stays so for no longer than that.
const OPEN_TIME_LIMIT: Duration = Duration::from_secs(1);

/// How long a watch that was broken has to be silent before all that was missed has surely come.
const SETTLED: Duration = Duration::from_millis(200);

/// After how long it counts as settled even though it never is silent.
const SETTLED_ANYWAY: Duration = Duration::from_secs(5);

/// How long to wait before a broken watch is opened again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Keeps one part of the index.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) cluster: Cluster,
    pub(super) namespace: Option<String>,
    pub(super) part: Arc<Part>,
}

/// Why a watch is over before its time.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the API server no longer has the changes since the last one seen")]
    Expired,
    #[error("the connection is silent")]
    Silent,
    #[error("the API server ended the watch as soon as it was opened")]
    Refused,
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl Watch {
    /// Lists, watches, and begins again, for as long as the program runs.
    pub(super) async fn run(self) {
        let mut version = None;
        let mut pause = FIRST_PAUSE;
        let mut said = false;
        loop {
            let resumed = version.is_some();
            let Err(broken) = self.follow(&mut version, &mut pause).await else { continue };
            self.distrust(&broken, &mut said);
            let mut wait = pause;
            match broken {
                Broken::Expired => {
                    version = None;
                    if resumed {
                        wait = Duration::ZERO;
                    }
                }
                Broken::Api(error) => wait = wait.max(error.retry_after().unwrap_or_default()),
                Broken::Silent | Broken::Refused => {}
            }
            sleep(wait).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Watches from `version` on until the API server ends the watch in good order; lists first where there is none.
    async fn follow(
        &self,
        version: &mut Option<String>,
        pause: &mut Duration,
    ) -> Result<(), Broken> {
        let since = match version {
            Some(since) => since.clone(),
            None => {
                let (records, listed) = self.list().await?;
                self.part.replace(records);
                version.insert(listed).clone()
            }
        };
        let body = self.open(&since).await?;
        let opened = Instant::now();
        self.part.confirm();
        let mut changes = Changes::new(body);
        loop {
            let settling = !self.part.is_trusted();
            let until = if settling {
                Instant::now() + SETTLED
            } else {
                opened + WATCH_TIME + WATCH_TIME_MARGIN
            };
            match timeout_at(until.into(), changes.next()).await {
                Ok(Some(change)) => {
                    *version = Some(self.take(change?)?);
                }
                Ok(None) if opened.elapsed() < OPEN_TIME_LIMIT => return Err(Broken::Refused),
                Ok(None) => return Ok(()),
                Err(_) if settling => {
                    self.trust();
                    *pause = FIRST_PAUSE;
                }
                Err(_) => return Err(Broken::Silent),
            }
            if settling && opened.elapsed() > SETTLED_ANYWAY {
                self.trust();
            }
        }
    }

    async fn list(&self) -> Result<(super::Records, String), ApiError> {
        let path = format!("{}?resourceVersion=0", gitrepos_path(self.namespace.as_deref()));
        let seed = ListSeed { hasher: self.part.hasher.clone() };
        let request = request(Method::GET, &path, "application/json", Vec::new());
        let list = async { parse(self.cluster.send(request).await?.into_body(), seed).await };
        self.cluster.within(LIST_TIME_LIMIT, list).await
    }

    async fn open(&self, since: &str) -> Result<Body, Broken> {
        let path = format!(
            "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}",
            gitrepos_path(self.namespace.as_deref()),
            WATCH_TIME.as_secs(),
            encoded(since),
        );
        let request = request(Method::GET, &path, "application/json", Vec::new());
        match self.cluster.within(OPEN_TIME_LIMIT, self.cluster.send(request)).await {
            Ok(response) => Ok(response.into_body()),
            Err(ApiError::Unexpected(StatusCode::GONE)) => Err(Broken::Expired),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a change; gives the version after it.
    fn take(&self, change: Change) -> Result<String, Broken> {
        match change {
            Change::Applied(listed) => {
                self.part.apply(&listed);
                Ok(listed.into_resource_version())
            }
            Change::Deleted(listed) => {
                self.part.delete(&listed);
                Ok(listed.into_resource_version())
            }
            Change::Bookmark(version) => {
                self.part.confirm();
                Ok(version)
            }
            Change::Failed(StatusCode::GONE) => Err(Broken::Expired),
            Change::Failed(status) => Err(ApiError::Passing(status, None).into()),
        }
    }

    /// Lets deliveries be looked up here.
    fn trust(&self) {
        if let Some(gitrepos) = self.part.trust() {
            tracing::info!(namespace = self.scope(), gitrepos, "the index is in use");
        }
    }

    /// Lets every delivery be looked up at the API server; says so once, and `said` remembers it.
    fn distrust(&self, why: &Broken, said: &mut bool) {
        let was_trusted = self.part.distrust();
        if *said && !was_trusted {
            return tracing::debug!(namespace = self.scope(), error = %why, "the index is still not in use");
        }
        *said = true;
        let advice = matches!(why, Broken::Api(ApiError::Forbidden(_)))
            .then_some("the index needs the rights to list and watch gitrepos: knative/rbac");
        tracing::warn!(namespace = self.scope(), error = %why, advice, "the index is not in use until its watch is back");
    }

    fn scope(&self) -> &str {
        self.namespace.as_deref().unwrap_or("all")
    }
}
