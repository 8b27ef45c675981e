//! GitRepos as large as Fleet's are.

use std::ops::Range;

use futures::{StreamExt as _, stream};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::space::Space;

/// What fills a GitRepo up to the size that Fleet's have.
const PADDING: usize = 5600;

const AT_ONCE: usize = 16;

/// Creates GitRepos, each with its own repository and a commit that was announced once.
pub async fn fill(space: &Space, numbers: Range<usize>) {
    stream::iter(numbers)
        .for_each_concurrent(AT_ONCE, |number| async move {
            create(space, &name(number), &name(number)).await;
        })
        .await;
}

/// Creates so many GitRepos of one repository.
pub async fn fill_one_repository(space: &Space, repository: &str, number: usize) -> Vec<Value> {
    stream::iter(0..number)
        .map(|part| async move { create(space, &format!("{repository}-{part}"), repository).await })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// The name of a GitRepo, and of its repository.
pub fn name(number: usize) -> String {
    format!("some-application-{number}")
}

/// Creates a GitRepo that follows a repository of `acme`; gives it as it is then.
pub async fn create(space: &Space, name: &str, repository: &str) -> Value {
    let path = path(space);
    let gitrepo = json!({
        "apiVersion": "fleet.cattle.io/v1alpha1", "kind": "GitRepo",
        "metadata": { "name": name, "annotations": { "padding": "x".repeat(PADDING) } },
        "spec": {
            "repo": format!("https://github.com/acme/{repository}.git"),
            "branch": "main", "pollingInterval": "1h",
        },
    });
    space.send(Method::POST, &path, &gitrepo).await;
    let status = json!({ "status": {
        "webhookCommit": "0000000000000000000000000000000000000001",
        "lastWebhookTime": "2026-01-01T00:00:00Z",
    } });
    space.send(Method::PATCH, &format!("{path}/{name}/status"), &status).await
}

/// Where the GitRepos are.
pub fn path(space: &Space) -> String {
    format!("/apis/fleet.cattle.io/v1alpha1/namespaces/{}/gitrepos", space.apps)
}
