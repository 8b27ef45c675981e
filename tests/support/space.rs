//! A corner of an API server for one test: namespaces and a repository that no other test uses.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::{Certificate, Client, Method, StatusCode};
use serde_json::{Value, json};

use super::{
    api_server::{ADMIN_TOKEN, ApiServer, Fault},
    kubeconfig::kubeconfig,
    real_cluster::RealCluster,
    service_account::{self, Right},
};

static SPACES: AtomicUsize = AtomicUsize::new(0);

/// One test's part of an API server, with an admin's hands.
pub struct Space {
    /// Where the global secret lives.
    pub fleet: String,
    /// Where GitRepos live.
    pub apps: String,
    /// `owner/name` of the repository.
    pub repository: String,
    /// The kubeconfig for the function.
    pub kubeconfig: PathBuf,
    admin: Client,
    pub url: String,
    token: String,
    server: Server,
}

impl Drop for Space {
    fn drop(&mut self) {
        // With what others made of the kubeconfig, beside it.
        let _ = self.kubeconfig.parent().map(std::fs::remove_dir_all);
    }
}

enum Server {
    Embedded(ApiServer),
    Real(&'static RealCluster),
}

/// A request that the function made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiRequest {
    pub method: String,
    pub uri: String,
    pub user_agent: String,
    pub status: u64,
}

impl ApiRequest {
    pub fn is_write(&self) -> bool {
        self.method != "GET"
    }

    pub fn is_scan(&self) -> bool {
        !self.is_write() && self.uri.contains("/gitrepos?includeObject=")
    }
}

impl Space {
    /// On an embedded API server of its own.
    pub async fn embedded() -> Self {
        let (server, address) = ApiServer::start().await;
        let url = format!("http://{address}");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().build().expect("a client");
        let space =
            Self::new(Server::Embedded(server), client, url.clone(), ADMIN_TOKEN.to_owned());
        let contents = kubeconfig(&json!({ "server": url }), &json!({ "token": "function" }));
        std::fs::write(&space.kubeconfig, contents).unwrap();
        space
    }

    /// On the real API server that all tests of the binary share.
    pub async fn real() -> Self {
        let cluster = tokio::task::spawn_blocking(RealCluster::shared).await.expect("it starts");
        Self::on_real(cluster).await
    }

    /// On a real API server of its own, as the ServiceAccount that the manifests create, with exactly its rights.
    pub async fn on_real(cluster: &'static RealCluster) -> Self {
        Self::with_rights(cluster, None).await
    }

    /// The same with its rights less one.
    pub async fn with_rights(cluster: &'static RealCluster, less: Option<Right>) -> Self {
        let space = Self::prepared(cluster).await;
        let token = service_account::token(&space, cluster, less).await;
        space.log_in(cluster, &json!({ "token": token }));
        space
    }

    async fn prepared(cluster: &'static RealCluster) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ca = Certificate::from_pem(&cluster.ca).expect("a certificate");
        let client = Client::builder().tls_certs_only([ca]).build().expect("a client");
        let (url, token) = (cluster.url.clone(), cluster.admin_token.clone());
        let space = Self::new(Server::Real(cluster), client, url, token);
        for name in [&space.fleet, &space.apps] {
            let namespace =
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
            space.send(Method::POST, "/api/v1/namespaces", &namespace).await;
        }
        space
    }

    fn log_in(&self, cluster: &RealCluster, user: &Value) {
        let server = json!({ "server": cluster.url, "certificate-authority-data": BASE64_STANDARD.encode(&cluster.ca) });
        std::fs::write(&self.kubeconfig, kubeconfig(&server, user)).unwrap();
    }

    fn new(server: Server, admin: Client, url: String, token: String) -> Self {
        let number = SPACES.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("fleet-webhook-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self {
            fleet: format!("t{number}-fleet"),
            apps: format!("t{number}-apps"),
            repository: format!("acme/t{number}"),
            kubeconfig: folder.join("kubeconfig"),
            admin,
            url,
            token,
            server,
        }
    }

    /// The embedded server, where it is that.
    pub fn embedded_server(&self) -> Option<&ApiServer> {
        match &self.server {
            Server::Embedded(server) => Some(server),
            Server::Real(_) => None,
        }
    }

    /// Orders a fault of the embedded server.
    pub fn fail(&self, fault: Fault) {
        self.embedded_server().expect("is embedded").fail(fault);
    }

    /// The repository's URL on GitHub.
    pub fn github_url(&self) -> String {
        format!("https://github.com/{}", self.repository)
    }

    /// Creates a GitRepo in the apps namespace.
    pub async fn gitrepo(&self, name: &str, spec: Value) {
        self.gitrepo_in(&self.apps, name, spec).await;
    }

    pub async fn gitrepo_in(&self, namespace: &str, name: &str, spec: Value) {
        let gitrepo = json!({
            "apiVersion": "fleet.cattle.io/v1alpha1", "kind": "GitRepo", "metadata": { "name": name }, "spec": spec,
        });
        let written = self.send(Method::POST, &gitrepos(namespace), &gitrepo).await;
        self.seen(&written).await;
    }

    /// Changes a GitRepo's spec or, by `subresource`, its status.
    pub async fn change_gitrepo(&self, name: &str, subresource: &str, change: Value) {
        let path = format!("{}/{name}{subresource}", gitrepos(&self.apps));
        let written = self.send(Method::PATCH, &path, &change).await;
        self.seen(&written).await;
    }

    /// Waits until the API server's own cache has what was written: on a busy machine it lags behind.
    async fn seen(&self, written: &Value) {
        if self.embedded_server().is_some() {
            return;
        }
        let version = |object: &Value| -> u64 {
            let version = object["metadata"]["resourceVersion"].as_str().unwrap_or("0");
            version.parse().unwrap()
        };
        let path = format!(
            "{}?resourceVersion=0&fieldSelector=metadata.name%3Dnone",
            gitrepos(&self.apps)
        );
        let deadline = Instant::now() + Duration::from_secs(20);
        while version(&self.send(Method::GET, &path, &Value::Null).await) < version(written) {
            assert!(Instant::now() < deadline, "the API server's cache lags behind");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn delete_gitrepo(&self, name: &str) {
        self.send(Method::DELETE, &format!("{}/{name}", gitrepos(&self.apps)), &Value::Null).await;
    }

    /// Reads a GitRepo of the apps namespace.
    pub async fn read(&self, name: &str) -> Value {
        self.send(Method::GET, &format!("{}/{name}", gitrepos(&self.apps)), &Value::Null).await
    }

    /// The commit that a webhook announced to a GitRepo.
    pub async fn commit(&self, name: &str) -> Option<String> {
        let gitrepo = self.read(name).await;
        gitrepo["status"]["webhookCommit"].as_str().map(str::to_owned)
    }

    /// Creates the global secret.
    pub async fn global_secret(&self, data: Value) {
        self.secret(&self.fleet, "gitjob-webhook", data).await;
    }

    pub async fn secret(&self, namespace: &str, name: &str, data: Value) {
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data });
        self.send(Method::POST, &secrets(namespace), &secret).await;
    }

    pub async fn delete_secret(&self, namespace: &str, name: &str) {
        self.send(Method::DELETE, &format!("{}/{name}", secrets(namespace)), &Value::Null).await;
    }

    /// The requests of the function that touch this space, or lists of everything, oldest first.
    pub fn requests(&self) -> Vec<ApiRequest> {
        match &self.server {
            Server::Embedded(server) => {
                let requests = server.seen().into_iter().filter(|seen| !seen.by_admin);
                let request = |seen: super::api_server::Seen| ApiRequest {
                    method: seen.method.to_string(),
                    uri: seen.uri,
                    user_agent: seen.user_agent,
                    status: seen.status.into(),
                };
                requests.map(request).collect()
            }
            Server::Real(cluster) => {
                let account = format!("system:serviceaccount:{}:fleet-webhook", self.fleet);
                let ours = |line: &Value| {
                    line["user"]["username"] == json!(account)
                        && line["stage"] == "ResponseComplete"
                };
                let request = |line: Value| ApiRequest {
                    method: match line["verb"].as_str() {
                        Some("patch") => "PATCH".to_owned(),
                        _ => "GET".to_owned(),
                    },
                    uri: line["requestURI"].as_str().unwrap_or_default().to_owned(),
                    user_agent: line["userAgent"].as_str().unwrap_or_default().to_owned(),
                    status: line["responseStatus"]["code"].as_u64().unwrap_or_default(),
                };
                cluster.audit().into_iter().filter(ours).map(request).collect()
            }
        }
    }

    /// The writes of the function to GitRepos of this space.
    pub fn writes(&self) -> Vec<ApiRequest> {
        let ours = |request: &ApiRequest| request.is_write() && request.uri.contains(&self.apps);
        self.requests().into_iter().filter(ours).collect()
    }

    /// Reads anything, as a Table where that is wanted.
    pub async fn read_as(&self, path: &str, table: bool) -> Value {
        let accept =
            if table { "application/json;as=Table;v=v1;g=meta.k8s.io" } else { "application/json" };
        let request = self.admin.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let response =
            request.header("accept", accept).send().await.expect("the API server answers");
        serde_json::from_str(&response.text().await.expect("a body")).unwrap_or_default()
    }

    /// Patches a GitRepo's status as the admin, in a form of that media type; gives the status of the answer, which is a
    /// Table as the function asks for it.
    pub async fn patch_status(&self, name: &str, media_type: &str, patch: &Value) -> StatusCode {
        let path = format!("{}/{name}/status?includeObject=None", gitrepos(&self.apps));
        let request = self.admin.patch(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let request = request.header("content-type", media_type).body(patch.to_string());
        let request = request.header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
        let answer = request.send().await.expect("the API server answers");
        let status = answer.status();
        answer.bytes().await.expect("a body");
        status
    }

    /// Sends a request as the admin.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Value {
        let merge_patch = "application/merge-patch+json";
        let content_type = if method == Method::PATCH { merge_patch } else { "application/json" };
        let request = self.admin.request(method.clone(), format!("{}{path}", self.url));
        let request = request.bearer_auth(&self.token).header("content-type", content_type);
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        let response = request.send().await.expect("the API server answers");
        let status = response.status();
        let text = response.text().await.expect("a body");
        assert!(
            status.is_success() || status == StatusCode::NOT_FOUND,
            "{method} {path}: {status} {text}"
        );
        serde_json::from_str(&text).unwrap_or_default()
    }
}

fn gitrepos(namespace: &str) -> String {
    format!("/apis/fleet.cattle.io/v1alpha1/namespaces/{namespace}/gitrepos")
}

fn secrets(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets")
}
