//! The retry queue in SQS: what the cluster cannot take is sent there, and Lambda brings it back.

use std::time::Duration;

use jiff::{Timestamp, ToSpan as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{
    api_server::Fault,
    function::Answer,
    github::{NEW, NEWER, SECRET, headers, push, signature},
    lambda::{FrontDoor, Lambda},
    moto::{Moto, sqs_event},
    sink::generic_message,
    space::Space,
};

const GENERIC_SECRET: &str = "whsec_Z2VuZXJpYy10ZXN0LXNlY3JldC1vZi0zMi1ieXRlcy0=";

async fn space() -> Space {
    let space = Space::embedded().await;
    space.gitrepo("shop", space.follows_main()).await;
    space.global_secret(json!({ "github": SECRET, "generic": GENERIC_SECRET })).await;
    space
}

/// The function with a queue for messages of up to `limit` bytes, whose URL comes with it.
async fn start(space: &Space, moto: &Moto, limit: usize) -> (Lambda, String) {
    let queue = moto.create_queue("retry", limit).await;
    let mut variables = moto.variables();
    variables.push(("KUBECONFIG", space.kubeconfig.to_str().unwrap()));
    variables.push(("FLEET_NAMESPACE", &space.fleet));
    variables.push(("RETRY_QUEUE_URL", &queue));
    (Lambda::start(&variables).await, queue)
}

async fn deliver(lambda: &Lambda, payload: &Value) -> Answer {
    let body = payload.to_string();
    let signature = signature(SECRET, body.as_bytes());
    lambda.answer(&FrontDoor::HttpApi.post(&headers(&signature), body.as_bytes(), true)).await
}

fn break_down(space: &Space, uri: &str, status: u16, delay: Duration) {
    let (method, uri) = (Method::PATCH, uri.to_owned());
    let fault = Fault { method, uri, status, times: 1000, delay };
    space.embedded_server().unwrap().fail(fault);
}

fn failures(returned: &Value) -> Vec<&str> {
    let failures = returned["batchItemFailures"].as_array();
    let failures = failures.unwrap_or_else(|| panic!("{returned}"));
    failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_push_that_the_api_server_cannot_take_waits_in_the_queue() {
    let (space, moto) = (space().await, Moto::start().await);
    let (lambda, queue) = start(&space, &moto, 262_144).await;
    break_down(&space, "/status", 422, Duration::ZERO);

    let answer = deliver(&lambda, &push(&space, "refs/heads/main", NEW)).await;
    assert_eq!((answer.status, answer.outcome()), (202, "queued"), "{}", lambda.log());

    let event = moto.queue_event(&queue).await;
    assert_eq!(event["Records"].as_array().unwrap().len(), 1);
    assert_eq!(failures(&lambda.invoke(&event).await), ["m0"]);
    assert_eq!(moto.queue_event(&queue).await["Records"], json!([]), "it is not queued again");

    space.embedded_server().unwrap().mend();
    assert_eq!(failures(&lambda.invoke(&event).await), [""; 0], "{}", lambda.log());
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));
    assert_eq!(lambda.delivery_line(3).await["outcome"], "accepted");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn an_api_server_that_hangs_leaves_time_for_the_queue() {
    let (space, moto) = (space().await, Moto::start().await);
    let (lambda, queue) = start(&space, &moto, 262_144).await;
    space.gitrepo("quick", space.follows_main()).await;
    break_down(&space, "/shop/status", 200, Duration::from_secs(60));

    let answer = deliver(&lambda, &push(&space, "refs/heads/main", NEW)).await;
    let of_function = || {
        let seen = space.embedded_server().unwrap().seen();
        seen.into_iter().filter(|seen| !seen.by_admin).count()
    };
    let asked = of_function();

    assert_eq!((answer.status, answer.outcome()), (202, "queued"), "{}", lambda.log());
    assert_eq!(answer.body["counts"], json!({ "patched": 1, "skipped": 1 }));
    assert_eq!(answer.body["patched"][0]["name"], "quick");
    assert_eq!(space.read("shop").await["spec"]["pollingInterval"], Value::Null);
    assert_eq!(space.read("quick").await["spec"]["pollingInterval"], "1h");
    sleep(Duration::from_secs(3)).await;
    assert_eq!(of_function(), asked, "nothing goes on after the answer");
    assert_eq!(moto.queue_event(&queue).await["Records"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn what_the_queue_does_not_take_is_left_to_the_sender() {
    let (space, moto) = (space().await, Moto::start().await);
    let (lambda, _) = start(&space, &moto, 2048).await;
    break_down(&space, "/status", 422, Duration::ZERO);
    let mut payload = push(&space, "refs/heads/main", NEW);
    payload["padding"] = json!("padding-of-it".repeat(200));

    let answer = deliver(&lambda, &payload).await;

    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"));
    lambda.logs("could not be queued").await;
    assert!(!lambda.log().contains("padding-of-it"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_batch_reports_only_what_still_cannot_be_taken() {
    let (space, moto) = (space().await, Moto::start().await);
    let (lambda, _) = start(&space, &moto, 262_144).await;
    space.gitrepo("bad", json!({ "repo": "https://git.example/bad", "branch": "main" })).await;
    break_down(&space, "/bad/status", 422, Duration::ZERO);
    let (now, repository) = (Timestamp::now(), space.github_url());
    let good = generic_message(&repository, NEW, GENERIC_SECRET, now);
    let bad = generic_message("https://git.example/bad", NEW, GENERIC_SECRET, now);
    let forged = |at| generic_message(&repository, NEWER, "whsec_d3Jvbmc=", at);
    // What was read before the second one came may be what refuses it.
    let (old, new) = (forged(now - 1.minute()), forged(now));

    // What a rule of EventBridge puts there, if somebody lets it, is not lost without a word.
    let change = include_str!("../../events/codecommit-push.json");
    let bodies = [good.as_str(), "no delivery", bad.as_str(), old.as_str(), new.as_str(), change];
    let returned = lambda.invoke(&sqs_event(bodies.into_iter())).await;

    assert_eq!(failures(&returned), ["m1", "m2", "m4", "m5"], "{}", lambda.log());
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));
    assert_eq!(space.commit("bad").await, None);
    lambda.logs("a message holds no delivery").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_proof_is_judged_as_of_when_it_was_received() {
    let (space, moto) = (space().await, Moto::start().await);
    let (lambda, _) = start(&space, &moto, 262_144).await;
    let repository = space.github_url();
    let received = Timestamp::now() - 40.minutes();
    let message = generic_message(&repository, NEW, GENERIC_SECRET, received);
    // Its proof was ten minutes old when it came in.
    let mut late: Value =
        serde_json::from_str(&generic_message(&repository, NEWER, GENERIC_SECRET, received))
            .unwrap();
    late["received"] = json!((received + 10.minutes()).to_string());

    let late = late.to_string();
    assert_eq!(failures(&lambda.invoke(&sqs_event([late.as_str()].into_iter())).await), [""; 0]);
    assert_eq!(space.commit("shop").await, None);
    assert_eq!(failures(&lambda.invoke(&sqs_event([message.as_str()].into_iter())).await), [""; 0]);
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW), "{}", lambda.log());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn records_of_anything_but_a_queue_are_a_function_error() {
    let (space, moto) = (space().await, Moto::start().await);
    let (lambda, _) = start(&space, &moto, 262_144).await;
    let mut event = sqs_event(["{}"].into_iter());
    event["Records"][0]["eventSource"] = json!("aws:s3");
    for event in [event, json!({ "Records": "x" }), json!({ "Records": [{ "s3": {} }] })] {
        assert_eq!(lambda.invoke(&event).await["errorType"], "UnknownEvent", "{event}");
    }
}
