//! The index: the GitRepos by repository, kept by a watch, so that a delivery finds them without asking the API server.
//!
//! It answers only while it is known to be live; `lookup` asks the API server otherwise, and before it says that
//! nothing follows.

mod changes;
mod list;
mod records;
mod watch;

use std::{
    hash::RandomState,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Instant,
};

use tokio::task::JoinSet;

use self::{
    records::{Listed, Records},
    watch::Watch,
};
use super::Cluster;
use crate::{event::Repository, gitrepo::GitRepo};

/// The GitRepos of all namespaces, or of those that were configured.
#[derive(Debug)]
pub struct Index {
    parts: Vec<Arc<Part>>,
    watches: JoinSet<()>,
}

/// What one watch keeps.
#[derive(Debug)]
struct Part {
    hasher: RandomState,
    held: RwLock<Held>,
}

#[derive(Debug, Default)]
struct Held {
    records: Records,
    /// When the API server last confirmed the records; `None` while they may miss changes.
    confirmed: Option<Instant>,
}

impl Index {
    /// Starts one watch for each of `namespaces`, or one for all; they end when the index is dropped.
    pub fn start(cluster: &Cluster, namespaces: &[String]) -> Self {
        let mut namespaces: Vec<_> = namespaces.iter().cloned().map(Some).collect();
        if namespaces.is_empty() {
            namespaces.push(None);
        }
        let mut index = Self { parts: Vec::new(), watches: JoinSet::new() };
        for namespace in namespaces {
            let part = Arc::new(Part { hasher: RandomState::new(), held: RwLock::default() });
            index.parts.push(Arc::clone(&part));
            index.watches.spawn(Watch { cluster: cluster.clone(), namespace, part }.run());
        }
        index
    }

    /// Gives the GitRepos whose `spec.repo` names the repository; `None` while the index is not to be relied on.
    pub fn find(&self, repository: &Repository) -> Option<Vec<GitRepo>> {
        let found: Option<Vec<_>> = self.parts.iter().map(|part| part.find(repository)).collect();
        found.map(|found| found.into_iter().flatten().collect())
    }

    /// Gives the number of GitRepos that are held, and when the last of the watches was confirmed; `None` for the
    /// time while the index is not to be relied on.
    pub fn state(&self) -> (usize, Option<Instant>) {
        let parts: Vec<_> = self.parts.iter().map(|part| part.read()).collect();
        let confirmed: Option<Vec<_>> = parts.iter().map(|part| part.confirmed).collect();
        let size = parts.iter().map(|part| part.records.len()).sum();
        (size, confirmed.and_then(|confirmed| confirmed.into_iter().min()))
    }
}

impl Part {
    fn find(&self, repository: &Repository) -> Option<Vec<GitRepo>> {
        let held = self.read();
        held.confirmed.map(|_| held.records.find(repository, &self.hasher))
    }

    fn is_trusted(&self) -> bool {
        self.read().confirmed.is_some()
    }

    /// From now on what is held can be relied on; tells how many GitRepos that are, if that is news.
    fn trust(&self) -> Option<usize> {
        let mut held = self.write();
        let before = held.confirmed.replace(Instant::now());
        before.is_none().then(|| held.records.len())
    }

    /// From now on what is held may be old; tells whether that is news.
    fn distrust(&self) -> bool {
        self.write().confirmed.take().is_some()
    }

    /// The API server has confirmed that nothing is missing.
    fn confirm(&self) {
        let mut held = self.write();
        held.confirmed = held.confirmed.map(|_| Instant::now());
    }

    fn replace(&self, records: Records) {
        self.write().records = records;
    }

    fn apply(&self, listed: &Listed) {
        self.write().records.apply(listed, &self.hasher);
        self.confirm();
    }

    fn delete(&self, listed: &Listed) {
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
