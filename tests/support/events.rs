//! The deliveries in `events/`: loads them, signs them with the test secret, says which answer the table in
//! `events/README.md` promises.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test uses a part of it")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use fleet_webhook::{
    delivery::Delivery,
    provider::{self, PROVIDERS, Provider, codecommit},
    signature::{Scheme, Signed},
};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::Sha256;

/// What the events are signed with, by the key of the secret; `events/README.md` says the same.
pub const SECRET: [(&str, &str); 13] = [
    ("github", "github-test-secret"),
    ("gitlab", "gitlab-test-secret"),
    ("gitlab-signing-token", "whsec_Z2l0bGFiLXNpZ25pbmctdG9rZW4tdGVzdC1zZWNyZXQ="),
    ("bitbucket", "b17b0c8e-7e57-4bad-8eed-0123456789ab"),
    ("bitbucket-hmac", "bitbucket-hmac-test-secret"),
    ("bitbucket-server", "bitbucket-server-test-secret"),
    ("gogs", "gogs-test-secret"),
    ("gitea", "gitea-test-secret"),
    ("forgejo", "forgejo-test-secret"),
    ("gitee", "gitee-test-secret"),
    ("azure-username", "fleet"),
    ("azure-password", "azure-password-test-secret"),
    ("generic", "whsec_Z2VuZXJpYy10ZXN0LXNlY3JldC1vZi0zMi1ieXRlcy0="),
];

/// Where the repository of each provider's events is, as a GitRepo may have it.
pub const REPOSITORIES: [(&str, &str); 11] = [
    ("github", "https://github.com/acme/shop"),
    ("gitlab", "https://gitlab.com/acme/shop.git"),
    ("bitbucket-cloud", "git@bitbucket.org:acme/shop.git"),
    ("bitbucket-server", "https://bitbucket.acme.example/scm/ACME/shop.git"),
    ("gogs", "https://gogs.acme.example/acme/shop"),
    ("gitea", "git@gitea.acme.example:acme/shop.git"),
    ("forgejo", "https://forgejo.acme.example/acme/shop"),
    ("gitee", "https://gitee.com/acme/shop.git"),
    ("azure-devops", "git@ssh.dev.azure.com:v3/acme/shop/shop"),
    ("generic", "https://git.acme.example/acme/shop.git"),
    ("codecommit", "codecommit::eu-central-1://shop"),
];

/// The branch that the events push, and the commit to which.
pub const BRANCH: &str = "main";
/// The tag that the events push; it points to the same commit.
pub const TAG: &str = "v1.0.0";
/// The commit to which both of them move.
pub const COMMIT: &str = "d9535b1dd338c6750005a416707670ba03b2f9f0";

/// When the files are signed: 2026-01-01T00:00:00Z.
pub const SIGNED_AT: i64 = 1_767_225_600;

/// One file of `events/`: an event as Lambda gets it, of an HTTP request or of EventBridge.
#[derive(Clone, Debug)]
pub struct Event {
    /// The file's name without ending, `<provider>-<what>`.
    pub name: String,
    /// What is in it.
    pub json: Value,
}

/// The HTTP request of an event.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A line of the table in `events/README.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// `None` for what is no HTTP request.
    pub status: Option<u16>,
    pub outcome: String,
    /// The refs as `RefUpdate` prints them.
    pub refs: String,
}

impl Event {
    /// All files, in the order of their names.
    pub fn all() -> Vec<Self> {
        let files = fs::read_dir(folder()).expect("is a folder").flatten();
        let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> =
            names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect();
        names.sort();
        names.iter().map(|name| Self::load(name)).collect()
    }

    /// The file with this name, without ending.
    pub fn load(name: &str) -> Self {
        let path = folder().join(format!("{name}.json"));
        let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let json = serde_json::from_slice(&text).expect("is JSON");
        Self { name: name.to_owned(), json }
    }

    /// The name of the provider that sends such.
    pub fn provider(&self) -> &'static str {
        let names = PROVIDERS.iter().map(|provider| provider.name).chain([codecommit::NAME]);
        let sends = |name: &&str| self.what_of(name).is_some();
        names.into_iter().find(sends).unwrap_or_else(|| panic!("{}: of which provider?", self.name))
    }

    /// What happened, the second part of the file's name.
    pub fn what(&self) -> &str {
        self.what_of(self.provider()).expect("starts with it")
    }

    fn what_of(&self, provider: &str) -> Option<&str> {
        self.name.strip_prefix(provider)?.strip_prefix('-')
    }

    /// Whether it is an HTTP request; if not, it is an event of EventBridge.
    pub fn is_http(&self) -> bool {
        self.json.get("requestContext").is_some()
    }

    /// Whether a secret other than the test secret has signed it, on purpose.
    pub fn is_wrongly_signed(&self) -> bool {
        self.what().ends_with("wrong-signature")
    }

    /// The request as it is in the file; Standard Webhooks and Gitee take it only around [`SIGNED_AT`].
    pub fn request(&self) -> Request {
        let text =
            |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let http = self.json.pointer("/requestContext/http");
        let headers = self.json.get("headers").and_then(Value::as_object).expect("has headers");
        Request {
            method: text(http.and_then(|http| http.get("method"))),
            path: text(self.json.get("rawPath")),
            headers: headers
                .iter()
                .map(|(name, value)| (name.clone(), text(Some(value))))
                .collect(),
            body: self.body(),
        }
    }

    /// The request, signed at `now`.
    pub fn request_at(&self, now: Timestamp) -> Request {
        self.signed_at(now).request()
    }

    /// The event signed at `now`, as Lambda gets it; one of EventBridge is as it was.
    pub fn signed_at(&self, now: Timestamp) -> Self {
        let mut signed = self.clone();
        if self.is_http() {
            sign(self, signed.headers_mut(), now);
        }
        signed
    }

    /// The request signed at `now`, by this scheme where several of the provider's share a header.
    pub fn request_by(&self, scheme: &Scheme, now: Timestamp) -> Request {
        let mut signed = self.signed_at(now);
        put_proof(self, scheme, &self.body(), signed.headers_mut(), now);
        signed.request()
    }

    /// The event with another body; its signature is no longer right.
    pub fn with_body(&self, body: String) -> Self {
        let mut event = self.clone();
        let fields = event.json.as_object_mut().expect("is an object");
        fields.extend([
            ("body".to_owned(), body.into()),
            ("isBase64Encoded".to_owned(), false.into()),
        ]);
        event
    }

    /// The event with its JSON in the field `payload` of a form; its signature is no longer right.
    pub fn in_a_form(&self) -> Self {
        let json = String::from_utf8(self.body()).expect("is text");
        let form =
            form_urlencoded::Serializer::new(String::new()).append_pair("payload", &json).finish();
        self.called_a_form().with_body(form)
    }

    /// The event with the content type of a form, whatever its body is.
    pub fn called_a_form(&self) -> Self {
        let mut event = self.clone();
        let form = "application/x-www-form-urlencoded";
        set(event.headers_mut(), "content-type", form.to_owned());
        event
    }

    fn headers_mut(&mut self) -> &mut Map<String, Value> {
        self.json.get_mut("headers").and_then(Value::as_object_mut).expect("has headers")
    }

    /// The answer that the README promises where GitRepos follow `main` and `v1.0.0` of all [`REPOSITORIES`] and
    /// [`SECRET`] is the global secret.
    pub fn promise(&self) -> Promise {
        let readme = fs::read_to_string(folder().join("README.md")).expect("is a file");
        let file = format!("`{}.json`", self.name);
        let cells = readme.lines().find_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, named, _, refs, answer, _] = cells.as_slice() else { return None };
            (*named == file).then(|| ((*refs).to_owned(), (*answer).to_owned()))
        });
        let (refs, answer) = cells.unwrap_or_else(|| panic!("{file} is not in events/README.md"));
        let (status, outcome) = answer.split_once(' ').unwrap_or(("", &answer));
        Promise {
            status: status.parse().ok(),
            outcome: outcome.replace('`', ""),
            refs: refs.replace('`', ""),
        }
    }

    /// The body as the sender sent it.
    fn body(&self) -> Vec<u8> {
        let body = self.json.get("body").and_then(Value::as_str).expect("has a body");
        if self.json.get("isBase64Encoded") == Some(&json!(true)) {
            return STANDARD.decode(body).expect("is base64");
        }
        body.as_bytes().to_vec()
    }
}

impl Request {
    /// Whether its headers are those of this provider.
    pub fn is_of(&self, provider: &Provider) -> bool {
        let detected = provider::sender_of(&self.delivery());
        detected.is_some_and(|detected| detected.name == provider.name)
    }

    /// The delivery that our adapters make of it.
    pub fn delivery(&self) -> Delivery {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name: HeaderName = name.parse().expect("is a header's name");
            headers.append(name, HeaderValue::from_str(value).expect("is a header's value"));
        }
        Delivery::new(headers, Bytes::from(self.body.clone())).expect("has a known content type")
    }
}

/// `events/`
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("events")
}

/// The keys of the secret that a scheme takes.
pub fn keys_of(scheme: &Scheme) -> Vec<&'static str> {
    match scheme {
        Scheme::HmacSha256 { key, .. }
        | Scheme::Token { key, .. }
        | Scheme::Uuid { key, .. }
        | Scheme::StandardWebhooks { key }
        | Scheme::Gitee { key } => vec![key],
        Scheme::Basic { username, password } => vec![username, password],
    }
}

/// The request of an event with its proof by a scheme spoilt in each way, signed at `now` otherwise.
pub fn spoilt(event: &Event, scheme: &Scheme, now: Timestamp) -> Vec<(&'static str, Request)> {
    let (header, prefix) = proof_header(scheme);
    let right = event.request_by(scheme, now);
    let proof = right.headers.iter().find(|(name, _)| name == header).expect("has a proof");
    let proof = proof.1.clone();
    let bare = proof.strip_prefix(prefix).expect("has its prefix").to_owned();
    let with = |values: &[String]| {
        let mut request = right.clone();
        request.headers.retain(|(name, _)| name != header);
        request.headers.extend(values.iter().map(|value| (header.to_owned(), value.clone())));
        request
    };
    let otherwise_prefixed =
        if prefix.is_empty() { format!("sha256={bare}") } else { bare.clone() };
    let shortened: String = bare.chars().skip(1).collect();
    let wrongly_signed = Event { name: format!("{}-wrong-signature", event.name), ..event.clone() };
    let mut spoilt = vec![
        ("absent", with(&[])),
        ("empty", with(&[String::new()])),
        ("with nothing but its prefix", with(&[prefix.to_owned()])),
        ("without its prefix", with(&[otherwise_prefixed])),
        ("of no digits", with(&[format!("{prefix}{}", "~".repeat(bare.len()))])),
        ("too short", with(&[format!("{prefix}{shortened}")])),
        ("shorter than a prefix", with(&["abc".to_owned()])),
        ("by another secret", wrongly_signed.request_by(scheme, now)),
        ("sent twice", with(&[proof.clone(), proof])),
    ];
    if matches!(scheme, Scheme::HmacSha256 { .. } | Scheme::StandardWebhooks { .. }) {
        spoilt.push(("of another body", of_another_commit(right)));
    }
    spoilt
}

/// The request with one digit of the commit changed in its body, where it stands.
fn of_another_commit(mut request: Request) -> Request {
    let id = COMMIT.as_bytes();
    let at = request.body.windows(id.len()).position(|bytes| bytes == id).expect("has the commit");
    let digit = request.body.get_mut(at).expect("is there");
    *digit = if *digit == b'0' { b'1' } else { b'0' };
    request
}

const fn proof_header(scheme: &Scheme) -> (&'static str, &'static str) {
    match scheme {
        Scheme::HmacSha256 { header, prefix, .. } => (header, prefix),
        Scheme::Token { header, .. } | Scheme::Uuid { header, .. } => (header, ""),
        Scheme::StandardWebhooks { .. } => ("webhook-signature", "v1,"),
        Scheme::Basic { .. } => ("authorization", "Basic "),
        Scheme::Gitee { .. } => ("x-gitee-token", ""),
    }
}

/// Puts every proof of the sender's into the headers that the event has for them.
fn sign(event: &Event, headers: &mut Map<String, Value>, now: Timestamp) {
    let row = |provider: &&&Provider| provider.name == event.provider();
    let provider = PROVIDERS.iter().find(row).expect("is in the table");
    let body = event.body();
    if headers.contains_key("content-length") {
        set(headers, "content-length", body.len().to_string());
    }
    // The strongest scheme last, so that of several keys for one header the provider's own signs.
    for scheme in provider.schemes.iter().rev() {
        put_proof(event, scheme, &body, headers, now);
    }
    copy_digest(provider.name, headers);
}

fn put_proof(
    event: &Event,
    scheme: &Scheme,
    body: &[u8],
    headers: &mut Map<String, Value>,
    now: Timestamp,
) {
    let secret = |key: &str| secret(key, event.is_wrongly_signed());
    match scheme {
        Scheme::HmacSha256 { key, header, prefix, over } => {
            if !headers.contains_key(*header) {
                return;
            }
            let json = event.request().delivery().json().map(<[u8]>::to_vec);
            let signed =
                if *over == Signed::Json { json.expect("has JSON") } else { body.to_vec() };
            let digest = hex::encode(mac(secret(key).as_bytes(), &[&signed]));
            set(headers, header, format!("{prefix}{digest}"));
        }
        Scheme::Token { key, header } | Scheme::Uuid { key, header } => {
            set(headers, header, secret(key));
        }
        Scheme::StandardWebhooks { key } => {
            let timestamp = now.as_second().to_string();
            let id =
                headers.get("webhook-id").and_then(Value::as_str).expect("has an id").to_owned();
            let token = secret(key);
            let signing_key =
                STANDARD.decode(token.trim_start_matches("whsec_")).expect("is base64");
            let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
            let signature = STANDARD.encode(mac(&signing_key, &signed));
            set(headers, "webhook-timestamp", timestamp);
            set(headers, "webhook-signature", format!("v1,{signature}"));
        }
        Scheme::Basic { username, password } => {
            let credentials = format!("{}:{}", secret(username), secret(password));
            set(headers, "authorization", format!("Basic {}", STANDARD.encode(credentials)));
        }
        Scheme::Gitee { key } => {
            let timestamp = now.as_millisecond().to_string();
            let secret = secret(key);
            let signed = [timestamp.as_bytes(), b"\n", secret.as_bytes()];
            let signature = STANDARD.encode(mac(secret.as_bytes(), &signed));
            let by_password = event.what().contains("password");
            set(headers, "x-gitee-token", if by_password { secret } else { signature });
            set(headers, "x-gitee-timestamp", timestamp);
        }
    }
}

/// Gitea and Forgejo send the same digest under the names of those from whom they descend.
fn copy_digest(provider: &str, headers: &mut Map<String, Value>) {
    let Some(own) = headers.get(&format!("x-{provider}-signature")).and_then(Value::as_str) else {
        return;
    };
    let own = own.to_owned();
    for (header, prefix) in
        [("x-gitea-signature", ""), ("x-gogs-signature", ""), ("x-hub-signature-256", "sha256=")]
    {
        if headers.contains_key(header) {
            set(headers, header, format!("{prefix}{own}"));
        }
    }
}

fn set(headers: &mut Map<String, Value>, name: &str, value: String) {
    headers.insert(name.to_owned(), Value::String(value));
}

/// The value of the test secret, or another one of the same form.
fn secret(key: &str, wrong: bool) -> String {
    let value = SECRET.iter().find(|(of, _)| *of == key).map(|(_, value)| *value);
    let value = value.unwrap_or_else(|| panic!("the test secret has no {key}"));
    match (wrong, value.strip_prefix("whsec_")) {
        (false, _) => value.to_owned(),
        (true, Some(_)) => format!("whsec_{}", STANDARD.encode("not-the-test-secret")),
        (true, None) => format!("not-the-{value}"),
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("takes any key");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}
