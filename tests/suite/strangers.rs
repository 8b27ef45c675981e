//! What somebody can find out, and cost, who knows no secret: properties over generated clusters, in this process on
//! the embedded API server.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::body::{Body, to_bytes};
use fleet_webhook::{adapter::http::router, assembly::Assembly, config::Config};
use futures::future::join_all;
use http::{HeaderMap, Request, header};
use proptest::{
    prelude::*,
    test_runner::{Config as Cases, TestRunner},
};
use reqwest::Method;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{
    api_server::Fault,
    events::{BRANCH, Event, REPOSITORIES, SECRET, TAG},
    space::Space,
};

/// How many generated worlds are tried, each with some events of `events/`.
const WORLDS: u32 = 10;
const EVENTS: usize = 12;

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
enum Global {
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
enum Own {
    None,
    Missing,
    Present,
    Keyless,
    Forbidden,
}

/// A GitRepo of the repository of every provider.
#[derive(Clone, Copy, Debug)]
struct Follower {
    own: Own,
    follows: Follows,
}

#[derive(Clone, Copy, Debug)]
enum Follows {
    Branch,
    Tag,
    Nothing,
}

/// What is the same in both worlds.
#[derive(Clone, Copy, Debug)]
struct Conditions {
    global: Global,
    rejects: bool,
    is_lambda: bool,
    carries_proofs: bool,
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let global = prop::sample::select(vec![
        Global::Absent,
        Global::Present,
        Global::Present,
        Global::Keyless,
        Global::Empty,
        Global::Forbidden,
        Global::Unavailable,
    ]);
    (global, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(global, rejects, is_lambda, carries_proofs)| Conditions {
            global,
            // Without a global secret, and where unsigned deliveries are accepted, everybody may see what is followed.
            rejects: rejects || global == Global::Absent,
            is_lambda,
            carries_proofs,
        },
    )
}

fn followers(most: usize) -> impl Strategy<Value = Vec<Follower>> {
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
struct World {
    space: Space,
    config: Config,
}

struct Receiver {
    router: axum::Router,
    /// Keeps the watch.
    _index: Option<Arc<fleet_webhook::cluster::index::Index>>,
}

impl World {
    async fn new(conditions: Conditions, followers: &[Follower]) -> Self {
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
        if conditions.is_lambda {
            variables.insert("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1".to_owned());
        }
        let config = Config::from_variables(&|name| variables.get(name).cloned(), None).unwrap();
        Self { space, config }
    }

    /// Some that have kept nothing yet of what deliveries had them read: what time does to that is not the same in two
    /// worlds.
    async fn receivers(&self, number: usize) -> Vec<Receiver> {
        join_all((0..number).map(|_| Receiver::start(&self.config))).await
    }

    /// The requests to the API server that deliveries caused.
    fn requests(&self) -> Vec<String> {
        let requests = self.space.requests().into_iter().map(|request| request.uri);
        let requests = requests.map(|uri| uri.replace(&self.space.fleet, "fleet"));
        let by_index = |uri: &String| {
            uri.contains("watch=true") || uri.ends_with("/gitrepos?resourceVersion=0")
        };
        requests.filter(|uri| !by_index(uri)).collect()
    }
}

impl Receiver {
    async fn start(config: &Config) -> Self {
        let assembly = Assembly::new(config).await.unwrap();
        if let Some(index) = &assembly.index {
            while index.state().1.is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let index = assembly.index.clone();
        Self { router: router(assembly.service), _index: index }
    }

    /// Sends an event; gives all that its sender sees of the answer.
    async fn deliver(&self, event: &Event, carries_proof: bool) -> (u16, HeaderMap, String) {
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

fn check<T: std::fmt::Debug>(
    worlds: u32,
    strategy: &impl Strategy<Value = T>,
    property: impl AsyncFn(T) -> Result<(), TestCaseError>,
) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cases =
        Cases { cases: worlds, failure_persistence: None, max_shrink_iters: 8, ..Cases::default() };
    let tried = TestRunner::new(cases).run(strategy, |value| runtime.block_on(property(value)));
    if let Err(failure) = tried {
        panic!("{failure}");
    }
}

/// What requests a delivery caused, without what contract §7 lets a repository cost that is followed: once in
/// `LOOKUP_CACHE_TTL` its GitRepos by name, where there is no index, and their own secrets.
fn others(requests: &[String]) -> Vec<&String> {
    let is_of_follower = |uri: &str| uri.contains("/secrets/own-") || uri.contains("fieldSelector");
    requests.iter().filter(|uri| !is_of_follower(uri)).collect()
}

#[test]
fn two_clusters_that_differ_in_gitrepos_alone_answer_a_stranger_the_same() {
    let events: Vec<_> = Event::all().into_iter().filter(Event::is_http).collect();
    let some = prop::sample::subsequence((0..events.len()).collect::<Vec<_>>(), EVENTS);
    check(WORLDS, &(conditions(), followers(4), some), async |(conditions, followers, some)| {
        let full = World::new(conditions, &followers).await;
        let empty = World::new(conditions, &[]).await;
        let (at_full, at_empty) = tokio::join!(full.receivers(EVENTS), empty.receivers(EVENTS));
        let receivers = at_full.into_iter().zip(at_empty);
        let secrets = followers.iter().filter(|follower| follower.own != Own::None).count();
        for (number, (at_full, at_empty)) in some.into_iter().zip(receivers) {
            let event = &events[number];
            let before = (full.requests().len(), empty.requests().len());
            let seen = at_full.deliver(event, conditions.carries_proofs).await;
            let of_empty = at_empty.deliver(event, conditions.carries_proofs).await;
            prop_assert_eq!(&seen, &of_empty, "{}", event.name);
            let requests = full.requests().split_off(before.0);
            let of_empty = empty.requests().split_off(before.1);
            prop_assert_eq!(others(&requests), others(&of_empty), "{}", event.name);
            // Another one finds what this one had read, for a while.
            let again = at_full.deliver(event, conditions.carries_proofs).await;
            prop_assert_eq!(&again, &seen, "{}", event.name);
            let mut all = full.requests().split_off(before.0);
            let again = all.split_off(requests.len());
            prop_assert!(others(&again).len() <= others(&requests).len(), "{:?}", again);
            let requests = [requests, again].concat();
            let count = |part: &str| requests.iter().filter(|uri| uri.contains(part)).count();
            let (own, by_name) = (count("/secrets/own-"), count("fieldSelector"));
            // One that is missing is read for each GitRepo that names it.
            prop_assert!(own <= secrets, "{} reads of {} own secrets", own, secrets);
            // Where the payload names no host, all that have the same path may be meant.
            let may_be_read = match event.name == "bitbucket-server-without-links" {
                true => REPOSITORIES.len() * followers.len(),
                false if conditions.is_lambda => followers.len(),
                false => 0,
            };
            prop_assert!(by_name <= may_be_read, "{} {:?}", event.name, requests);
        }
        prop_assert_eq!(full.space.writes(), []);
        Ok(())
    });
}

/// Counts what is logged.
#[derive(Clone, Default)]
struct Counted(Arc<Mutex<usize>>);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        *self.0.lock().unwrap() += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_a_stranger_costs_is_bounded_whatever_the_cluster_holds() {
    let event = Event::load("github-push");
    let strategy = (conditions(), followers(150));
    check(6, &strategy, async |(conditions, followers)| {
        let world = World::new(conditions, &followers).await;
        let receiver = Receiver::start(&world.config).await;
        let logged = Counted::default();
        let writer = logged.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || writer.clone())
            .finish();
        let _logging = tracing::subscriber::set_default(subscriber);
        let deliveries = 5;
        for _ in 0..deliveries {
            let (status, ..) = receiver.deliver(&event, conditions.carries_proofs).await;
            prop_assert!([401, 503].contains(&status), "{}", status);
        }
        let requests = world.requests();
        let known = followers.iter().filter(|follower| {
            matches!(follower.own, Own::Present | Own::Keyless | Own::Forbidden)
        });
        // Of the global secret each delivery may cause a read; all else is shared.
        let own = requests.iter().filter(|uri| uri.contains("/secrets/own-")).count();
        prop_assert!(own <= 64, "{} reads of own secrets, {} are there", own, known.count());
        if !conditions.is_lambda {
            prop_assert!(requests.len() - own <= 8 * deliveries, "{:?}", requests);
        }
        let log = *logged.0.lock().unwrap();
        prop_assert!(log <= 10_000 * deliveries, "{} bytes", log);
        Ok(())
    });
}
