//! From how many names on a second scan costs less than a LIST for each name. Not a test that passes or fails:
//!
//!     cargo test --test measure second_scan -- --ignored --nocapture

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::support::{real_cluster::RealCluster, space::Space};

/// How many requests are under way at once, as in the function.
const AT_ONCE: usize = 16;

/// How often each figure is taken; the median counts.
const TIMES: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for minutes: its first lines say how to run it"]
async fn measures_a_list_for_each_name_against_a_second_scan() {
    let cluster = tokio::task::spawn_blocking(|| RealCluster::start("turn")).await.unwrap();

    let cluster: &'static RealCluster = Box::leak(Box::new(cluster));
    let space = Space::on_real(cluster).await;
    let mut created = 0;
    for total in [1_000, 5_000] {
        fill(&space, created..total).await;
        created = total;
        let scan = median(|| read(&space, "?includeObject=Metadata&resourceVersion=0")).await;
        println!("{total} GitRepos: a scan with metadata {scan:?}");
        for names in [16, 32, 64, 128, 256] {
            let lists = median(|| {
                each(&space, names, |name| {
                    format!("?fieldSelector=metadata.name%3D{name}&resourceVersion=0")
                })
            })
            .await;
            let gets = median(|| each(&space, names, |name| format!("/{name}"))).await;
            println!("  {names} names: lists {lists:?}, scan and gets {:?}", scan + gets);
        }
    }
    cluster.end();
}

async fn fill(space: &Space, numbers: std::ops::Range<usize>) {
    stream::iter(numbers)
        .for_each_concurrent(AT_ONCE, |number| async move {
            let spec = json!({ "repo": format!("https://github.com/acme/app-{number}"), "branch": "main" });
            space.gitrepo(&format!("app-{number}"), spec).await;
        })
        .await;
}

async fn each(space: &Space, names: usize, request: impl Fn(String) -> String) {
    let requests: Vec<_> = (0..names).map(|number| request(format!("app-{number}"))).collect();
    stream::iter(requests)
        .for_each_concurrent(AT_ONCE, |request| async move { read(space, &request).await })
        .await;
}

/// Reads as the function does: lists from all namespaces, single ones from theirs.
async fn read(space: &Space, request: &str) {
    let namespace = if request.starts_with('?') {
        String::new()
    } else {
        format!("namespaces/{}/", space.apps)
    };
    let path = format!("/apis/fleet.cattle.io/v1alpha1/{namespace}gitrepos{request}");
    let table = request.contains("includeObject");
    let answer: Value = space.read_as(&path, table).await;
    assert!(answer.is_object());
}

async fn median<F: Future<Output = ()>>(work: impl Fn() -> F) -> Duration {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let started = Instant::now();
        work().await;
        times.push(started.elapsed());
    }
    times.sort();
    times[TIMES / 2]
}
