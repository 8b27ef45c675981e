//! Deliveries as people reported them, outside of the repository: each with the GitRepos and secrets of such a user, and
//! what has to happen.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test uses a part of it")]

use std::{collections::BTreeMap, fs};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{shared, space::Space};

/// One report.
pub struct Reported {
    pub name: String,
    json: Value,
}

impl Reported {
    /// All of them, in the order of their names.
    pub fn all() -> Vec<Self> {
        let folder = shared::folder().join("reported");
        let files = fs::read_dir(&folder).expect("is a folder").flatten();
        let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> =
            names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect();
        names.sort();
        let load = |name: String| {
            let text = fs::read(folder.join(format!("{name}.json"))).expect("is a file");
            Self { json: serde_json::from_slice(&text).expect("is JSON"), name }
        };
        names.into_iter().map(load).collect()
    }

    /// The variables of the function.
    pub fn variables(&self) -> Vec<(String, String)> {
        pairs(&self.json["environment"])
    }

    /// Creates its secrets and GitRepos.
    pub async fn prepare(&self, space: &Space) {
        space.global_secret(self.json["global_secret"].clone()).await;
        for (name, secret) in self.json["own_secrets"].as_object().into_iter().flatten() {
            space.secret(&space.apps, name, secret.clone()).await;
        }
        for gitrepo in self.json["gitrepos"].as_array().into_iter().flatten() {
            let mut spec = gitrepo.as_object().expect("is an object").clone();
            let name = spec.remove("name").expect("has a name");
            space.gitrepo(name.as_str().expect("is text"), spec.into()).await;
        }
    }

    pub fn method(&self) -> &str {
        self.json["request"]["method"].as_str().expect("is text")
    }

    pub fn path(&self) -> &str {
        self.json["request"]["path"].as_str().expect("is text")
    }

    pub fn headers(&self) -> Vec<(String, String)> {
        let headers = self.json["request"]["headers"].as_array().expect("are there");
        let text = |value: &Value| value.as_str().expect("is text").to_owned();
        headers.iter().map(|header| (text(&header[0]), text(&header[1]))).collect()
    }

    pub fn body(&self) -> String {
        self.json["request"]["body"].as_str().expect("is text").to_owned()
    }

    /// The same request as a function URL hands it over: names in lower case, repeated ones joined.
    pub fn lambda_event(&self) -> Value {
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in self.headers() {
            headers
                .entry(name.to_lowercase())
                .and_modify(|joined| *joined = format!("{joined},{value}"))
                .or_insert(value);
        }
        json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": self.path(),
            "rawQueryString": "",
            "headers": headers,
            "requestContext": {
                "accountId": "anonymous",
                "apiId": "abcdefghij",
                "domainName": "abcdefghij.lambda-url.eu-central-1.on.aws",
                "domainPrefix": "abcdefghij",
                "http": {
                    "method": self.method(),
                    "path": self.path(),
                    "protocol": "HTTP/1.1",
                    "sourceIp": "192.0.2.1",
                    "userAgent": "x",
                },
                "requestId": "5f0c2a9e-6d1b-4c3e-8a7f-cd1413ca668e",
                "routeKey": "$default",
                "stage": "$default",
                "time": "01/Jan/2026:00:00:00 +0000",
                "timeEpoch": 1_767_225_600_000_i64,
            },
            "body": BASE64_STANDARD.encode(self.body()),
            "isBase64Encoded": true,
        })
    }

    /// What came out otherwise than it has to; nothing where it is right.
    pub async fn differs(&self, space: &Space, status: u16) -> Option<String> {
        let wanted = &self.json["wanted"];
        let statuses: Vec<_> =
            wanted["status"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        let mut patched = BTreeMap::new();
        for gitrepo in self.json["gitrepos"].as_array().into_iter().flatten() {
            let name = gitrepo["name"].as_str().expect("is text");
            patched.extend(space.commit(name).await.map(|commit| (name.to_owned(), commit)));
        }
        let expected: BTreeMap<_, _> = pairs(&wanted["patched"]).into_iter().collect();
        // Where a refusal is right too, it patches nothing.
        let right = statuses.contains(&status.into())
            && (patched == expected || (status == 400 && statuses.len() > 1 && patched.is_empty()));
        (!right).then(|| format!("{}: {status} {patched:?}, wanted {wanted}", self.name))
    }
}

fn pairs(object: &Value) -> Vec<(String, String)> {
    let pairs = object.as_object().into_iter().flatten();
    pairs
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}
