//! The own secrets of GitRepos: which there are, and in which order they are asked.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use crate::gitrepo::GitRepo;

/// Namespace and name of a GitRepo's own secret, if it has one.
pub(super) fn own_secret(gitrepo: &GitRepo) -> Option<(&str, &str)> {
    Some((gitrepo.metadata.namespace.as_deref()?, gitrepo.spec.own_secret()?))
}

/// An own secret, and the GitRepos that name it, each as it is now.
pub(super) struct Named<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) by: Vec<u64>,
}

/// The own secrets of GitRepos, from each namespace one in turn: where not all may be read, no tenant is in the others'
/// way, however many GitRepos it makes.
pub(super) fn in_turn(gitrepos: &[GitRepo]) -> Vec<Named<'_>> {
    let mut named = BTreeMap::<_, Vec<_>>::new();
    for gitrepo in gitrepos {
        if let Some(own) = own_secret(gitrepo) {
            named.entry(own).or_default().push(version(gitrepo));
        }
    }
    let mut turns = BTreeMap::<&str, usize>::new();
    let mut in_turn: Vec<_> = named
        .into_iter()
        .map(|((namespace, name), by)| {
            let turn = turns.entry(namespace).or_default();
            *turn += 1;
            (*turn, Named { namespace, name, by })
        })
        .collect();
    in_turn.sort_by_key(|(turn, _)| *turn);
    in_turn.into_iter().map(|(_, named)| named).collect()
}

/// Tells a GitRepo as it is now from any other, and from what it was before its last change.
pub(super) fn version(gitrepo: &GitRepo) -> u64 {
    let metadata = &gitrepo.metadata;
    let mut hasher = DefaultHasher::new();
    (&metadata.namespace, &metadata.name, &metadata.uid, metadata.generation).hash(&mut hasher);
    hasher.finish()
}

pub(super) fn id(namespace: &str, name: &str) -> (String, String) {
    (namespace.to_owned(), name.to_owned())
}
