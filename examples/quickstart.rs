//! A first look without a cluster: `cargo run --example quickstart`.
//!
//! It starts a small API server in memory with a few GitRepos and a webhook secret, starts the real service on it,
//! sends it the signed deliveries of `events/` over HTTP, and prints what became of them. Then it waits for yours.

#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::indexing_slicing,
    reason = "the tests use the rest of it"
)]
#[path = "../tests/support/api_server.rs"]
mod api_server;
#[path = "../tests/support/events.rs"]
mod events;

use std::{env, fs, io};

use fleet_webhook::{
    adapter::knative::{self, Listeners, stop_signal},
    assembly::Assembly,
    config::Config,
    telemetry,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::task::JoinHandle;

/// Where our GitRepos are.
const NAMESPACE: &str = "fleet-local";

/// The events that show something; the others in `events/` can be sent the same way.
const SHOWN: [&str; 12] = [
    "github-ping",
    "github-push",
    "github-tag",
    "github-wrong-signature",
    "gitlab-push",
    "bitbucket-cloud-several-refs",
    "bitbucket-server-push",
    "gogs-push",
    "gitea-push-form",
    "forgejo-delete",
    "azure-devops-push",
    "generic-push",
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (_server, address) = api_server::ApiServer::start().await;
    let admin = Admin { client: Client::builder().build()?, url: format!("http://{address}") };
    println!(
        "An API server in memory with these GitRepos, which follow the branch main or the tag v1.0.0:"
    );
    for (provider, repo) in events::REPOSITORIES {
        println!("  {NAMESPACE}/shop-{provider:<18} {repo}");
        admin
            .gitrepo(&format!("shop-{provider}"), json!({ "repo": repo, "branch": events::BRANCH }))
            .await?;
    }
    let (_, github) = events::REPOSITORIES.first().expect("GitHub is the first");
    admin.gitrepo("release", json!({ "repo": github, "revision": events::TAG })).await?;
    println!("  {NAMESPACE}/{:<23} {github} at {}", "release", events::TAG);
    admin
        .secret(
            events::SECRET.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect(),
        )
        .await?;

    let (url, service) = start_service(&admin.url).await?;
    println!("\nThe service listens on {url}. Deliveries, each signed as its provider does:\n");
    for name in SHOWN {
        let before = admin.commits().await?;
        deliver(&url, name).await?;
        for ((name, before), (_, after)) in before.iter().zip(admin.commits().await?) {
            if *before != after {
                println!("    {NAMESPACE}/{name} moved from {before} to {after}");
            }
        }
    }
    println!("\nThe service goes on until Ctrl-C. A push of yours:\n\n{}", curl(&url));
    Ok(service.await??)
}

/// Starts the real service as in a cluster, with a kubeconfig for the API server in memory.
async fn start_service(api_server: &str) -> anyhow::Result<(String, JoinHandle<io::Result<()>>)> {
    let kubeconfig =
        env::temp_dir().join(format!("fleet-webhook-quickstart-{}.json", std::process::id()));
    let contents = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "quickstart",
        "clusters": [{ "name": "quickstart", "cluster": { "server": api_server } }],
        "users": [{ "name": "function", "user": { "token": "function" } }],
        "contexts": [{ "name": "quickstart", "context": { "cluster": "quickstart", "user": "function" } }],
    });
    fs::write(&kubeconfig, contents.to_string())?;
    let variable = |name: &str| match name {
        "KUBECONFIG" => Some(kubeconfig.display().to_string()),
        "HOST" => Some("127.0.0.1".to_owned()),
        "LOG_FORMAT" => Some("text".to_owned()),
        "METRICS_PORT" => Some("0".to_owned()),
        "PORT" | "RUST_LOG" => {
            env::var(name).ok().or_else(|| (name == "RUST_LOG").then(|| "warn".to_owned()))
        }
        _ => None,
    };
    let config = Config::from_variables(&variable, None)?;
    telemetry::init(telemetry::log_filter(&config.log_filter)?, config.log_format);
    let assembly = Box::pin(Assembly::new(&config)).await?;
    fs::remove_file(&kubeconfig)?;
    let listeners = Listeners::bind(config.host, config.port, config.metrics_port).await?;
    let url = format!("http://127.0.0.1:{}", config.port);
    let serve = knative::serve(listeners, assembly.service, assembly.index, stop_signal()?);
    Ok((url, tokio::spawn(Box::pin(serve))))
}

/// Sends an event, signed now, and prints the answer.
async fn deliver(url: &str, name: &str) -> anyhow::Result<()> {
    let request = events::Event::load(name).request_at(Timestamp::now());
    let mut post = Client::builder().build()?.post(format!("{url}{}", request.path));
    for (header, value) in request.headers.iter().filter(|(header, _)| header != "host") {
        post = post.header(header, value);
    }
    let response = post.body(request.body).send().await?;
    let status = response.status();
    println!("events/{name}.json\n    {status} {}", response.text().await?);
    Ok(())
}

/// A signed push as a command line.
fn curl(url: &str) -> String {
    let body = json!({
        "ref": "refs/heads/main", "after": "c0ffee00".repeat(5),
        "repository": { "clone_url": "https://github.com/acme/shop.git" },
    })
    .to_string();
    let (_, secret) = events::SECRET.first().expect("GitHub's is the first");
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("takes any key");
    mac.update(body.as_bytes());
    let digest = hex::encode(mac.finalize().into_bytes());
    format!(
        "curl -H 'content-type: application/json' -H 'x-github-event: push' \\\n  \
         -H 'x-hub-signature-256: sha256={digest}' \\\n  -d '{body}' {url}/\n"
    )
}

/// Whoever prepares the API server and looks at it.
struct Admin {
    client: Client,
    url: String,
}

impl Admin {
    async fn gitrepo(&self, name: &str, spec: Value) -> anyhow::Result<()> {
        let gitrepo = json!({ "metadata": { "name": name }, "spec": spec });
        self.send(Method::POST, &gitrepos(), &gitrepo).await.map(drop)
    }

    async fn secret(&self, data: serde_json::Map<String, Value>) -> anyhow::Result<()> {
        let secret = json!({ "metadata": { "name": "gitjob-webhook" }, "stringData": data });
        self.send(Method::POST, "/api/v1/namespaces/fleet-system/secrets", &secret).await.map(drop)
    }

    /// The commit that was announced to each GitRepo.
    async fn commits(&self) -> anyhow::Result<Vec<(String, String)>> {
        let list = self.send(Method::GET, &gitrepos(), &Value::Null).await?;
        let text =
            |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("nothing").to_owned();
        let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        let commit = |item: &Value| {
            (text(item.pointer("/metadata/name")), text(item.pointer("/status/webhookCommit")))
        };
        Ok(items.iter().map(commit).collect())
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request =
            request.bearer_auth(api_server::ADMIN_TOKEN).header("content-type", "application/json");
        let response = request.body(body.to_string()).send().await?.error_for_status()?;
        Ok(serde_json::from_str(&response.text().await?)?)
    }
}

fn gitrepos() -> String {
    format!("/apis/fleet.cattle.io/v1alpha1/namespaces/{NAMESPACE}/gitrepos")
}
