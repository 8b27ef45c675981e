//! Where the GitRepos of a scan are, by the hash of their repository; `lookup` reads those that it needs.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, RandomState},
};

use super::scan::Row;
use crate::repo_url::RepoUrl;

/// Where a GitRepo is; a scan of all namespaces shows only the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) namespace: Option<Box<str>>,
    pub(super) name: Box<str>,
}

/// What a scan found: all GitRepos, or those of some repositories.
#[derive(Clone, Debug)]
pub(super) struct Places {
    hasher: RandomState,
    /// The hashes of the repositories that are looked for; `None` for all.
    wanted: Option<BTreeSet<u64>>,
    /// Sorted by hash once the scan is over.
    rows: Vec<(u64, Place)>,
    names: NameCounts,
}

/// How often each name occurs in the cluster, for all names in the same few bytes: names that share a counter are
/// counted together, so that a number may be too large and never too small.
#[derive(Clone, Debug)]
struct NameCounts(Vec<u16>);

/// A power of two: far more than the names of most clusters.
const COUNTERS: usize = 1 << 14;

impl Places {
    /// Nothing yet; will hold the GitRepos whose [key](RepoUrl::key) is `wanted`.
    pub(super) fn of(hasher: &RandomState, wanted: Option<BTreeSet<u64>>) -> Self {
        let names = NameCounts(vec![0; COUNTERS]);
        Self { hasher: hasher.clone(), wanted, rows: Vec::new(), names }
    }

    /// Takes a row of the scan.
    pub(super) fn add(&mut self, row: Row) {
        if let Some(count) = self.names.counter(self.hasher.hash_one(&*row.name)) {
            *count = count.saturating_add(1);
        }
        let Some(key) = RepoUrl::parse(&row.repo).map(|url| url.key(&self.hasher)) else { return };
        if self.wanted.as_ref().is_none_or(|wanted| wanted.contains(&key)) {
            let namespace = row.namespace.map(String::into_boxed_str);
            self.rows.push((key, Place { namespace, name: row.name.into_boxed_str() }));
        }
    }

    /// Puts the parts of a scan together, one for each namespace.
    pub(super) fn merged(parts: Vec<Self>) -> Option<Self> {
        let mut parts = parts.into_iter();
        let mut whole = parts.next()?;
        for part in parts {
            whole.rows.extend(part.rows);
            for (count, more) in whole.names.0.iter_mut().zip(part.names.0) {
                *count = count.saturating_add(more);
            }
        }
        whole.rows.sort_unstable();
        whole.rows.shrink_to_fit();
        Some(whole)
    }

    /// Whether any GitRepo has this key.
    pub(super) fn hold(&self, key: u64) -> bool {
        self.with(key).next().is_some()
    }

    /// The places of the GitRepos whose key is one of `keys`, each once.
    pub(super) fn behind(&self, keys: &BTreeSet<u64>) -> BTreeSet<Place> {
        keys.iter().flat_map(|key| self.with(*key)).cloned().collect()
    }

    fn with(&self, key: u64) -> impl Iterator<Item = &Place> {
        let from = self.rows.partition_point(|(row, _)| *row < key);
        let rows = self.rows.iter().skip(from).take_while(move |(row, _)| *row == key);
        rows.map(|(_, place)| place)
    }

    /// How many GitRepos have one of these names, whatever their repository; at the most.
    pub(super) fn named_like(&self, places: &BTreeSet<Place>) -> usize {
        let hashes = places.iter().map(|place| self.hasher.hash_one(&*place.name));
        hashes.map(|hash| usize::from(self.names.count(hash))).sum()
    }
}

impl NameCounts {
    fn slot(hash: u64) -> usize {
        usize::try_from(hash % COUNTERS as u64).unwrap_or_default()
    }

    fn counter(&mut self, hash: u64) -> Option<&mut u16> {
        self.0.get_mut(Self::slot(hash))
    }

    fn count(&self, hash: u64) -> u16 {
        self.0.get(Self::slot(hash)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(namespace: Option<&str>, name: &str, repo: &str) -> Row {
        let namespace = namespace.map(str::to_owned);
        Row { name: name.to_owned(), repo: format!("https://git.example/{repo}"), namespace }
    }

    fn key(hasher: &RandomState, repo: &str) -> BTreeSet<u64> {
        let url = RepoUrl::parse(&format!("https://git.example/{repo}")).expect("a repository");
        BTreeSet::from([url.key(hasher)])
    }

    #[test]
    fn the_places_of_a_repository_are_found_among_all() {
        let hasher = RandomState::new();
        let mut places = Places::of(&hasher, None);
        for (name, repo) in [("a", "shop"), ("b", "blog"), ("c", "shop.git"), ("a", "shop")] {
            places.add(row(None, name, repo));
        }
        let places = Places::merged(vec![places]).expect("a part");
        let found = places.behind(&key(&hasher, "shop"));
        let names: Vec<_> = found.iter().map(|place| &*place.name).collect();
        assert_eq!(names, ["a", "c"]);
        assert!(places.behind(&key(&hasher, "none")).is_empty());
    }

    #[test]
    fn only_what_is_wanted_is_kept_and_every_name_is_counted() {
        let hasher = RandomState::new();
        let mut parts = Vec::new();
        for namespace in ["one", "two"] {
            let mut part = Places::of(&hasher, Some(key(&hasher, "shop")));
            part.add(row(Some(namespace), "app", "shop"));
            part.add(row(Some(namespace), "app", "blog"));
            parts.push(part);
        }
        let places = Places::merged(parts).expect("parts");
        assert_eq!(places.rows.len(), 2);
        let found = places.behind(&key(&hasher, "shop"));
        assert_eq!(found.len(), 2);
        assert!(places.named_like(&found) >= 4);
    }
}
