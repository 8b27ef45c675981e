//! What the index keeps of each GitRepo: only what matching, judging and patching need, as it was written.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashSet},
    hash::{Hash, Hasher, RandomState},
    sync::Arc,
};

use kube::core::ObjectMeta;
use serde::Deserialize;

use super::texts::Texts;
use crate::{
    event::Repository,
    gitrepo::{GitRepo, GitRepoSpec, GitRepoStatus},
};

/// A GitRepo as a LIST or a watch shows it, all else skipped.
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    metadata: ListedMetadata,
    #[serde(default)]
    spec: GitRepoSpec,
    #[serde(default)]
    status: Option<GitRepoStatus>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedMetadata {
    namespace: String,
    name: String,
    #[serde(default)]
    uid: Option<String>,
    #[serde(default)]
    generation: Option<i64>,
    #[serde(default)]
    resource_version: String,
}

/// The GitRepos of a namespace, or of all, by name and by repository.
#[derive(Debug, Default)]
pub(super) struct Records {
    by_id: HashSet<ById>,
    /// By the hash of the repository; the address tells those apart that share it.
    by_key: BTreeMap<(u64, usize), Arc<Record>>,
}

/// One GitRepo.
#[derive(Debug)]
struct Record {
    /// The hash of its repository.
    key: u64,
    generation: Option<i64>,
    has_status: bool,
    texts: Texts<10>,
}

/// A record, found by its id.
#[derive(Debug)]
struct ById(Arc<Record>);

impl Records {
    /// How many GitRepos are held.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Holds a GitRepo as it is now, in the place of what was held of it.
    pub(super) fn apply(&mut self, listed: &Listed, hasher: &RandomState) {
        self.delete(listed);
        if let Some(record) = Record::new(listed, hasher).map(Arc::new) {
            self.by_key.insert(place(&record), Arc::clone(&record));
            self.by_id.insert(ById(record));
        }
    }

    /// Forgets a GitRepo.
    pub(super) fn delete(&mut self, listed: &Listed) {
        if let Some(ById(record)) = self.by_id.take(&*listed.id()) {
            self.by_key.remove(&place(&record));
        }
    }

    /// Gives the GitRepos of this polling interval to which nothing was announced.
    pub(super) fn unannounced(&self, interval: &str) -> Vec<GitRepo> {
        let gitrepos = self.by_id.iter().map(|ById(record)| record.gitrepo());
        let has_interval =
            |gitrepo: &GitRepo| gitrepo.spec.polling_interval.as_deref() == Some(interval);
        gitrepos.filter(|gitrepo| has_interval(gitrepo) && gitrepo.announced().is_none()).collect()
    }

    /// Gives the GitRepos whose `spec.repo` names the repository, as far as they are held.
    pub(super) fn find(&self, repository: &Repository, hasher: &RandomState) -> Vec<GitRepo> {
        let mut keys = repository.keys(hasher);
        keys.sort_unstable();
        keys.dedup();
        let held = keys.iter().flat_map(|key| self.by_key.range((*key, 0)..=(*key, usize::MAX)));
        held.map(|(_, record)| record.gitrepo())
            .filter(|gitrepo| gitrepo.spec.repo_url().is_some_and(|url| repository.is(&url)))
            .collect()
    }
}

fn place(record: &Arc<Record>) -> (u64, usize) {
    (record.key, Arc::as_ptr(record).addr())
}

impl Listed {
    /// The version of the object.
    pub(super) fn into_resource_version(self) -> String {
        self.metadata.resource_version
    }

    fn id(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }
}

impl Record {
    /// `None` for a GitRepo whose URL names no repository: nothing can match it.
    fn new(listed: &Listed, hasher: &RandomState) -> Option<Self> {
        let Listed { metadata, spec, status } = listed;
        let of_status = |text: fn(&GitRepoStatus) -> &Option<String>| {
            status.as_ref().and_then(|status| text(status).as_deref())
        };
        Some(Self {
            key: spec.repo_url()?.key(hasher),
            generation: metadata.generation,
            has_status: status.is_some(),
            texts: Texts::of([
                Some(&listed.id()),
                metadata.uid.as_deref(),
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
    fn gitrepo(&self) -> GitRepo {
        let [
            id,
            uid,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo_url::RepoUrl;

    fn listed(name: &str, spec: &serde_json::Value, commit: Option<&str>) -> Listed {
        let status = commit.map(|commit| {
            serde_json::json!({
                "commit": "def", "webhookCommit": commit, "lastWebhookTime": "2026-01-01T00:00:00Z", "other": 1,
            })
        });
        let metadata = serde_json::json!({
            "namespace": "apps", "name": name, "resourceVersion": "7",
            "uid": "1cf2f0b6-1f0e-4b0a-9d6e-3a6f2b9d2a11", "generation": 3,
        });
        let object = serde_json::json!({ "metadata": metadata, "spec": spec, "status": status });
        serde_json::from_value(object).expect("a GitRepo")
    }

    fn shop() -> Repository {
        Repository::Urls(vec![RepoUrl::parse("https://github.com/acme/shop").expect("a URL")])
    }

    #[test]
    fn what_is_kept_comes_back_as_it_was() {
        let (mut records, hasher) = (Records::default(), RandomState::new());
        let spec = serde_json::json!({
            "repo": "git@github.com:Acme/shop.git", "branch": "main", "revision": "v1",
            "webhookSecret": "own", "pollingInterval": "1h", "paths": ["a"],
        });
        let bare = serde_json::json!({ "repo": "https://github.com/acme/shop" });
        records.apply(&listed("full", &spec, Some("abc")), &hasher);
        records.apply(&listed("bare", &bare, None), &hasher);

        let mut found = records.find(&shop(), &hasher);
        found.sort_by(|a, b| b.metadata.name.cmp(&a.metadata.name));

        let [full, bare] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(full.metadata.namespace.as_deref(), Some("apps"));
        assert_eq!(full.metadata.name.as_deref(), Some("full"));
        assert_eq!(full.spec, serde_json::from_value(spec).expect("a spec"));
        let status = full.status.as_ref().expect("a status");
        assert_eq!(status.commit.as_deref(), Some("def"));
        assert_eq!(status.webhook_commit.as_deref(), Some("abc"));
        assert_eq!(status.last_webhook_time.as_deref(), Some("2026-01-01T00:00:00Z"));
        assert!(full.metadata.uid.is_some());
        assert_eq!(full.metadata.generation, Some(3));
        assert_eq!(
            (&bare.spec.branch, &bare.spec.polling_interval, &bare.status),
            (&None, &None, &None)
        );
    }

    #[test]
    fn a_gitrepo_that_moves_to_another_repository_is_found_there_alone() {
        let (mut records, hasher) = (Records::default(), RandomState::new());
        let at = |url: &str| serde_json::json!({ "repo": url, "branch": "main" });
        records.apply(&listed("a", &at("https://github.com/acme/shop"), None), &hasher);
        records.apply(&listed("a", &at("https://github.com/acme/other"), None), &hasher);
        assert!(records.find(&shop(), &hasher).is_empty());
        records.apply(&listed("a", &at("https://github.com/acme/shop"), None), &hasher);
        assert_eq!(records.find(&shop(), &hasher).len(), 1);
        assert_eq!(records.len(), 1);

        records.apply(&listed("a", &at("no URL"), None), &hasher);
        assert!(records.find(&shop(), &hasher).is_empty());
        assert_eq!((records.len(), records.by_key.len()), (0, 0));
    }

    #[test]
    fn a_gitrepo_takes_less_than_420_bytes_besides_what_the_allocator_adds() {
        const NUMBER: u32 = 10_000;
        let (mut records, hasher) = (Records::default(), RandomState::new());
        let taken = allocation_counter::measure(|| {
            for number in 0..NUMBER {
                let name = format!("some-application-{number}");
                let repo = format!("https://github.com/some-organisation/{name}.git");
                let spec =
                    serde_json::json!({ "repo": repo, "branch": "main", "pollingInterval": "1h" });
                records.apply(&listed(&name, &spec, Some(&format!("{number:040x}"))), &hasher);
            }
        });
        let each = taken.bytes_current / i64::from(NUMBER);
        assert!((100..420).contains(&each), "{each}");
    }

    #[test]
    fn a_repository_of_several_urls_is_found_once() {
        let (mut records, hasher) = (Records::default(), RandomState::new());
        let spec = serde_json::json!({ "repo": "https://github.com/acme/shop", "branch": "main" });
        records.apply(&listed("a", &spec, None), &hasher);
        let urls = ["https://github.com/acme/shop.git", "git@github.com:acme/shop.git"];
        let urls = urls.into_iter().filter_map(RepoUrl::parse).collect();
        assert_eq!(records.find(&Repository::Urls(urls), &hasher).len(), 1);
        records.delete(&listed("a", &spec, None));
        assert_eq!((records.len(), records.by_key.len()), (0, 0));
    }
}
