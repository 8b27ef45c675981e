//! A CloudEvents sink that keeps what it is sent, and brings it back when a test says so.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU16, Ordering},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;

use super::function::{Answer, Function};

/// A running sink; it stops with its runtime.
#[derive(Clone)]
pub struct Sink {
    pub url: String,
    kept: Kept,
}

#[derive(Clone, Default)]
struct Kept {
    events: Arc<Mutex<Vec<Event>>>,
    /// What it answers with.
    status: Arc<AtomicU16>,
}

/// An event as it came in.
#[derive(Clone, Debug)]
pub struct Event {
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Sink {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/broker", listener.local_addr().expect("is bound"));
        let kept = Kept::default();
        kept.status.store(202, Ordering::Relaxed);
        let router = Router::new().fallback(keep).with_state(kept.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, kept }
    }

    /// From now on it answers so, and keeps what it refuses as well.
    pub fn answers(&self, status: u16) {
        self.kept.status.store(status, Ordering::Relaxed);
    }

    pub fn events(&self) -> Vec<Event> {
        self.kept.events.lock().unwrap().clone()
    }
}

impl Event {
    /// One that claims to hold a delivery.
    pub fn forged(body: &str) -> Self {
        let headers = [
            ("content-type", "application/json"),
            ("ce-specversion", "1.0"),
            ("ce-type", "dev.fleet-webhook.delivery"),
            ("ce-source", "fleet-webhook"),
            ("ce-id", "1"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self { headers, body: body.to_owned() }
    }

    pub fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(other, _)| other == name);
        let value =
            found.next().map_or_else(|| panic!("no {name} in {self:?}"), |(_, value)| value);
        assert!(found.next().is_none(), "{name} came twice");
        value
    }

    /// Posts it to the function, as a broker does.
    pub async fn deliver(&self, function: &Function) -> Answer {
        let headers: Vec<_> = self
            .headers
            .iter()
            .filter(|(name, _)| name.starts_with("ce-") || name == "content-type")
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        function.deliver(&headers, self.body.clone()).await
    }
}

/// A message of the queue with a delivery that a generic hook signed when it was received.
pub fn generic_message(
    repository: &str,
    commit: &str,
    secret: &str,
    received: jiff::Timestamp,
) -> String {
    let body = json!({ "repository": repository, "ref": "refs/heads/main", "after": commit });
    let (body, time) = (body.to_string(), received.as_second().to_string());
    let key = BASE64_STANDARD.decode(secret.trim_start_matches("whsec_")).expect("is base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any key");
    mac.update(format!("id.{time}.{body}").as_bytes());
    let signature = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
    let message: Value = json!({
        "received": received.to_string(),
        "headers": [
            ["content-type", "application/json"], ["webhook-id", "id"],
            ["webhook-timestamp", time], ["webhook-signature", signature],
        ],
        "body": BASE64_STANDARD.encode(body),
    });
    message.to_string()
}

async fn keep(State(kept): State<Kept>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let event = Event {
        headers: headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    kept.events.lock().unwrap().push(event);
    let status = kept.status.load(Ordering::Relaxed);
    (StatusCode::from_u16(status).expect("a status"), "thanks".to_owned())
}
