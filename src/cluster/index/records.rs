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
    resource_version: Option<String>,
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
    texts: Texts<11>,
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
    ///
    /// A watch that is behind us says later what we have announced ourselves: until then that stays.
    pub(super) fn apply(&mut self, listed: Listed, hasher: &RandomState) {
        let mut gitrepo = listed.gitrepo();
        if let Some(held) = self.take(&id(&gitrepo)) {
            announce(&mut gitrepo, &held.gitrepo());
        }
        self.put(&gitrepo, hasher);
    }

    /// Takes over what we have announced to a GitRepo, unless what is held is as new.
    pub(super) fn announced(&mut self, gitrepo: &GitRepo, hasher: &RandomState) {
        let Some(ById(held)) = self.by_id.get(&*id(gitrepo)) else { return };
        let mut held = held.gitrepo();
        if announce(&mut held, gitrepo) {
            self.take(&id(gitrepo));
            self.put(&held, hasher);
        }
    }

    /// Forgets a GitRepo.
    pub(super) fn delete(&mut self, listed: Listed) {
        self.take(&id(&listed.gitrepo()));
    }

    fn take(&mut self, id: &str) -> Option<Arc<Record>> {
        let ById(record) = self.by_id.take(id)?;
        self.by_key.remove(&place(&record));
        Some(record)
    }

    fn put(&mut self, gitrepo: &GitRepo, hasher: &RandomState) {
        if let Some(record) = Record::new(gitrepo, hasher).map(Arc::new) {
            self.by_key.insert(place(&record), Arc::clone(&record));
            self.by_id.insert(ById(record));
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
    pub(super) fn resource_version(&self) -> String {
        self.metadata.resource_version.clone().unwrap_or_default()
    }

    fn gitrepo(self) -> GitRepo {
        let Self { metadata, spec, status } = self;
        let ListedMetadata { namespace, name, uid, generation, resource_version } = metadata;
        let (namespace, name) = (Some(namespace), Some(name));
        let rest = ObjectMeta::default();
        let metadata = ObjectMeta { namespace, name, uid, generation, resource_version, ..rest };
        GitRepo { metadata, spec, status }
    }
}

fn id(gitrepo: &GitRepo) -> String {
    let ObjectMeta { namespace, name, .. } = &gitrepo.metadata;
    let [namespace, name] = [namespace, name].map(|part| part.as_deref().unwrap_or_default());
    format!("{namespace}/{name}")
}

/// Lets a GitRepo announce what a newer version of it does; tells whether the other is one.
fn announce(gitrepo: &mut GitRepo, newer: &GitRepo) -> bool {
    let (one, other) = (&gitrepo.metadata, &newer.metadata);
    if one.uid != other.uid || version(one) >= version(other) {
        return false;
    }
    gitrepo.metadata.resource_version.clone_from(&other.resource_version);
    let theirs = newer.status.as_ref();
    let status = gitrepo.status.get_or_insert_default();
    status.webhook_commit = theirs.and_then(|status| status.webhook_commit.clone());
    status.last_webhook_time = theirs.and_then(|status| status.last_webhook_time.clone());
    true
}

/// The version of an object. Of two of one object the newer is the larger
/// ([promised since Kubernetes 1.35](https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions), and
/// before that so in etcd and kine). Were it not so, a patch would be made for what is not there any more: the API server
/// refuses it, and the GitRepo is read again.
fn version(metadata: &ObjectMeta) -> Option<u64> {
    metadata.resource_version.as_deref()?.parse().ok()
}

impl Record {
    /// `None` for a GitRepo whose URL names no repository: nothing can match it.
    fn new(gitrepo: &GitRepo, hasher: &RandomState) -> Option<Self> {
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
    fn gitrepo(&self) -> GitRepo {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo_url::RepoUrl;

    /// One as it is in version 7.
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
        records.apply(listed("full", &spec, Some("abc")), &hasher);
        records.apply(listed("bare", &bare, None), &hasher);

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
        records.apply(listed("a", &at("https://github.com/acme/shop"), None), &hasher);
        records.apply(listed("a", &at("https://github.com/acme/other"), None), &hasher);
        assert!(records.find(&shop(), &hasher).is_empty());
        records.apply(listed("a", &at("https://github.com/acme/shop"), None), &hasher);
        assert_eq!(records.find(&shop(), &hasher).len(), 1);
        assert_eq!(records.len(), 1);

        records.apply(listed("a", &at("no URL"), None), &hasher);
        assert!(records.find(&shop(), &hasher).is_empty());
        assert_eq!((records.len(), records.by_key.len()), (0, 0));
    }

    #[test]
    fn what_was_announced_stays_until_the_watch_comes_to_it() {
        let (mut records, hasher) = (Records::default(), RandomState::new());
        let spec = serde_json::json!({ "repo": "https://github.com/acme/shop", "branch": "main" });
        let edited = serde_json::json!({ "repo": "https://github.com/acme/shop", "branch": "dev" });
        let at = |version: &str, spec: &serde_json::Value, commit: Option<&str>| {
            let mut listed = listed("a", spec, commit);
            listed.metadata.resource_version = Some(version.to_owned());
            listed
        };
        let now = |records: &Records| {
            let found = records.find(&shop(), &hasher);
            let [gitrepo] = found.as_slice() else { panic!("{found:?}") };
            (gitrepo.announced().map(str::to_owned), gitrepo.spec.branch.clone())
        };
        let now_is = |records: &Records, commit: &str, branch: &str| {
            assert_eq!(now(records), (Some(commit.to_owned()), Some(branch.to_owned())));
        };
        records.apply(at("7", &spec, None), &hasher);
        records.announced(&at("99", &spec, Some("first")).gitrepo(), &hasher);
        now_is(&records, "first", "main");
        records.announced(&at("100", &spec, Some("second")).gitrepo(), &hasher);
        now_is(&records, "second", "main");

        // What the watch says by the way, and on the way.
        records.apply(at("98", &edited, None), &hasher);
        now_is(&records, "second", "dev");
        records.apply(at("99", &edited, Some("first")), &hasher);
        now_is(&records, "second", "dev");
        records.apply(at("100", &edited, Some("second")), &hasher);
        now_is(&records, "second", "dev");
        // What others announce after it.
        records.apply(at("101", &edited, Some("theirs")), &hasher);
        now_is(&records, "theirs", "dev");
    }

    #[test]
    fn what_was_announced_before_what_is_held_or_to_another_changes_nothing() {
        let (mut records, hasher) = (Records::default(), RandomState::new());
        let spec = serde_json::json!({ "repo": "https://github.com/acme/shop", "branch": "main" });
        records.apply(listed("a", &spec, Some("held")), &hasher);
        let announced = |version: Option<&str>, uid: &str| {
            let mut gitrepo = listed("a", &spec, Some("ours")).gitrepo();
            gitrepo.metadata.resource_version = version.map(str::to_owned);
            gitrepo.metadata.uid = Some(uid.to_owned());
            gitrepo
        };
        let uid = listed("a", &spec, None).gitrepo().metadata.uid.expect("is one");
        for (version, uid) in [
            (Some("6"), uid.as_str()),
            (Some("7"), &uid),
            (Some("opaque"), &uid),
            (None, &uid),
            (Some("8"), "another"),
        ] {
            records.announced(&announced(version, uid), &hasher);
            let found = records.find(&shop(), &hasher);
            assert_eq!(found.first().and_then(GitRepo::announced), Some("held"), "{version:?}");
        }
        records.delete(listed("a", &spec, None));
        records.announced(&announced(Some("8"), &uid), &hasher);
        assert_eq!(records.len(), 0, "it is gone");
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
                records.apply(listed(&name, &spec, Some(&format!("{number:040x}"))), &hasher);
            }
        });
        let each = taken.bytes_current / i64::from(NUMBER);
        assert!((100..420).contains(&each), "{each}");
    }

    #[test]
    fn a_repository_of_several_urls_is_found_once() {
        let (mut records, hasher) = (Records::default(), RandomState::new());
        let spec = serde_json::json!({ "repo": "https://github.com/acme/shop", "branch": "main" });
        records.apply(listed("a", &spec, None), &hasher);
        let urls = ["https://github.com/acme/shop.git", "git@github.com:acme/shop.git"];
        let urls = urls.into_iter().filter_map(RepoUrl::parse).collect();
        assert_eq!(records.find(&Repository::Urls(urls), &hasher).len(), 1);
        records.delete(listed("a", &spec, None));
        assert_eq!((records.len(), records.by_key.len()), (0, 0));
    }
}
