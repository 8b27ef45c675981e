//! A GitRepo as a LIST or a watch shows it, read without what nobody here looks at; `record` keeps it smaller still.

use kube::core::ObjectMeta;
use serde::Deserialize;

use crate::gitrepo::{GitRepo, GitRepoSpec, GitRepoStatus};

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

impl Listed {
    /// The version of the object.
    pub(super) fn resource_version(&self) -> String {
        self.metadata.resource_version.clone().unwrap_or_default()
    }

    /// The GitRepo, as far as it was read.
    pub(super) fn gitrepo(self) -> GitRepo {
        let Self { metadata, spec, status } = self;
        let ListedMetadata { namespace, name, uid, generation, resource_version } = metadata;
        let (namespace, name) = (Some(namespace), Some(name));
        let rest = ObjectMeta::default();
        let metadata = ObjectMeta { namespace, name, uid, generation, resource_version, ..rest };
        GitRepo { metadata, spec, status }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_gitrepo_is_read_without_what_nobody_looks_at() {
        let read = |object| serde_json::from_value::<Listed>(object).expect("a GitRepo").gitrepo();
        let whole = read(json!({
            "metadata": {
                "namespace": "apps", "name": "shop", "uid": "u", "generation": 3, "resourceVersion": "7",
                "annotations": ["of any shape"], "managedFields": 1,
            },
            "spec": { "repo": "https://github.com/acme/shop", "paths": 1 },
            "status": { "commit": "def", "display": 1 },
        }));
        let lean = read(json!({
            "metadata": { "namespace": "apps", "name": "shop", "uid": "u", "generation": 3, "resourceVersion": "7" },
            "spec": { "repo": "https://github.com/acme/shop" },
            "status": { "commit": "def" },
        }));
        assert_eq!(whole, lean);
        assert_eq!(lean.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(lean.status.and_then(|status| status.commit).as_deref(), Some("def"));
    }
}
