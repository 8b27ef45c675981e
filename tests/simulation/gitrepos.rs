//! The GitRepos and secrets of the simulation, and who makes and changes them.

use axum::body::Body;
use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::{
    api_server::ADMIN_TOKEN,
    chance::Chance,
    conditions::small,
    git::{BRANCHES, REPOSITORY, commit},
    world::World,
};

pub const FLEET: &str = "cattle-fleet-system";
pub const APPS: &str = "fleet-default";

/// A namespace of `GITREPO_NAMESPACES` that is closed to us one day.
pub const CLOSED: &str = "fleet-closed";

/// The secrets of the two hooks: the global one, and the one that GitRepos may name as their own.
pub const SECRETS: [&str; 2] = ["of all", "of some"];

/// A GitRepo as it was made or last changed.
#[derive(Clone, Debug)]
pub struct Made {
    pub branch: usize,
    pub own_secret: bool,
    /// Since when it is so, in milliseconds.
    pub since: u64,
    /// Whether somebody has set its interval.
    pub interval: bool,
    /// Whether a commit was announced to it when it was made.
    pub begun: bool,
}

impl World {
    pub async fn prepare(&self) {
        for (namespace, name, secret) in
            [(FLEET, "gitjob-webhook", SECRETS[0]), (APPS, "own", SECRETS[1])]
        {
            let secret =
                json!({ "metadata": { "name": name }, "stringData": { "github": secret } });
            let path = format!("/api/v1/namespaces/{namespace}/secrets");
            self.admin(Method::POST, &path, &secret).await;
        }
        let mut chance = Chance::of(self.seed, "gitrepos");
        for number in 0..=chance.below(4) {
            let made = Made {
                branch: usize::from(chance.percent(25)),
                own_secret: self.conditions.two_hooks && chance.percent(30),
                since: 0,
                interval: chance.percent(50),
                begun: chance.percent(70),
            };
            self.make(&format!("shop-{number}"), made).await;
        }
    }

    async fn make(&self, name: &str, made: Made) {
        self.seen().first_announced.remove(name);
        let mut spec = json!({ "repo": REPOSITORY, "branch": BRANCHES[made.branch] });
        if made.own_secret {
            spec["webhookSecret"] = json!("own");
        }
        if made.interval {
            spec["pollingInterval"] = json!("5m");
        }
        let gitrepo = json!({ "metadata": { "name": name }, "spec": spec });
        self.admin(Method::POST, &gitrepos(""), &gitrepo).await;
        if made.begun {
            let status = json!({ "webhookCommit": commit(made.branch, 0), "lastWebhookTime": "2023-01-01T00:00:00Z" });
            let path = gitrepos(&format!("/{name}/status"));
            self.admin(Method::PATCH, &path, &json!({ "status": status })).await;
        }
        self.log(format!("{name} is made: {made:?}"));
        self.gitrepos().insert(name.to_owned(), made);
    }

    /// Somebody changes a GitRepo.
    pub async fn operate(&self, mut chance: Chance) {
        let names: Vec<_> = self.gitrepos().keys().cloned().collect();
        let name = &names[small(chance.below(names.len() as u64))];
        let mut made = self.gitrepos()[name].clone();
        let path = gitrepos(&format!("/{name}"));
        made.since = self.millis();
        match chance.below(3) {
            0 => {
                made.branch = 1 - made.branch;
                let change = json!({ "spec": { "branch": BRANCHES[made.branch] } });
                self.admin(Method::PATCH, &path, &change).await;
            }
            1 if self.conditions.two_hooks => {
                made.own_secret = !made.own_secret;
                let own = if made.own_secret { json!("own") } else { Value::Null };
                let change = json!({ "spec": { "webhookSecret": own } });
                self.admin(Method::PATCH, &path, &change).await;
            }
            _ => {
                self.admin(Method::DELETE, &path, &Value::Null).await;
                made.branch = usize::from(chance.percent(50));
                made.begun = false;
                self.make(name, made.clone()).await;
            }
        }
        self.log(format!("{name} is changed: {made:?}"));
        self.gitrepos().insert(name.clone(), made);
    }

    /// The namespaces that are looked in; all of them where there are none.
    pub fn namespaces(&self) -> Vec<String> {
        match self.conditions.closed_at {
            Some(_) => vec![APPS.to_owned(), CLOSED.to_owned()],
            None => Vec::new(),
        }
    }

    /// Whether what follows a push may be where we may not look, since nothing else does.
    pub fn may_be_closed_to(&self, branch: usize, hook: usize) -> bool {
        let follows = |made: &Made| made.branch == branch && usize::from(made.own_secret) == hook;
        self.conditions.closed_at.is_some() && !self.gitrepos().values().any(follows)
    }

    /// Whether a request is for what may not be read any more.
    pub fn is_closed(&self, uri: &str) -> bool {
        uri.contains(CLOSED) && self.conditions.closed_at.is_some_and(|at| at <= self.millis())
    }

    pub async fn read(&self, name: &str) -> Value {
        self.admin(Method::GET, &gitrepos(&format!("/{name}")), &Value::Null).await
    }

    /// What somebody asks of the API server whom nothing keeps from it.
    async fn admin(&self, method: Method, path: &str, body: &Value) -> Value {
        let media = if method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {ADMIN_TOKEN}"))
            .header(header::CONTENT_TYPE, media)
            .body(Body::from(body.to_string()))
            .expect("a request");
        let Ok(response) = self.server.service().oneshot(request).await;
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        serde_json::from_slice(&body).unwrap_or_default()
    }
}

fn gitrepos(rest: &str) -> String {
    format!("/apis/fleet.cattle.io/v1alpha1/namespaces/{APPS}/gitrepos{rest}")
}
