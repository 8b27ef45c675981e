//! Senders that hang up, or drip: a push that came in whole is never lost, and nobody can make the process grow.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::time::sleep;

use crate::{
    on_both,
    support::{
        api_server::Fault,
        function::{Answer, Function},
        github::{NEW, NEWER, SECRET, headers, padded},
        sender::Sender,
        space::Space,
    },
};

on_both!(a_push_whose_sender_hangs_up_at_once_is_patched_logged_and_counted);

/// How large the large bodies are; four of them are held at once.
const LARGE: usize = 1_000_000;

async fn prepared(space: &Space, variables: &[(&str, &str)]) -> Function {
    let follows = json!({ "repo": space.github_url(), "branch": "main", "pollingInterval": "1h" });
    space.gitrepo("shop", follows).await;
    space.github_secret().await;
    let function = Function::start(space, variables).await;
    function.logs("the index is in use").await;
    function
}

/// Sends a whole push and waits for no answer.
async fn send(function: &Function, space: &Space, commit: &str, bytes: usize) -> Sender {
    let (body, proof) = padded(space, SECRET, commit, bytes);
    let mut sender = Sender::announcing(function, &headers(&proof), body.len()).await;
    sender.send(body).await;
    sender
}

async fn deliver(function: &Function, space: &Space, commit: &str, bytes: usize) -> Answer {
    send(function, space, commit, bytes).await.answer().await
}

async fn accepted_once(function: &Function) {
    let lines = function.deliveries_logged(1).await;
    assert_eq!((lines.len(), &lines[0]["outcome"]), (1, &json!("accepted")));
    assert_eq!(lines[0]["patched"], 1);
    let figures = function.figures().await;
    for line in [
        "fleet_webhook_deliveries_total{provider=\"github\",outcome=\"accepted\"} 1",
        "fleet_webhook_gitrepos_patched_total 1",
    ] {
        assert!(figures.contains(line), "{line} is not in\n{figures}");
    }
}

async fn a_push_whose_sender_hangs_up_at_once_is_patched_logged_and_counted(space: &Space) {
    let function = prepared(space, &[]).await;

    drop(send(&function, space, NEW, 0).await);

    accepted_once(&function).await;
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_whose_sender_hangs_up_while_it_is_patched_is_logged_and_counted() {
    let space = Space::embedded().await;
    let function = prepared(&space, &[]).await;
    // The first try is on its way when the sender goes; the second one is what announces the commit.
    space.fail(Fault::always(Method::PATCH, "/status", 503).once().after(Duration::from_secs(1)));

    let sender = send(&function, &space, NEW, 0).await;
    sleep(Duration::from_millis(300)).await;
    drop(sender);

    accepted_once(&function).await;
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_count_against_the_memory_limit_though_their_senders_hung_up() {
    let space = Space::embedded().await;
    let limit = LARGE.to_string();
    let function = prepared(&space, &[("MAX_BODY_BYTES", &limit), ("DEADLINE", "3s")]).await;
    space.fail(Fault::silence(Method::PATCH, "/status"));

    let sender = send(&function, &space, NEW, LARGE).await;
    let is_being_patched = || {
        let seen = space.embedded_server().unwrap().seen();
        seen.iter().any(|seen| seen.method == Method::PATCH && seen.uri.contains("/status"))
    };
    while !is_being_patched() {
        sleep(Duration::from_millis(10)).await;
    }
    drop(sender);
    sleep(Duration::from_millis(200)).await;
    let refused = deliver(&function, &space, NEWER, LARGE).await;

    assert_eq!((refused.status, refused.outcome()), (503, "unavailable"), "{}", function.log());
    assert!(refused.headers.contains_key("retry-after"));
    function.logs("no room in memory").await;

    space.embedded_server().unwrap().mend();
    function.logs("finished after the answer").await;
    let accepted = deliver(&function, &space, NEWER, LARGE).await;
    assert_eq!((accepted.status, accepted.outcome()), (200, "accepted"), "{}", function.log());
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEWER));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_drip_in_hold_no_more_memory_than_they_have_bytes() {
    const SENDERS: usize = 40;
    // Each read of the socket takes 8 KB: kept, they would be 125 MB.
    const CHUNKS: usize = 400;
    let space = Space::embedded().await;
    let function = prepared(&space, &[("DEADLINE", "120s")]).await;
    let drip = async |senders: &mut [Sender], chunks: usize| {
        for _ in 0..chunks {
            join_all(senders.iter_mut().map(|sender| sender.chunk(b" "))).await;
            sleep(Duration::from_millis(5)).await;
        }
    };
    let headers = headers("");
    let connect = (0..SENDERS).map(|_| Sender::chunked(&function, &headers));
    let mut senders = join_all(connect).await;
    drip(&mut senders, 10).await;
    let before = resident_megabytes(&function);

    drip(&mut senders, CHUNKS).await;

    let grown = resident_megabytes(&function).saturating_sub(before);
    assert!(grown < 30, "it grew by {grown} MB from {before} MB");
}

fn resident_megabytes(function: &Function) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", function.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}
