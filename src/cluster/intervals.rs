//! The polling intervals of GitRepos, and who set them: the API server keeps that as
//! [managed fields](https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management).
//! `receiver` and `restore_polling` take back what is ours alone.

use kube::core::ObjectMeta;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    ApiError, Cluster, FIELD_MANAGER, List, Resource,
    paths::{encoded, gitrepos_named, gitrepos_path},
};
use crate::gitrepo::GitRepoSpec;

/// How many GitRepos a page holds: they come with all that they have.
const PAGE_SIZE: usize = 250;

/// What `kubectl apply` without `--server-side` leaves: it does not become the manager of what is there already.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A GitRepo with a polling interval, as it was read.
#[derive(Debug)]
pub(crate) struct Interval {
    metadata: ObjectMeta,
    value: String,
    others: Vec<String>,
    has_us: bool,
}

impl Interval {
    /// `None` where the GitRepo has none.
    fn of(gitrepo: Managed) -> Option<Self> {
        let mut metadata = gitrepo.metadata;
        let value = gitrepo.spec?.polling_interval?;
        let entries = metadata.managed_fields.take().unwrap_or_default().into_iter();
        let setters = entries.filter(|entry| {
            let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
            fields.is_some_and(|fields| fields.pointer("/f:spec/f:pollingInterval").is_some())
        });
        let (ours, mut others): (Vec<_>, Vec<_>) = setters
            .map(|entry| entry.manager.unwrap_or_default())
            .partition(|manager| manager == FIELD_MANAGER);
        let annotations = metadata.annotations.take().unwrap_or_default();
        if annotations.get(LAST_APPLIED).is_some_and(|applied| names_an_interval(applied)) {
            others.push("kubectl apply".to_owned());
        }
        Some(Self { metadata, value, others, has_us: !ours.is_empty() })
    }

    /// The GitRepo's namespace and name.
    pub(crate) fn place(&self) -> String {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{}/{}", text(&self.metadata.namespace), text(&self.metadata.name))
    }

    /// How often it is polled, as a Go duration.
    pub(crate) fn value(&self) -> &str {
        &self.value
    }

    /// Whether it is we who set it, and nobody who wants the same.
    pub(crate) const fn is_ours_alone(&self) -> bool {
        self.has_us && self.others.is_empty()
    }

    /// Whether we set it.
    pub(crate) const fn has_us(&self) -> bool {
        self.has_us
    }

    /// Who else set it, as they called themselves.
    pub(crate) fn others(&self) -> &[String] {
        &self.others
    }
}

fn names_an_interval(applied: &str) -> bool {
    let applied: Result<Value, _> = serde_json::from_str(applied);
    applied
        .is_ok_and(|applied| applied.pointer("/spec/pollingInterval").is_some_and(Value::is_string))
}

impl Cluster {
    /// Lists the polling intervals of a namespace, or of all.
    pub(crate) async fn intervals(
        &self,
        namespace: Option<&str>,
    ) -> Result<Vec<Interval>, ApiError> {
        let (mut intervals, mut next) = (Vec::new(), String::new());
        loop {
            let path = gitrepos_path(namespace);
            let path = format!("{path}?limit={PAGE_SIZE}&continue={}", encoded(&next));
            let page: Page = self.object(&path).await?;
            intervals.extend(page.items.into_iter().filter_map(Interval::of));
            next = page.metadata.next_page.unwrap_or_default();
            if next.is_empty() {
                return Ok(intervals);
            }
        }
    }

    /// Reads the polling interval of a GitRepo; `None` where it has none, or is another GitRepo by now.
    pub(crate) async fn interval(
        &self,
        metadata: &ObjectMeta,
    ) -> Result<Option<Interval>, ApiError> {
        let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
            return Ok(None);
        };
        let list: List<Managed> = self.object(&gitrepos_named(Some(namespace), name)).await?;
        let mut same = list.items.into_iter().filter(|item| item.metadata.uid == metadata.uid);
        Ok(same.next().and_then(Interval::of))
    }

    /// Reads it again.
    pub(crate) async fn interval_again(
        &self,
        read: &Interval,
    ) -> Result<Option<Interval>, ApiError> {
        self.interval(&read.metadata).await
    }

    /// Removes a polling interval from a GitRepo that nobody has changed since it was read.
    pub(crate) async fn remove_interval(&self, read: &Interval) -> Result<(), ApiError> {
        let test = |path: &str, value: &Option<String>| json!({ "op": "test", "path": path, "value": value });
        let patch = json!([
            test("/metadata/uid", &read.metadata.uid),
            // Who wants the same value meanwhile changes nothing but this.
            test("/metadata/resourceVersion", &read.metadata.resource_version),
            { "op": "remove", "path": "/spec/pollingInterval" },
        ]);
        self.patch_gitrepo(&read.metadata, Resource::Itself, &patch).await.map(drop)
    }
}

/// A GitRepo with all its metadata.
#[derive(Deserialize)]
struct Managed {
    metadata: ObjectMeta,
    spec: Option<GitRepoSpec>,
}

#[derive(Deserialize)]
struct Page {
    metadata: PageMetadata,
    items: Vec<Managed>,
}

#[derive(Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    next_page: Option<String>,
}
