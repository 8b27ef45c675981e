//! GitRepos are found without a full LIST, whatever their number, and floods cost one scan.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    on_both,
    support::{
        api_server::Fault,
        function::Function,
        github::{NEW, NEWER, SECRET},
        space::{ApiRequest, Space},
    },
};

on_both!(
    one_of_many_gitrepos_is_found_without_reading_the_others,
    a_monorepo_with_many_gitrepos_is_patched_whole,
    gitrepos_of_one_name_in_two_namespaces_are_both_found,
    only_the_configured_namespaces_are_looked_in,
);

fn follows(space: &Space) -> Value {
    json!({ "repo": space.github_url(), "branch": "main", "pollingInterval": "1h" })
}

async fn many(space: &Space, names: impl Iterator<Item = (String, Value)>) {
    let names: Vec<_> = names.collect();
    for chunk in names.chunks(20) {
        join_all(chunk.iter().map(|(name, spec)| space.gitrepo(name, spec.clone()))).await;
    }
}

async fn one_of_many_gitrepos_is_found_without_reading_the_others(space: &Space) {
    let other = |number| json!({ "repo": format!("https://github.com/acme/other-{number}"), "branch": "main" });
    many(space, (0..200).map(|number| (format!("other-{number}"), other(number)))).await;
    space.gitrepo("shop", follows(space)).await;
    space.github_secret().await;
    let function = Function::start(space, &[]).await;
    let before = space.requests().len();

    let answer = function.push(space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!(answer.body["counts"], json!({ "patched": 1, "skipped": 0 }));
    let requests = space.requests().split_off(before);
    let whole_lists = requests.iter().filter(|request| {
        request.uri.contains("/gitrepos?")
            && !request.is_scan()
            && !request.uri.contains("fieldSelector")
            && !request.uri.contains("watch")
            // The list that the index begins with.
            && !request.uri.ends_with("gitrepos?resourceVersion=0")
    });
    assert_eq!(whole_lists.count(), 0, "{requests:?}");
}

async fn a_monorepo_with_many_gitrepos_is_patched_whole(space: &Space) {
    many(space, (0..200).map(|number| (format!("part-{number}"), follows(space)))).await;
    space.github_secret().await;
    let function = Function::start(space, &[("DEADLINE", "60s")]).await;

    let answer = function.push(space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!(answer.body["counts"], json!({ "patched": 200, "skipped": 0 }));
    for number in [0, 77, 199] {
        assert_eq!(space.commit(&format!("part-{number}")).await.as_deref(), Some(NEW));
    }
}

async fn gitrepos_of_one_name_in_two_namespaces_are_both_found(space: &Space) {
    space.gitrepo("shop", follows(space)).await;
    space.gitrepo_in(&space.fleet, "shop", follows(space)).await;
    space.github_secret().await;
    let function = Function::start(space, &[]).await;

    let answer = function.push(space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!(answer.body["counts"], json!({ "patched": 2, "skipped": 0 }));
}

async fn only_the_configured_namespaces_are_looked_in(space: &Space) {
    space.gitrepo("shop", follows(space)).await;
    space.gitrepo_in(&space.fleet, "shop", follows(space)).await;
    space.github_secret().await;
    let namespaces = format!("{},default", space.apps);
    let function = Function::start(space, &[("GITREPO_NAMESPACES", &namespaces)]).await;

    let answer = function.push(space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!(
        answer.body["patched"],
        json!([{ "namespace": space.apps, "name": "shop", "commit": NEW }])
    );
    assert_eq!(answer.body["counts"], json!({ "patched": 1, "skipped": 0 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gitrepos_are_scanned_while_the_secret_is_read() {
    let space = Space::embedded().await;
    space.gitrepo("shop", follows(&space)).await;
    space.github_secret().await;
    // Without an index, as on Lambda.
    space.fail(Fault::always(Method::GET, "gitrepos?resourceVersion=0", 403));
    let server = space.embedded_server().unwrap();
    server.delay(Method::GET, "/secrets/", Duration::from_secs(1));
    let function = Function::start(&space, &[]).await;

    let scanned = async {
        while !space.requests().iter().any(ApiRequest::is_scan) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let requests = space.requests();
        requests
            .iter()
            .filter(|request| request.uri.contains("/secrets/"))
            .any(|it| it.status == 200)
    };
    let push = function.push(&space, SECRET, "refs/heads/main", NEW);
    let (answer, secret_was_read_before) = tokio::join!(push, scanned);

    assert_eq!(answer.outcome(), "accepted", "{}", function.log());
    assert!(!secret_was_read_before, "{:?}", space.requests());
    assert_eq!(space.requests().iter().filter(|request| request.is_scan()).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gitrepos_of_the_same_path_on_other_hosts_cost_no_request() {
    let space = Space::embedded().await;
    space.gitrepo("shop", follows(&space)).await;
    let mirror = |number| {
        let repo = format!("https://git-{number}.example/{}", space.repository);
        (format!("mirror-{number}"), json!({ "repo": repo, "branch": "main" }))
    };
    many(&space, (0..16).map(mirror)).await;
    space.global_secret(json!({ "github": SECRET })).await;
    // Without an index, as on Lambda.
    space.fail(Fault::always(Method::GET, "gitrepos?resourceVersion=0", 403));
    let function = Function::start(&space, &[]).await;
    let read = || {
        let requests = space.requests().into_iter();
        requests.filter(|request| request.uri.contains("fieldSelector")).count()
    };

    let forged = function.push(&space, "forged", "refs/heads/main", NEW).await;
    assert_eq!((forged.status, read()), (401, 1), "{:?}", space.requests());
    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!(answer.body["counts"], json!({ "patched": 1, "skipped": 0 }));
    assert_eq!(read(), 2, "{:?}", space.requests());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_fills_its_cache_it_is_asked_again_when_it_says() {
    let space = Space::embedded().await;
    let mut spec = follows(&space);
    spec["webhookSecret"] = json!("own");
    space.gitrepo("shop", spec).await;
    space.secret(&space.apps, "own", json!({ "github": SECRET })).await;
    space.embedded_server().unwrap().ask_to_wait(1);
    space.fail(Fault::always(Method::GET, "gitrepos?resourceVersion=0", 429));
    space.fail(Fault { times: 2, ..Fault::always(Method::GET, "includeObject", 429) });
    let function = Function::start(&space, &[]).await;
    let asked = Instant::now();

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{}", function.log());
    assert!(asked.elapsed() >= Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(space.requests().iter().filter(|request| request.is_scan()).count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gitrepo_with_a_secret_of_its_own_that_was_made_a_moment_ago_is_found_beside_others() {
    let (space, spec) = with_own_secret().await;
    let function = Function::start(&space, &[("LOOKUP_CACHE_TTL", "1h")]).await;
    assert_eq!(function.push(&space, SECRET, "refs/heads/main", NEW).await.status, 200);

    space.gitrepo("another", spec).await;
    // A scan is shared for as long.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let answer = function.push(&space, SECRET, "refs/heads/main", NEWER).await;

    assert_eq!(answer.body["counts"], json!({ "patched": 2, "skipped": 0 }), "{}", function.log());
    // Who knows neither secret has what was read before.
    let scanned = scans(&space);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(function.push(&space, "forged", "refs/heads/main", NEW).await.status, 401);
    assert_eq!(scans(&space), scanned, "{:?}", space.requests());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_scan_that_is_slow_is_enough_for_what_an_own_secret_verifies() {
    let (space, _) = with_own_secret().await;
    space.embedded_server().unwrap().delay(Method::GET, "includeObject", Duration::from_secs(1));
    let function = Function::start(&space, &[]).await;

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{}", function.log());
    assert_eq!(scans(&space), 1, "{:?}", space.requests());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_may_not_be_read_hides_no_gitrepo_that_cannot_be_read_just_now() {
    let (space, spec) = with_own_secret().await;
    space.gitrepo("another", spec).await;
    space.fail(Fault::always(Method::GET, "/namespaces/gone/gitrepos", 403));
    space.fail(Fault::always(Method::GET, "metadata.name%3Danother", 503));
    let namespaces = format!("{},gone", space.apps);
    let variables = [("GITREPO_NAMESPACES", &*namespaces), ("DEADLINE", "2s")];
    let function = Function::start(&space, &variables).await;

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"), "{}", function.log());
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));
}

/// A service without an index, as on Lambda, and a GitRepo that has a secret of its own.
async fn with_own_secret() -> (Space, Value) {
    let space = Space::embedded().await;
    let mut spec = follows(&space);
    spec["webhookSecret"] = json!("own");
    space.gitrepo("shop", spec.clone()).await;
    space.secret(&space.apps, "own", json!({ "github": SECRET })).await;
    space.global_secret(json!({ "github": "of others" })).await;
    space.fail(Fault::always(Method::GET, "gitrepos?resourceVersion=0", 403));
    (space, spec)
}

fn scans(space: &Space) -> usize {
    space.requests().iter().filter(|request| request.is_scan()).count()
}
