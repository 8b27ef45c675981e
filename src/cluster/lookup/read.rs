//! Reads GitRepos from the API server: where they all are, and then the few that are looked for.

use std::{collections::BTreeSet, sync::Arc};

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use serde_json::value::RawValue;

use super::{Found, Lookup};
use crate::{
    cluster::{
        ApiError, CONCURRENT_REQUESTS, Cluster, List, gitrepos_named, lean,
        places::{Place, Places},
        scan::Include,
        unreadable,
    },
    gitrepo::GitRepo,
};

/// From how many GitRepos on, which the LISTs by name would read, a second scan for their namespaces takes less time:
/// with 5,000 GitRepos it turns between 128 and 256, with 1,000 later (`tests/measure/second_scan.rs` measures it).
const LISTED_WORTH_A_SCAN: usize = 192;

impl Lookup {
    /// Scans all namespaces at once, or each of the configured ones.
    ///
    /// Boxed, since it is passed on through other futures, of which each would have room for it twice.
    pub(super) fn scan<'a>(
        &'a self,
        include: Include,
        wanted: Option<&'a BTreeSet<u64>>,
    ) -> BoxFuture<'a, Result<Arc<Places>, ApiError>> {
        self.scan_all(include, wanted).boxed()
    }

    async fn scan_all(
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
    pub(super) async fn read(
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

impl Cluster {
    /// Reads what is in a place, as the API server has it at hand; a GitRepo that is
    /// unreadable is left out and logged.
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
