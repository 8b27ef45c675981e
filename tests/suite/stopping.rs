//! What a cluster relies on: a rollout loses nothing, slow clients are cut off, figures and traces are told.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    on_both,
    support::{
        api_server::Fault,
        function::{Answer, Function},
        github::{NEW, NEWER, SECRET, headers, padded, signed},
        sender::Sender,
        space::Space,
    },
};

on_both!(a_rollout_under_load_loses_nothing, figures_are_told_apart_from_deliveries,);

async fn started(space: &Space, variables: &[(&str, &str)]) -> Function {
    let function = Function::start(space, variables).await;
    function.logs("the index is in use").await;
    function
}

async fn shop(space: &Space) {
    let follows = json!({ "repo": space.github_url(), "branch": "main", "pollingInterval": "1h" });
    space.gitrepo("shop", follows).await;
    space.github_secret().await;
}

async fn a_rollout_under_load_loses_nothing(space: &Space) {
    shop(space).await;
    let (mut old, new) = (started(space, &[]).await, started(space, &[]).await);
    let (moved, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let load = async |sender: u32| {
        let mut sent = 0;
        while !over.load(Ordering::Relaxed) {
            let function = if moved.load(Ordering::Relaxed) { &new } else { &old };
            let commit = format!("{sender:08x}{sent:032x}");
            let answer = function.push(space, SECRET, "refs/heads/main", &commit).await;
            assert_eq!(answer.status, 200, "{}", function.log());
            // Whoever is overtaken by another sender is not announced.
            let superseded = answer.body["skipped"][0]["reason"] == "superseded";
            assert!(answer.outcome() == "accepted" || superseded, "{}", function.log());
            sent += 1;
        }
        sent
    };
    let rollout = async {
        sleep(Duration::from_secs(1)).await;
        old.signal("TERM");
        // The cluster takes its time to send deliveries elsewhere.
        sleep(Duration::from_secs(3)).await;
        assert_eq!(old.request("GET", "/readyz").await.status, 503);
        assert_eq!(old.request("GET", "/healthz").await.status, 200);
        moved.store(true, Ordering::Relaxed);
        sleep(Duration::from_secs(1)).await;
        over.store(true, Ordering::Relaxed);
    };
    let (first, second, third, ()) = tokio::join!(load(1), load(2), load(3), rollout);
    assert_eq!(old.exit_code().await, Some(0), "{}", old.log());

    let accepted = [&old, &new].into_iter().flat_map(Function::delivery_lines);
    let taken =
        accepted.filter(|line| ["accepted", "ignored"].iter().any(|it| line["outcome"] == *it));
    assert_eq!(taken.count(), first + second + third);
    println!("{} deliveries during the rollout", first + second + third);
}

async fn figures_are_told_apart_from_deliveries(space: &Space) {
    shop(space).await;
    let function = started(space, &[]).await;
    function.push(space, SECRET, "refs/heads/main", NEW).await;
    function.push(space, "forged", "refs/heads/main", NEWER).await;

    let figures = function.figures().await;

    for line in [
        "fleet_webhook_deliveries_total{provider=\"github\",outcome=\"accepted\"} 1",
        "fleet_webhook_deliveries_total{provider=\"github\",outcome=\"unauthorized\"} 1",
        "fleet_webhook_delivery_duration_seconds_count{provider=\"github\"} 2",
        "fleet_webhook_gitrepos_patched_total 1",
        "fleet_webhook_kubernetes_requests_total{verb=\"patch\",code=\"200\"} 1",
        "fleet_webhook_build_info{version=",
    ] {
        assert!(figures.contains(line), "{line} is missing in\n{figures}");
    }
    // On a busy machine a watch is opened a second time.
    let watches = "fleet_webhook_kubernetes_requests_total{verb=\"watch\",code=\"200\"} ";
    assert!(figures.contains(watches) && !figures.contains(&format!("{watches}0")), "{figures}");
    assert!(!figures.contains("fleet_webhook_index_age_seconds NaN"), "{figures}");
    assert_eq!(function.request("GET", "/metrics").await.status, 405);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_the_dashboard_names_figures_and_labels_that_exist() {
    let space = Space::embedded().await;
    shop(&space).await;
    let function = started(&space, &[]).await;
    function.push(&space, SECRET, "refs/heads/main", NEW).await;
    let figures = function.figures().await;
    let dashboard = include_str!("../../knative/dashboard.json");
    let dashboard: Value = serde_json::from_str(dashboard).expect("JSON");
    let page = include_str!("../../docs/operating.md");

    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut names = 0;
    for query in targets.map(|target| target["expr"].as_str().unwrap()) {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        for word in query.split(|c| !is_word(c)).filter(|word| word.starts_with("fleet_webhook_")) {
            let shown = figures.lines().any(|line| {
                line.strip_prefix(word).is_some_and(|rest| rest.starts_with(['{', ' ']))
            });
            assert!(shown, "{word} is not among the figures:\n{figures}");
            let parts = ["_bucket", "_sum", "_count"];
            let figure = parts.iter().find_map(|part| word.strip_suffix(part)).unwrap_or(word);
            assert!(page.contains(&format!("`{figure}")), "{figure} is not in docs/operating.md");
            names += 1;
        }
        for label in ["outcome", "provider", "verb", "code", "version"]
            .iter()
            .filter(|label| query.contains(*label))
        {
            assert!(figures.contains(&format!("{label}=\"")), "{label} is no label");
        }
    }
    assert!(names >= 12, "{names}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patch_that_is_under_way_is_finished_before_the_end() {
    let space = Space::embedded().await;
    shop(&space).await;
    let mut function = started(&space, &[("DEADLINE", "300ms")]).await;
    space.embedded_server().unwrap().fail(Fault {
        method: Method::PATCH,
        uri: "/status".to_owned(),
        status: 503,
        times: 1,
        delay: Duration::from_secs(1),
    });

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    function.signal("INT");

    assert_eq!((answer.status, answer.outcome()), (202, "in_progress"));
    assert_eq!(function.exit_code().await, Some(0));
    function.logs("finished after the answer").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_still_arrives_is_served_for_as_long_as_is_set() {
    let space = Space::embedded().await;
    shop(&space).await;
    let mut function = started(&space, &[("SHUTDOWN_DELAY", "2s")]).await;
    let told = Instant::now();
    function.signal("TERM");
    sleep(Duration::from_millis(1_200)).await;
    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{}", function.log());
    assert_eq!(function.exit_code().await, Some(0));
    let took = told.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(8), "{took:?}");
    assert!(function.log().contains(r#""drain_ms":2000,"#), "{}", function.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_stops_an_answer_closes_its_connection() {
    let space = Space::embedded().await;
    shop(&space).await;
    let function = started(&space, &[]).await;
    let before = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    function.signal("TERM");
    function.logs("no longer ready").await;
    let after = function.push(&space, SECRET, "refs/heads/main", NEWER).await;

    assert_eq!(before.headers.get("connection"), None);
    assert_eq!(after.status, 200);
    assert_eq!(after.headers["connection"], "close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_ends_its_headers_is_cut_off() {
    let space = Space::embedded().await;
    let function = Function::start(&space, &[]).await;
    let address = function.url.trim_start_matches("http://").to_owned();
    let cut_off = tokio::task::spawn_blocking(move || {
        let mut slow = TcpStream::connect(address).unwrap();
        slow.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        slow.write_all(b"POST / HTTP/1.1\r\nhost: a\r\n").unwrap();
        let started = Instant::now();
        assert_eq!(slow.read(&mut [0; 100]).unwrap_or(0), 0);
        started.elapsed()
    });
    assert!(cut_off.await.unwrap() < Duration::from_secs(15));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_callers_trace_is_carried_to_the_api_server_and_into_the_log() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let space = Space::embedded().await;
    shop(&space).await;
    let function = started(&space, &[]).await;
    let (body, proof) = signed(&space, SECRET, NEW);
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");

    let mut headers = headers(&proof).to_vec();
    headers.push(("traceparent", &parent));
    let answer = function.deliver(&headers, body).await;

    assert_eq!(answer.status, 200);
    let line = function.deliveries_logged(1).await;
    assert_eq!(line[0]["trace.id"], TRACE);
    let seen = space.embedded_server().unwrap().seen();
    let patch = seen.iter().find(|seen| seen.method == Method::PATCH).expect("a patch");
    assert_eq!(patch.trace_parent, parent);
    assert_eq!(patch.user_agent, concat!("fleet-webhook/", env!("CARGO_PKG_VERSION")));
    assert!(patch.uri.contains("?fieldManager=fleet-webhook"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_too_large_together_wait_for_each_other_and_small_ones_do_not() {
    let space = Space::embedded().await;
    shop(&space).await;
    let function = started(&space, &[("MAX_BODY_BYTES", "1000000"), ("DEADLINE", "30s")]).await;
    let address = function.url.trim_start_matches("http://").to_owned();
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n";
    let mut held: Vec<_> = (0..2)
        .map(|_| {
            let mut client = TcpStream::connect(&address).unwrap();
            client.write_all(head.as_bytes()).unwrap();
            client.write_all(&[b' '; 999_999]).unwrap();
            client
        })
        .collect();
    sleep(Duration::from_millis(500)).await;

    let others = async {
        let small = function.push(&space, SECRET, "refs/heads/main", NEW).await;
        sleep(Duration::from_millis(500)).await;
        assert_eq!(function.delivery_lines().len(), 1, "the large one waits");
        held.clear();
        small
    };
    let (large, small) = tokio::join!(large(&function, &space), others);

    assert_eq!((small.status, small.outcome()), (200, "accepted"));
    assert_eq!((large.status, large.outcome()), (200, "accepted"), "{}", function.log());
}

/// A signed push with so much in it that it does not fit beside two of the largest.
async fn large(function: &Function, space: &Space) -> Answer {
    let (body, proof) = padded(space, SECRET, NEW, 500_000);
    let headers = headers(&proof);
    let mut sender = Sender::announcing(function, &headers, body.len()).await;
    sender.send(body).await;
    sender.answer().await
}
