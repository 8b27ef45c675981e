//! Memory, requests and times with 10, 1,000 and 10,000 GitRepos. Not a test that passes or fails:
//!
//!     FLEET_WEBHOOK_PROGRAM=target/image/x86_64-unknown-linux-gnu/release/fleet-webhook \
//!         cargo test --test measure index -- --ignored --nocapture

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use reqwest::Method;
use serde_json::json;
use tokio::time::sleep;

use crate::support::{function::Function, real_cluster::RealCluster, space::Space};

const SECRET: &str = "correct horse battery staple";

/// How many deliveries, and as many bare patches, are timed.
const TIMED: usize = 500;

/// What fills a GitRepo up to the size that Fleet's have.
const PADDING: usize = 5600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for minutes: its first lines say how to run it"]
async fn measures_memory_requests_and_times() {
    let cluster = tokio::task::spawn_blocking(|| RealCluster::start("measure")).await.unwrap();
    let cluster: &'static RealCluster = Box::leak(Box::new(cluster));
    let space = Space::on_real(cluster).await;
    space.global_secret(json!({ "github": SECRET })).await;
    let follows = json!({ "repo": space.github_url(), "branch": "main", "pollingInterval": "1h" });
    space.gitrepo("shop", follows).await;
    let mut created = 1;
    let mut resident = Vec::new();
    for number in [10, 1_000, 10_000] {
        fill(&space, created, number).await;
        created = number;
        sleep(Duration::from_secs(3)).await;
        resident.push((number as u64, measure(&space, number).await));
    }
    let ((few, small), (many, large)) = (resident[0], resident[2]);
    let each = |part: fn(&(u64, u64)) -> u64| (part(&large) - part(&small)) * 1024 / (many - few);
    println!(
        "bytes resident for each GitRepo: {} with the index, {} after that push",
        each(|m| m.0),
        each(|m| m.1)
    );
    cluster.end();
}

/// Creates GitRepos that nobody pushes to, each with a commit that a webhook announced once.
async fn fill(space: &Space, from: usize, to: usize) {
    let path = format!("/apis/fleet.cattle.io/v1alpha1/namespaces/{}/gitrepos", space.apps);
    stream::iter(from..to)
        .for_each_concurrent(16, |number| {
            let gitrepo = json!({
                "apiVersion": "fleet.cattle.io/v1alpha1", "kind": "GitRepo",
                "metadata": {
                    "name": format!("some-application-{number}"),
                    "annotations": { "padding": "x".repeat(PADDING) },
                },
                "spec": {
                    "repo": format!("https://github.com/some-organisation/some-application-{number}.git"),
                    "branch": "main", "pollingInterval": "1h",
                },
            });
            let status = json!({ "status": { "webhookCommit": format!("{number:040x}") } });
            let path = &path;
            async move {
                space.send(Method::POST, path, &gitrepo).await;
                let path = format!("{path}/some-application-{number}/status");
                space.send(Method::PATCH, &path, &status).await;
            }
        })
        .await;
}

/// Measures one process; gives its resident memory in KiB once the index is in use, and after a push to nobody.
async fn measure(space: &Space, number: usize) -> (u64, u64) {
    let requests_before = space.requests().len();
    let started = Instant::now();
    let function = Function::start(space, &[("RUST_LOG", "info")]).await;
    let listening = started.elapsed();
    while function.request("GET", "/readyz").await.status != 200 {}
    let ready = started.elapsed();
    let first = deliver(&function, space, number, 0).await;
    let first = (started.elapsed(), first);
    function.logs("the index is in use").await;
    let indexed = started.elapsed();
    sleep(Duration::from_secs(2)).await;
    let with_index = memory(&function, "VmRSS");
    // The scan that confirms it is the most that a delivery holds at once.
    let answer = function.push(space, SECRET, "refs/heads/nobody-follows", &"d".repeat(40)).await;
    assert_eq!(answer.outcome(), "ignored", "{}", function.log());
    sleep(Duration::from_secs(2)).await;
    let (resident, peak) = (memory(&function, "VmRSS"), memory(&function, "VmHWM"));
    let at_start = verbs(space, requests_before);
    let cpu_at_start = cpu(&function);

    let requests_before = space.requests().len();
    let (mut deliveries, mut patches) = (Vec::new(), Vec::new());
    for sent in 1..=TIMED {
        deliveries.push(deliver(&function, space, number, sent).await);
        patches.push(patch(space, number, sent).await);
    }
    sleep(Duration::from_secs(1)).await;
    println!("{number} GitRepos");
    println!(
        "  from exec: listening {listening:?}, ready {ready:?}, first answer {:?} (it took {:?}), index in use {indexed:?}",
        first.0, first.1
    );
    println!("  requests until then, and for a push that nobody follows: {at_start:?}");
    println!(
        "  memory: {with_index} KiB with the index, {resident} KiB after that push, {peak} KiB at most; after {TIMED} deliveries {} KiB, {} KiB at most",
        memory(&function, "VmRSS"),
        memory(&function, "VmHWM")
    );
    println!(
        "  on a CPU: {cpu_at_start:?} until then, {:?} for {TIMED} deliveries",
        cpu(&function) - cpu_at_start
    );
    println!("  requests for {TIMED} deliveries: {:?}", verbs(space, requests_before));
    println!(
        "  a delivery: {}; a bare status patch: {}",
        percentiles(deliveries),
        percentiles(patches)
    );
    (with_index, resident)
}

async fn deliver(function: &Function, space: &Space, number: usize, sent: usize) -> Duration {
    let commit = format!("{number:020x}{:020x}", sent + 1);
    let started = Instant::now();
    let answer = function.push(space, SECRET, "refs/heads/main", &commit).await;
    assert_eq!(answer.outcome(), "accepted", "{}", function.log());
    started.elapsed()
}

async fn patch(space: &Space, number: usize, sent: usize) -> Duration {
    let status =
        json!({ "status": { "webhookCommit": format!("{:020x}{sent:020x}", number + 1) } });
    let path =
        format!("/apis/fleet.cattle.io/v1alpha1/namespaces/{}/gitrepos/shop/status", space.apps);
    let started = Instant::now();
    space.send(Method::PATCH, &path, &status).await;
    started.elapsed()
}

fn memory(function: &Function, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", function.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

/// For how long its threads have been on a CPU.
fn cpu(function: &Function) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", function.id())).unwrap();
    // Behind the name, which may hold spaces: user and system time are the 12th and 13th, threads that ended included.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks =
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// How often each kind of request was made.
fn verbs(space: &Space, before: usize) -> BTreeMap<&'static str, usize> {
    let mut verbs = BTreeMap::new();
    for request in space.requests().split_off(before) {
        let verb = match &request.uri {
            _ if request.is_write() => "patch",
            uri if uri.contains("includeObject") => "scan",
            uri if uri.contains("watch=true") => "watch",
            uri if uri.ends_with("gitrepos?resourceVersion=0") => "list",
            uri if uri.contains("fieldSelector") => "list by name",
            uri if uri.contains("/secrets/") => "get secret",
            _ => "get",
        };
        *verbs.entry(verb).or_default() += 1;
    }
    verbs
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 100];
    format!("p50 {:.1?}, p99 {:.1?}", at(50), at(99))
}
