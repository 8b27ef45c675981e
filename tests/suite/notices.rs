//! Kubernetes Events on GitRepos: what only their owners can mend is said there, and strangers cause none.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    on_both,
    support::{
        api_server::Fault,
        events::Event,
        function::Function,
        github::{NEW, NEWER, OLD, SECRET},
        real_cluster::RealCluster,
        service_account::Right,
        space::Space,
    },
};

on_both!(
    an_owner_is_told_on_the_gitrepo_what_only_he_can_mend_and_once,
    the_owner_is_told_where_the_git_server_does_not_say_which_refs_moved,
    strangers_and_other_tenants_cause_no_event,
);

const ON: (&str, &str) = ("GITREPO_EVENTS", "on");

/// GitRepos of one repository whose own secrets are at fault, one of the global secret, and one whose own is right.
async fn prepare(space: &Space) {
    space.github_secret().await;
    space.secret(&space.apps, "other-key", json!({ "gitlab": "hunter2" })).await;
    space.secret(&space.apps, "empty", json!({ "github": "" })).await;
    space.secret(&space.apps, "right", json!({ "github": "its own" })).await;
    let spec = |branch: &str| json!({ "repo": space.github_url(), "branch": branch });
    space.gitrepo("shop", spec("main")).await;
    for (name, branch, secret) in [
        ("missing", "main", "nowhere"),
        ("keyless", "main", "other-key"),
        ("empty", "main", "empty"),
        ("right", "main", "right"),
        ("elsewhere", "other", "nowhere"),
    ] {
        let mut spec = spec(branch);
        spec["webhookSecret"] = json!(secret);
        space.gitrepo(name, spec).await;
    }
}

/// What was said on GitRepos, as name and reason, in order; with the Events themselves.
async fn said(space: &Space) -> (Vec<(String, String)>, Vec<Value>) {
    let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events", space.apps);
    let events = space.read_as(&path, false).await["items"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut said: Vec<_> = events
        .iter()
        .map(|event| (text(&event["regarding"]["name"]), text(&event["reason"])))
        .collect();
    said.sort();
    (said, events)
}

/// Waits until as much was said.
async fn said_in_time(space: &Space, most: usize) -> (Vec<(String, String)>, Vec<Value>) {
    for _ in 0..600 {
        let (said, events) = said(space).await;
        if said.len() >= most {
            return (said, events);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{:?}", said(space).await)
}

/// An Event that comes behind all that were caused before, since they are created one after the other.
async fn last_word(space: &Space, function: &Function) -> (Vec<(String, String)>, Vec<Value>) {
    let spec = json!({ "repo": space.github_url(), "branch": "last", "webhookSecret": "nowhere" });
    space.gitrepo("last", spec).await;
    let pushed = function.push(space, SECRET, "refs/heads/last", OLD).await;
    assert_eq!(pushed.status, 200, "{}", function.log());
    for _ in 0..600 {
        let (said, events) = said(space).await;
        if said.iter().any(|(name, _)| name == "last") {
            let others = said.into_iter().filter(|(name, _)| name != "last").collect();
            return (others, events);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{:?} {}", said(space).await.0, function.log())
}

async fn an_owner_is_told_on_the_gitrepo_what_only_he_can_mend_and_once(space: &Space) {
    prepare(space).await;
    let function = Function::start(space, &[ON]).await;
    for commit in [NEW, NEWER] {
        let pushed = function.push(space, SECRET, "refs/heads/main", commit).await;
        assert_eq!(pushed.outcome(), "accepted", "{}", function.log());
    }
    let (said, events) = last_word(space, &function).await;
    let pair = |name: &str, reason: &str| (name.to_owned(), reason.to_owned());
    assert_eq!(
        said,
        [
            pair("empty", "WebhookSecretKeyMissing"),
            pair("keyless", "WebhookSecretKeyMissing"),
            pair("missing", "WebhookSecretMissing"),
        ]
    );
    let event = events.iter().find(|event| event["regarding"]["name"] == "missing").unwrap();
    let gitrepo = space.read("missing").await;
    assert_eq!(event["regarding"]["uid"], gitrepo["metadata"]["uid"]);
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["reportingController"], "fleet-webhook");
    let note = event["note"].as_str().unwrap();
    assert!(note.contains("the secret nowhere") && note.contains("create it"), "{note}");
    let keyless = events.iter().find(|event| event["regarding"]["name"] == "keyless").unwrap();
    assert!(keyless["note"].as_str().unwrap().contains("it has no key github"), "{keyless}");
    assert!(!json!(events).to_string().contains("hunter2"));
}

async fn the_owner_is_told_where_the_git_server_does_not_say_which_refs_moved(space: &Space) {
    space.global_secret(json!({ "bitbucket-server": "bitbucket-server-test-secret" })).await;
    let repo = "https://bitbucket.acme.example/scm/acme/shop.git";
    space.gitrepo("shop", json!({ "repo": repo, "branch": "nowhere-named" })).await;
    let function = Function::start(space, &[ON]).await;
    let request = Event::load("bitbucket-server-too-many-refs").request();
    for proof in ["sha256=00", ""] {
        let mut headers = request.headers.clone();
        headers.retain(|(name, _)| !matches!(name.as_str(), "host" | "content-length"));
        if !proof.is_empty() {
            headers.retain(|(name, _)| name != "x-hub-signature");
            headers.push(("x-hub-signature".to_owned(), proof.to_owned()));
        }
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = function.deliver(&headers, request.body.clone()).await;
        assert_eq!(answer.status, if proof.is_empty() { 200 } else { 401 }, "{}", answer.body);
    }
    let (said, _) = said_in_time(space, 1).await;
    assert_eq!(said, [("shop".to_owned(), "WebhookRefsUnknown".to_owned())]);
}

async fn strangers_and_other_tenants_cause_no_event(space: &Space) {
    prepare(space).await;
    let function = Function::start(space, &[ON]).await;
    let stranger = function.push(space, "wrong", "refs/heads/main", NEW).await;
    let tenant = function.push(space, "its own", "refs/heads/main", NEW).await;
    assert_eq!((stranger.status, tenant.status), (401, 200), "{}", function.log());
    assert_eq!(space.commit("right").await.as_deref(), Some(NEW));
    let (said, _) = last_word(space, &function).await;
    assert_eq!(said, [], "{}", function.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_said_unless_it_is_switched_on() {
    let space = Space::embedded().await;
    prepare(&space).await;
    let function = Function::start(&space, &[]).await;
    assert_eq!(function.push(&space, SECRET, "refs/heads/main", NEW).await.status, 200);
    function.signal("TERM");
    function.logs("no longer ready").await;
    assert!(space.requests().iter().all(|request| !request.uri.contains("events.k8s.io")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_takes_no_events_changes_no_delivery_and_is_warned_of_once() {
    for status in [403, 500] {
        let space = Space::embedded().await;
        prepare(&space).await;
        space.fail(Fault::always(Method::POST, "/events", status));
        let function = Function::start(&space, &[ON]).await;
        let pushed = function.push(&space, SECRET, "refs/heads/main", NEW).await;
        assert_eq!(pushed.outcome(), "accepted", "{}", function.log());
        assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));
        function.logs("cannot create an Event on a GitRepo").await;
        for _ in 0..600 {
            let tries = space.requests();
            if tries.iter().filter(|request| request.uri.contains("/events?")).count() == 3 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = function.log();
        assert_eq!(log.matches("cannot create an Event on a GitRepo").count(), 1, "{log}");
        assert!(log.contains("knative/components/events"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn without_the_right_to_create_events_the_log_says_what_to_apply() {
    let cluster = tokio::task::spawn_blocking(RealCluster::shared).await.expect("it starts");
    let right = Right { role: "ClusterRole/fleet-webhook", resource: "events", verb: "create" };
    let space = Space::with_rights(cluster, Some(right)).await;
    prepare(&space).await;
    let function = Function::start(&space, &[ON]).await;
    let pushed = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!(pushed.outcome(), "accepted", "{}", function.log());
    function.logs("cannot create an Event on a GitRepo").await;
    function.logs("cannot create resource").await;
    assert_eq!(said(&space).await.0, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn an_owner_whose_secret_may_not_be_read_is_told_so() {
    let cluster = tokio::task::spawn_blocking(RealCluster::shared).await.expect("it starts");
    let right = Right {
        role: "ClusterRole/fleet-webhook-gitrepo-secrets",
        resource: "secrets",
        verb: "get",
    };
    let space = Space::with_rights(cluster, Some(right)).await;
    let spec = json!({ "repo": space.github_url(), "branch": "main", "webhookSecret": "right" });
    space.gitrepo("right", spec).await;
    space.secret(&space.apps, "right", json!({ "github": "its own" })).await;
    space.github_secret().await;
    let function = Function::start(&space, &[ON]).await;
    function.push(&space, SECRET, "refs/heads/main", NEW).await;
    let (said, events) = said_in_time(&space, 1).await;
    assert_eq!(said, [("right".to_owned(), "WebhookSecretForbidden".to_owned())]);
    assert!(events[0]["note"].as_str().unwrap().contains("knative/components/gitrepo-secrets"));
}
