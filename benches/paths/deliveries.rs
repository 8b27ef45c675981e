//! Pushes of any size: those of `events/` with what makes real ones large.

use bytes::Bytes;
use fleet_webhook::delivery::Delivery;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::events::Event;

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;

/// As many commits as GitHub puts into one push.
pub const MOST_COMMITS: usize = 2048;

/// The push of each provider, and about how large those are that its documentation shows.
pub const PUSHES: [(&str, usize); 10] = [
    ("github-push", 10 * KIB),
    ("gitlab-push", 3 * KIB),
    ("bitbucket-cloud-push", 9 * KIB),
    ("bitbucket-server-push", 4 * KIB),
    ("gitea-push", 5 * KIB),
    ("forgejo-push", 5 * KIB),
    ("gogs-push", 3 * KIB),
    ("gitee-push", 7 * KIB),
    ("azure-devops-push", 6 * KIB),
    ("generic-push", KIB),
];

/// An event's delivery with at least `bytes` of JSON, the more of them in commits that nobody reads.
pub fn of_size(event: &str, bytes: usize) -> Delivery {
    let request = Event::load(event).request();
    let mut body: Value = serde_json::from_slice(&request.body).unwrap();
    let missing = bytes.saturating_sub(request.body.len());
    body["unread"] = commits(missing.div_ceil(commit(0).to_string().len()));
    delivery(&request.headers, body.to_string())
}

/// GitHub's push of so many commits.
pub fn of_commits(number: usize) -> Delivery {
    let request = Event::load("github-push").request();
    let mut body: Value = serde_json::from_slice(&request.body).unwrap();
    body["commits"] = commits(number);
    delivery(&request.headers, body.to_string())
}

fn delivery(headers: &[(String, String)], body: String) -> Delivery {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        })
        .collect();
    Delivery::new(headers, Bytes::from(body)).unwrap()
}

fn commits(number: usize) -> Value {
    (0..number).map(commit).collect()
}

fn commit(number: usize) -> Value {
    let person = json!({ "name": "A. Developer", "email": "dev@acme.example", "username": "dev" });
    json!({
        "id": format!("{number:040x}"), "tree_id": format!("{number:040x}"), "distinct": true,
        "message": "shop: Take the basket's total from the ledger\n\nIt was summed up twice.",
        "timestamp": Timestamp::UNIX_EPOCH.to_string(),
        "url": format!("https://github.com/acme/shop/commit/{number:040x}"),
        "author": person, "committer": person,
        "added": [], "removed": [], "modified": ["src/basket.rs", "src/ledger.rs"],
    })
}
