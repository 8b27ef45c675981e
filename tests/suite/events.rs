//! Every event in `events/`, sent to the function: the answer is that of the README there, and only what was
//! verified moved anything. Every provider's proof spoilt in each way, too, and what others published.

use std::collections::BTreeMap;

use fleet_webhook::provider::{PROVIDERS, codecommit};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    on_both,
    support::{
        events::{self, BRANCH, COMMIT, Event, REPOSITORIES, Request, SECRET, TAG},
        function::{Answer, Function},
        shared,
        space::Space,
    },
};

on_both!(
    every_event_gets_the_answer_of_its_readme,
    a_spoilt_proof_of_any_provider_moves_nothing,
    the_weaker_key_of_a_provider_verifies_where_there_is_no_stronger_one,
    every_real_delivery_is_answered_and_moves_nothing,
);

/// A function, and for each provider two GitRepos of its repository: one follows the branch, one the tag.
async fn prepared(space: &Space, keys: impl Fn(&str) -> bool) -> Function {
    for (provider, repo) in REPOSITORIES {
        space
            .gitrepo(&format!("{provider}-branch"), json!({ "repo": repo, "branch": BRANCH }))
            .await;
        space.gitrepo(&format!("{provider}-tag"), json!({ "repo": repo, "revision": TAG })).await;
    }
    let keys = SECRET.into_iter().filter(|(key, _)| keys(key));
    let keys: Map<String, Value> =
        keys.map(|(key, value)| (key.to_owned(), value.into())).collect();
    space.global_secret(keys.into()).await;
    Function::start(space, &[("GITREPO_NAMESPACES", &space.apps)]).await
}

async fn deliver(function: &Function, request: &Request) -> Answer {
    let headers: Vec<_> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    // Those of the connection are not the sender's to give here.
    let headers: Vec<_> = headers
        .into_iter()
        .filter(|(name, _)| !matches!(*name, "host" | "content-length"))
        .collect();
    function.deliver(&headers, request.body.clone()).await
}

/// The GitRepos that have a commit, with it.
async fn moved(space: &Space) -> BTreeMap<String, String> {
    let mut moved = BTreeMap::new();
    for (provider, _) in REPOSITORIES {
        for what in ["branch", "tag"] {
            let name = format!("{provider}-{what}");
            if let Some(commit) = space.commit(&name).await {
                moved.insert(name, commit);
            }
        }
    }
    moved
}

async fn every_event_gets_the_answer_of_its_readme(space: &Space) {
    let function = prepared(space, |_| true).await;
    let mut expected = BTreeMap::new();
    for event in Event::all().into_iter().filter(Event::is_http) {
        let answer = deliver(&function, &event.request_at(Timestamp::now())).await;
        let promise = event.promise();
        let said = (Some(answer.status), answer.outcome().to_owned());
        assert_eq!(
            said,
            (promise.status, promise.outcome.clone()),
            "{} {}",
            event.name,
            answer.body
        );
        if promise.outcome == "accepted" {
            for (git_ref, what) in [("refs/heads/main", "branch"), ("refs/tags/v1.0.0", "tag")] {
                if promise.refs.split(", ").any(|moved| moved == git_ref) {
                    expected.insert(format!("{}-{what}", event.provider()), COMMIT.to_owned());
                }
            }
        }
        assert_eq!(moved(space).await, expected, "{}", event.name);
    }
    let all = (PROVIDERS.len()) * 2;
    assert_eq!(expected.len(), all, "each provider moved its branch and its tag");
    assert!(!expected.keys().any(|name| name.starts_with(codecommit::NAME)));
}

async fn a_spoilt_proof_of_any_provider_moves_nothing(space: &Space) {
    let function = prepared(space, |_| true).await;
    for provider in PROVIDERS {
        let event = Event::load(&format!("{}-push", provider.name));
        for (how, request) in events::spoilt(&event, Timestamp::now()) {
            let answer = deliver(&function, &request).await;
            let said = (answer.status, answer.outcome());
            assert_eq!(said, (401, "unauthorized"), "{}: {how} {}", event.name, answer.body);
            assert_eq!(answer.body.get("counts"), None);
        }
    }
    assert_eq!(space.writes(), []);
}

async fn the_weaker_key_of_a_provider_verifies_where_there_is_no_stronger_one(space: &Space) {
    let function = prepared(space, |key| matches!(key, "gitlab" | "bitbucket")).await;
    for name in ["gitlab-push", "bitbucket-cloud-push"] {
        let answer = deliver(&function, &Event::load(name).request()).await;
        assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{name} {}", answer.body);
    }
}

async fn every_real_delivery_is_answered_and_moves_nothing(space: &Space) {
    let Some(folder) = shared::folder() else { return };
    let function = prepared(space, |_| true).await;
    for shared::Published { file, headers, body, .. } in shared::deliveries(&folder) {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = function.deliver(&headers, body).await;
        let said = (answer.status, answer.outcome());
        let is_harmless = matches!(said, (200, "ignored" | "pong") | (401, "unauthorized"));
        assert!(is_harmless, "{file} {said:?} {}", answer.body);
    }
    assert_eq!(space.writes(), []);
}
