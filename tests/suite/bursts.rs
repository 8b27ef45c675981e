//! Bursts of strangers, which once ended a pod: however they come, the process stays under half of what a pod has, and
//! the next push is patched.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::future::join_all;
use reqwest::Client;
use serde_json::json;
use tokio::time::timeout;

use crate::support::{function::Function, github::NEW, space::Space};

const SECRET: &str = "correct horse battery staple";

/// Half of the limit that the manifests set, in MB.
const HALF_OF_A_POD: usize = 256;

/// How long a burst may take; who has no answer by then has hung up.
const PATIENCE: Duration = Duration::from_secs(30);

const JSON: (&str, &str) = ("content-type", "application/json");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const EVENT: (&str, &str) = ("ce-type", "dev.fleet-webhook.delivery");
const BITBUCKET: (&str, &str) = ("x-event-key", "repo:push");

/// A push of Bitbucket Cloud of about so many bytes, with long names in it.
fn push_of(bytes: usize) -> String {
    let change = |number: usize| {
        let name = format!("{number}-{}", "n".repeat(1_000));
        json!({ "new": { "type": "branch", "name": name, "target": { "hash": NEW } }, "old": null })
    };
    let changes: Vec<_> = (0..bytes / 1_120).map(change).collect();
    let repository = json!({ "links": { "html": { "href": "https://bitbucket.org/acme/shop" } } });
    json!({ "push": { "changes": changes }, "repository": repository }).to_string()
}

fn form_of(json: &str) -> Bytes {
    let encoded: String = url::form_urlencoded::byte_serialize(json.as_bytes()).collect();
    Bytes::from(format!("payload={encoded}"))
}

/// A message of the queue with these headers, as JSON, and this body.
fn message(headers: &str, body: &str) -> Bytes {
    let body = BASE64_STANDARD.encode(body);
    let received = "2026-11-23T21:00:00Z";
    Bytes::from(format!(r#"{{"received":"{received}","headers":{headers},"body":"{body}"}}"#))
}

/// Sends all of them at once.
async fn burst(function: &Function, deliveries: Vec<(Vec<(&'static str, &'static str)>, Bytes)>) {
    let client = Client::builder().pool_max_idle_per_host(0).build().expect("a client");
    let sent = deliveries.into_iter().map(|(headers, body)| {
        let mut request = client.post(format!("{}/", function.url)).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        async { timeout(PATIENCE, request.send()).await.is_ok_and(|answer| answer.is_ok()) }
    });
    let answered = join_all(sent).await.into_iter().filter(|answered| *answered).count();
    println!("{answered} were answered; the peak so far is {} MB", peak(function));
}

/// The most memory that it has had, in MB.
fn peak(function: &Function) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", function.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_burst_of_strangers_takes_more_than_half_of_a_pod() {
    let _ = rlimit::increase_nofile_limit(8 * 1024);
    let space = Space::embedded().await;
    space.gitrepo("shop", json!({ "repo": space.github_url(), "branch": "main" })).await;
    space.global_secret(json!({ "github": SECRET, "bitbucket": "a-uuid" })).await;
    let function = Function::start(&space, &[("RUST_LOG", "info")]).await;
    function.logs("the index is in use").await;

    let many_headers = message(&format!("[{}]", vec![r#"["a",""]"#; 7_000].join(",")), "{}");
    let headers = r#"[["content-type","application/json"],["x-event-key","repo:push"]]"#;
    let small = message(headers, &push_of(46_000));
    let large = message(headers, &push_of(500_000));
    let event = |body: &Bytes| (vec![JSON, EVENT], body.clone());
    let form = form_of(&push_of(60_000));
    let largest = form_of(&push_of(24_000_000));
    let bitbucket = |body: &Bytes| (vec![FORM, BITBUCKET], body.clone());

    burst(&function, vec![event(&many_headers); 900]).await;
    burst(&function, vec![event(&small); 900]).await;
    burst(&function, vec![event(&large); 100]).await;
    let mut forms = vec![bitbucket(&form); 900];
    forms.extend(vec![bitbucket(&largest); 4]);
    burst(&function, forms).await;

    assert!(peak(&function) < HALF_OF_A_POD, "it took {} MB", peak(&function));
    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{}", function.log());
}
