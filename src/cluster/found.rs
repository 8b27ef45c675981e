//! What a source of GitRepos found: `index`, `scan` and `shared_scan` make it, `lookup` gives it on.

use super::ApiError;
use crate::gitrepo::GitRepo;

/// The GitRepos of a repository.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Those that could be read.
    pub gitrepos: Vec<GitRepo>,
    /// Why there may be more. `ApiError::is_denied` tells a namespace that may not be read from what may pass.
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

/// A GitRepo by its name and URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its `spec.repo`.
    pub repo: String,
}

/// Of two reasons why there may be more the one that counts: a namespace that may not be read stops no other (contract
/// §5), and must not hide what a delivery has to come again for.
pub(super) fn why_incomplete(one: Option<ApiError>, other: Option<ApiError>) -> Option<ApiError> {
    [one, other].into_iter().flatten().min_by_key(ApiError::is_denied)
}
