//! Floods of deliveries that no secret verifies: however many arrive, they cost one scan and no write.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::{
    on_both,
    support::{
        api_server::Fault,
        function::Function,
        github::{NEW, SECRET, push},
        space::{ApiRequest, Space},
    },
};

on_both!(
    a_flood_of_forged_deliveries_causes_one_scan_and_no_write,
    a_flood_causes_one_scan_for_each_configured_namespace,
    a_forged_delivery_is_looked_up_in_what_was_read_ten_seconds_ago_at_most,
    without_a_cache_each_forged_delivery_is_looked_up,
);

/// No GitRepo follows it, so that the index is not the last word.
const NOBODYS: &str = "refs/heads/nobody";

/// The function with its index in use.
async fn prepared(space: &Space, variables: &[(&str, &str)]) -> Function {
    space.shop().await;
    let function = Function::start(space, variables).await;
    function.logs("the index is in use").await;
    function
}

async fn forge(space: &Space, function: &Function) -> u16 {
    function.push(space, "forged", NOBODYS, NEW).await.status
}

async fn flood(space: &Space, function: &Function) {
    for _ in 0..5 {
        let statuses = join_all((0..20).map(|_| forge(space, function))).await;
        assert!(statuses.iter().all(|status| *status == 401), "{statuses:?}");
    }
}

fn scans(space: &Space) -> Vec<ApiRequest> {
    space.requests().into_iter().filter(ApiRequest::is_scan).collect()
}

async fn a_flood_of_forged_deliveries_causes_one_scan_and_no_write(space: &Space) {
    let function = prepared(space, &[]).await;

    flood(space, &function).await;

    assert_eq!(scans(space).len(), 1, "{:?}", scans(space));
    let lists = space.requests();
    let lists = lists.iter().filter(|request| request.uri.contains("fieldSelector"));
    assert!(lists.count() <= 1, "what the scan found is read once");
    assert_eq!(space.writes(), []);
}

async fn a_flood_causes_one_scan_for_each_configured_namespace(space: &Space) {
    let namespaces = format!("{},{}", space.apps, space.fleet);
    let function = prepared(space, &[("GITREPO_NAMESPACES", &namespaces)]).await;
    for namespace in [&space.apps, &space.fleet] {
        function.logs(&format!("\"namespace\":\"{namespace}\",\"gitrepos\":")).await;
    }

    flood(space, &function).await;

    let scans = scans(space);
    assert_eq!(scans.len(), 2, "{scans:?}");
    for namespace in [&space.apps, &space.fleet] {
        let path = format!("/namespaces/{namespace}/gitrepos?");
        assert_eq!(scans.iter().filter(|scan| scan.uri.contains(&path)).count(), 1, "{scans:?}");
    }
    assert_eq!(space.writes(), []);
}

async fn a_forged_delivery_is_looked_up_in_what_was_read_ten_seconds_ago_at_most(space: &Space) {
    let function = prepared(space, &[]).await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(8) {
        assert_eq!(forge(space, &function).await, 401);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(scans(space).len(), 1, "{:?}", scans(space));

    tokio::time::sleep(Duration::from_secs(11).saturating_sub(started.elapsed())).await;
    assert_eq!(forge(space, &function).await, 401);
    assert_eq!(scans(space).len(), 2, "{:?}", scans(space));
    assert_eq!(space.writes(), []);
}

async fn without_a_cache_each_forged_delivery_is_looked_up(space: &Space) {
    let function = prepared(space, &[("LOOKUP_CACHE_TTL", "0s")]).await;
    for number in 1..=3 {
        assert_eq!(forge(space, &function).await, 401);
        assert_eq!(scans(space).len(), number, "{:?}", scans(space));
    }
    assert_eq!(space.writes(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_that_fails_under_a_flood_is_repeated_as_one_for_all() {
    for status in [429, 500] {
        let space = Space::embedded().await;
        let function = prepared(&space, &[]).await;
        space.fail(Fault::always(Method::GET, "includeObject", status));
        let started = Instant::now();

        let mut answers = Vec::new();
        while started.elapsed() < Duration::from_secs(4) {
            answers.extend(join_all((0..10).map(|_| forge(&space, &function))).await);
        }

        assert!(answers.iter().all(|status| *status == 503), "{status}");
        // It is tried again for as long as a delivery may take, with pauses up to a second, and for all at once.
        assert!((3..=16).contains(&scans(&space).len()), "{status}: {:?}", scans(&space));
        assert_eq!(space.writes(), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_is_slow_to_read_holds_up_no_other() {
    let space = Space::embedded().await;
    // What the index holds would not be read.
    space.fail(Fault::always(Method::GET, "watch=true", 403));
    space.shop().await;
    let function = Function::start(&space, &[]).await;
    let slow = json!({ "repo": "https://github.com/acme/slow", "branch": "main" });
    space.gitrepo("slow", slow).await;
    let server = space.embedded_server().unwrap();
    server.delay(Method::GET, "fieldSelector=metadata.name%3Dslow", Duration::from_millis(1_500));
    let payload = push(&space, NOBODYS, NEW).to_string().replace(&space.repository, "acme/slow");
    let payload = serde_json::from_str(&payload).unwrap();
    let flood = join_all((0..20).map(|_| function.deliver_github("push", "forged", &payload)));
    let others = async {
        while !space
            .requests()
            .iter()
            .any(|request| request.uri.ends_with("3Dslow&resourceVersion=0"))
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let asked = Instant::now();
        let verified = function.push(&space, SECRET, NOBODYS, NEW).await;
        let forged = forge(&space, &function).await;
        (verified, forged, asked.elapsed())
    };

    let (flood, (verified, forged, took)) = tokio::join!(flood, others);

    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!((verified.outcome(), forged), ("ignored", 401));
    assert!(flood.iter().all(|answer| answer.status == 401));
    let reads = space.requests().into_iter().filter(|request| request.uri.contains("3Dslow"));
    assert_eq!(reads.count(), 1);
}

/// Many GitRepos of one repository, each with an own secret that does not exist: anybody who may make GitRepos can make
/// them, for anybody's repository.
async fn with_missing_secrets(space: &Space, count: usize) {
    for number in 0..count {
        let spec = json!({
            "repo": space.github_url(), "branch": "main", "webhookSecret": format!("missing-{number}"),
        });
        space.gitrepo(&format!("greedy-{number}"), spec).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_secrets_that_are_missing_cost_a_constant_and_are_in_nobodys_way() {
    let space = Space::embedded().await;
    with_missing_secrets(&space, 300).await;
    let own = json!({ "repo": space.github_url(), "branch": "main", "webhookSecret": "own" });
    space.gitrepo_in("another-tenants", "shop", own).await;
    space.secret("another-tenants", "own", json!({ "github": "own secret" })).await;
    space.github_secret().await;
    let function = Function::start(&space, &[]).await;
    function.logs("the index is in use").await;
    let reads = || {
        let requests = space.requests().into_iter();
        requests.filter(|request| request.uri.contains("/secrets/missing-")).count()
    };

    let started = Instant::now();
    for _ in 0..5 {
        let forged = function.push(&space, "forged", "refs/heads/main", NEW).await;
        assert_eq!((forged.status, forged.outcome()), (401, "unauthorized"));
    }
    assert!(started.elapsed() < Duration::from_secs(9), "it is one window");
    assert!(reads() <= 64, "{}", reads());
    let log: usize =
        function.log().lines().filter(|line| !line.contains("DEBUG")).map(str::len).sum();
    assert!(log < 5 * 10_000, "{log} bytes");

    // From its namespace one secret in turn is read, however many there are in others.
    let asked = Instant::now();
    let genuine = function.push(&space, "own secret", "refs/heads/main", NEW).await;
    assert_eq!((genuine.status, genuine.outcome()), (200, "accepted"), "{}", function.log());
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
}
