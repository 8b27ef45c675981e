//! How often secrets are read, and what holds where they cannot be read or cannot be used.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    on_both,
    support::{
        api_server::Fault,
        between::{Between, Fate},
        function::Function,
        github::{NEW, NEWER},
        space::Space,
    },
};

on_both!(
    a_secret_name_that_no_secret_can_have_counts_as_missing_and_asks_nothing,
    without_a_cache_each_delivery_reads_each_secret_once,
    two_floods_of_forged_deliveries_read_a_gitrepos_own_secret_once,
    a_secret_that_verifies_nothing_is_named_with_its_key_once_however_many_deliveries_come,
    a_global_secret_that_cannot_be_read_stops_no_gitrepo_with_its_own,
);

/// More often than a function asks for anything in its time.
const EACH_TIME: usize = 50;

const GLOBAL: &str = "global secret";
const OWN: &str = "own secret";

async fn following(space: &Space, name: &str, own_secret: Option<&str>) {
    let follows = json!({
        "repo": space.github_url(), "branch": "main", "webhookSecret": own_secret, "pollingInterval": "1h",
    });
    space.gitrepo(name, follows).await;
}

/// The function, and how often secrets were read for its start line.
async fn started(space: &Space, variables: &[(&str, &str)]) -> Function {
    let function = Function::start(space, variables).await;
    function.logs("\"starting\"").await;
    function
}

fn reads(space: &Space, secret: &str) -> usize {
    let path = format!("/secrets/{secret}");
    space.requests().iter().filter(|request| request.uri.ends_with(&path)).count()
}

fn warnings(function: &Function, message: &str) -> Vec<Value> {
    let log = function.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["level"] == "WARN" && line["message"] == message).collect()
}

async fn a_secret_name_that_no_secret_can_have_counts_as_missing_and_asks_nothing(space: &Space) {
    let impossible = [("percent", "a%b"), ("dots", ".."), ("blank", "A B"), ("slash", "a/../b")];
    for (name, secret) in impossible {
        following(space, name, Some(secret)).await;
    }
    following(space, "good", None).await;
    space.global_secret(json!({ "github": GLOBAL })).await;
    let function = started(space, &[]).await;

    let answer = function.push(space, GLOBAL, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{}", function.log());
    assert_eq!(answer.body["counts"], json!({ "patched": 1, "skipped": impossible.len() }));
    assert_eq!(space.commit("good").await.as_deref(), Some(NEW));
    let requests = space.requests();
    let of_secrets = requests.iter().filter(|request| request.uri.contains("/secrets/"));
    assert!(of_secrets.clone().all(|request| request.uri.ends_with("/gitjob-webhook")));
    let skipped =
        function.deliveries_logged(1).await[0]["gitrepos.skipped"].as_str().unwrap().to_owned();
    for (name, _) in impossible {
        assert!(skipped.contains(&format!("{name}: secret_missing")), "{skipped}");
    }
}

async fn without_a_cache_each_delivery_reads_each_secret_once(space: &Space) {
    following(space, "global", None).await;
    following(space, "own", Some("own")).await;
    following(space, "own-too", Some("own")).await;
    space.global_secret(json!({ "github": GLOBAL })).await;
    space.secret(&space.apps, "own", json!({ "github": OWN })).await;
    let function = started(space, &[("SECRET_CACHE_TTL", "0s")]).await;
    let at_start = reads(space, "gitjob-webhook");

    for (number, secret) in (1..).zip([GLOBAL, OWN, GLOBAL, "forged", "forged"]) {
        function.push(space, secret, "refs/heads/main", NEW).await;
        assert_eq!(reads(space, "gitjob-webhook") - at_start, number, "{secret}");
    }
    assert!(reads(space, "own") <= 5, "{:?}", space.requests());
    for name in ["global", "own", "own-too"] {
        assert_eq!(space.commit(name).await.as_deref(), Some(NEW), "{name}");
    }
}

async fn two_floods_of_forged_deliveries_read_a_gitrepos_own_secret_once(space: &Space) {
    following(space, "shop", Some("own")).await;
    space.secret(&space.apps, "own", json!({ "github": OWN })).await;
    let function = started(space, &[]).await;

    for _ in 0..2 {
        flood(space, &function).await;
    }

    assert_eq!(reads(space, "own"), 1);
    assert_eq!(space.writes(), []);
}

async fn flood(space: &Space, function: &Function) {
    let forged = (0..25).map(|_| function.push(space, "forged", "refs/heads/main", NEW));
    assert!(join_all(forged).await.iter().all(|answer| answer.status == 401));
}

async fn a_secret_that_verifies_nothing_is_named_with_its_key_once_however_many_deliveries_come(
    space: &Space,
) {
    following(space, "own", Some("own")).await;
    space.global_secret(json!({ "gitlab": GLOBAL })).await;
    space.secret(&space.apps, "own", json!({ "github": "" })).await;
    let function = started(space, &[]).await;

    for _ in 0..3 {
        let answer = function.push(space, GLOBAL, "refs/heads/main", NEW).await;
        assert_eq!((answer.status, answer.outcome()), (401, "unauthorized"));
    }

    function.deliveries_logged(3).await;
    let warnings = warnings(&function, "the secret verifies nothing");
    let [global, own] = warnings.as_slice() else { panic!("{}", function.log()) };
    assert_eq!(global["secret"], format!("{}/gitjob-webhook", space.fleet));
    assert_eq!(global["refusal"], "it has no key github");
    assert_eq!(own["secret"], format!("{}/own", space.apps));
    assert_eq!(own["refusal"], "the value of its key github is empty or malformed");
    assert_eq!(space.writes(), []);
}

async fn a_global_secret_that_cannot_be_read_stops_no_gitrepo_with_its_own(space: &Space) {
    following(space, "own", Some("own")).await;
    space.secret(&space.apps, "own", json!({ "github": OWN })).await;
    for (fate, commit) in [(Fate::Refused(500, None), NEW), (Fate::Silence, NEWER)] {
        let between = Between::start(space).await;
        for _ in 0..EACH_TIME {
            between.order(Method::GET, "/secrets/gitjob-webhook", fate);
        }
        let variables = [("KUBECONFIG", &*between.kubeconfig), ("DEADLINE", "8s")];
        let function = Function::start(space, &variables).await;

        let answer = function.push(space, OWN, "refs/heads/main", commit).await;

        assert_eq!(answer.outcome(), "accepted", "{fate:?} {}", function.log());
        assert_eq!(space.commit("own").await.as_deref(), Some(commit));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forbidden_secret_of_a_gitrepo_is_read_once_however_many_deliveries_are_forged() {
    let space = Space::embedded().await;
    following(&space, "shop", Some("own")).await;
    space.fail(Fault::always(Method::GET, "/secrets/own", 403));
    let function = started(&space, &[("UNSIGNED_DELIVERIES", "reject")]).await;

    for _ in 0..2 {
        flood(&space, &function).await;
        // Other failures are remembered for a second.
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }

    assert_eq!(reads(&space, "own"), 1);
    assert_eq!(space.writes(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_cannot_be_read_is_answered_so_that_the_push_comes_again() {
    for (secret, signed_with) in [("gitjob-webhook", GLOBAL), ("own", OWN)] {
        for fault in [
            Fault::always(Method::GET, &format!("/secrets/{secret}"), 500),
            Fault::silence(Method::GET, &format!("/secrets/{secret}")),
        ] {
            let space = Space::embedded().await;
            following(&space, "shop", Some(secret).filter(|name| *name == "own")).await;
            space.global_secret(json!({ "github": GLOBAL })).await;
            space.secret(&space.apps, "own", json!({ "github": OWN })).await;
            space.fail(fault.clone());
            let function = Function::start(&space, &[("DEADLINE", "2s")]).await;
            let started = Instant::now();

            let answer = function.push(&space, signed_with, "refs/heads/main", NEW).await;

            let answered = (answer.status, answer.outcome());
            assert_eq!(answered, (503, "unavailable"), "{fault:?}\n{}", function.log());
            assert!(answer.headers.contains_key("retry-after"));
            assert!(started.elapsed() < Duration::from_secs(5), "{fault:?}");
            assert_eq!(space.writes(), [], "{fault:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_a_forged_delivery_causes_and_that_fails_costs_no_good_secret() {
    for fault in [
        Fault::always(Method::GET, "/secrets/", 500),
        Fault::always(Method::GET, "/secrets/", 403),
        Fault::silence(Method::GET, "/secrets/"),
    ] {
        let space = Space::embedded().await;
        following(&space, "shop", None).await;
        space.global_secret(json!({ "github": GLOBAL })).await;
        let function = started(&space, &[]).await;
        assert_eq!(function.push(&space, GLOBAL, "refs/heads/main", NEW).await.status, 200);
        let before = reads(&space, "gitjob-webhook");
        space.fail(fault.clone());

        let forged = function.push(&space, "forged", "refs/heads/main", NEWER);
        let genuine = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let started = Instant::now();
            let answer = function.push(&space, GLOBAL, "refs/heads/main", NEWER).await;
            (answer, started.elapsed())
        };
        let (forged, (genuine, took)) = tokio::join!(forged, genuine);

        assert!(matches!(forged.status, 401 | 503), "{fault:?}: {forged:?}");
        assert!(reads(&space, "gitjob-webhook") > before, "the forged one caused a read");
        assert_eq!((genuine.status, genuine.outcome()), (200, "accepted"), "{fault:?}");
        assert!(took < Duration::from_secs(1), "it waited for nobody's read: {took:?}");
        let later = function.push(&space, GLOBAL, "refs/heads/main", NEW).await;
        assert_eq!((later.status, later.outcome()), (200, "accepted"), "{fault:?}");
    }
}
