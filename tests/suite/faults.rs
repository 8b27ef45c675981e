//! What may happen on the way to the API server, the real one too: no push is lost by it, and none overtaken.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    on_both,
    support::{
        between::{Between, Fate},
        function::{Answer, Function},
        github::{self, NEW, NEWER, OLD, SECRET},
        space::Space,
    },
};

on_both!(
    a_read_or_patch_that_is_refused_swallowed_lost_or_cut_costs_no_push,
    a_push_that_is_tried_again_overtakes_no_later_one,
);

/// What a delivery asks for whose GitRepo the index does not hold, but for the polling interval.
const REQUESTS: [(Method, &str); 4] = [
    (Method::GET, "/secrets/gitjob-webhook"),
    (Method::GET, "/gitrepos?includeObject"),
    (Method::GET, "/gitrepos?fieldSelector"),
    (Method::PATCH, "/shop/status"),
];

fn following(space: &Space) -> Value {
    json!({ "repo": space.github_url(), "branch": "main", "pollingInterval": "1h" })
}

async fn push(function: &Function, space: &Space, before: &str, after: &str) -> Answer {
    let mut payload = github::push(space, "refs/heads/main", after);
    payload["before"] = json!(before);
    function.deliver_github("push", SECRET, &payload).await
}

async fn a_read_or_patch_that_is_refused_swallowed_lost_or_cut_costs_no_push(space: &Space) {
    space.gitrepo("shop", following(space)).await;
    space.github_secret().await;
    let between = Between::start(space).await;
    // Nothing is remembered and nothing indexed: each delivery asks for all.
    let variables = [
        ("KUBECONFIG", &*between.kubeconfig),
        ("SECRET_CACHE_TTL", "0s"),
        ("GITREPO_NAMESPACES", &*space.apps),
        ("DEADLINE", "20s"),
    ];
    between.hush();
    let function = Function::start(space, &variables).await;
    let (mut at, mut number) = (OLD.to_owned(), 0);
    for fate in [
        Fate::Refused(429, Some(1)),
        Fate::Refused(503, None),
        Fate::Silence,
        Fate::Unheard,
        Fate::Half,
    ] {
        for (method, part) in REQUESTS {
            number += 1;
            let next = format!("{number:040x}");
            between.order(method, part, fate);

            let answer = push(&function, space, &at, &next).await;

            assert_eq!(answer.outcome(), "accepted", "{part} {fate:?} {}", function.log());
            assert_eq!(space.commit("shop").await.as_deref(), Some(&*next), "{part} {fate:?}");
            assert!(between.is_done(), "{part} was not asked for");
            at = next;
        }
    }
}

async fn a_push_that_is_tried_again_overtakes_no_later_one(space: &Space) {
    space.gitrepo("shop", following(space)).await;
    space.github_secret().await;
    let between = Between::start(space).await;
    let function = Function::start(space, &[("KUBECONFIG", &*between.kubeconfig)]).await;
    function.logs("the index is in use").await;
    push(&function, space, "", OLD).await;
    for (refusal, later) in [(Fate::Refused(503, Some(1)), 200), (Fate::Refused(503, None), 20)] {
        between.order(Method::PATCH, "/shop/status", refusal);

        let earlier = push(&function, space, OLD, NEW);
        let later = async {
            sleep(Duration::from_millis(later)).await;
            push(&function, space, NEW, NEWER).await
        };
        let (earlier, later) = tokio::join!(earlier, later);

        assert_eq!((earlier.status, later.status), (200, 200), "{}", function.log());
        assert_eq!(space.commit("shop").await.as_deref(), Some(NEWER), "{refusal:?}");
        push(&function, space, NEWER, OLD).await;
        assert_eq!(space.commit("shop").await.as_deref(), Some(OLD));
    }
}
