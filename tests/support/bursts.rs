//! Bursts of strangers, which once ended a pod.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::future::join_all;
use reqwest::Client;
use serde_json::json;
use tokio::time::timeout;

use super::{function::Function, github::NEW};

/// How long a burst may take; who has no answer by then has hung up.
const PATIENCE: Duration = Duration::from_secs(30);

const JSON: (&str, &str) = ("content-type", "application/json");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const EVENT: (&str, &str) = ("ce-type", "dev.fleet-webhook.delivery");
const BITBUCKET: (&str, &str) = ("x-event-key", "repo:push");

type Delivery = (Vec<(&'static str, &'static str)>, Bytes);

/// Deliveries that come at once.
pub struct Burst {
    pub name: &'static str,
    deliveries: Vec<Delivery>,
}

/// All of them, as they were found.
pub fn bursts() -> Vec<Burst> {
    let many_headers = message(&format!("[{}]", vec![r#"["a",""]"#; 7_000].join(",")), "{}");
    let headers = r#"[["content-type","application/json"],["x-event-key","repo:push"]]"#;
    let small = message(headers, &push_of(46_000));
    let large = message(headers, &push_of(500_000));
    let event = |body: &Bytes| (vec![JSON, EVENT], body.clone());
    let form = form_of(&push_of(60_000));
    let largest = form_of(&push_of(24_000_000));
    let bitbucket = |body: &Bytes| (vec![FORM, BITBUCKET], body.clone());
    let mut forms = vec![bitbucket(&form); 900];
    forms.extend(vec![bitbucket(&largest); 4]);
    [
        ("events with many headers", vec![event(&many_headers); 900]),
        ("small events", vec![event(&small); 900]),
        ("large events", vec![event(&large); 100]),
        ("forms, four of them as large as may be", forms),
    ]
    .into_iter()
    .map(|(name, deliveries)| Burst { name, deliveries })
    .collect()
}

impl Burst {
    /// Sends all of them at once; gives how many were answered, and of how many.
    pub async fn send(self, function: &Function) -> (usize, usize) {
        let client = Client::builder().pool_max_idle_per_host(0).build().expect("a client");
        let number = self.deliveries.len();
        let sent = self.deliveries.into_iter().map(|(headers, body)| {
            let mut request = client.post(format!("{}/", function.url)).body(body);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            async { timeout(PATIENCE, request.send()).await.is_ok_and(|answer| answer.is_ok()) }
        });
        let answered = join_all(sent).await.into_iter().filter(|answered| *answered).count();
        (answered, number)
    }
}

/// What the image sets beside what a test does: the allocator's threads among it.
pub fn variables_of_the_image() -> Vec<(&'static str, &'static str)> {
    let lines = include_str!("../../knative/Dockerfile").lines();
    lines.filter_map(|line| line.strip_prefix("ENV ")?.split_once('=')).collect()
}

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
