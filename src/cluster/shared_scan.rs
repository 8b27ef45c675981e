//! A source of GitRepos that deliveries share: a scan of all, a while old, and what was read behind it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep},
};

use super::{
    ApiError,
    found::{Found, Source, why_incomplete},
    scan::Scan,
    scanned::{Key, Scanned, Wanted},
    table::Include,
};
use crate::{
    event::Repository,
    remembered::{FAILURE_TTL, Remembered},
};

/// How old a scan may be that confirms what the index does not hold: what has followed for a second is in it, even
/// where the API server's own cache lags.
const CONFIRMATION_TTL: Duration = Duration::from_millis(900);

/// Of how many repositories the GitRepos are read at once for deliveries that anybody may have sent.
const UNVERIFIED_READS: usize = 4;

/// How many deliveries that anybody may have sent wait for a scan while the last one failed. Others need their places:
/// for more than these it has failed already.
const WAITING_FOR_WHAT_FAILED: usize = 64;

/// The scan that deliveries share.
#[derive(Debug)]
pub(super) struct SharedScan {
    cache_ttl: Duration,
    last: Arc<Remembered<Result<Arc<Snapshot>, Failed>>>,
    unverified_reads: Semaphore,
    waiting: Semaphore,
}

/// A scan that failed, and when: it may have been tried for long.
#[derive(Clone, Debug)]
struct Failed(ApiError, Instant);

/// All GitRepos as they were.
#[derive(Debug)]
struct Snapshot {
    began: Instant,
    scanned: Arc<Scanned>,
    /// The same with the namespaces, scanned where that is less work than lists by name.
    with_namespaces: Remembered<Result<Arc<Scanned>, ApiError>>,
    /// What was read for deliveries that anybody may have sent, by what was asked for and is in `scanned`.
    read: Mutex<HashMap<Key, Arc<Remembered<Found>>>>,
}

impl SharedScan {
    /// Serves unverified deliveries for `cache_ttl`.
    pub(super) fn new(cache_ttl: Duration) -> Self {
        Self {
            cache_ttl,
            last: Arc::default(),
            unverified_reads: Semaphore::new(UNVERIFIED_READS),
            waiting: Semaphore::new(WAITING_FOR_WHAT_FAILED),
        }
    }

    /// Finds the GitRepos of a repository for a delivery that is verified: the scan may be a second old and says only
    /// which may be meant, the GitRepos are read now.
    ///
    /// # Errors
    /// The [`ApiError`] of the scan.
    pub(super) async fn find(
        &self,
        scan: &Scan,
        repository: &Repository,
    ) -> Result<Found, ApiError> {
        let snapshot =
            self.snapshot(scan, CONFIRMATION_TTL, Duration::ZERO, Instant::now()).await?;
        let keys = snapshot.scanned.keys(&Wanted::new(repository, &scan.hasher));
        Ok(snapshot.read(scan, &keys, Duration::ZERO).await)
    }

    /// Scans for a delivery that nothing verifies as yet, unless an earlier scan will do for that. What comes of it is
    /// remembered for a moment, in failure too.
    pub(super) async fn look_ahead(&self, scan: &Scan) {
        let Ok(_waits) = self.wait() else { return };
        let _remembered = self.snapshot(scan, self.cache_ttl, FAILURE_TTL, Instant::now()).await;
    }

    /// Finds the GitRepos of a repository in a scan that began no earlier than `since`; `None` where there is none.
    pub(super) async fn find_since(
        &self,
        since: Instant,
        scan: &Scan,
        repository: &Repository,
    ) -> Option<Result<Found, ApiError>> {
        let snapshot = match self.last.since(since)? {
            Ok(snapshot) => snapshot,
            // It was tried for as long as this delivery has time.
            Err(Failed(error, _)) => return Some(Err(error)),
        };
        let keys = snapshot.scanned.keys(&Wanted::new(repository, &scan.hasher));
        Some(Ok(snapshot.read(scan, &keys, Duration::ZERO).await))
    }

    /// Finds them for a delivery that came at `since` and that anybody may have sent, as they were read a while ago; where
    /// the index holds them all, `held` is what it holds, and nothing is read: so nobody finds out by what it costs what
    /// is followed.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(super) async fn find_earlier(
        &self,
        scan: &Scan,
        repository: &Repository,
        held: Option<Found>,
        since: Instant,
    ) -> Result<Found, ApiError> {
        let snapshot = {
            let _waits = self.wait()?;
            self.snapshot(scan, self.cache_ttl, FAILURE_TTL, since).await?
        };
        let incomplete = snapshot.scanned.incomplete.clone();
        let source = if snapshot.began >= since { Source::Server } else { Source::Earlier };
        let keys = snapshot.scanned.keys(&Wanted::new(repository, &scan.hasher));
        if let Some(held) = held
            && snapshot.scanned.is_within(&keys, &held.gitrepos)
        {
            let incomplete = why_incomplete(held.incomplete, incomplete);
            return Ok(Found { incomplete, source, ..held });
        }
        let mut found = Found { source, incomplete, ..Found::default() };
        for key in keys {
            let good = |found: &Found, age| found.incomplete.is_none() || age < FAILURE_TTL;
            // Boxed, as the others: what waits for a read is held several times over in the futures around it.
            let read = Box::pin(async {
                let _turn = self.unverified_reads.acquire().await.ok();
                snapshot.read(scan, &BTreeSet::from([key]), FAILURE_TTL).await
            });
            let read = snapshot.reads_of(key).get(good, read).await;
            found.gitrepos.extend(read.gitrepos);
            found.incomplete = why_incomplete(found.incomplete, read.incomplete);
        }
        Ok(found)
    }

    /// Lets a delivery that anybody may have sent wait for a scan: all of them, unless the last one failed.
    fn wait(&self) -> Result<Option<SemaphorePermit<'_>>, ApiError> {
        match self.last.last() {
            Some((Err(Failed(error, _)), _)) => {
                self.waiting.try_acquire().map(Some).map_err(|_| error)
            }
            _ => Ok(None),
        }
    }

    /// A scan of everything that is younger than `ttl` or began after `since`, or that failed less than `failure_ttl` ago.
    async fn snapshot(
        &self,
        scan: &Scan,
        ttl: Duration,
        failure_ttl: Duration,
        since: Instant,
    ) -> Result<Arc<Snapshot>, ApiError> {
        let arrived = Instant::now();
        let good = |snapshot: &Result<Arc<Snapshot>, Failed>, age| match snapshot {
            Ok(snapshot) => age < ttl || snapshot.began >= since,
            // Who waited for it has tried as long.
            Err(Failed(_, at)) => *at >= arrived || at.elapsed() < failure_ttl,
        };
        let (last, kept) = (Arc::clone(&self.last), self.cache_ttl.max(CONFIRMATION_TTL));
        let take = Box::pin(async move {
            let began = Instant::now();
            let scanned = scan.all(Include::Nothing, None).await;
            let scanned = scanned.map_err(|error| Failed(error, Instant::now()))?;
            // Forgotten when nobody may use it any more.
            tokio::spawn(async move {
                sleep(kept).await;
                last.forget(kept);
            });
            let (with_namespaces, read) = (Remembered::default(), Mutex::default());
            Ok(Arc::new(Snapshot { began, scanned, with_namespaces, read }))
        });
        self.last.get(good, take).await.map_err(|Failed(error, _)| error)
    }
}

impl Snapshot {
    async fn read(&self, scan: &Scan, keys: &BTreeSet<Key>, failure_ttl: Duration) -> Found {
        let good = |scanned: &Result<_, _>, age| scanned.is_ok() || age < failure_ttl;
        let again = Box::pin(scan.all(Include::Metadata, None));
        scan.read(keys, &self.scanned, self.with_namespaces.get(good, again)).await
    }

    /// The reads behind one key: a flood reads it once, and what is slow to read holds up no other.
    fn reads_of(&self, key: Key) -> Arc<Remembered<Found>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(read.entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, future::join_all};
    use http::{Request, Response};
    use kube::client::Body;

    use super::*;
    use crate::cluster::Cluster;

    #[tokio::test(start_paused = true)]
    async fn while_scans_fail_a_few_strangers_wait_for_the_next_and_no_more() {
        let silence = tower::service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, std::io::Error>>()
        });
        let cluster = Cluster::new(kube::Client::new(silence, "default"), Arc::default());
        let (scan, shared) = (Scan::new(cluster, Vec::new()), SharedScan::new(FAILURE_TTL * 10));
        let repository = Repository::from_urls(["https://github.com/acme/shop"]).expect("is one");
        // Nobody knows yet that it will fail.
        let first = join_all(
            (0..200).map(|_| shared.find_earlier(&scan, &repository, None, Instant::now())),
        )
        .await;
        assert!(first.iter().all(Result::is_err));

        sleep(FAILURE_TTL * 2).await;
        let mut next: Vec<_> = (0..200)
            .map(|_| Box::pin(shared.find_earlier(&scan, &repository, None, Instant::now())))
            .collect();
        let answered = next.iter_mut().filter_map(|find| find.as_mut().now_or_never());
        let answered: Vec<_> = answered.collect();

        assert_eq!(answered.len(), 200 - WAITING_FOR_WHAT_FAILED);
        assert!(answered.iter().all(Result::is_err));
        let verified = shared.find(&scan, &repository).now_or_never();
        assert!(verified.is_none(), "what a secret verifies waits in any case");
    }
}
