//! What the index keeps of a GitRepo: only what matching, judging and patching need, as it was written; `texts` packs it.

use std::{
    borrow::Borrow,
    hash::{Hash, Hasher, RandomState},
    sync::Arc,
};

use kube::core::ObjectMeta;

use super::texts::Texts;
use crate::gitrepo::{GitRepo, GitRepoSpec, GitRepoStatus};

/// One GitRepo.
#[derive(Debug)]
pub(super) struct Record {
    /// The hash of its repository.
    pub(super) key: u64,
    generation: Option<i64>,
    has_status: bool,
    texts: Texts<11>,
}

/// A record, found by its id.
#[derive(Debug)]
pub(super) struct ById(pub(super) Arc<Record>);

impl Record {
    /// `None` for a GitRepo whose URL names no repository: nothing can match it.
    pub(super) fn new(gitrepo: &GitRepo, hasher: &RandomState) -> Option<Self> {
        let GitRepo { metadata, spec, status } = gitrepo;
        let of_status = |text: fn(&GitRepoStatus) -> &Option<String>| {
            status.as_ref().and_then(|status| text(status).as_deref())
        };
        Some(Self {
            key: spec.repo_url()?.key(hasher),
            generation: metadata.generation,
            has_status: status.is_some(),
            texts: Texts::of([
                Some(&id(gitrepo)),
                metadata.uid.as_deref(),
                metadata.resource_version.as_deref(),
                spec.repo.as_deref(),
                spec.branch.as_deref(),
                spec.revision.as_deref(),
                spec.webhook_secret.as_deref(),
                spec.polling_interval.as_deref(),
                of_status(|status| &status.commit),
                of_status(|status| &status.webhook_commit),
                of_status(|status| &status.last_webhook_time),
            ]),
        })
    }

    /// Namespace and name.
    fn id(&self) -> &str {
        let [id, ..] = self.texts.each();
        id.unwrap_or_default()
    }

    /// The GitRepo, with what is kept of it.
    pub(super) fn gitrepo(&self) -> GitRepo {
        let [
            id,
            uid,
            resource_version,
            repo,
            branch,
            revision,
            webhook_secret,
            polling_interval,
            commit,
            webhook_commit,
            last_webhook_time,
        ] = self.texts.each().map(|text| text.map(str::to_owned));
        let id = id.unwrap_or_default();
        let (namespace, name) = id.split_once('/').unwrap_or_default();
        GitRepo {
            metadata: ObjectMeta {
                namespace: Some(namespace.to_owned()),
                name: Some(name.to_owned()),
                uid,
                resource_version,
                generation: self.generation,
                ..ObjectMeta::default()
            },
            spec: GitRepoSpec { repo, branch, revision, webhook_secret, polling_interval },
            status: self.has_status.then_some(GitRepoStatus {
                commit,
                webhook_commit,
                last_webhook_time,
            }),
        }
    }
}

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        self.0.id()
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id().hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for ById {}

/// Namespace and name, by which a GitRepo is known.
pub(super) fn id(gitrepo: &GitRepo) -> String {
    let ObjectMeta { namespace, name, .. } = &gitrepo.metadata;
    let [namespace, name] = [namespace, name].map(|part| part.as_deref().unwrap_or_default());
    format!("{namespace}/{name}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_kept_comes_back_as_it_was() {
        let spec = json!({
            "repo": "git@github.com:Acme/shop.git", "branch": "main", "revision": "v1",
            "webhookSecret": "own", "pollingInterval": "1h",
        });
        let status = json!({
            "commit": "def", "webhookCommit": "abc", "lastWebhookTime": "2026-01-01T00:00:00Z",
        });
        let bare = json!({ "repo": "https://github.com/acme/shop", "branch": "" });
        for (spec, status) in [(spec, status), (bare.clone(), json!({})), (bare, json!(null))] {
            let metadata = json!({
                "namespace": "apps", "name": "shop", "resourceVersion": "7",
                "uid": "1cf2f0b6-1f0e-4b0a-9d6e-3a6f2b9d2a11", "generation": 3,
            });
            let object = json!({
                "apiVersion": "fleet.cattle.io/v1alpha1", "kind": "GitRepo",
                "metadata": metadata, "spec": spec, "status": status,
            });
            let gitrepo: GitRepo = serde_json::from_value(object).expect("a GitRepo");
            let record = Record::new(&gitrepo, &RandomState::new()).expect("names a repository");
            assert_eq!(record.gitrepo(), gitrepo);
        }
    }
}
