//! The GitRepos of one watch, found by name and by repository; `record` has what is kept of each.

use std::{
    collections::{BTreeMap, HashSet},
    hash::RandomState,
    sync::Arc,
};

use kube::core::ObjectMeta;

use super::{
    listed::Listed,
    record::{ById, Record, id},
};
use crate::{event::Repository, gitrepo::GitRepo};

/// The GitRepos of a namespace, or of all, by name and by repository.
#[derive(Debug, Default)]
pub(super) struct Records {
    by_id: HashSet<ById>,
    /// By the hash of the repository; the address tells those apart that share it.
    by_key: BTreeMap<(u64, usize), Arc<Record>>,
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo_url::RepoUrl;

    fn listed(name: &str, spec: &serde_json::Value, commit: Option<&str>) -> Listed {
        listed_at("7", name, spec, commit)
    }

    fn listed_at(
        version: &str,
        name: &str,
        spec: &serde_json::Value,
        commit: Option<&str>,
    ) -> Listed {
        let status = commit.map(|commit| {
            serde_json::json!({
                "commit": "def", "webhookCommit": commit, "lastWebhookTime": "2026-01-01T00:00:00Z", "other": 1,
            })
        });
        let metadata = serde_json::json!({
            "namespace": "apps", "name": name, "resourceVersion": version,
            "uid": "1cf2f0b6-1f0e-4b0a-9d6e-3a6f2b9d2a11", "generation": 3,
        });
        let object = serde_json::json!({ "metadata": metadata, "spec": spec, "status": status });
        serde_json::from_value(object).expect("a GitRepo")
    }

    fn shop() -> Repository {
        Repository::Urls(vec![RepoUrl::parse("https://github.com/acme/shop").expect("a URL")])
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
            listed_at(version, "a", spec, commit)
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
