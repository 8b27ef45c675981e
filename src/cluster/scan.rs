//! A source of GitRepos that asks the API server each time: which there are, by one scan of all, and then the few that
//! are looked for.

use std::{collections::BTreeSet, hash::RandomState, sync::Arc};

use futures::{StreamExt as _, stream};
use serde_json::value::RawValue;

use super::{
    ApiError, CONCURRENT_REQUESTS, Cluster, List,
    found::{Found, Listed, Source, why_incomplete},
    lean,
    paths::gitrepos_named,
    scanned::{Key, Place, Scanned, Wanted},
    table::{Include, Row},
    unreadable,
};
use crate::{event::Repository, gitrepo::GitRepo};

/// From how many GitRepos on, which the LISTs by name would read, a second scan for their namespaces takes less time:
/// with 5,000 GitRepos it turns between 128 and 256, with 1,000 later (`tests/measure/second_scan.rs` measures it).
const LISTED_WORTH_A_SCAN: usize = 192;

/// Scans the GitRepos of all namespaces, or of those that were configured.
#[derive(Debug)]
pub(super) struct Scan {
    cluster: Cluster,
    namespaces: Vec<String>,
    pub(super) hasher: RandomState,
}

impl Scan {
    pub(super) fn new(cluster: Cluster, namespaces: Vec<String>) -> Self {
        Self { cluster, namespaces, hasher: RandomState::new() }
    }

    /// Finds the GitRepos of a repository as they are now.
    ///
    /// # Errors
    /// The [`ApiError`] of the scan. What fails later leaves [`Found::incomplete`].
    pub(super) async fn find(&self, repository: &Repository) -> Result<Found, ApiError> {
        let wanted = Wanted::new(repository, &self.hasher);
        let scanned = Box::pin(self.all(Include::Nothing, Some(&wanted))).await?;
        let again = Box::pin(self.all(Include::Metadata, Some(&wanted)));
        Ok(self.read(&scanned.keys(&wanted), &scanned, again).await)
    }

    /// Scans all namespaces at once, or each of the configured ones: one that cannot be scanned stops no other.
    ///
    /// # Errors
    /// The [`ApiError`] of the scan, or of each of them.
    pub(super) async fn all(
        &self,
        include: Include,
        wanted: Option<&Wanted>,
    ) -> Result<Arc<Scanned>, ApiError> {
        let mut all = Scanned::new(&self.hasher, wanted);
        let scan = &|namespace| {
            self.cluster.table(namespace, include, Scanned::new(&self.hasher, wanted), Scanned::add)
        };
        if self.namespaces.is_empty() {
            all.extend(scan(None).await?);
        } else {
            let scans: Vec<_> = self
                .namespaces
                .iter()
                .map(|namespace| async move { (namespace, scan(Some(namespace)).await) })
                .collect();
            let mut scans = stream::iter(scans).buffer_unordered(CONCURRENT_REQUESTS);
            let mut failed = Vec::new();
            while let Some((namespace, scanned)) = scans.next().await {
                match scanned {
                    Ok(scanned) => all.extend(scanned),
                    Err(error) => failed.push((namespace, error)),
                }
            }
            let number = failed.len();
            if let Some((namespace, error)) = failed.first() {
                tracing::warn!(namespace, %error, number, "namespaces of GITREPO_NAMESPACES cannot be read");
            }
            for (_, error) in failed {
                all.incomplete = why_incomplete(all.incomplete.take(), Some(error));
            }
            if number == self.namespaces.len()
                && let Some(error) = all.incomplete
            {
                return Err(error);
            }
        }
        all.sort();
        Ok(Arc::new(all))
    }

    /// Names and URLs of all GitRepos.
    pub(super) async fn listed(&self) -> Result<Vec<Listed>, ApiError> {
        let add = |listed: &mut Vec<Listed>, row: Row| {
            let Row { name, repo, namespace } = row;
            listed.push(Listed { namespace: namespace.unwrap_or_default(), name, repo });
        };
        let mut namespaces: Vec<_> = self.namespaces.iter().map(|name| Some(&**name)).collect();
        if namespaces.is_empty() {
            namespaces.push(None);
        }
        let mut all = Vec::new();
        for namespace in namespaces {
            all.extend(self.cluster.table(namespace, Include::Metadata, Vec::new(), add).await?);
        }
        Ok(all)
    }

    /// Reads the GitRepos with these keys; `again` scans them with their namespaces.
    pub(super) async fn read(
        &self,
        keys: &BTreeSet<Key>,
        scanned: &Scanned,
        again: impl Future<Output = Result<Arc<Scanned>, ApiError>>,
    ) -> Found {
        let mut found = Found {
            incomplete: scanned.incomplete.clone(),
            source: Source::Server,
            gitrepos: Vec::new(),
        };
        let mut places = scanned.places(keys);
        if self.namespaces.is_empty() && scanned.named_like(&places) >= LISTED_WORTH_A_SCAN {
            match again.await {
                Ok(placed) => places = placed.places(keys),
                Err(error) => return Found { incomplete: Some(error), ..found },
            }
        }
        let reads: Vec<_> = places.iter().map(|place| self.cluster.read_place(place)).collect();
        let mut reads = stream::iter(reads).buffer_unordered(CONCURRENT_REQUESTS);
        while let Some(read) = reads.next().await {
            match read {
                Ok(gitrepos) => found.gitrepos.extend(gitrepos),
                Err(error) => found.incomplete = why_incomplete(found.incomplete, Some(error)),
            }
        }
        found
    }
}

impl Cluster {
    /// Reads what is in a place, as the API server has it at hand; a GitRepo that is unreadable is left out and logged.
    async fn read_place(&self, place: &Place) -> Result<Vec<GitRepo>, ApiError> {
        let path = gitrepos_named(place.namespace.as_deref(), &place.name);
        let path = format!("{path}&resourceVersion=0");
        let list: List<Box<RawValue>> = self.object(&path).await?;
        let gitrepo = |item: &RawValue| match serde_json::from_str(item.get()) {
            Ok(gitrepo) => Some(lean(gitrepo)),
            Err(error) => {
                tracing::warn!(gitrepo.name = &*place.name, "{}", unreadable(&error));
                None
            }
        };
        Ok(list.items.iter().filter_map(|item| gitrepo(item)).collect())
    }
}
