//! Clusters as chance makes them, and receivers of a stranger's deliveries beside them, in this process.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::body::{Body, to_bytes};
use fleet_webhook::{adapter::http::router, assembly::Assembly, config::Config};
use futures::future::join_all;
use http::{HeaderMap, Request, header};
use proptest::prelude::*;
use reqwest::Method;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{
    api_server::Fault,
    events::{BRANCH, Event, REPOSITORIES, SECRET, TAG},
    sink::Sink,
    space::Space,
};

/// The headers that hold a proof.
const PROOFS: [&str; 10] = [
    "authorization",
    "webhook-signature",
    "x-forgejo-signature",
    "x-gitea-signature",
    "x-gitee-token",
    "x-gitlab-token",
    "x-gogs-signature",
    "x-hook-uuid",
    "x-hub-signature",
    "x-hub-signature-256",
];

/// What there is to the global secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    Absent,
    /// With a key for every provider, with another value than what the events are signed with.
    Present,
    Keyless,
    Empty,
    Forbidden,
    Unavailable,
}

/// What there is to a GitRepo's own secret. One that cannot be read just now is not among them: its GitRepo's push has to
/// come again, so that it is answered 503, and that shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    None,
    Missing,
    Present,
    Keyless,
    Forbidden,
}

/// A GitRepo of the repository of every provider.
#[derive(Clone, Copy, Debug)]
pub(super) struct Follower {
    pub(super) own: Own,
    pub(super) follows: Follows,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Follows {
    Branch,
    Tag,
    Nothing,
}

/// What is the same in both worlds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions {
    pub(super) global: Global,
    pub(super) rejects: bool,
    pub(super) runs: Runs,
    /// Whether `GITREPO_NAMESPACES` is set.
    pub(super) in_namespaces: bool,
    /// Whether there is a retry queue.
    pub(super) has_queue: bool,
    pub(super) carries_proofs: bool,
}

/// Where it runs, and so how it knows of GitRepos.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runs {
    Lambda,
    WithIndex,
    /// In the cluster, without the right to watch.
    WithoutIndex,
}

pub(super) fn conditions() -> impl Strategy<Value = Conditions> {
    let global = prop::sample::select(vec![
        Global::Absent,
        Global::Present,
        Global::Present,
        Global::Keyless,
        Global::Empty,
        Global::Forbidden,
        Global::Unavailable,
    ]);
    let runs = prop::sample::select(vec![Runs::Lambda, Runs::WithIndex, Runs::WithoutIndex]);
    (global, runs, any::<[bool; 4]>()).prop_map(
        |(global, runs, [rejects, in_namespaces, has_queue, carries_proofs])| Conditions {
            global,
            // Without a global secret, and where unsigned deliveries are accepted, everybody may see what is followed.
            rejects: rejects || global == Global::Absent,
            runs,
            in_namespaces,
            has_queue: has_queue && runs != Runs::Lambda,
            carries_proofs,
        },
    )
}

pub(super) fn followers(most: usize) -> impl Strategy<Value = Vec<Follower>> {
    let own = prop::sample::select(vec![
        Own::None,
        Own::None,
        Own::Missing,
        Own::Present,
        Own::Keyless,
        Own::Forbidden,
    ]);
    let follows = prop::sample::select(vec![Follows::Branch, Follows::Tag, Follows::Nothing]);
    let follower = (own, follows).prop_map(|(own, follows)| Follower { own, follows });
    prop::collection::vec(follower, 1..=most)
}

/// Keys for all providers, with values that nothing is signed with.
fn foreign_keys() -> Value {
    let foreign = |value: &str| match value.starts_with("whsec_") {
        true => "whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldA==".to_owned(),
        false => format!("not-{value}"),
    };
    let keys = SECRET.iter().map(|(key, value)| ((*key).to_owned(), json!(foreign(value))));
    Value::Object(keys.collect())
}

/// A cluster, and how receivers are set.
pub(super) struct World {
    pub(super) space: Space,
    pub(super) config: Config,
    pub(super) has_index: bool,
    pub(super) sink: Sink,
}

pub(super) struct Receiver {
    router: axum::Router,
    /// Keeps the watch.
    _index: Option<Arc<fleet_webhook::cluster::index::Index>>,
}

impl World {
    pub(super) async fn new(conditions: Conditions, followers: &[Follower]) -> Self {
        let space = Space::embedded().await;
        prepare_global(&space, conditions.global).await;
        for (number, follower) in followers.iter().enumerate() {
            prepare_follower(&space, number, *follower).await;
        }
        let mut variables = HashMap::from([
            ("KUBECONFIG", space.kubeconfig.to_str().unwrap().to_owned()),
            ("FLEET_NAMESPACE", space.fleet.clone()),
            (
                "UNSIGNED_DELIVERIES",
                if conditions.rejects { "reject" } else { "accept" }.to_owned(),
            ),
        ]);
        let sink = Sink::start().await;
        match conditions.runs {
            Runs::Lambda => {
                variables.insert("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1".to_owned());
            }
            Runs::WithIndex => {}
            Runs::WithoutIndex => space.fail(Fault::always(Method::GET, "watch=true", 403)),
        }
        if conditions.in_namespaces {
            variables.insert("GITREPO_NAMESPACES", format!("{},{}", space.apps, space.fleet));
        }
        if conditions.has_queue {
            variables.insert("K_SINK", sink.url.clone());
        }
        let config = Config::from_variables(&|name| variables.get(name).cloned(), None).unwrap();
        Self { space, config, has_index: conditions.runs == Runs::WithIndex, sink }
    }

    /// Some that have kept nothing yet of what deliveries had them read: what time does to that is not the same in two
    /// worlds.
    pub(super) async fn receivers(&self, number: usize) -> Vec<Receiver> {
        join_all((0..number).map(|_| Receiver::start(&self.config, self.has_index))).await
    }

    /// The requests to the API server that deliveries caused.
    pub(super) fn requests(&self) -> Vec<String> {
        let requests = self.space.requests().into_iter().map(|request| request.uri);
        let requests = requests.map(|uri| uri.replace(&self.space.fleet, "fleet"));
        let requests = requests.map(|uri| uri.replace(&self.space.apps, "apps"));
        let by_index = |uri: &String| {
            uri.contains("watch=true") || uri.ends_with("/gitrepos?resourceVersion=0")
        };
        requests.filter(|uri| !by_index(uri)).collect()
    }
}

impl Receiver {
    pub(super) async fn start(config: &Config, has_index: bool) -> Self {
        let assembly = Assembly::new(config).await.unwrap();
        if let Some(index) = assembly.index.as_ref().filter(|_| has_index) {
            while index.state().1.is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let index = assembly.index.clone();
        Self { router: router(assembly.service), _index: index }
    }

    /// Sends an event; gives all that its sender sees of the answer.
    pub(super) async fn deliver(
        &self,
        event: &Event,
        carries_proof: bool,
    ) -> (u16, HeaderMap, String) {
        let sent = event.request();
        let mut request = Request::builder().method(&*sent.method).uri(&sent.path);
        for (name, value) in &sent.headers {
            let is_proof = PROOFS.contains(&&*name.to_ascii_lowercase());
            if (carries_proof || !is_proof) && !name.eq_ignore_ascii_case("content-length") {
                request = request.header(name, value);
            }
        }
        let request = request.body(Body::from(sent.body)).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (status, mut headers) = (answer.status().as_u16(), answer.headers().clone());
        headers.remove(header::DATE);
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, headers, String::from_utf8(body.to_vec()).unwrap())
    }
}

async fn prepare_global(space: &Space, global: Global) {
    match global {
        Global::Absent => {}
        Global::Present => space.global_secret(foreign_keys()).await,
        Global::Keyless => space.global_secret(json!({ "other": "x" })).await,
        Global::Empty => {
            let keys = SECRET.iter().map(|(key, _)| ((*key).to_owned(), json!("")));
            space.global_secret(Value::Object(keys.collect())).await;
        }
        Global::Forbidden => {
            space.fail(Fault::always(Method::GET, "/secrets/gitjob-webhook", 403));
        }
        Global::Unavailable => {
            space.fail(Fault::always(Method::GET, "/secrets/gitjob-webhook", 400));
        }
    }
}

async fn prepare_follower(space: &Space, number: usize, follower: Follower) {
    let secret = format!("own-{number}");
    for (provider, url) in REPOSITORIES {
        let mut spec = json!({ "repo": url });
        match follower.follows {
            Follows::Branch => spec["branch"] = json!(BRANCH),
            Follows::Tag => spec["revision"] = json!(TAG),
            Follows::Nothing => spec["branch"] = json!("nobody"),
        }
        if follower.own != Own::None {
            spec["webhookSecret"] = json!(secret);
        }
        space.gitrepo(&format!("{provider}-{number}"), spec).await;
    }
    match follower.own {
        Own::None | Own::Missing => {}
        Own::Present => space.secret(&space.apps, &secret, foreign_keys()).await,
        Own::Keyless => space.secret(&space.apps, &secret, json!({ "other": "x" })).await,
        Own::Forbidden => {
            space.secret(&space.apps, &secret, foreign_keys()).await;
            space.fail(Fault::always(Method::GET, &format!("/secrets/{secret}"), 403));
        }
    }
}
