//! Finds the GitRepos of a repository, without a full LIST: in the index, in a scan of its own, or in one that is shared
//! (`snapshot`); `read` reads those that match.

mod read;
mod snapshot;

use std::{
    collections::BTreeSet,
    hash::RandomState,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use self::snapshot::Snapshot;
use super::{ApiError, Cluster, scan::Include};
use crate::{event::Repository, gitrepo::GitRepo, remembered::Remembered};

/// How long it is remembered that a scan failed: anybody may ask for one.
const FAILURE_TTL: Duration = Duration::from_secs(1);

/// Of how many repositories the GitRepos are read at once for deliveries that anybody may have sent.
const UNVERIFIED_READS: usize = 4;

/// Whether the global secret verifies the delivery that a look-up is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It does: look now, and try again until the given time.
    Verified(Instant),
    /// It does not: anybody may have sent it, so look in what was read a while ago.
    Unverified,
}

impl Trust {
    /// How old a failure may be that is not tried again.
    const fn failure_ttl(self) -> Duration {
        match self {
            Self::Verified(_) => Duration::ZERO,
            Self::Unverified => FAILURE_TTL,
        }
    }
}

/// The GitRepos of a repository.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Those that could be read.
    pub gitrepos: Vec<GitRepo>,
    /// Why there may be more.
    pub incomplete: Option<ApiError>,
    /// Where they come from.
    pub source: Source,
}

/// Where GitRepos come from, and so how old they may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The API server, a moment ago.
    #[default]
    Server,
    /// The index: it may miss what has changed behind a connection that died unheard.
    Index,
    /// What was read for an earlier delivery.
    Earlier,
}

/// Looks GitRepos up.
#[derive(Debug)]
pub struct Lookup {
    cluster: Cluster,
    namespaces: Vec<String>,
    cache_ttl: Duration,
    hasher: RandomState,
    #[cfg(feature = "knative")]
    index: Option<Arc<super::index::Index>>,
    snapshot: Arc<Remembered<Result<Arc<Snapshot>, ApiError>>>,
    unverified_reads: Semaphore,
}

impl Lookup {
    /// Looks in `namespaces`, in all if there are none; keeps look-ups of unverified deliveries for `cache_ttl`.
    pub fn new(cluster: Cluster, namespaces: Vec<String>, cache_ttl: Duration) -> Self {
        Self {
            cluster,
            namespaces,
            cache_ttl,
            hasher: RandomState::new(),
            #[cfg(feature = "knative")]
            index: None,
            snapshot: Arc::default(),
            unverified_reads: Semaphore::new(UNVERIFIED_READS),
        }
    }

    /// Asks `index` first.
    #[cfg(feature = "knative")]
    #[must_use]
    pub fn with_index(self, index: Arc<super::index::Index>) -> Self {
        Self { index: Some(index), ..self }
    }

    /// Finds the GitRepos whose `spec.repo` names the repository.
    ///
    /// What the index holds is enough if one of them is `wanted`; otherwise the API server has the last word.
    ///
    /// # Errors
    /// The [`ApiError`] of the scan. What fails later leaves [`Found::incomplete`].
    pub async fn find(
        &self,
        repository: &Repository,
        trust: Trust,
        wanted: impl Fn(&GitRepo) -> bool,
    ) -> Result<Found, ApiError> {
        if repository.is_nowhere() {
            return Ok(Found::default());
        }
        let found = match (self.indexed(repository), trust) {
            (Some(gitrepos), _) if gitrepos.iter().any(wanted) => {
                Found { gitrepos, source: Source::Index, ..Found::default() }
            }
            (Some(_), _) => return self.confirm(repository, trust).await,
            (None, Trust::Verified(until)) => {
                self.cluster.retrying(until, || self.find_now(repository)).await?
            }
            (None, Trust::Unverified) => self.find_earlier(repository).await?,
        };
        Ok(only_of(repository, found))
    }

    /// Finds them without the index, which does not hold what is looked for.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub async fn confirm(&self, repository: &Repository, trust: Trust) -> Result<Found, ApiError> {
        let found = match trust {
            Trust::Verified(until) => {
                self.cluster.retrying(until, || self.find_shared(repository, trust)).await?
            }
            Trust::Unverified => self.find_earlier(repository).await?,
        };
        Ok(only_of(repository, found))
    }

    async fn find_now(&self, repository: &Repository) -> Result<Found, ApiError> {
        let keys = repository.keys(&self.hasher).into_iter().collect();
        let places = self.scan(Include::Nothing, Some(&keys)).await?;
        Ok(self.read(&keys, &places, self.scan(Include::Metadata, Some(&keys))).await)
    }

    async fn find_earlier(&self, repository: &Repository) -> Result<Found, ApiError> {
        let found = self.find_shared(repository, Trust::Unverified).await?;
        Ok(Found { source: Source::Earlier, ..found })
    }

    /// What the index holds of a repository; `None` where there is no index to rely on.
    #[cfg(feature = "knative")]
    fn indexed(&self, repository: &Repository) -> Option<Vec<GitRepo>> {
        self.index.as_ref()?.find(repository)
    }

    #[cfg(not(feature = "knative"))]
    #[expect(clippy::unused_self, reason = "the index is what is asked, where there is one")]
    const fn indexed(&self, _: &Repository) -> Option<Vec<GitRepo>> {
        None
    }
}

/// Leaves out what a hash or a name brought in.
fn only_of(repository: &Repository, mut found: Found) -> Found {
    let is_of = |gitrepo: &GitRepo| gitrepo.spec.repo_url().is_some_and(|url| repository.is(&url));
    found.gitrepos.retain(is_of);
    let is_hostless = matches!(repository, Repository::Hostless { .. });
    // Those that could not be read may be on another host.
    if is_hostless && (found.incomplete.is_some() || !on_one_host(&found.gitrepos)) {
        tracing::warn!(
            "the payload names no host, and it is not certain that all GitRepos that match it are on one, so none is \
             patched: update Bitbucket Server, or set its base URL"
        );
        found.gitrepos.clear();
    }
    found
}

fn on_one_host(gitrepos: &[GitRepo]) -> bool {
    let hosts: BTreeSet<_> = gitrepos
        .iter()
        .filter_map(|gitrepo| gitrepo.spec.repo_url())
        .map(|url| url.host().to_owned())
        .collect();
    hosts.len() <= 1
}
