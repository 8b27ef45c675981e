//! What a scan found: which GitRepos there are, by the hash of their repository, and where; `scan` reads those that are
//! looked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher as _, RandomState},
};

use super::{ApiError, table::Row};
use crate::{event::Repository, gitrepo::GitRepo, repo_url::RepoUrl};

/// The hashes of a URL: its [key](RepoUrl::key), and its host.
pub(super) type Key = (u64, u64);

/// The repository that is looked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    keys: BTreeSet<u64>,
    /// `None` where the payload names no host.
    hosts: Option<BTreeSet<u64>>,
}

impl Wanted {
    pub(super) fn new(repository: &Repository, hasher: &RandomState) -> Self {
        let hosts = match repository {
            Repository::Urls(urls) => {
                Some(urls.iter().map(|url| hasher.hash_one(url.host())).collect())
            }
            Repository::Hostless { .. } => None,
        };
        Self { keys: repository.keys(hasher).into_iter().collect(), hosts }
    }

    fn has(&self, (key, host): Key) -> bool {
        self.keys.contains(&key) && self.hosts.as_ref().is_none_or(|hosts| hosts.contains(&host))
    }
}

/// Where a GitRepo is; a scan of all namespaces shows only the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) namespace: Option<Box<str>>,
    pub(super) name: Box<str>,
}

/// What a scan found: all GitRepos, or those of one repository.
#[derive(Clone, Debug)]
pub(super) struct Scanned {
    hasher: RandomState,
    /// The repository that is looked for; `None` for all.
    wanted: Option<Wanted>,
    /// Sorted once the scan is over.
    places: Vec<(Key, Place)>,
    /// The hash of every GitRepo's name: a list by name reads all GitRepos of that name.
    names: Vec<u32>,
    /// Why there may be more: a namespace that could not be scanned.
    pub(super) incomplete: Option<ApiError>,
}

impl Scanned {
    /// Nothing yet; will hold the GitRepos of the repository that is `wanted`, or all.
    pub(super) fn new(hasher: &RandomState, wanted: Option<&Wanted>) -> Self {
        Self {
            hasher: hasher.clone(),
            wanted: wanted.cloned(),
            places: Vec::new(),
            names: Vec::new(),
            incomplete: None,
        }
    }

    /// Takes a row of the scan.
    pub(super) fn add(&mut self, row: Row) {
        self.names.push(name_hash(&self.hasher, &row.name));
        let Some(url) = RepoUrl::parse(&row.repo) else { return };
        let key = (url.key(&self.hasher), self.hasher.hash_one(url.host()));
        if self.wanted.as_ref().is_none_or(|wanted| wanted.has(key)) {
            let namespace = row.namespace.map(String::into_boxed_str);
            self.places.push((key, Place { namespace, name: row.name.into_boxed_str() }));
        }
    }

    /// Takes what the scan of another namespace found.
    pub(super) fn extend(&mut self, other: Self) {
        self.places.extend(other.places);
        self.names.extend(other.names);
    }

    /// Makes it searchable, once all is added.
    pub(super) fn sort(&mut self) {
        self.places.sort_unstable();
        self.places.shrink_to_fit();
        self.names.shrink_to_fit();
    }

    /// The keys of the GitRepos that may be of the repository.
    pub(super) fn keys(&self, wanted: &Wanted) -> BTreeSet<Key> {
        let with = |key: &u64| {
            let from = self.places.partition_point(|((held, _), _)| held < key);
            let places = self.places.iter().skip(from).map(|(held, _)| *held);
            places.take_while(|(held, _)| held == key).collect::<Vec<_>>()
        };
        wanted.keys.iter().flat_map(with).filter(|key| wanted.has(*key)).collect()
    }

    /// The places of the GitRepos that have one of `keys`, each once.
    pub(super) fn places(&self, keys: &BTreeSet<Key>) -> BTreeSet<Place> {
        keys.iter().flat_map(|key| self.with(*key)).cloned().collect()
    }

    /// Whether `held` has as many GitRepos of each name as have one of `keys`: then there is nothing more to read.
    pub(super) fn is_within(&self, keys: &BTreeSet<Key>, held: &[GitRepo]) -> bool {
        let mut left = BTreeMap::<_, usize>::new();
        for gitrepo in held {
            *left.entry(gitrepo.metadata.name.as_deref().unwrap_or_default()).or_default() += 1;
        }
        keys.iter().flat_map(|key| self.with(*key)).all(|place| {
            let left = left.get_mut(&*place.name).filter(|left| **left > 0);
            left.map(|left| *left -= 1).is_some()
        })
    }

    fn with(&self, key: Key) -> impl Iterator<Item = &Place> {
        let from = self.places.partition_point(|(held, _)| *held < key);
        let places = self.places.iter().skip(from);
        places.take_while(move |(held, _)| *held == key).map(|(_, place)| place)
    }

    /// How many GitRepos have one of these names, whatever their repository.
    pub(super) fn named_like(&self, places: &BTreeSet<Place>) -> usize {
        let names: BTreeSet<_> =
            places.iter().map(|place| name_hash(&self.hasher, &place.name)).collect();
        self.names.iter().filter(|name| names.contains(name)).count()
    }
}

fn name_hash(hasher: &RandomState, name: &str) -> u32 {
    let [a, b, c, d, ..] = hasher.hash_one(name).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(namespace: Option<&str>, name: &str, repo: &str) -> Row {
        let namespace = namespace.map(str::to_owned);
        Row { name: name.to_owned(), repo: format!("https://{repo}"), namespace }
    }

    fn wanted(hasher: &RandomState, repo: &str) -> Wanted {
        let url = RepoUrl::parse(&format!("https://{repo}")).expect("a repository");
        Wanted::new(&Repository::Urls(vec![url]), hasher)
    }

    fn names(scanned: &Scanned, wanted: &Wanted) -> Vec<String> {
        let places = scanned.places(&scanned.keys(wanted));
        places.into_iter().map(|place| place.name.into_string()).collect()
    }

    #[test]
    fn the_places_of_a_repository_are_found_among_all_and_none_on_another_host() {
        let hasher = RandomState::new();
        let mut scanned = Scanned::new(&hasher, None);
        for (name, repo) in [
            ("a", "git.example/shop"),
            ("b", "git.example/blog"),
            ("c", "git.example/shop.git"),
            ("a", "git.example/shop"),
            ("d", "other.example/shop"),
        ] {
            scanned.add(row(None, name, repo));
        }
        scanned.sort();
        assert_eq!(names(&scanned, &wanted(&hasher, "git.example/shop")), ["a", "c"]);
        assert_eq!(names(&scanned, &wanted(&hasher, "other.example/shop")), ["d"]);
        assert!(names(&scanned, &wanted(&hasher, "git.example/none")).is_empty());
    }

    #[test]
    fn where_the_payload_names_no_host_any_will_do() {
        let hasher = RandomState::new();
        let hostless = Repository::Hostless { project: "acme".to_owned(), slug: "shop".to_owned() };
        let mut scanned = Scanned::new(&hasher, None);
        scanned.add(row(None, "a", "one.example/scm/acme/shop"));
        scanned.add(row(None, "b", "two.example/scm/acme/shop"));
        scanned.sort();
        assert_eq!(names(&scanned, &Wanted::new(&hostless, &hasher)), ["a", "b"]);
    }

    #[test]
    fn only_what_is_wanted_is_kept_and_every_name_is_counted() {
        let hasher = RandomState::new();
        let wanted = wanted(&hasher, "git.example/shop");
        let mut all = Scanned::new(&hasher, Some(&wanted));
        for namespace in ["one", "two"] {
            let mut part = Scanned::new(&hasher, Some(&wanted));
            part.add(row(Some(namespace), "app", "git.example/shop"));
            part.add(row(Some(namespace), "app", "git.example/blog"));
            all.extend(part);
        }
        all.sort();
        assert_eq!(all.places.len(), 2);
        let found = all.places(&all.keys(&wanted));
        assert_eq!((found.len(), all.named_like(&found)), (2, 4));
    }
}
