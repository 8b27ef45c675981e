//! Every event in `events/`, sent to the function: the answer is that of the README there, and only what was
//! verified moved anything. Every provider's proof spoilt in each way, too. `published` does it with what others published.

use std::collections::BTreeMap;

use fleet_webhook::provider::{PROVIDERS, codecommit};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    on_both,
    support::{
        events::{self, BRANCH, COMMIT, Event, REPOSITORIES, Request, SECRET, TAG},
        function::{Answer, Function},
        space::Space,
    },
};

on_both!(
    every_event_gets_the_answer_of_its_readme,
    each_scheme_of_a_provider_verifies_alone_and_spoilt_it_moves_nothing,
    a_form_of_any_provider_and_json_that_calls_itself_one_are_taken,
);

/// A function, and for each provider two GitRepos of its repository: one follows the branch, one the tag.
pub(super) async fn prepared(space: &Space) -> Function {
    followers(space).await;
    global_secret(space, SECRET.into_iter().map(|(key, _)| key)).await;
    start(space).await
}

async fn followers(space: &Space) {
    for (provider, repo) in REPOSITORIES {
        space
            .gitrepo(&format!("{provider}-branch"), json!({ "repo": repo, "branch": BRANCH }))
            .await;
        space.gitrepo(&format!("{provider}-tag"), json!({ "repo": repo, "revision": TAG })).await;
    }
}

/// Creates the global secret with these keys of the test secret.
async fn global_secret(space: &Space, keys: impl IntoIterator<Item = &'static str>) {
    let value = |key| SECRET.iter().find(|(of, _)| *of == key).map(|(_, value)| *value);
    let keys = keys.into_iter().map(|key| (key.to_owned(), value(key).into()));
    space.global_secret(keys.collect::<Map<String, Value>>().into()).await;
}

pub(super) async fn start(space: &Space) -> Function {
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
    let function = prepared(space).await;
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
        if promise.refs == "unknown" {
            let skipped = answer.body["skipped"].as_array().expect("names them");
            assert_eq!(skipped.len(), 2, "{}", event.name);
            assert!(skipped.iter().all(|entry| entry["reason"] == "refs_unknown"), "{skipped:?}");
        }
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

async fn each_scheme_of_a_provider_verifies_alone_and_spoilt_it_moves_nothing(space: &Space) {
    followers(space).await;
    for (provider, scheme) in
        PROVIDERS.iter().flat_map(|provider| provider.schemes.iter().map(move |of| (provider, of)))
    {
        global_secret(space, events::keys_of(scheme)).await;
        // Of its own, so that it has no other secret in its memory.
        let function = start(space).await;
        let pushes = ["push", "push-password"].map(|what| format!("{}-{what}", provider.name));
        for event in Event::all().into_iter().filter(|event| pushes.contains(&event.name)) {
            let context = |how: &str| format!("{} by {scheme:?}: {how}", event.name);
            let writes = space.writes();
            for (how, request) in events::spoilt(&event, scheme, Timestamp::now()) {
                let answer = deliver(&function, &request).await;
                let said = (answer.status, answer.outcome());
                // Without `X-Hook-UUID` it is no longer known as Bitbucket Cloud's, and the answer says so.
                let is_still_theirs = request.is_of(provider);
                let refused =
                    if is_still_theirs { (401, "unauthorized") } else { (400, "malformed") };
                assert_eq!(said, refused, "{} {}", context(how), answer.body);
                assert_eq!(answer.body.get("counts"), None, "{}", context(how));
            }
            assert_eq!(space.writes(), writes, "{}", context("spoilt"));

            let answer = deliver(&function, &event.request_by(scheme, Timestamp::now())).await;
            let said = (answer.status, answer.outcome());
            assert_eq!(said, (200, "accepted"), "{} {}", context("right"), answer.body);
            let commit = space.commit(&format!("{}-branch", provider.name)).await;
            assert_eq!(commit.as_deref(), Some(COMMIT), "{}", context("right"));
        }
        drop(function);
        space.delete_secret(&space.fleet, "gitjob-webhook").await;
    }
}

async fn a_form_of_any_provider_and_json_that_calls_itself_one_are_taken(space: &Space) {
    let function = prepared(space).await;
    for provider in PROVIDERS {
        let [push, tag] =
            ["push", "tag"].map(|what| Event::load(&format!("{}-{what}", provider.name)));
        for event in [push.in_a_form(), tag.called_a_form()] {
            let answer = deliver(&function, &event.request_at(Timestamp::now())).await;
            let said = (answer.status, answer.outcome());
            assert_eq!(said, (200, "accepted"), "{} {}", event.name, answer.body);
        }
        for what in ["branch", "tag"] {
            let commit = space.commit(&format!("{}-{what}", provider.name)).await;
            assert_eq!(commit.as_deref(), Some(COMMIT), "{} {what}", provider.name);
        }
    }
}
