//! The index look-up of one repository among many, of one that nobody deploys, and of one that 600 GitRepos deploy.

use std::{convert::Infallible, fs, iter::once, thread, time::Duration};

use axum::body::{Body, Bytes};
use divan::{Bencher, black_box};
use fleet_webhook::{
    cluster::{Cluster, index::Index},
    event::Repository,
    telemetry::Metrics,
};
use futures::stream;
use http::{Request, Response};
use kube::Client;
use tokio::{runtime::Runtime, time::sleep};
use tower::service_fn;

const SIZES: [usize; 3] = [10, 1_000, 100_000];
const FAN_OUT: usize = 600;

/// How many GitRepos of a list come at once.
const CHUNK: usize = 100;

#[divan::bench(args = SIZES)]
fn one_among(bencher: Bencher<'_, '_>, gitrepos: usize) {
    look_up(bencher, gitrepos, |number| number, "https://github.com/acme/application-7", 1);
}

#[divan::bench(args = SIZES)]
fn none_among(bencher: Bencher<'_, '_>, gitrepos: usize) {
    look_up(bencher, gitrepos, |number| number, "https://github.com/acme/nobodys", 0);
}

#[divan::bench]
fn all_of_600(bencher: Bencher<'_, '_>) {
    look_up(bencher, FAN_OUT, |_| 7, "https://github.com/acme/application-7", FAN_OUT);
}

/// Prints what the index of the most GitRepos takes, in memory that is resident.
pub fn print_resident() {
    let [.., gitrepos] = SIZES;
    let runtime = runtime();
    let before = resident();
    let index = filled(&runtime, gitrepos, |number| number);
    let taken = resident().saturating_sub(before);
    println!(
        "an index of {gitrepos} GitRepos takes {taken} KiB, {} bytes each",
        taken * 1024 / gitrepos
    );
    drop(index);
}

fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    kib.trim().trim_end_matches(" kB").parse().unwrap()
}

fn look_up(
    bencher: Bencher<'_, '_>,
    gitrepos: usize,
    repository_of: fn(usize) -> usize,
    pushed: &str,
    expected: usize,
) {
    let runtime = runtime();
    let index = filled(&runtime, gitrepos, repository_of);
    let repository = Repository::from_urls([pushed]).unwrap();
    assert_eq!(index.find(&repository).unwrap().gitrepos.len(), expected);
    bencher.bench_local(|| index.find(black_box(&repository)));
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// An index of so many GitRepos, once it is in use.
fn filled(runtime: &Runtime, gitrepos: usize, repository_of: fn(usize) -> usize) -> Index {
    let service = service_fn(move |request: Request<kube::client::Body>| {
        let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let body = if watch { silence() } else { list(gitrepos, repository_of) };
        async { Ok::<_, Infallible>(Response::new(body)) }
    });
    let _entered = runtime.enter();
    let metrics = std::sync::Arc::new(Metrics::new());
    let cluster = Cluster::new(Client::new(service, "default"), metrics);
    let index = Index::start(&cluster, &[]);
    while index.state().1.is_none() {
        thread::sleep(Duration::from_millis(10));
    }
    index
}

/// A watch that tells nothing and ends in good order: the first one does after a second.
fn silence() -> Body {
    Body::from_stream(stream::once(async {
        sleep(Duration::from_secs(1)).await;
        Ok::<_, Infallible>(Bytes::new())
    }))
}

/// A list as the API server sends it: never as a whole.
fn list(gitrepos: usize, repository_of: fn(usize) -> usize) -> Body {
    let items = (0..gitrepos).step_by(CHUNK).map(move |from| {
        let to = (from + CHUNK).min(gitrepos);
        (from..to).map(|number| item(number, repository_of(number))).collect::<String>()
    });
    let head = once(r#"{"metadata":{"resourceVersion":"1"},"items":["#.to_owned());
    let chunks = head.chain(items).chain(once("]}".to_owned()));
    Body::from_stream(stream::iter(chunks.map(Ok::<_, Infallible>)))
}

fn item(number: usize, repository: usize) -> String {
    let comma = if number == 0 { "" } else { "," };
    format!(
        r#"{comma}{{"metadata":{{"namespace":"apps","name":"application-{number}","uid":"{number:036}","generation":1}},
        "spec":{{"repo":"https://github.com/acme/application-{repository}.git","branch":"main","pollingInterval":"1h"}},
        "status":{{"webhookCommit":"{number:040x}","lastWebhookTime":"2026-01-01T00:00:00Z"}}}}"#
    )
}
