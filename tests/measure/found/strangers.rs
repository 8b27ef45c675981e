//! B1, B2, B4 and B5: what an unverified sender costs.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, future::join_all, stream};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{commit, following, line, median, push, shop, started};
use crate::support::{
    bursts::{bursts, variables_of_the_image},
    crowd::{Crowd, is_taken, others},
    function::Function,
    github::{NEW, SECRET},
    process::most_resident,
    sink::Sink,
    space::Space,
};

/// How many GitRepos have a secret of their own that does not exist.
const GREEDY: usize = 500;

/// How often a push is measured.
const SIGNED: usize = 9;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for minutes: found.rs says how to run it"]
async fn measures_the_memory_of_bursts() {
    let _ = rlimit::increase_nofile_limit(8 * 1024);
    for burst in bursts() {
        let space = Space::real().await;
        space.global_secret(json!({ "github": SECRET, "bitbucket": "a-uuid" })).await;
        following(&space, "shop").await;
        let mut variables = variables_of_the_image();
        variables.push(("RUST_LOG", "info"));
        let function = started(&space, &variables).await;
        let before = most_resident(function.id()) / 1024;
        let name = burst.name;
        let (answered, number) = burst.send(&function).await;
        let peak = most_resident(function.id()) / 1024;
        let answer = push(&function, &space, "", NEW).await;
        let what = format!("B1: {number} {name}, at most resident");
        let now = format!(
            "{peak} MiB ({before} before; {answered} answered, the next push {})",
            answer.outcome()
        );
        line(&what, "more than 512 MiB: ended", &now);
    }
}

/// With GitRepos of a tenant whose secrets are missing, and one that follows for real.
async fn with_missing_secrets() -> Space {
    let space = shop().await;
    let (at, path) = (&space, gitrepos(&space));
    let path = &path;
    let greedy = (0..GREEDY).map(|number| async move {
        let spec = json!({
            "repo": at.github_url(), "branch": "main", "pollingInterval": "1h",
            "webhookSecret": format!("missing-{number}"),
        });
        let gitrepo = json!({
            "apiVersion": "fleet.cattle.io/v1alpha1", "kind": "GitRepo", "spec": spec,
            "metadata": { "name": format!("greedy-{number}") },
        });
        at.send(Method::POST, path, &gitrepo).await;
    });
    stream::iter(greedy).buffer_unordered(16).collect::<Vec<_>>().await;
    sleep(Duration::from_secs(1)).await;
    space
}

fn gitrepos(space: &Space) -> String {
    format!("/apis/fleet.cattle.io/v1alpha1/namespaces/{}/gitrepos", space.apps)
}

/// How long signed pushes of the repository take, in the middle.
async fn signed(function: &Function, space: &Space, from: usize) -> Duration {
    let mut times = Vec::new();
    for number in from..from + SIGNED {
        let began = Instant::now();
        push(function, space, &commit(number), &commit(number + 1)).await;
        times.push(began.elapsed());
    }
    median(times)
}

fn logged(function: &Function) -> usize {
    function.log().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for minutes: found.rs says how to run it"]
async fn measures_what_secrets_that_are_missing_cost() {
    let space = with_missing_secrets().await;
    let function = started(&space, &[("RUST_LOG", "info")]).await;
    let (requests, log) = (space.requests().len(), logged(&function));
    function.push(&space, "forged", "refs/heads/main", NEW).await;
    let cost = |requests, log| (space.requests().len() - requests, logged(&function) - log);
    let first = cost(requests, log);
    let (requests, log) = (space.requests().len(), logged(&function));
    for _ in 0..10 {
        function.push(&space, "forged", "refs/heads/main", NEW).await;
    }
    let next = cost(requests, log);
    let what = "B2: a forged push of a repository with 500 missing secrets, API requests and log";
    let now = format!(
        "{} and {} KB, the next ten together {} and {} KB",
        first.0,
        first.1 / 1000,
        next.0,
        next.1 / 1000
    );
    line(what, "1,000 and 191 KB, each", &now);

    let alone = signed(&function, &space, 0).await;
    let forge = async {
        loop {
            function.push(&space, "forged", "refs/heads/main", NEW).await;
        }
    };
    let beside = async {
        let first = signed(&function, &space, SIGNED).await;
        // Until what is remembered of them is too old.
        sleep(Duration::from_secs(10)).await;
        first.max(signed(&function, &space, 2 * SIGNED).await)
    };
    let beside = tokio::select! { beside = beside => beside, () = forge => unreachable!() };
    let now = format!("{alone:.1?} alone, {beside:.1?} beside forged ones");
    line("B2: signed pushes of that repository, p50", "0.3 s alone, 4.5 s", &now);

    let sink = Sink::start().await;
    let function = started(&space, &[("RUST_LOG", "info"), ("K_SINK", &sink.url)]).await;
    let forge = async || {
        let mut queued = 0;
        for _ in 0..6 {
            let answer = function.push(&space, "forged", "refs/heads/main", NEW).await;
            queued += usize::from(answer.status == 202);
        }
        queued
    };
    let mut genuine = Vec::new();
    let pushes = async {
        for number in 0..6 {
            let number = 4 * SIGNED + number;
            let answer = push(&function, &space, &commit(number), &commit(number + 1)).await;
            genuine.push(answer.status);
        }
    };
    let (forged, ()) = tokio::join!(join_all((0..40).map(|_| forge())), pushes);
    let now = format!("{} of 240 forged, signed: {genuine:?}", forged.iter().sum::<usize>());
    line("B2: with a retry queue, 40 who forge, queued", "240 of 240 forged, 2 of 6 signed", &now);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for minutes: found.rs says how to run it"]
async fn measures_pushes_beside_a_crowd_that_sends_no_bodies() {
    let _ = rlimit::increase_nofile_limit(8 * 1024);
    let space = shop().await;
    let function = started(&space, &[("RUST_LOG", "info")]).await;
    let _crowd = Crowd::of(2_000, &[""], &function);
    sleep(Duration::from_secs(2)).await;
    let others = others(24, &function, &space).await;
    let lost = others.iter().filter(|(answer, _)| !is_taken(answer)).count();
    let soon = others.iter().filter(|(_, took)| *took < Duration::from_secs(5)).count();
    let longest = others.iter().map(|(_, took)| *took).max().unwrap_or_default();
    let now = format!("{lost} lost, {soon} of 24 within 5 s, the longest {longest:.1?}");
    let what = "B4: 24 pushes beside 2,000 connections that send a head and no body";
    line(what, "2 lost, 16 of 24 within 5 s", &now);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for minutes: found.rs says how to run it"]
async fn measures_right_pushes_that_are_refused_after_a_rotation_while_somebody_forges() {
    let space = shop().await;
    let function = started(&space, &[]).await;
    let (function, space) = (&function, &space);
    let forge = async {
        loop {
            function.push(space, "forged", "refs/heads/main", NEW).await;
            sleep(Duration::from_secs(1)).await;
        }
    };
    let rotate = async {
        sleep(Duration::from_secs(3)).await;
        let path = format!("/api/v1/namespaces/{}/secrets/gitjob-webhook", space.fleet);
        let rotated: Value = json!({ "stringData": { "github": "rotated" } });
        space.send(Method::PATCH, &path, &rotated).await;
        let (began, mut refused) = (Instant::now(), 0);
        while function.push(space, "rotated", "refs/heads/main", NEW).await.status == 401 {
            refused += 1;
            sleep(Duration::from_millis(500)).await;
        }
        (refused, began.elapsed())
    };
    let (refused, took) = tokio::select! { done = rotate => done, () = forge => unreachable!() };
    let what = "B5: a forged push each second and a rotation, right pushes refused, two a second";
    line(what, "17, up to 10 s", &format!("{refused}, {took:.1?}"));
}
