//! Finds the GitRepos of a repository, without a full LIST, in one of three sources: the index, a scan of its own, or
//! one that deliveries share.

#[cfg(feature = "knative")]
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{
    ApiError, Cluster,
    found::{Found, Listed},
    scan::Scan,
    shared_scan::SharedScan,
};
use crate::{event::Repository, gitrepo::GitRepo};

/// How old what is looked up may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// As it is now: a secret verifies the delivery.
    Now,
    /// As it was read for an earlier delivery: anybody may have sent this one.
    Earlier,
}

/// Looks GitRepos up.
#[derive(Debug)]
pub struct Lookup {
    #[cfg(feature = "knative")]
    index: Option<Arc<super::index::Index>>,
    scan: Scan,
    shared_scan: SharedScan,
}

impl Lookup {
    /// Looks in `namespaces`, in all if there are none; keeps look-ups of unverified deliveries for `cache_ttl`.
    pub fn new(cluster: Cluster, namespaces: Vec<String>, cache_ttl: Duration) -> Self {
        Self {
            #[cfg(feature = "knative")]
            index: None,
            scan: Scan::new(cluster, namespaces),
            shared_scan: SharedScan::new(cache_ttl),
        }
    }

    /// Asks `index` first.
    #[cfg(feature = "knative")]
    #[must_use]
    pub fn with_index(self, index: Arc<super::index::Index>) -> Self {
        Self { index: Some(index), ..self }
    }

    /// Scans meanwhile for a delivery whose proof waits for a secret to be read: it takes a scan in any case, and one of
    /// those that deliveries share is enough if nothing verifies it.
    pub async fn look_ahead(&self, repository: &Repository) {
        if !repository.is_nowhere() && self.indexed(repository).is_none() {
            self.shared_scan.look_ahead(&self.scan).await;
        }
    }

    /// Finds the GitRepos whose `spec.repo` names the repository, for a delivery that came at `since`.
    ///
    /// What the index holds is enough if one of them is `wanted`; otherwise the API server has the last word.
    ///
    /// # Errors
    /// The [`ApiError`] of the scan. What fails later leaves [`Found::incomplete`].
    pub async fn find(
        &self,
        repository: &Repository,
        freshness: Freshness,
        since: Instant,
        wanted: impl Fn(&GitRepo) -> bool,
    ) -> Result<Found, ApiError> {
        if repository.is_nowhere() {
            return Ok(Found::default());
        }
        let found = match (self.indexed(repository), freshness) {
            // The index gives those of the repository alone.
            (Some(found), _) if found.gitrepos.iter().any(wanted) => return Ok(found),
            (Some(_), Freshness::Now) => return self.confirm(repository, freshness).await,
            (Some(found), Freshness::Earlier) => {
                return self.confirm_earlier(repository, Some(found)).await;
            }
            (None, Freshness::Now) => {
                match self.shared_scan.find_since(since, &self.scan, repository).await {
                    Some(found) => found?,
                    None => self.scan.find(repository).await?,
                }
            }
            (None, Freshness::Earlier) => {
                self.shared_scan.find_earlier(&self.scan, repository, None, since).await?
            }
        };
        Ok(only_of(repository, found))
    }

    /// Finds them without the index, which does not hold what is looked for.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub async fn confirm(
        &self,
        repository: &Repository,
        freshness: Freshness,
    ) -> Result<Found, ApiError> {
        if freshness == Freshness::Earlier {
            return self.confirm_earlier(repository, self.indexed(repository)).await;
        }
        let found = self.shared_scan.find(&self.scan, repository).await?;
        Ok(only_of(repository, found))
    }

    /// The same as it was read for an earlier delivery, by whoever knows what the index `held` of it a moment ago.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub async fn confirm_earlier(
        &self,
        repository: &Repository,
        held: Option<Found>,
    ) -> Result<Found, ApiError> {
        let now = Instant::now();
        let found = self.shared_scan.find_earlier(&self.scan, repository, held, now).await?;
        Ok(only_of(repository, found))
    }

    /// Takes note of what we have announced to a GitRepo, as it is since then.
    #[cfg(feature = "knative")]
    pub(crate) fn announced(&self, gitrepo: &GitRepo) {
        if let Some(index) = &self.index {
            index.announced(gitrepo);
        }
    }

    /// There is no index that could miss it.
    #[cfg(not(feature = "knative"))]
    #[expect(clippy::unused_self, reason = "it is the index that takes note")]
    pub(crate) const fn announced(&self, _: &GitRepo) {}

    /// Lists names and URLs of all GitRepos; for people who ask, and for no delivery.
    ///
    /// # Errors
    /// The [`ApiError`] of the scan.
    pub async fn listed(&self) -> Result<Vec<Listed>, ApiError> {
        self.scan.listed().await
    }

    /// What the index holds of a repository; `None` where there is no index to rely on.
    #[cfg(feature = "knative")]
    fn indexed(&self, repository: &Repository) -> Option<Found> {
        self.index.as_ref()?.find(repository)
    }

    #[cfg(not(feature = "knative"))]
    #[expect(clippy::unused_self, reason = "the index is what is asked, where there is one")]
    const fn indexed(&self, _: &Repository) -> Option<Found> {
        None
    }
}

/// Leaves out what a hash or a name brought in.
fn only_of(repository: &Repository, mut found: Found) -> Found {
    let is_of = |gitrepo: &GitRepo| gitrepo.spec.repo_url().is_some_and(|url| repository.is(&url));
    found.gitrepos.retain(is_of);
    found
}
