//! Finds the GitRepos of a repository, without a full LIST; `scan` reads names and URLs, then the few that match are read.

use std::{
    collections::{BTreeSet, HashMap},
    hash::RandomState,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::value::RawValue;
use tokio::{sync::Semaphore, time::sleep};

use super::{
    ApiError, CONCURRENT_REQUESTS, Cluster, List, READ_AGAIN_TIME, gitrepos_named, lean,
    places::{Place, Places},
    scan::Include,
};
use crate::{event::Repository, gitrepo::GitRepo, single_flight::SingleFlight};

/// From how many GitRepos on, which the LISTs by name would read, a second scan for their namespaces takes less time:
/// with 5,000 GitRepos it turns between 128 and 256, with 1,000 later (`tests/suite/second_scan.rs` measures it).
const LISTED_WORTH_A_SCAN: usize = 192;

/// How old a scan may be that confirms what the index does not hold: what has followed for a second is in it, even
/// where the API server's own cache lags.
const CONFIRMATION_TTL: Duration = Duration::from_millis(900);

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
    snapshot: Arc<SingleFlight<Result<Arc<Snapshot>, ApiError>>>,
    unverified_reads: Semaphore,
}

/// All GitRepos as they were.
#[derive(Debug)]
struct Snapshot {
    places: Arc<Places>,
    /// The same with the namespaces, scanned where that is less work than lists by name.
    with_namespaces: SingleFlight<Result<Arc<Places>, ApiError>>,
    /// What was read behind the hashes that were asked for and are in `places`.
    read: Mutex<HashMap<u64, Arc<SingleFlight<Found>>>>,
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

    /// Finds them in a scan that others share, as old as `trust` allows.
    async fn find_shared(&self, repository: &Repository, trust: Trust) -> Result<Found, ApiError> {
        let failure_ttl = trust.failure_ttl();
        let ttl = match trust {
            Trust::Verified(_) => CONFIRMATION_TTL,
            Trust::Unverified => self.cache_ttl,
        };
        let reuse = |snapshot: &Result<_, _>, age| match snapshot {
            Ok(_) => age < ttl,
            Err(_) => age < failure_ttl,
        };
        let snapshot = self.snapshot.get(reuse, self.take_snapshot(ttl)).await?;
        let keys: BTreeSet<_> = repository.keys(&self.hasher).into_iter().collect();
        let mut found = Found::default();
        for key in keys.into_iter().filter(|key| snapshot.places.hold(*key)) {
            let reuse = |found: &Found, age| found.incomplete.is_none() || age < failure_ttl;
            let read =
                snapshot.reads_of(key).get(reuse, self.read_for(trust, key, &snapshot)).await;
            found.gitrepos.extend(read.gitrepos);
            found.incomplete = found.incomplete.or(read.incomplete);
        }
        Ok(found)
    }

    /// Reads the GitRepos behind a hash; those who may be anybody wait until it is their turn.
    async fn read_for(&self, trust: Trust, key: u64, snapshot: &Snapshot) -> Found {
        let _turn = match trust {
            Trust::Verified(_) => None,
            Trust::Unverified => self.unverified_reads.acquire().await.ok(),
        };
        let reuse = |scanned: &Result<_, _>, age| scanned.is_ok() || age < trust.failure_ttl();
        let scan = snapshot.with_namespaces.get(reuse, self.scan(Include::Metadata, None));
        self.read(&BTreeSet::from([key]), &snapshot.places, scan).await
    }

    /// Scans everything, and forgets it when nobody may use it any more.
    async fn take_snapshot(&self, ttl: Duration) -> Result<Arc<Snapshot>, ApiError> {
        let places = self.scan(Include::Nothing, None).await?;
        let (snapshot, kept) = (Arc::clone(&self.snapshot), ttl.max(CONFIRMATION_TTL));
        tokio::spawn(async move {
            sleep(kept).await;
            snapshot.forget(kept).await;
        });
        Ok(Arc::new(Snapshot {
            places,
            with_namespaces: SingleFlight::default(),
            read: Mutex::default(),
        }))
    }

    /// Scans all namespaces at once, or each of the configured ones.
    async fn scan(
        &self,
        include: Include,
        wanted: Option<&BTreeSet<u64>>,
    ) -> Result<Arc<Places>, ApiError> {
        let nothing = Places::of(&self.hasher, wanted.cloned());
        let scan = |namespace| self.cluster.scan(namespace, include, nothing.clone(), Places::add);
        let parts = if self.namespaces.is_empty() {
            vec![scan(None).await?]
        } else {
            let scans: Vec<_> =
                self.namespaces.iter().map(|namespace| scan(Some(namespace))).collect();
            stream::iter(scans).buffer_unordered(CONCURRENT_REQUESTS).try_collect().await?
        };
        Ok(Arc::new(Places::merged(parts).unwrap_or(nothing)))
    }

    /// Reads the GitRepos behind `keys`; `scan` finds them with their namespaces.
    async fn read(
        &self,
        keys: &BTreeSet<u64>,
        places: &Places,
        scan: impl Future<Output = Result<Arc<Places>, ApiError>>,
    ) -> Found {
        let mut chosen = places.behind(keys);
        if self.namespaces.is_empty() && places.named_like(&chosen) >= LISTED_WORTH_A_SCAN {
            match scan.await {
                Ok(placed) => chosen = placed.behind(keys),
                Err(error) => return Found { incomplete: Some(error), ..Found::default() },
            }
        }
        let reads: Vec<_> = chosen.iter().map(|place| self.cluster.read_place(place)).collect();
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

impl Snapshot {
    /// The reads behind one hash: a flood reads it once, and what is slow to read holds up no other.
    fn reads_of(&self, key: u64) -> Arc<SingleFlight<Found>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(read.entry(key).or_default())
    }
}

impl Cluster {
    async fn read_place(&self, place: &Place) -> Result<Vec<GitRepo>, ApiError> {
        let Some(namespace) = &place.namespace else {
            let until = Instant::now() + READ_AGAIN_TIME;
            return self.retrying(until, || self.named(&place.name)).await;
        };
        Ok(self.gitrepo_now(namespace, &place.name).await?.into_iter().collect())
    }

    /// Reads the GitRepos of this name in all namespaces; one that is unreadable is left out and logged.
    async fn named(&self, name: &str) -> Result<Vec<GitRepo>, ApiError> {
        let path = format!("{}&resourceVersion=0", gitrepos_named(None, name));
        let list: List<Box<RawValue>> = self.object(&path).await?;
        let gitrepo = |item: &RawValue| match serde_json::from_str(item.get()) {
            Ok(gitrepo) => Some(lean(gitrepo)),
            Err(error) => {
                tracing::warn!(gitrepo.name = name, "{}", super::unreadable(&error));
                None
            }
        };
        Ok(list.items.iter().filter_map(|item| gitrepo(item)).collect())
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
