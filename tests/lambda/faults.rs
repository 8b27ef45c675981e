//! What may happen on the way to the API server: a function loses no push by it.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::time::sleep;

use crate::{
    on_both,
    support::{
        between::{Between, Fate},
        github::{NEW, NEWER, OLD, SECRET},
        lambda::Lambda,
        space::Space,
    },
};

on_both!(
    #[ignore = "needs the Lambda emulator: tests/README.md"]
    a_read_or_patch_that_is_refused_swallowed_lost_or_cut_costs_no_push,
    a_secret_that_cannot_be_read_stops_no_gitrepo_that_another_governs,
    connections_on_which_nobody_is_known_any_more_cost_no_push,
);

/// How old the way to the cluster has to be to be looked for again.
const LOOKED_FOR_AGAIN: Duration = Duration::from_millis(10_100);

/// More often than a function asks for anything in its time.
const EACH_TIME: usize = 50;

async fn a_read_or_patch_that_is_refused_swallowed_lost_or_cut_costs_no_push(space: &Space) {
    let follows = json!({ "repo": space.github_url(), "branch": "main", "pollingInterval": "1h" });
    space.gitrepo("shop", follows).await;
    space.github_secret().await;
    let between = Between::start(space).await;
    let variables = [
        ("KUBECONFIG", &*between.kubeconfig),
        ("FLEET_NAMESPACE", &*space.fleet),
        ("SECRET_CACHE_TTL", "0s"),
        ("AWS_LAMBDA_FUNCTION_TIMEOUT", "20"),
    ];
    let lambda = Lambda::start(&variables).await;
    let mut number = 0;
    for fate in [Fate::Refused(429, Some(1)), Fate::Silence, Fate::Unheard, Fate::Half] {
        for (method, part) in [
            (Method::GET, "/secrets/gitjob-webhook"),
            (Method::GET, "/gitrepos?includeObject"),
            (Method::GET, "/gitrepos?fieldSelector"),
            (Method::PATCH, "/shop/status"),
        ] {
            number += 1;
            let commit = format!("{number:040x}");
            between.order(method, part, fate);

            let answer = lambda.push(space, SECRET, &commit).await;

            assert_eq!(answer.outcome(), "accepted", "{part} {fate:?} {}", lambda.log());
            assert_eq!(space.commit("shop").await.as_deref(), Some(&*commit), "{part} {fate:?}");
            assert!(between.is_done(), "{part} was not asked for");
        }
    }
}

async fn a_secret_that_cannot_be_read_stops_no_gitrepo_that_another_governs(space: &Space) {
    space.gitrepo("global", space.follows_main()).await;
    let mut follows = space.follows_main();
    follows["webhookSecret"] = json!("own");
    space.gitrepo("own", follows).await;
    space.secret(&space.apps, "own", json!({ "github": "own secret" })).await;
    space.github_secret().await;
    for (secret, governed, signed_with) in
        [("/secrets/gitjob-webhook", "own", "own secret"), ("/secrets/own", "global", SECRET)]
    {
        let between = Between::start(space).await;
        let variables = [("KUBECONFIG", &*between.kubeconfig), ("FLEET_NAMESPACE", &*space.fleet)];
        for _ in 0..EACH_TIME {
            between.order(Method::GET, secret, Fate::Silence);
        }
        let lambda = Lambda::start(&variables).await;

        let answer = lambda.push(space, signed_with, NEW).await;

        // What cannot be judged has to come again.
        assert_eq!(answer.status, 503, "{secret} {}", lambda.log());
        assert_eq!(answer.body["patched"][0]["name"], governed, "{secret} {}", lambda.log());
        assert_eq!(space.commit(governed).await.as_deref(), Some(NEW), "{secret}");
    }
}

/// As an API server answers that was taken out of service and still runs: what a function keeps open between its events
/// does not end by itself.
async fn connections_on_which_nobody_is_known_any_more_cost_no_push(space: &Space) {
    space.gitrepo("shop", space.follows_main()).await;
    space.github_secret().await;
    let between = Between::start(space).await;
    let variables = [("KUBECONFIG", &*between.kubeconfig), ("FLEET_NAMESPACE", &*space.fleet)];
    let lambda = Lambda::start(&variables).await;
    assert_eq!(lambda.push(space, SECRET, OLD).await.outcome(), "accepted", "{}", lambda.log());

    sleep(LOOKED_FOR_AGAIN).await;
    between.disown();

    assert_eq!(lambda.push(space, SECRET, NEW).await.outcome(), "accepted", "{}", lambda.log());
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));
    let refused = between.disowned();
    assert!(refused > 0, "it asked on no connection that was open");
    assert_eq!(lambda.push(space, SECRET, NEWER).await.outcome(), "accepted", "{}", lambda.log());
    assert_eq!(between.disowned(), refused, "none of them is used any more");
}
