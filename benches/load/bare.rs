//! The floor: the patches that the service has to make, and nothing around them.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use reqwest::{Certificate, Client};
use serde_json::{Value, json};

use crate::{
    gitrepos,
    support::{real_cluster::RealCluster, space::Space},
};

const AT_ONCE: usize = 16;

/// The service's account and its kind of connection: HTTP/1.1 over TLS, kept open.
pub struct Bare {
    client: Client,
    token: String,
    gitrepos: String,
}

/// A GitRepo that is patched, as it is now.
pub struct Target(Value);

impl Target {
    pub const fn new(gitrepo: Value) -> Self {
        Self(gitrepo)
    }
}

impl Bare {
    pub fn new(space: &Space, cluster: &RealCluster) -> Self {
        let ca = Certificate::from_pem(&cluster.ca).unwrap();
        let client = Client::builder().tls_certs_only([ca]).tcp_nodelay(true).build().unwrap();
        let kubeconfig = std::fs::read(&space.kubeconfig).unwrap();
        let kubeconfig: Value = serde_json::from_slice(&kubeconfig).unwrap();
        let token = kubeconfig["users"][0]["user"]["token"].as_str().unwrap().to_owned();
        Self { client, token, gitrepos: format!("{}{}", cluster.url, gitrepos::path(space)) }
    }

    /// Announces a commit to one GitRepo.
    pub async fn patch(&self, target: &mut Target, commit: &str) -> Duration {
        let gitrepo = &mut target.0;
        let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let test =
            |path: &str, value: &Value| json!({ "op": "test", "path": path, "value": value });
        let patch = json!([
            test("/metadata/uid", &gitrepo["metadata"]["uid"]),
            test("/spec/repo", &gitrepo["spec"]["repo"]),
            test("/spec/branch", &gitrepo["spec"]["branch"]),
            test("/spec/revision", &Value::Null),
            test("/spec/webhookSecret", &Value::Null),
            test("/status/webhookCommit", &gitrepo["status"]["webhookCommit"]),
            test("/status/lastWebhookTime", &gitrepo["status"]["lastWebhookTime"]),
            { "op": "add", "path": "/status/webhookCommit", "value": commit },
            { "op": "add", "path": "/status/lastWebhookTime", "value": time },
        ]);
        let name = gitrepo["metadata"]["name"].as_str().unwrap();
        let query = "fieldManager=fleet-webhook&includeObject=None";
        let url = format!("{}/{name}/status?{query}", self.gitrepos);
        let started = Instant::now();
        let answer = self
            .client
            .patch(url)
            .bearer_auth(&self.token)
            .header("content-type", "application/json-patch+json")
            .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
            .body(patch.to_string())
            .send()
            .await
            .unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        let took = started.elapsed();
        assert!(status.is_success(), "{status}: {text}");
        gitrepo["status"]["webhookCommit"] = commit.into();
        gitrepo["status"]["lastWebhookTime"] = time.into();
        took
    }

    /// Announces a commit to all of them, as many at a time as the service does.
    pub async fn patch_all(&self, targets: &mut [Target], commit: &str) -> Duration {
        let started = Instant::now();
        let patches = targets.iter_mut().map(|target| self.patch(target, commit));
        let patches: Vec<_> = patches.collect();
        stream::iter(patches).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
        started.elapsed()
    }
}
