//! The index: the GitRepos by repository, kept by a watch, so that a delivery finds them without asking the API server.
//!
//! It answers only while it is known to be live; `lookup` asks the API server otherwise, and before it says that
//! nothing follows.

mod changes;
mod list;
mod listed;
mod record;
mod records;
mod texts;
mod watch;

use std::{
    hash::RandomState,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use tokio::{task::JoinSet, time::Instant};

use self::{listed::Listed, records::Records, watch::Watch};
use super::{
    ApiError, Cluster,
    found::{Found, Source},
};
use crate::{event::Repository, gitrepo::GitRepo};

/// The GitRepos of all namespaces, or of those that were configured.
#[derive(Debug)]
pub struct Index {
    scopes: Vec<Arc<Scope>>,
    watches: JoinSet<()>,
}

/// What one watch keeps: the GitRepos of a namespace, or of all.
#[derive(Debug, Default)]
struct Scope {
    hasher: RandomState,
    held: RwLock<Held>,
}

#[derive(Debug, Default)]
struct Held {
    records: Records,
    /// When the API server last confirmed the records; `None` while they may miss changes.
    confirmed: Option<Instant>,
    /// Why they may not be read, if they may not: what is in the other scopes can be relied on all the same.
    denied: Option<ApiError>,
}

impl Index {
    /// Starts one watch for each of `namespaces`, or one for all; they end when the index is dropped.
    pub fn start(cluster: &Cluster, namespaces: &[String]) -> Self {
        let mut namespaces: Vec<_> = namespaces.iter().cloned().map(Some).collect();
        if namespaces.is_empty() {
            namespaces.push(None);
        }
        let mut index = Self { scopes: Vec::new(), watches: JoinSet::new() };
        for namespace in namespaces {
            let scope = Arc::new(Scope::default());
            index.scopes.push(Arc::clone(&scope));
            index.watches.spawn(Watch { cluster: cluster.clone(), namespace, scope }.run());
        }
        index
    }

    /// Gives the GitRepos whose `spec.repo` names the repository; `None` while the index is not to be relied on.
    pub fn find(&self, repository: &Repository) -> Option<Found> {
        let mut found = Found { source: Source::Index, ..Found::default() };
        let mut is_in_use = false;
        for scope in &self.scopes {
            let held = scope.read();
            if held.confirmed.is_some() {
                is_in_use = true;
                found.gitrepos.extend(held.records.find(repository, &scope.hasher));
            } else {
                found.incomplete = Some(held.denied.clone()?);
            }
        }
        is_in_use.then_some(found)
    }

    /// Expects what we have announced to a GitRepo, which the watch says later; it counts from its version on.
    pub(super) fn announced(&self, gitrepo: &GitRepo) {
        for scope in &self.scopes {
            scope.write().records.announced(gitrepo, &scope.hasher);
        }
    }

    /// Gives the GitRepos of this polling interval to which nothing was announced.
    pub(crate) fn unannounced(&self, interval: &str) -> Vec<GitRepo> {
        let of = |scope: &Arc<Scope>| scope.read().records.unannounced(interval);
        self.scopes.iter().flat_map(of).collect()
    }

    /// Gives the number of GitRepos that are held, and when the last of the watches was confirmed, but for those of
    /// namespaces that may not be read; `None` for the time while the index is not to be relied on.
    pub fn state(&self) -> (usize, Option<std::time::Instant>) {
        let scopes: Vec<_> = self.scopes.iter().map(|scope| scope.read()).collect();
        let size = scopes.iter().map(|held| held.records.len()).sum();
        let read = scopes.iter().filter(|held| held.denied.is_none());
        let confirmed: Option<Vec<_>> = read.map(|held| held.confirmed).collect();
        let last = confirmed.and_then(|confirmed| confirmed.into_iter().min());
        (size, last.map(Instant::into_std))
    }
}

impl Scope {
    fn is_live(&self) -> bool {
        self.read().confirmed.is_some()
    }

    /// From now on what is held can be relied on; tells how many GitRepos that are, if that is news.
    fn go_live(&self) -> Option<usize> {
        let mut held = self.write();
        held.denied = None;
        let before = held.confirmed.replace(Instant::now());
        before.is_none().then(|| held.records.len())
    }

    /// From now on what is held may be old; tells whether that is news.
    fn go_stale(&self, denied: Option<&ApiError>) -> bool {
        let mut held = self.write();
        held.denied = denied.cloned();
        held.confirmed.take().is_some()
    }

    /// The API server has confirmed that nothing is missing.
    fn confirm(&self) {
        let mut held = self.write();
        held.confirmed = held.confirmed.map(|_| Instant::now());
    }

    fn replace(&self, records: Records) {
        self.write().records = records;
    }

    fn apply(&self, listed: Listed) {
        self.write().records.apply(listed, &self.hasher);
        self.confirm();
    }

    fn delete(&self, listed: Listed) {
        self.write().records.delete(listed);
        self.confirm();
    }

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }
}
