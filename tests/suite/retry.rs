//! The retry queue as a CloudEvents sink: what the cluster cannot take now is kept, comes back, and is verified again.

use std::time::{Duration, Instant};

use jiff::{Timestamp, ToSpan as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{
    api_server::Fault,
    function::Function,
    github::{NEW, NEWER, SECRET, push, signature},
    sink::{Event, Sink, generic_message},
    space::Space,
};

const GENERIC_SECRET: &str = "whsec_Z2VuZXJpYy10ZXN0LXNlY3JldC1vZi0zMi1ieXRlcy0=";

async fn start(variables: &[(&str, &str)]) -> (Space, Sink, Function) {
    let (space, sink) = (Space::embedded().await, Sink::start().await);
    space.gitrepo("shop", space.follows_main()).await;
    space.global_secret(json!({ "github": SECRET, "generic": GENERIC_SECRET })).await;
    let mut all = vec![("K_SINK", sink.url.as_str())];
    all.extend_from_slice(variables);
    let function = Function::start(&space, &all).await;
    (space, sink, function)
}

/// Makes every write of a commit fail for good.
fn break_down(space: &Space) {
    fail(space, "/status", 422, Duration::ZERO);
}

fn fail(space: &Space, uri: &str, status: u16, delay: Duration) {
    let (method, uri) = (Method::PATCH, uri.to_owned());
    let fault = Fault { method, uri, status, times: 1000, delay };
    space.embedded_server().expect("is embedded").fail(fault);
}

fn mend(space: &Space) {
    space.embedded_server().expect("is embedded").mend();
}

#[tokio::test]
async fn a_push_that_the_api_server_cannot_take_is_queued_and_patched_when_it_comes_back() {
    let (space, sink, function) = start(&[]).await;
    break_down(&space);

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!((answer.status, answer.outcome()), (202, "queued"), "{}", function.log());
    assert_eq!(answer.body["counts"], json!({ "patched": 0, "skipped": 1 }));
    assert!(!answer.headers.contains_key("retry-after"));
    let [event] = &sink.events()[..] else { panic!("{:?}", sink.events()) };
    assert_eq!(event.header("ce-specversion"), "1.0");
    assert_eq!(event.header("ce-type"), "dev.fleet-webhook.delivery");
    assert_eq!(event.header("ce-source"), "fleet-webhook");
    assert_eq!(event.header("ce-id").len(), 64);
    assert!(event.header("ce-time").parse::<Timestamp>().is_ok());

    let down = event.deliver(&function).await;
    assert_eq!((down.status, down.outcome()), (503, "unavailable"));
    assert_eq!(sink.events().len(), 1, "the broker keeps it");

    mend(&space);
    let up = event.deliver(&function).await;
    assert_eq!((up.status, up.body), (204, Value::Null), "{}", function.log());
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));

    let lines = function.deliveries_logged(3).await;
    let outcomes: Vec<_> = lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["queued", "unavailable", "accepted"]);
    assert!(lines[0]["delivery.received"].is_null());
    assert!(lines[2]["delivery.received"].is_string());
}

#[tokio::test]
async fn each_event_has_an_id_of_its_own() {
    let (space, sink, function) = start(&[]).await;
    break_down(&space);
    for _ in 0..2 {
        assert_eq!(function.push(&space, SECRET, "refs/heads/main", NEW).await.status, 202);
    }
    let [one, other] = &sink.events()[..] else { panic!("two events") };
    assert_ne!(one.header("ce-id"), other.header("ce-id"));
}

#[tokio::test]
async fn a_push_is_queued_before_its_sender_hangs_up() {
    let (space, sink, function) = start(&[("DEADLINE", "2s")]).await;
    fail(&space, "/status", 500, Duration::from_millis(100));
    let started = Instant::now();

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (202, "queued"), "{}", function.log());
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(sink.events().len(), 1);
}

#[tokio::test]
async fn a_push_whose_patches_fail_after_the_answer_is_queued_then() {
    let (space, sink, function) = start(&[("DEADLINE", "1s"), ("POLLING_INTERVAL", "keep")]).await;
    fail(&space, "/status", 422, Duration::from_millis(1500));

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!((answer.status, answer.outcome()), (202, "in_progress"));
    assert_eq!(sink.events().len(), 0);

    function.logs("finished after the answer").await;
    assert_eq!(sink.events().len(), 1, "{}", function.log());
}

#[tokio::test]
async fn a_sender_that_hangs_up_does_not_stop_his_push_from_being_queued() {
    let (space, sink, function) = start(&[]).await;
    fail(&space, "/status", 422, Duration::from_millis(700));
    let hurried = tokio::time::timeout(
        Duration::from_millis(300),
        function.push(&space, SECRET, "refs/heads/main", NEW),
    );
    assert!(hurried.await.is_err());

    for _ in 0..100 {
        if sink.events().len() == 1 {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("it was not queued:\n{}", function.log());
}

#[tokio::test]
async fn a_queue_that_does_not_take_it_leaves_it_to_the_sender() {
    let (space, sink, function) = start(&[]).await;
    break_down(&space);
    for status in [500, 302, 404] {
        sink.answers(status);
        let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;
        assert_eq!((answer.status, answer.outcome()), (503, "unavailable"), "{status}");
        assert!(answer.headers.contains_key("retry-after"));
    }
    function.logs("the retry queue answered 500").await;

    let (nobody, _, function) = start(&[("K_SINK", "http://127.0.0.1:9/")]).await;
    break_down(&nobody);
    let answer = function.push(&nobody, SECRET, "refs/heads/main", NEW).await;
    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"));
    function.logs("the retry queue cannot be reached").await;
}

#[tokio::test]
async fn a_delivery_too_large_for_the_queue_is_left_to_the_sender() {
    let (space, sink, function) = start(&[]).await;
    break_down(&space);
    let mut payload = push(&space, "refs/heads/main", NEW);
    payload["padding"] = json!("x".repeat(800 * 1024));

    let answer = function.deliver_github("push", SECRET, &payload).await;

    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"));
    assert_eq!(sink.events().len(), 0);
    function.logs("too large for the retry queue").await;
}

#[tokio::test]
async fn what_is_refused_or_ignored_is_never_queued() {
    let (space, sink, function) = start(&[]).await;
    break_down(&space);
    let wrong = function.push(&space, "wrong", "refs/heads/main", NEW).await;
    assert_eq!((wrong.status, wrong.outcome()), (401, "unauthorized"));
    let other = function.push(&space, SECRET, "refs/heads/other", NEW).await;
    assert_eq!((other.status, other.outcome()), (200, "ignored"));
    assert_eq!(sink.events().len(), 0);
}

#[tokio::test]
async fn an_event_gives_no_more_rights_than_the_delivery_in_it() {
    let (space, _, function) = start(&[]).await;
    let message = |name: &str, value: &str| {
        let headers = json!([
            ["content-type", "application/json"],
            ["x-github-event", "push"],
            [name, value]
        ]);
        let body = push(&space, "refs/heads/main", NEW).to_string();
        let body = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, body);
        json!({ "received": "2026-11-23T21:00:00Z", "headers": headers, "body": body }).to_string()
    };
    let wrong = signature("wrong", push(&space, "refs/heads/main", NEW).to_string().as_bytes());
    for (name, value) in [("x-none", ""), ("x-hub-signature-256", wrong.as_str())] {
        let answer = Event::forged(&message(name, value)).deliver(&function).await;
        assert_eq!((answer.status, answer.body), (204, Value::Null));
    }
    let outcomes = function.deliveries_logged(2).await;
    assert!(outcomes.iter().all(|line| line["outcome"] == "unauthorized"), "{outcomes:?}");
    for nonsense in ["", "{}", "[]"] {
        let answer = Event::forged(nonsense).deliver(&function).await;
        assert_eq!((answer.status, answer.outcome()), (400, "malformed"));
    }
    assert_eq!(space.writes(), []);
}

#[tokio::test]
async fn what_was_kept_is_not_refused_for_good_by_what_may_have_been_read_before_it_came() {
    let (space, _, function) = start(&[]).await;
    let wrong = "whsec_c29tZWJvZHktZWxzZXMtc2VjcmV0LW9mLTMyLWJ5dGU=";
    for (waited, status) in [(2, 503), (20, 204)] {
        let received = Timestamp::now() - waited.seconds();
        let message = generic_message(&space.github_url(), NEW, wrong, received);
        let answer = Event::forged(&message).deliver(&function).await;
        assert_eq!(answer.status, status, "after {waited} s");
        let line = function.deliveries_logged(1).await.pop().unwrap();
        // Nobody who posts what looks like a message raises an alarm.
        assert_eq!(line["outcome"], "unauthorized", "{line}");
    }
    assert_eq!(space.writes(), []);
}

#[tokio::test]
async fn what_an_event_says_of_its_time_does_not_freshen_an_old_proof() {
    let (space, _, function) = start(&[]).await;
    let repository = space.github_url();
    let old = Timestamp::now() - 10.minutes();
    let message = generic_message(&repository, NEW, GENERIC_SECRET, old);
    assert_eq!(Event::forged(&message).deliver(&function).await.status, 204);
    assert_eq!(space.commit("shop").await, None);

    let message = generic_message(&repository, NEW, GENERIC_SECRET, Timestamp::now());
    assert_eq!(Event::forged(&message).deliver(&function).await.status, 204);
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW), "{}", function.log());
}

#[tokio::test]
async fn a_push_that_waited_does_not_overtake_a_later_one() {
    let (space, sink, function) = start(&[]).await;
    break_down(&space);
    assert_eq!(function.push(&space, SECRET, "refs/heads/main", NEW).await.status, 202);
    // Fleet keeps whole seconds.
    sleep(Duration::from_millis(1100)).await;
    assert_eq!(function.push(&space, SECRET, "refs/heads/main", NEWER).await.status, 202);
    mend(&space);
    let events = sink.events();

    for (event, commit) in [(0, NEW), (1, NEWER), (0, NEWER), (1, NEWER)] {
        assert_eq!(events[event].deliver(&function).await.status, 204);
        assert_eq!(space.commit("shop").await.as_deref(), Some(commit), "{}", function.log());
    }
    let line = function.deliveries_logged(6).await.pop().unwrap();
    assert!(line["gitrepos.skipped"].as_str().unwrap().ends_with("unchanged"), "{line}");
    let skipped: Vec<_> = function.delivery_lines();
    assert!(skipped.iter().any(|line| {
        line["gitrepos.skipped"].as_str().is_some_and(|text| text.ends_with("superseded"))
    }));
}

#[tokio::test]
async fn the_log_shows_nothing_of_what_is_queued() {
    let (space, sink, function) = start(&[("RUST_LOG", "trace")]).await;
    break_down(&space);
    assert_eq!(function.push(&space, SECRET, "refs/heads/main", NEW).await.status, 202);
    sink.answers(500);
    assert_eq!(function.push(&space, SECRET, "refs/heads/main", NEW).await.status, 503);
    let event = &sink.events()[0];
    event.deliver(&function).await;

    let packed: Value = serde_json::from_str(&event.body).expect("is JSON");
    let body = push(&space, "refs/heads/main", NEW).to_string();
    let proof = signature(SECRET, body.as_bytes());
    assert!(event.body.contains(&proof));
    for hidden in [&proof, packed["body"].as_str().unwrap(), "clone_url"] {
        assert!(!function.log().contains(hidden), "{hidden}");
    }
}

#[tokio::test]
async fn with_a_queue_the_service_is_ready_at_once() {
    let (space, sink, _) = start(&[]).await;
    let nowhere = space.kubeconfig.with_extension("nowhere");
    let config = std::fs::read_to_string(&space.kubeconfig).unwrap();
    let server = config.find("http://").unwrap();
    let end = server + config[server..].find('"').unwrap();
    let config = config.replace(&config[server..end], "http://127.0.0.1:9");
    std::fs::write(&nowhere, config).unwrap();
    let path = nowhere.to_str().unwrap();

    let function = Function::start(&space, &[("KUBECONFIG", path), ("K_SINK", &sink.url)]).await;
    assert_eq!(function.request("GET", "/readyz").await.status, 200);
    // What waits for the read at the start learns nothing of why that takes so long.
    function.logs("\"message\":\"starting\"").await;
    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!((answer.status, answer.outcome()), (202, "queued"), "{}", function.log());
    assert_eq!(sink.events().len(), 1);
    let line = &function.deliveries_logged(1).await[0];
    assert!(line["detail"].as_str().unwrap().contains("127.0.0.1:9"), "it says of what: {line}");

    let function = Function::start(&space, &[("KUBECONFIG", path)]).await;
    assert_eq!(function.request("GET", "/readyz").await.status, 503);
    std::fs::remove_file(nowhere).unwrap();
}

#[tokio::test]
async fn an_event_in_structured_mode_is_taken_as_one_in_binary_mode() {
    let (space, sink, function) = start(&[]).await;
    break_down(&space);
    assert_eq!(function.push(&space, SECRET, "refs/heads/main", NEW).await.status, 202);
    mend(&space);
    let data: Value = serde_json::from_str(&sink.events()[0].body).expect("is JSON");
    let event = json!({
        "specversion": "1.0", "type": "dev.fleet-webhook.delivery", "source": "fleet-webhook", "id": "1",
        "datacontenttype": "application/json", "data": data,
    });
    let headers = [("content-type", "application/cloudevents+json; charset=UTF-8")];

    let answer = function.deliver(&headers, event.to_string()).await;

    assert_eq!((answer.status, answer.body), (204, Value::Null), "{}", function.log());
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));
    let others =
        json!({ "specversion": "1.0", "type": "others", "source": "x", "id": "1", "data": {} });
    let answer = function.deliver(&headers, others.to_string()).await;
    assert_eq!((answer.status, answer.outcome()), (415, "unsupported_media_type"));
}

#[tokio::test]
async fn a_sink_is_reached_by_the_proxy_that_is_set() {
    let proxy = Sink::start().await;
    let (space, _, function) = start(&[
        ("K_SINK", "http://broker.example/here"),
        ("HTTP_PROXY", &proxy.url),
        ("NO_PROXY", "127.0.0.1,, localhost,"),
    ])
    .await;
    break_down(&space);

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (202, "queued"), "{}", function.log());
    assert_eq!(proxy.events()[0].header("host"), "broker.example");
}

#[tokio::test]
async fn what_the_queue_does_not_take_is_an_error_in_the_log_and_counted() {
    let (space, sink, function) = start(&[]).await;
    break_down(&space);
    sink.answers(500);

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"));
    let line = &function.deliveries_logged(1).await[0];
    assert_eq!((&line["level"], &line["client.address"]), (&json!("WARN"), &json!("127.0.0.1")));
    let log = function.log();
    let errors = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let errors: Vec<_> = errors.filter(|line| line["level"] == "ERROR").collect();
    let [error] = &errors[..] else { panic!("{errors:?}") };
    assert!(error["message"].as_str().unwrap().starts_with("could not be queued"), "{error}");
    let counted = "fleet_webhook_deliveries_not_queued_total{provider=\"github\"} 1";
    assert!(function.figures().await.contains(counted));
}
