//! Any bytes, any headers: each gets an answer of the contract, nothing panics, and nothing is written without a
//! valid proof. Nor does a body take much more memory than its own size.

use std::{cell::RefCell, collections::BTreeSet, fs, time::Duration};

use crate::support::{
    events::{BRANCH, Event, REPOSITORIES, Request, SECRET, TAG},
    function::Function,
    github::NEW,
    space::Space,
};
use fleet_webhook::provider::{IdIn, PROVIDERS};
use jiff::Timestamp;
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};
use reqwest::{Client, header::HeaderValue};
use serde_json::{Map, Value, json};
use tokio::{runtime::Handle, task::block_in_place};

const REQUESTS: u32 = 400;
/// Little enough that a body beyond it is sent before its answer closes the connection.
const MAX_BODY_BYTES: usize = 16_384;
/// Long enough for a busy machine: 503 means a panic here.
const DEADLINE: (&str, &str) = ("DEADLINE", "60s");

/// The rows of contract §6 that somebody without a secret can get, with those of a method that is none of a delivery's.
const ANSWERS: [(u16, &str); 8] = [
    (405, "method_not_allowed"),
    (413, "too_large"),
    (415, "unsupported_media_type"),
    (400, "unknown_provider"),
    (400, "malformed"),
    (401, "unauthorized"),
    (200, "pong"),
    (200, "ignored"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_stranger_sends_is_answered_and_moves_nothing() {
    let space = Space::embedded().await;
    let function = prepared(&space).await;
    let client = Client::builder().timeout(Duration::from_secs(90)).build().unwrap();
    let seen = RefCell::new(BTreeSet::new());
    block_in_place(|| {
        let config = Config {
            cases: REQUESTS,
            failure_persistence: None,
            max_shrink_iters: 200,
            ..Config::default()
        };
        let mut runner = TestRunner::new(config);
        let writes = || space.requests().iter().filter(|request| request.is_write()).count();
        let outcome = runner.run(&any_request(), |sent| {
            let before = writes();
            let answer = Handle::current().block_on(send(&client, &function.url, &sent));
            match (sent.method, sent.path) {
                // Lines of text, for load balancers and kubelets.
                ("GET", "/" | "/healthz" | "/readyz") => prop_assert_eq!(answer.status, 200),
                _ => prop_assert!(is_promised(&answer), "{:?}", answer),
            }
            prop_assert_eq!(writes(), before);
            seen.borrow_mut().insert(answer.outcome());
            Ok(())
        });
        outcome.unwrap_or_else(|failure| panic!("{failure}\n{}", function.log()));
    });

    let seen = seen.into_inner();
    for outcome in ["unauthorized", "malformed", "ignored", "unknown_provider"] {
        assert!(seen.contains(outcome), "nothing that was sent was {outcome}");
    }
    assert!(!function.log().contains("panicked"), "{}", function.log());
    assert_eq!(function.request("GET", "/healthz").await.status, 200);
    // So that the silence says something: who knows the secret is heard, and the write is seen.
    let answer = function.push(&space, &of_somebody("github"), "refs/heads/main", NEW).await;
    assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{}", answer.body);
    assert!(space.writes().iter().any(|request| request.uri.contains("/status")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_takes_little_more_memory_than_its_size() {
    const BODY: usize = 8 << 20;
    let space = Space::embedded().await;
    let function = Function::start(&space, &[DEADLINE]).await;
    let idle = peak_memory(function.id()).expect("there is a /proc");
    // Too many changes that change nothing are a push all the same, and an event of Azure DevOps may say little of itself;
    // what else names no repository is malformed.
    let (github, cloud, server, azure, gitlab, queued) = (
        &[("x-github-event", "push")][..],
        &[("x-event-key", "repo:push"), ("x-hook-uuid", "x")][..],
        &[("x-event-key", "repo:refs_changed")][..],
        &[("x-vss-activityid", "x")][..],
        &[("x-gitlab-event", "System Hook")][..],
        &[("ce-type", "dev.fleet-webhook.delivery")][..],
    );
    for (status, headers, head, repeated, tail) in [
        (200, cloud, r#"{"repository":{"full_name":"a/b"},"push":{"changes":["#, "{},", "{}]}}"),
        (400, server, r#"{"changes":["#, "{},", "{}]}"),
        (400, server, r#"{"repository":{"links":{"clone":["#, "{},", "{}]}}}"),
        (400, gitlab, r#"{"event_name":"repository_update","changes":["#, "{},", "{}]}"),
        (200, azure, r#"{"eventType":"git.push","resource":{"refUpdates":["#, "{},", "{}]}}"),
        (
            400,
            github,
            r#"{"ref":"","after":"","repository":{"clone_url":"https://h/"#,
            "/",
            r#"b"}}"#,
        ),
        (
            400,
            github,
            r#"{"ref":"","after":"","repository":{"clone_url":"https://"#,
            "a.",
            r#"b/c"}}"#,
        ),
        (
            400,
            github,
            r#"{"repository":{"clone_url":"h:a"},"after":"","ref":"refs/tags/"#,
            "a",
            r#""}"#,
        ),
        (400, cloud, r#"{"push":{"changes":[]},"repository":{"full_name":""#, "a/", r#"b"}}"#),
        (
            400,
            server,
            r#"{"changes":[],"repository":{"slug":"a","project":{"key":""#,
            "a",
            r#""}}}"#,
        ),
        (400, queued, r#"{"received":"","body":"","headers":["#, r#"["a",""],"#, r#"["a",""]]}"#),
    ] {
        for (content_type, prefix) in
            [("application/json", ""), ("application/x-www-form-urlencoded", "payload=")]
        {
            let size = BODY - prefix.len() - head.len() - tail.len();
            let body = format!("{prefix}{head}{}{tail}", repeated.repeat(size / repeated.len()));
            let headers = [&[("content-type", content_type)], headers].concat();
            let answer = function.deliver(&headers, body).await;
            let said = (answer.status, answer.outcome());
            let outcome = if status == 200 { "ignored" } else { "malformed" };
            assert_eq!(said, (status, outcome), "{head}");
        }
    }
    let peak = peak_memory(function.id()).expect("there is a /proc") - idle;
    assert!(peak < 5 * BODY, "{} MiB", peak >> 20);
}

/// A function, and GitRepos of every provider's repository; its secrets are none of those that the events are signed
/// with, so that nothing that is sent can be right.
async fn prepared(space: &Space) -> Function {
    for (provider, repo) in REPOSITORIES {
        for (what, spec) in [
            ("branch", json!({ "repo": repo, "branch": BRANCH })),
            ("tag", json!({ "repo": repo, "revision": TAG })),
            ("own", json!({ "repo": repo, "branch": BRANCH, "webhookSecret": "own" })),
        ] {
            space.gitrepo(&format!("{provider}-{what}"), spec).await;
        }
    }
    space.gitrepo("shop", space.follows_main()).await;
    let keys: Map<String, Value> =
        SECRET.iter().map(|(key, _)| ((*key).to_owned(), of_somebody(key).into())).collect();
    space.global_secret(keys.clone().into()).await;
    space.secret(&space.apps, "own", keys.into()).await;
    Function::start(space, &[DEADLINE, ("MAX_BODY_BYTES", &MAX_BODY_BYTES.to_string())]).await
}

fn of_somebody(key: &str) -> String {
    match key {
        "generic" | "gitlab-signing-token" => {
            "whsec_c29tZWJvZHkgZWxzZSdzIHNpZ25pbmcga2V5".to_owned()
        }
        _ => format!("somebody else's {key}"),
    }
}

/// An answer of the function.
#[derive(Debug)]
struct Answered {
    status: u16,
    body: Value,
}

impl Answered {
    fn outcome(&self) -> String {
        self.body["outcome"].as_str().unwrap_or_default().to_owned()
    }
}

/// Whether it is a row of the table, and tells nothing of GitRepos.
fn is_promised(answer: &Answered) -> bool {
    let names_nothing = ["patched", "skipped"]
        .iter()
        .all(|list| answer.body[list].as_array().is_none_or(Vec::is_empty));
    ANSWERS.contains(&(answer.status, &answer.outcome())) && names_nothing
}

async fn send(client: &Client, url: &str, sent: &Sent) -> Answered {
    let method = sent.method.parse().unwrap();
    let mut request = client.request(method, format!("{url}{}", sent.path)).body(sent.body.clone());
    for (name, value) in &sent.headers {
        request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
    }
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    Answered { status, body: serde_json::from_str(&text).unwrap_or_default() }
}

/// A request of a stranger.
#[derive(Clone, Debug)]
struct Sent {
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
}

/// What is done to the body of an event.
#[derive(Clone, Debug)]
enum Change {
    Nothing,
    Other(Vec<u8>),
    Byte(Index, u8),
    End(Index),
    Field(Index, Value),
    Size,
}

fn any_request() -> impl Strategy<Value = Sent> {
    let now = Timestamp::now();
    let events = Event::all().into_iter().filter(Event::is_http);
    let events: Vec<_> = events.map(|event| event.request_at(now)).collect();
    let method = prop_oneof![30 => Just("POST"), 1 => prop::sample::select(vec!["GET", "PUT", "DELETE", "PATCH"])];
    let path = prop::sample::select(vec![
        "/",
        "/webhook",
        "//a/%00/%ff?x=%zz",
        "/metrics",
        "/healthz",
        "/readyz",
    ]);
    let others = prop::collection::vec((prop::sample::select(names()), any_value()), 0..6);
    let dropped = prop_oneof![Just(0), any::<u32>()];
    (method, path, prop::sample::select(events), dropped, others, any_change()).prop_map(
        |(method, path, event, dropped, others, change)| {
            let mut headers: Vec<_> = kept(&event, dropped).collect();
            headers.extend(others);
            Sent { method, path, headers, body: changed(event.body, &change) }
        },
    )
}

/// The headers of an event that mean something, without those whose bit is set.
fn kept(event: &Request, dropped: u32) -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let names = names().into_iter().enumerate();
    let names = names.filter(move |(bit, _)| dropped & (1 << (bit % 32)) == 0);
    names.filter_map(|(_, name)| {
        let (_, value) = event.headers.iter().find(|(of, _)| of == name)?;
        Some((name, value.clone().into_bytes()))
    })
}

/// Every header that means something to somebody.
fn names() -> Vec<&'static str> {
    let mut names = BTreeSet::from([
        "content-type",
        "content-encoding",
        "authorization",
        "webhook-timestamp",
        "x-gitee-token",
        "x-gitee-timestamp",
        "x-gitlab-token",
        "x-forgejo-signature",
        "x-gitea-signature",
        "x-gogs-signature",
        "x-hub-signature",
        "x-hub-signature-256",
        "traceparent",
    ]);
    for provider in PROVIDERS {
        names.extend(provider.markers);
        names.extend(provider.event_header);
        if let IdIn::Headers(ids) = provider.delivery_id {
            names.extend(ids);
        }
    }
    names.into_iter().collect()
}

/// The value of a header: a kind of event, something like a proof, or anything that HTTP allows.
fn any_value() -> impl Strategy<Value = Vec<u8>> {
    let kinds = vec![
        "push",
        "ping",
        "create",
        "Push Hook",
        "System Hook",
        "repo:push",
        "repo:refs_changed",
        "diagnostics:ping",
        "application/json",
        "application/x-www-form-urlencoded",
        "text/plain",
    ];
    prop_oneof![
        prop::sample::select(kinds).prop_map(|kind| kind.as_bytes().to_vec()),
        "(sha256=|v1,|Basic |)[0-9a-f]{0,64}".prop_map(String::into_bytes),
        prop::collection::vec(prop_oneof![b' '..=b'~', 0x80..=0xff_u8], 0..40),
    ]
}

fn any_change() -> impl Strategy<Value = Change> {
    let value = prop::sample::select(vec![
        json!(null),
        json!([]),
        json!({}),
        json!([{}]),
        json!(-1),
        json!(""),
        json!("\u{0}/../\u{202e}"),
        json!("https://github.com/acme/shop"),
        json!("x".repeat(5000)),
    ]);
    prop_oneof![
        3 => Just(Change::Nothing),
        2 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Change::Other),
        3 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        1 => any::<Index>().prop_map(Change::End),
        5 => (any::<Index>(), value).prop_map(|(at, value)| Change::Field(at, value)),
        1 => Just(Change::Size),
    ]
}

fn changed(mut body: Vec<u8>, change: &Change) -> Vec<u8> {
    match change {
        Change::Nothing => {}
        Change::Other(other) => body.clone_from(other),
        Change::Byte(at, byte) => {
            let at = at.index(body.len());
            body[at] = *byte;
        }
        Change::End(at) => body.truncate(at.index(body.len())),
        Change::Field(at, value) => {
            let Ok(mut json) = serde_json::from_slice::<Value>(&body) else { return body };
            let pointers = pointers(&json, "");
            let pointer = &pointers[at.index(pointers.len())];
            *json.pointer_mut(pointer).unwrap() = value.clone();
            return json.to_string().into_bytes();
        }
        Change::Size => body.resize(MAX_BODY_BYTES + 1, b' '),
    }
    body
}

/// Where every value of some JSON is, the whole of it first.
fn pointers(json: &Value, at: &str) -> Vec<String> {
    let parts: Vec<(String, &Value)> = match json {
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect()
        }
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| (name.replace('~', "~0").replace('/', "~1"), field))
            .collect(),
        _ => Vec::new(),
    };
    let inner = parts.iter().flat_map(|(part, value)| pointers(value, &format!("{at}/{part}")));
    std::iter::once(at.to_owned()).chain(inner).collect()
}

/// The most memory that a process has ever held, in bytes.
fn peak_memory(id: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(peak.trim().strip_suffix(" kB")?.parse::<usize>().ok()? * 1024)
}
