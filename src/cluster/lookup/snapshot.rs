//! A scan of all GitRepos that deliveries share, and what was read behind it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::sleep;

use super::{Found, Lookup, Trust};
use crate::{
    cluster::{ApiError, places::Places, scan::Include},
    event::Repository,
    remembered::Remembered,
};

/// How old a scan may be that confirms what the index does not hold: what has followed for a second is in it, even
/// where the API server's own cache lags.
const CONFIRMATION_TTL: Duration = Duration::from_millis(900);

/// All GitRepos as they were.
#[derive(Debug)]
pub(super) struct Snapshot {
    places: Arc<Places>,
    /// The same with the namespaces, scanned where that is less work than lists by name.
    with_namespaces: Remembered<Result<Arc<Places>, ApiError>>,
    /// What was read behind the hashes that were asked for and are in `places`.
    read: Mutex<HashMap<u64, Arc<Remembered<Found>>>>,
}

impl Lookup {
    /// Finds them in a scan that others share, as old as `trust` allows.
    pub(super) async fn find_shared(
        &self,
        repository: &Repository,
        trust: Trust,
    ) -> Result<Found, ApiError> {
        let failure_ttl = trust.failure_ttl();
        let ttl = match trust {
            Trust::Verified(_) => CONFIRMATION_TTL,
            Trust::Unverified => self.cache_ttl,
        };
        let reuse = |snapshot: &Result<_, _>, age| match snapshot {
            Ok(_) => age < ttl,
            Err(_) => age < failure_ttl,
        };
        let snapshot = self.snapshot.get(reuse, Box::pin(self.take_snapshot(ttl))).await?;
        let keys: BTreeSet<_> = repository.keys(&self.hasher).into_iter().collect();
        let mut found = Found::default();
        for key in keys.into_iter().filter(|key| snapshot.places.hold(*key)) {
            let reuse = |found: &Found, age| found.incomplete.is_none() || age < failure_ttl;
            // Boxed, as the others: what waits for a read is held several times over in the futures around it.
            let read = Box::pin(self.read_for(trust, key, &snapshot));
            let read = snapshot.reads_of(key).get(reuse, read).await;
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
        let scan = Box::pin(self.scan(Include::Metadata, None));
        let scan = snapshot.with_namespaces.get(reuse, scan);
        self.read(&BTreeSet::from([key]), &snapshot.places, scan).await
    }

    /// Scans everything, and forgets it when nobody may use it any more.
    async fn take_snapshot(&self, ttl: Duration) -> Result<Arc<Snapshot>, ApiError> {
        let places = self.scan(Include::Nothing, None).await?;
        let (snapshot, kept) = (Arc::clone(&self.snapshot), ttl.max(CONFIRMATION_TTL));
        tokio::spawn(async move {
            sleep(kept).await;
            snapshot.forget(kept);
        });
        Ok(Arc::new(Snapshot {
            places,
            with_namespaces: Remembered::default(),
            read: Mutex::default(),
        }))
    }
}

impl Snapshot {
    /// The reads behind one hash: a flood reads it once, and what is slow to read holds up no other.
    fn reads_of(&self, key: u64) -> Arc<Remembered<Found>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(read.entry(key).or_default())
    }
}
