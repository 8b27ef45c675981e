//! A first look without a cluster: `cargo run --example quickstart`.
//!
//! It starts a small API server in memory with a few GitRepos and a webhook secret, starts the real service on it,
//! sends it signed deliveries of `events/` over HTTP, and prints a line for each: what was sent, what was answered,
//! which GitRepo moved, why another did not. Then it waits for yours. With `--json` it prints an object for each and ends.

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

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

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

/// The commit at which all of them are before anything is pushed.
const OLD_COMMIT: &str = "4e1243bd22c66e76c2ba9eddc1f91394e57f9f83";

/// The deliveries that show something: the file in `events/`, who sends it, and what it says. The others can be sent
/// the same way.
const SHOWN: [(&str, &str, &str); 12] = [
    ("github-ping", "GitHub", "ping"),
    ("github-push", "GitHub", "push of main"),
    ("github-tag", "GitHub", "push of tag v1.0.0"),
    ("github-wrong-signature", "GitHub", "push of main, wrong secret"),
    ("gitlab-push", "GitLab", "push of main"),
    ("bitbucket-cloud-several-refs", "Bitbucket Cloud", "push of three refs"),
    ("bitbucket-server-push", "Bitbucket Server", "push of main"),
    ("gogs-push", "Gogs", "push of main"),
    ("gitea-push-form", "Gitea", "push of main, as a form"),
    ("forgejo-delete", "Forgejo", "deletion of tag v1.0.0"),
    ("azure-devops-push", "Azure DevOps", "push of main"),
    ("generic-push", "any Git server", "push of main"),
];

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let shown = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => show(false).await,
        ["--json"] => show(true).await,
        _ => {
            eprintln!("usage: cargo run --example quickstart [-- --json]");
            return ExitCode::from(2);
        }
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn show(for_programs: bool) -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (_server, address) = api_server::ApiServer::start().await;
    let admin = Admin { client: Client::builder().build()?, url: format!("http://{address}") };
    admin.prepare().await?;
    let kubeconfig = Kubeconfig::write(&admin.url)?;
    let (url, service) = start_service(&kubeconfig.0).await?;
    if !for_programs {
        println!(
            "In memory: an API server with a GitRepo shop-… for the branch main of each provider's repository. Of GitHub's,\n\
             release follows the tag v1.0.0 and staging the branch develop. Real: the service on {url}.\n\
             It gets deliveries that are signed as each provider signs them.\n"
        );
    }
    let mut all = Vec::new();
    for (event, sender, sent) in SHOWN {
        let delivered = deliver(&admin, &url, event).await?;
        if for_programs {
            println!("{}", delivered.json(event));
        } else {
            print!("{}", delivered.lines(sender, sent));
        }
        all.push(delivered);
    }
    if for_programs {
        return Ok(());
    }
    println!("\n{}\n\n{}", summary(&all), next_steps(&url, &kubeconfig.0));
    Ok(service.await??)
}

/// A kubeconfig for the API server in memory; its file is gone with it.
struct Kubeconfig(PathBuf);

impl Kubeconfig {
    fn write(api_server: &str) -> io::Result<Self> {
        let file = format!("fleet-webhook-quickstart-{}.json", std::process::id());
        let kubeconfig = Self(env::temp_dir().join(file));
        let contents = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "quickstart",
            "clusters": [{ "name": "quickstart", "cluster": { "server": api_server } }],
            "users": [{ "name": "function", "user": { "token": "function" } }],
            "contexts": [{ "name": "quickstart", "context": { "cluster": "quickstart", "user": "function" } }],
        });
        fs::write(&kubeconfig.0, contents.to_string())?;
        Ok(kubeconfig)
    }
}

impl Drop for Kubeconfig {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Starts the real service as in a cluster.
async fn start_service(kubeconfig: &Path) -> anyhow::Result<(String, JoinHandle<io::Result<()>>)> {
    let variable = |name: &str| match name {
        "KUBECONFIG" => Some(kubeconfig.display().to_string()),
        "HOST" => Some("127.0.0.1".to_owned()),
        "METRICS_PORT" => Some("0".to_owned()),
        "SHUTDOWN_DELAY" => Some("0s".to_owned()),
        "PORT" => env::var(name).ok(),
        "RUST_LOG" => Some(env::var(name).unwrap_or_else(|_| "warn".to_owned())),
        "LOG_FORMAT" => Some(env::var(name).unwrap_or_else(|_| "text".to_owned())),
        _ => None,
    };
    let config = Config::from_variables(&variable, None)?;
    telemetry::init(telemetry::log_filter(&config.log_filter)?, config.log_format);
    let assembly = Box::pin(Assembly::new(&config)).await?;
    let listeners = Listeners::bind(config.host, config.port, config.metrics_port).await?;
    let url = format!("http://127.0.0.1:{}", config.port);
    let serve = knative::serve(
        listeners,
        assembly.service,
        assembly.index,
        stop_signal(config.shutdown_delay)?,
    );
    Ok((url, tokio::spawn(Box::pin(serve))))
}

/// What became of a delivery.
struct Delivered {
    status: u16,
    answer: Value,
    moved: Vec<Move>,
}

/// A GitRepo that went from one commit to another.
struct Move {
    name: String,
    from: String,
    to: String,
}

/// Sends an event, signed now.
async fn deliver(admin: &Admin, url: &str, event: &str) -> anyhow::Result<Delivered> {
    let before = admin.commits().await?;
    let request = events::Event::load(event).request_at(Timestamp::now());
    let mut post = admin.client.post(format!("{url}{}", request.path));
    for (header, value) in request.headers.iter().filter(|(header, _)| header != "host") {
        post = post.header(header, value);
    }
    let response = post.body(request.body).send().await?;
    let status = response.status().as_u16();
    let answer = serde_json::from_str(&response.text().await?)?;
    let moved = admin.commits().await?.into_iter().filter_map(|(name, to)| {
        let from = before.get(&name).cloned().unwrap_or_default();
        (from != to).then_some(Move { name, from, to })
    });
    Ok(Delivered { status, answer, moved: moved.collect() })
}

impl Delivered {
    fn outcome(&self) -> &str {
        text(self.answer.get("outcome"))
    }

    /// For programs.
    fn json(&self, event: &str) -> Value {
        let moved = self.moved.iter().map(|Move { name, from, to }| {
            json!({ "namespace": NAMESPACE, "name": name, "from": from, "to": to })
        });
        let moved: Vec<Value> = moved.collect();
        json!({ "event": event, "status": self.status, "answer": self.answer, "moved": moved })
    }

    /// For people: a line, and one more for each further GitRepo.
    fn lines(&self, sender: &str, sent: &str) -> String {
        let moved = self
            .moved
            .iter()
            .map(|Move { name, from, to }| format!("{name:<21} {} -> {}", short(from), short(to)));
        let skipped = self.answer.get("skipped").and_then(Value::as_array).into_iter().flatten();
        let stays = skipped.map(|skipped| {
            format!("{:<21} {}", text(skipped.get("name")), stays(text(skipped.get("reason"))))
        });
        let gitrepos: Vec<String> = moved.chain(stays).collect();
        let answered = format!("{} {}", self.status, self.outcome());
        let first = gitrepos.first().map_or("nothing moves", String::as_str);
        let mut lines = format!("{sender:<16} {sent:<26} {answered:<16} {first}\n");
        for further in gitrepos.iter().skip(1) {
            lines.push_str(&format!("{:<60} {further}\n", ""));
        }
        lines
    }
}

/// A reason of an answer, in words.
fn stays(reason: &str) -> String {
    match reason {
        "branch" => "stays: not its branch".to_owned(),
        "revision" => "stays: not its revision".to_owned(),
        "deleted" => "stays: its ref was deleted".to_owned(),
        "unchanged" => "is there already".to_owned(),
        other => format!("stays: {other}"),
    }
}

/// How many deliveries there were, how they were answered, and how many GitRepos moved.
fn summary(all: &[Delivered]) -> String {
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for delivered in all {
        *outcomes.entry(delivered.outcome()).or_default() += 1;
    }
    let outcomes: Vec<String> =
        outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    let moved: usize = all.iter().map(|delivered| delivered.moved.len()).sum();
    format!("{} deliveries: {}. {moved} GitRepos moved.", all.len(), outcomes.join(", "))
}

fn next_steps(url: &str, kubeconfig: &Path) -> String {
    let kubeconfig = kubeconfig.display();
    format!(
        "The service goes on until Ctrl-C. A push of yours, which moves shop-github:\n\n{}\n\
         Why would a push move what?\n\n\
         KUBECONFIG={kubeconfig} cargo run --quiet -- explain --repo https://github.com/acme/shop --ref main\n\n\
         Install it beside Fleet: docs/in-the-cluster.md. As a function: docs/on-lambda.md. Connect a Git server: docs/providers.md.",
        curl(url)
    )
}

fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
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
    /// Makes the GitRepos, and the secret that the events are signed with.
    async fn prepare(&self) -> anyhow::Result<()> {
        for (provider, repo) in events::REPOSITORIES {
            let spec = json!({ "repo": repo, "branch": events::BRANCH });
            self.gitrepo(&format!("shop-{provider}"), spec).await?;
        }
        let (_, github) = events::REPOSITORIES.first().expect("GitHub is the first");
        self.gitrepo("release", json!({ "repo": github, "revision": events::TAG })).await?;
        self.gitrepo("staging", json!({ "repo": github, "branch": "develop" })).await?;
        let data: serde_json::Map<_, _> =
            events::SECRET.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let secret = json!({ "metadata": { "name": "gitjob-webhook" }, "stringData": data });
        self.send(Method::POST, "/api/v1/namespaces/fleet-system/secrets", &secret).await.map(drop)
    }

    /// Makes a GitRepo that is at the old commit.
    async fn gitrepo(&self, name: &str, spec: Value) -> anyhow::Result<()> {
        let gitrepo = json!({ "metadata": { "name": name }, "spec": spec });
        self.send(Method::POST, &gitrepos(), &gitrepo).await?;
        let status = json!({ "status": { "webhookCommit": OLD_COMMIT } });
        self.send(Method::PATCH, &format!("{}/{name}/status", gitrepos()), &status).await.map(drop)
    }

    /// The commit that was announced to each GitRepo.
    async fn commits(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let list = self.send(Method::GET, &gitrepos(), &Value::Null).await?;
        let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        let commit = |item: &Value| {
            let at = |pointer: &str| text(item.pointer(pointer)).to_owned();
            (at("/metadata/name"), at("/status/webhookCommit"))
        };
        Ok(items.iter().map(commit).collect())
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let content_type = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request =
            request.bearer_auth(api_server::ADMIN_TOKEN).header("content-type", content_type);
        let response = request.body(body.to_string()).send().await?.error_for_status()?;
        Ok(serde_json::from_str(&response.text().await?)?)
    }
}

fn gitrepos() -> String {
    format!("/apis/fleet.cattle.io/v1alpha1/namespaces/{NAMESPACE}/gitrepos")
}
