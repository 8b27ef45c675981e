//! Every file of `events/`: the answer that its table promises, and the one that the HTTP adapter gives.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::time::sleep;

use crate::{
    on_both,
    support::{
        events::{BRANCH, Event, REPOSITORIES, SECRET, TAG},
        function::{Answer, Function},
        lambda::Lambda,
        space::Space,
    },
};

on_both!(
    #[ignore = "needs the Lambda emulator: tests/README.md"]
    every_event_is_answered_as_promised_and_as_over_http
);

async fn every_event_is_answered_as_promised_and_as_over_http(space: &Space) {
    let kubeconfig = space.kubeconfig.to_str().unwrap();
    let variables = [
        ("KUBECONFIG", kubeconfig),
        ("FLEET_NAMESPACE", &space.fleet),
        ("GITREPO_NAMESPACES", &space.apps),
        ("UNSIGNED_DELIVERIES", "reject"),
    ];
    let lambda = Lambda::start(&variables).await;
    space.global_secret(SECRET.into_iter().collect()).await;
    for (provider, repo) in REPOSITORIES {
        let (branch, tag) = (format!("{provider}-branch"), format!("{provider}-tag"));
        space.gitrepo(&branch, json!({ "repo": repo, "branch": BRANCH })).await;
        space.gitrepo(&tag, json!({ "repo": repo, "revision": TAG })).await;
    }
    let http = Function::start(space, &variables).await;
    let events = Event::all();
    assert!(events.len() > 50, "all of them");
    for event in events.iter().map(|event| event.signed_at(Timestamp::now())) {
        let promise = event.promise();
        forget(space, &event).await;
        let Some(status) = promise.status else {
            let returned = lambda.invoke(&event.json).await;
            assert_eq!(returned["outcome"], promise.outcome, "{}: {returned}", event.name);
            continue;
        };
        let answer = lambda.answer(&event.json).await;
        let given = (answer.status, answer.outcome());
        assert_eq!(given, (status, promise.outcome.as_str()), "{}\n{}", event.name, lambda.log());
        assert_same_over_http(space, &http, &event, &answer).await;
    }
}

/// The index of the HTTP adapter sees what a test changes only a moment later.
async fn assert_same_over_http(space: &Space, http: &Function, event: &Event, answer: &Answer) {
    let request = event.request();
    let headers = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let hop_by_hop = ["host", "content-length", "connection"];
    let headers: Vec<_> = headers.filter(|(name, _)| !hop_by_hop.contains(name)).collect();
    for attempt in 0.. {
        forget(space, event).await;
        sleep(Duration::from_millis(20) * attempt).await;
        let same = http.deliver(&headers, request.body.clone()).await;
        if (same.status, &same.body) == (answer.status, &answer.body) {
            return;
        }
        assert!(attempt < 20, "{}: {answer:?}\nover HTTP: {same:?}", event.name);
    }
}

/// Takes back what an event did to its provider's GitRepos.
async fn forget(space: &Space, event: &Event) {
    for kind in ["branch", "tag"] {
        let name = format!("{}-{kind}", event.provider());
        let status = json!({ "status": { "webhookCommit": null } });
        space.change_gitrepo(&name, "/status", status).await;
    }
}
