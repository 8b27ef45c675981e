//! Finds the GitRepos of a repository, without a full LIST; `scan` reads names and URLs, then the few that match are read.

use std::{
    collections::{BTreeSet, HashMap},
    hash::RandomState,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, future::join_all, stream};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Mutex;

use super::{
    ApiError, CONCURRENT_REQUESTS, Cluster, gitrepos_path,
    scan::{Include, Row},
};
use crate::{event::Repository, gitrepo::GitRepo, repo_url::RepoUrl, single_flight::SingleFlight};

/// From how many names on a second scan, for their namespaces, takes less time than a LIST for each name: with 5,000
/// GitRepos it turns between 128 and 256, with 1,000 later (`tests/suite/second_scan.rs` measures it).
const NAMES_WORTH_A_SCAN: usize = 192;

/// How old a scan may be that confirms what the index does not hold: what has followed for a second is in it, even
/// where the API server's own cache lags.
const CONFIRMATION_TTL: Duration = Duration::from_millis(900);

/// Whether the global secret verifies the delivery that a look-up is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It does: look now, and try again until the given time.
    Verified(Instant),
    /// It does not: anybody may have sent it, so look in what was read a while ago.
    Unverified,
}

/// The GitRepos of a repository.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Those that could be read.
    pub gitrepos: Vec<GitRepo>,
    /// Why there may be more.
    pub incomplete: Option<ApiError>,
    /// Whether they were read for an earlier delivery.
    pub cached: bool,
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
    snapshot: SingleFlight<Result<Arc<Snapshot>, ApiError>>,
}

/// All GitRepos as they were: the hash of their repository and where to find them.
#[derive(Debug)]
struct Snapshot {
    rows: Vec<(u64, Place)>,
    /// The GitRepos of the repositories that were asked for, by that hash.
    read: Mutex<HashMap<u64, Found>>,
}

/// Where a GitRepo is; a scan of all namespaces shows only the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    namespace: Option<String>,
    name: String,
}

/// The rows of one repository, of a scan that is under way.
#[derive(Clone)]
struct Matching {
    repository: Repository,
    places: BTreeSet<Place>,
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
            snapshot: SingleFlight::default(),
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
        let indexed = self.indexed(repository);
        let mut found = match (indexed, trust) {
            (Some(gitrepos), _) if gitrepos.iter().any(wanted) => {
                Found { gitrepos, ..Found::default() }
            }
            (Some(_), Trust::Verified(until)) => {
                let confirm = || self.find_shared(repository, CONFIRMATION_TTL);
                self.cluster.retrying(until, confirm).await?
            }
            (None, Trust::Verified(until)) => {
                self.cluster.retrying(until, || self.find_now(repository)).await?
            }
            (_, Trust::Unverified) => {
                let found = self.find_shared(repository, self.cache_ttl).await?;
                Found { cached: true, ..found }
            }
        };
        found
            .gitrepos
            .retain(|gitrepo| gitrepo.spec.repo_url().is_some_and(|url| repository.is(&url)));
        if matches!(repository, Repository::Hostless { .. }) && !on_one_host(&found.gitrepos) {
            tracing::warn!(
                "the payload names no host and GitRepos on several hosts match it, so none is patched: \
                 update Bitbucket Server, or set its base URL"
            );
            found.gitrepos.clear();
        }
        Ok(found)
    }

    async fn find_now(&self, repository: &Repository) -> Result<Found, ApiError> {
        let start = Matching { repository: repository.clone(), places: BTreeSet::new() };
        let matching = self.scan(Include::Nothing, &start, Matching::add).await?;
        let mut places: BTreeSet<_> =
            matching.into_iter().flat_map(|matching| matching.places).collect();
        if self.namespaces.is_empty() && places.len() >= NAMES_WORTH_A_SCAN {
            let placed = self.scan(Include::Metadata, &start, Matching::add).await?;
            places = placed.into_iter().flat_map(|matching| matching.places).collect();
        }
        Ok(self.read(places).await)
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

    /// Finds them in a scan that others share, at most `ttl` old.
    async fn find_shared(&self, repository: &Repository, ttl: Duration) -> Result<Found, ApiError> {
        let reuse = |snapshot: &Result<_, ApiError>, age| snapshot.is_ok() && age < ttl;
        let snapshot =
            self.snapshot.get(reuse, async { self.snapshot().await.map(Arc::new) }).await?;
        let mut found = Found::default();
        let keys: BTreeSet<_> = repository.keys(&self.hasher).into_iter().collect();
        for key in keys {
            let read = self.read_once(&snapshot, key).await;
            found.gitrepos.extend(read.gitrepos);
            found.incomplete = found.incomplete.or(read.incomplete);
        }
        Ok(found)
    }

    async fn snapshot(&self) -> Result<Snapshot, ApiError> {
        let scans = self.scan(Include::Nothing, &Vec::new(), Vec::push).await?;
        let rows = scans.into_iter().flatten().filter_map(|row: Row| {
            let key = RepoUrl::parse(&row.repo)?.key(&self.hasher);
            Some((key, Place { namespace: row.namespace, name: row.name }))
        });
        Ok(Snapshot { rows: rows.collect(), read: Mutex::default() })
    }

    /// Reads the GitRepos behind a hash; at most one at a time, so that a flood reads them once.
    async fn read_once(&self, snapshot: &Snapshot, key: u64) -> Found {
        let places: BTreeSet<_> = snapshot
            .rows
            .iter()
            .filter(|(row, _)| *row == key)
            .map(|(_, place)| place.clone())
            .collect();
        if places.is_empty() {
            return Found::default();
        }
        let mut read = snapshot.read.lock().await;
        if let Some(found) = read.get(&key) {
            return found.clone();
        }
        let found = self.read(places).await;
        if found.incomplete.is_none() {
            read.insert(key, found.clone());
        }
        found
    }

    /// Scans all namespaces at once, or each of the configured ones.
    async fn scan<T: Clone + Send + 'static>(
        &self,
        include: Include,
        start: &T,
        fold: fn(&mut T, Row),
    ) -> Result<Vec<T>, ApiError> {
        if self.namespaces.is_empty() {
            return Ok(vec![self.cluster.scan(None, include, start.clone(), fold).await?]);
        }
        let scans = self
            .namespaces
            .iter()
            .map(|namespace| self.cluster.scan(Some(namespace), include, start.clone(), fold));
        join_all(scans).await.into_iter().collect()
    }

    async fn read(&self, places: BTreeSet<Place>) -> Found {
        let reads: Vec<_> = places.iter().map(|place| self.cluster.read_place(place)).collect();
        let mut reads = stream::iter(reads).buffer_unordered(CONCURRENT_REQUESTS);
        let mut found = Found::default();
        while let Some(read) = reads.next().await {
            match read {
                Ok(gitrepos) => found.gitrepos.extend(gitrepos),
                Err(error) => found.incomplete = Some(error),
            }
        }
        found
    }
}

impl Matching {
    fn add(&mut self, row: Row) {
        if RepoUrl::parse(&row.repo).is_some_and(|url| self.repository.is(&url)) {
            self.places.insert(Place { namespace: row.namespace, name: row.name });
        }
    }
}

impl Cluster {
    async fn read_place(&self, place: &Place) -> Result<Vec<GitRepo>, ApiError> {
        let Some(namespace) = &place.namespace else { return self.named(&place.name).await };
        Ok(self.gitrepo(namespace, &place.name).await?.into_iter().collect())
    }

    /// Reads the GitRepos of this name in all namespaces; one that is unreadable is left out and logged.
    async fn named(&self, name: &str) -> Result<Vec<GitRepo>, ApiError> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<Box<RawValue>>,
        }
        let selector = super::encoded(name);
        let path = format!(
            "{}?fieldSelector=metadata.name%3D{selector}&resourceVersion=0",
            gitrepos_path(None)
        );
        let list: List = self.object(&path).await?;
        let gitrepo = |item: &RawValue| match serde_json::from_str(item.get()) {
            Ok(gitrepo) => Some(gitrepo),
            Err(error) => {
                tracing::warn!(gitrepo.name = name, "{}", super::unreadable(&error));
                None
            }
        };
        Ok(list.items.iter().filter_map(|item| gitrepo(item)).collect())
    }
}

fn on_one_host(gitrepos: &[GitRepo]) -> bool {
    let hosts: BTreeSet<_> = gitrepos
        .iter()
        .filter_map(|gitrepo| gitrepo.spec.repo_url())
        .map(|url| url.host().to_owned())
        .collect();
    hosts.len() <= 1
}
