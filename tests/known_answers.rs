//! Known answers of every signature scheme, where the folder with them is: what was published verifies as its
//! provider's and as nobody else's, and no spoilt variant of it does. Our own copies of the important ones are
//! beside the schemes, in `src/signature/tests.rs`.

#[path = "support/shared.rs"]
mod shared;

use std::{fs, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use fleet_webhook::{
    delivery::Delivery,
    keys::Secret,
    provider::{PROVIDERS, Provider},
    signature::{self, Scheme},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::{Map, Value};

/// A vector, as a delivery and the secret that signed it.
struct Vector {
    headers: Map<String, Value>,
    body: Vec<u8>,
    secret: Vec<u8>,
    signed_at: Timestamp,
}

#[test]
#[ignore = "needs ../shared: tests/README.md"]
fn what_was_published_verifies_as_its_providers_and_as_nobody_elses() {
    let folder = shared::folder();
    let vectors = read(&folder);
    for vector in list(&vectors, "vectors") {
        let id = text(vector, "id");
        let expected: &[&str] = match (text(vector, "algorithm"), text(vector, "scheme"), id) {
            // Half a digest, and the algorithms that nobody should be allowed to choose.
            (_, _, "rfc4231-sha256-5") | ("HMAC-SHA-1" | "HMAC-SHA-512", _, _) => &[],
            (_, "raw-hmac", _) => &["gogs"],
            (_, "github", _) => &["github"],
            (_, "bitbucket", _) => &["bitbucket-cloud", "bitbucket-server"],
            (_, "standard-webhooks", _) => &["gitlab", "generic"],
            (_, "gitee", _) => &["gitee"],
            (_, "gitea-form", _) => &["gitea"],
            (algorithm, scheme, _) => panic!("{id}: what are {algorithm} and {scheme}?"),
        };
        let Vector { headers, body, secret, signed_at } = Vector::of(vector, &folder);
        assert_eq!(accepted_by(&headers, &body, &secret, signed_at), expected, "{id}");
    }
}

#[test]
#[ignore = "needs ../shared: tests/README.md"]
fn every_spoilt_variant_is_judged_as_it_should_be() {
    let folder = shared::folder();
    let vectors = read(&folder);
    for case in list(&vectors, "behaviour_cases") {
        let (id, base) = (text(case, "id"), text(case, "base"));
        let base = list(&vectors, "vectors").iter().find(|vector| text(vector, "id") == base);
        let Vector { mut headers, body, secret, signed_at } =
            Vector::of(base.expect("is a vector"), &folder);
        if let Some(spoilt) = case.get("headers").and_then(Value::as_object) {
            headers.retain(|name, _| !name.to_lowercase().contains("signature"));
            headers.extend(spoilt.clone());
        }
        let now = case.get("now").and_then(Value::as_i64);
        let now = now.map_or(signed_at, |now| Timestamp::from_second(now).expect("is a time"));
        let accepted = accepted_by(&headers, &body, &secret, now);
        assert_eq!(!accepted.is_empty(), text(case, "expect") == "accept", "{id}: {accepted:?}");
    }
}

impl Vector {
    fn of(vector: &Value, folder: &Path) -> Self {
        let bytes = |field| vector.get(field).map(|value| bytes(value, folder));
        let mut headers =
            vector.get("header").and_then(Value::as_object).cloned().unwrap_or_default();
        if headers.is_empty() {
            headers.insert("X-Gogs-Signature".to_owned(), text(vector, "digest_hex").into());
        }
        // The message of Gitee's is no body: its signature does not cover one.
        let body = bytes("body").or_else(|| bytes("raw_body")).or_else(|| bytes("message"));
        let secret = vector.get("secret").and_then(Value::as_str).map(Vec::from);
        let milliseconds = headers.get("X-Gitee-Timestamp").and_then(Value::as_str);
        let milliseconds = milliseconds.map(|text| text.parse().expect("is a number"));
        let seconds = vector.get("timestamp").and_then(Value::as_i64).unwrap_or_default();
        let signed_at = Timestamp::from_millisecond(milliseconds.unwrap_or(seconds * 1000));
        Self {
            headers,
            body: body.expect("has a message"),
            secret: secret.or_else(|| bytes("key")).expect("has a key"),
            signed_at: signed_at.expect("is a time"),
        }
    }
}

/// The providers that take the delivery for theirs, each with the secret under one of its keys after the other.
fn accepted_by(
    headers: &Map<String, Value>,
    body: &[u8],
    secret: &[u8],
    now: Timestamp,
) -> Vec<&'static str> {
    let mut map = HeaderMap::new();
    map.insert("content-type", HeaderValue::from_static("application/json"));
    for (name, value) in headers {
        let name: HeaderName = name.parse().expect("is a header's name");
        let value = value.as_str().and_then(|text| HeaderValue::from_str(text).ok());
        map.insert(name, value.expect("is a header's value"));
    }
    let delivery = Delivery::new(map, Bytes::copy_from_slice(body)).expect("has a content type");
    let verifies = |provider: &Provider, key: &str| {
        let keys = [(key.to_owned(), secret.to_vec())].into_iter().collect();
        let secret = Secret { current: keys, previous: None };
        signature::verify(provider.schemes, &delivery, &secret, now).is_ok()
    };
    let mut names = Vec::new();
    for provider in PROVIDERS {
        for scheme in provider.schemes {
            let (Scheme::HmacSha256 { key, .. }
            | Scheme::Token { key, .. }
            | Scheme::Uuid { key, .. }
            | Scheme::StandardWebhooks { key }
            | Scheme::Gitee { key }) = scheme
            else {
                continue;
            };
            if verifies(provider, key) {
                names.push(provider.name);
            }
        }
    }
    names.dedup();
    names
}

fn read(folder: &Path) -> Value {
    let json = fs::read(folder.join("facts/signature-vectors.json")).expect("is a file");
    serde_json::from_slice(&json).expect("is JSON")
}

fn list<'v>(vectors: &'v Value, name: &str) -> &'v [Value] {
    vectors.get(name).and_then(Value::as_array).expect("is a list")
}

fn text<'v>(object: &'v Value, name: &str) -> &'v str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// `{"utf8": …}`, `{"hex": …}`, `{"base64": …}` or `{"file": …}`.
fn bytes(value: &Value, folder: &Path) -> Vec<u8> {
    let (kind, content) =
        value.as_object().and_then(|object| object.iter().next()).expect("has one");
    let content = content.as_str().expect("is text");
    match kind.as_str() {
        "utf8" => content.as_bytes().to_vec(),
        "hex" => hex::decode(content).expect("is hex"),
        "base64" => STANDARD.decode(content).expect("is base64"),
        "file" => fs::read(folder.join(content)).expect("is a file"),
        other => panic!("what is {other}?"),
    }
}
