//! How patches treat the API server: not too many at once, and as late as it asks; and when their time is over.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::support::{
    api_server::{Fault, Seen},
    function::Function,
    github::{NEW, SECRET},
    space::Space,
};

/// GitRepos that poll already, so that each costs one patch.
async fn embedded(number: usize, variables: &[(&str, &str)]) -> (Space, Function) {
    let space = Space::embedded().await;
    for number in 0..number {
        let follows =
            json!({ "repo": space.github_url(), "branch": "main", "pollingInterval": "1h" });
        space.gitrepo(&format!("shop-{number}"), follows).await;
    }
    space.github_secret().await;
    let function = Function::start(&space, variables).await;
    (space, function)
}

fn patches(space: &Space) -> Vec<Seen> {
    let seen = space.embedded_server().unwrap().seen();
    seen.into_iter().filter(|seen| !seen.by_admin && seen.method == Method::PATCH).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_gitrepos_are_patched_at_a_time_and_no_more() {
    let (space, function) = embedded(40, &[("DEADLINE", "30s")]).await;
    let server = space.embedded_server().unwrap();
    server.delay(Method::PATCH, "/status", Duration::from_millis(400));

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!(answer.body["counts"], json!({ "patched": 40, "skipped": 0 }));
    assert_eq!(server.most_patches_at_once(), 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_slow_gitrepo_keeps_no_other_waiting() {
    let (space, function) = embedded(20, &[("DEADLINE", "30s")]).await;
    let server = space.embedded_server().unwrap();
    server.delay(Method::PATCH, "/shop-0/status", Duration::from_millis(1500));
    server.delay(Method::PATCH, "/status", Duration::from_millis(50));

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!(answer.body["counts"], json!({ "patched": 20, "skipped": 0 }));
    let patches = patches(&space);
    let (first, last) = (patches.first().unwrap(), patches.last().unwrap());
    assert!(last.at - first.at < Duration::from_millis(1400), "{patches:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patch_is_tried_again_when_the_server_says_so_and_not_before() {
    let (space, function) = embedded(1, &[]).await;
    space.embedded_server().unwrap().ask_to_wait(2);
    space.fail(Fault::always(Method::PATCH, "/status", 429).once());

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (200, "accepted"));
    let patches = patches(&space);
    let [refused, taken] = patches.as_slice() else { panic!("{patches:?}") };
    let waited = taken.at - refused.at;
    assert!(waited >= Duration::from_secs(2) && waited < Duration::from_secs(3), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_for_more_time_than_there_is_is_not_asked_again() {
    let (space, function) = embedded(1, &[]).await;
    space.embedded_server().unwrap().ask_to_wait(60);
    space.fail(Fault::always(Method::PATCH, "/status", 429));
    let started = Instant::now();

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(patches(&space).len(), 1);
    assert_eq!(space.commit("shop-0").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patches_that_fail_until_the_deadline_are_answered_so_that_the_push_comes_again() {
    let (space, function) = embedded(1, &[("DEADLINE", "1s")]).await;
    space.fail(Fault::always(Method::PATCH, "/status", 500));
    let started = Instant::now();

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    let took = started.elapsed();
    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"), "{}", function.log());
    assert!(answer.headers.contains_key("retry-after"));
    assert!(took > Duration::from_millis(500) && took < Duration::from_millis(1900), "{took:?}");
}
