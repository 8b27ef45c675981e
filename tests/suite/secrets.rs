//! The rule: a GitRepo is patched if and only if the secret that governs it verifies the delivery.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    on_both,
    support::{
        function::Function,
        github::{NEW, NEWER},
        space::Space,
    },
};

on_both!(
    a_gitrepos_own_secret_takes_the_global_ones_place,
    one_gitrepos_broken_secret_stops_no_other,
    an_own_secret_verifies_where_the_global_one_does_not,
    a_caller_sees_only_gitrepos_that_its_secret_governs,
    a_global_secret_without_the_key_or_with_an_empty_one_verifies_nothing,
    without_any_secret_unsigned_deliveries_are_accepted_with_a_warning,
    without_any_secret_unsigned_deliveries_are_rejected_where_so_configured,
    a_gitrepo_with_a_secret_is_guarded_even_where_unsigned_deliveries_are_accepted,
    a_named_global_secret_that_is_missing_is_unavailable,
    a_global_secret_that_was_seen_and_is_gone_is_unavailable,
    a_secret_that_appears_works_once_it_is_looked_for_again_or_the_gitrepo_changes,
    a_rotated_secret_works_at_once_and_the_old_one_no_more,
    a_rotation_works_at_once_though_the_old_secret_is_cached,
    a_rotation_of_a_gitrepos_own_secret_works_at_once,
    the_previous_value_is_accepted_beside_the_new_one,
    a_flood_of_forged_deliveries_reads_the_secret_once,
    a_secret_made_with_echo_works,
);

const GLOBAL: &str = "global secret";
const OWN: &str = "own secret";

fn follows_with(space: &Space, secret: &str) -> Value {
    json!({ "repo": space.github_url(), "branch": "main", "webhookSecret": secret })
}

async fn a_gitrepos_own_secret_takes_the_global_ones_place(space: &Space) {
    space.gitrepo("global", space.follows_main()).await;
    space.gitrepo("own", follows_with(space, "own")).await;
    space.global_secret(json!({ "github": GLOBAL })).await;
    space.secret(&space.apps, "own", json!({ "github": OWN })).await;
    let function = Function::start(space, &[]).await;

    function.push(space, GLOBAL, "refs/heads/main", NEW).await;
    assert_eq!(space.commit("global").await.as_deref(), Some(NEW));
    assert_eq!(space.commit("own").await, None);

    function.push(space, OWN, "refs/heads/main", NEWER).await;
    assert_eq!(space.commit("global").await.as_deref(), Some(NEW));
    assert_eq!(space.commit("own").await.as_deref(), Some(NEWER));
}

async fn one_gitrepos_broken_secret_stops_no_other(space: &Space) {
    space.gitrepo("a-missing", follows_with(space, "missing")).await;
    space.gitrepo("b-keyless", follows_with(space, "keyless")).await;
    space.gitrepo("c-empty", follows_with(space, "empty")).await;
    space.gitrepo("d-good", space.follows_main()).await;
    space.global_secret(json!({ "github": GLOBAL })).await;
    space.secret(&space.apps, "keyless", json!({ "gitlab": GLOBAL })).await;
    space.secret(&space.apps, "empty", json!({ "github": "" })).await;
    let function = Function::start(space, &[]).await;

    let answer = function.push(space, GLOBAL, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (200, "accepted"));
    assert_eq!(answer.body["counts"], json!({ "patched": 1, "skipped": 3 }));
    assert_eq!(answer.body["skipped"], json!([]));
    assert_eq!(space.commit("d-good").await.as_deref(), Some(NEW));
    let log =
        function.deliveries_logged(1).await[0]["gitrepos.skipped"].as_str().unwrap().to_owned();
    for reason in [
        "a-missing: secret_missing",
        "b-keyless: secret_key_missing",
        "c-empty: secret_key_missing",
    ] {
        assert!(log.contains(reason), "{reason} is not in {log}");
    }
}

async fn an_own_secret_verifies_where_the_global_one_does_not(space: &Space) {
    space.gitrepo("own", follows_with(space, "own")).await;
    space.global_secret(json!({ "gitlab": GLOBAL })).await;
    space.secret(&space.apps, "own", json!({ "github": OWN })).await;
    let function = Function::start(space, &[]).await;

    let answer = function.push(space, OWN, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (200, "accepted"));
    assert_eq!(space.commit("own").await.as_deref(), Some(NEW));
}

async fn a_caller_sees_only_gitrepos_that_its_secret_governs(space: &Space) {
    space.gitrepo("mine", follows_with(space, "mine")).await;
    space.gitrepo("theirs", follows_with(space, "theirs")).await;
    space.global_secret(json!({ "github": GLOBAL })).await;
    space.secret(&space.apps, "mine", json!({ "github": OWN })).await;
    space.secret(&space.apps, "theirs", json!({ "github": "their secret" })).await;
    let function = Function::start(space, &[]).await;

    let answer = function.push(space, OWN, "refs/heads/main", NEW).await;

    assert_eq!(answer.body["patched"][0]["name"], "mine");
    assert!(!answer.body.to_string().contains("theirs"));
}

async fn a_global_secret_without_the_key_or_with_an_empty_one_verifies_nothing(space: &Space) {
    space.gitrepo("shop", space.follows_main()).await;
    space.global_secret(json!({ "gitlab": GLOBAL, "github": "" })).await;
    let function = Function::start(space, &[]).await;

    for secret in ["", GLOBAL, "\n"] {
        let answer = function.push(space, secret, "refs/heads/main", NEW).await;
        assert_eq!((answer.status, answer.outcome()), (401, "unauthorized"));
    }
    assert!(space.writes().is_empty());
}

async fn without_any_secret_unsigned_deliveries_are_accepted_with_a_warning(space: &Space) {
    space.gitrepo("shop", space.follows_main()).await;
    let function = Function::start(space, &[]).await;

    let answer = function.push(space, "anything", "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (200, "accepted"));
    assert_eq!(answer.body["counts"], json!({ "patched": 1, "skipped": 0 }));
    assert_eq!(answer.body["patched"], json!([]));
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));
    function.logs("no webhook secret is configured").await;
}

async fn without_any_secret_unsigned_deliveries_are_rejected_where_so_configured(space: &Space) {
    space.gitrepo("shop", space.follows_main()).await;
    let function = Function::start(space, &[("UNSIGNED_DELIVERIES", "reject")]).await;

    let answer = function.push(space, "anything", "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (401, "unauthorized"));
    assert!(space.writes().is_empty());
}

async fn a_gitrepo_with_a_secret_is_guarded_even_where_unsigned_deliveries_are_accepted(
    space: &Space,
) {
    space.gitrepo("own", follows_with(space, "own")).await;
    space.secret(&space.apps, "own", json!({ "github": OWN })).await;
    let function = Function::start(space, &[]).await;

    let answer = function.push(space, "forged", "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (401, "unauthorized"));
    assert!(space.writes().is_empty());
}

async fn a_named_global_secret_that_is_missing_is_unavailable(space: &Space) {
    space.gitrepo("shop", space.follows_main()).await;
    let function = Function::start(space, &[("WEBHOOK_SECRET_NAME", "my-webhook")]).await;

    let answer = function.push(space, GLOBAL, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"));
    assert!(answer.headers.contains_key("retry-after"));
    assert!(space.writes().is_empty());
}

async fn a_global_secret_that_was_seen_and_is_gone_is_unavailable(space: &Space) {
    space.gitrepo("shop", space.follows_main()).await;
    space.global_secret(json!({ "github": GLOBAL })).await;
    let function = Function::start(space, &[("SECRET_CACHE_TTL", "0s")]).await;
    function.push(space, GLOBAL, "refs/heads/main", NEW).await;

    space.delete_secret(&space.fleet, "gitjob-webhook").await;
    let answer = function.push(space, GLOBAL, "refs/heads/main", NEWER).await;

    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"));
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));
}

async fn a_secret_that_appears_works_once_it_is_looked_for_again_or_the_gitrepo_changes(
    space: &Space,
) {
    space.gitrepo("own", follows_with(space, "own")).await;
    space.gitrepo("other", follows_with(space, "other")).await;
    space.global_secret(json!({ "gitlab": GLOBAL })).await;
    let function = Function::start(space, &[("LOOKUP_CACHE_TTL", "2s")]).await;
    assert_eq!(function.push(space, OWN, "refs/heads/main", NEW).await.status, 401);

    space.secret(&space.apps, "own", json!({ "github": OWN })).await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(function.push(space, OWN, "refs/heads/main", NEW).await.status, 200);

    space.secret(&space.apps, "other", json!({ "github": "other" })).await;
    space
        .change_gitrepo(
            "other",
            "",
            json!({ "spec": { "revision": "", "branch": "main", "paths": ["a"] } }),
        )
        .await;
    // What a stranger is looked up in may be as old.
    let deadline = Instant::now() + Duration::from_millis(2100);
    while function.push(space, "other", "refs/heads/main", NEW).await.status != 200 {
        assert!(Instant::now() < deadline, "{}", function.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(space.commit("other").await.as_deref(), Some(NEW));
}

async fn a_rotated_secret_works_at_once_and_the_old_one_no_more(space: &Space) {
    space.gitrepo("shop", space.follows_main()).await;
    space.global_secret(json!({ "github": GLOBAL })).await;
    let function = Function::start(space, &[("SECRET_CACHE_TTL", "0s")]).await;
    assert_eq!(function.push(space, GLOBAL, "refs/heads/main", NEW).await.status, 200);

    space.delete_secret(&space.fleet, "gitjob-webhook").await;
    space.global_secret(json!({ "github": "rotated" })).await;

    assert_eq!(function.push(space, "rotated", "refs/heads/main", NEWER).await.status, 200);
    assert_eq!(function.push(space, GLOBAL, "refs/heads/main", NEW).await.status, 401);
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEWER));
}

async fn a_rotation_works_at_once_though_the_old_secret_is_cached(space: &Space) {
    space.gitrepo("shop", space.follows_main()).await;
    space.global_secret(json!({ "github": GLOBAL })).await;
    let function = Function::start(space, &[]).await;
    assert_eq!(function.push(space, GLOBAL, "refs/heads/main", NEW).await.status, 200);

    space.delete_secret(&space.fleet, "gitjob-webhook").await;
    space.global_secret(json!({ "github": "rotated" })).await;

    assert_eq!(function.push(space, "rotated", "refs/heads/main", NEWER).await.status, 200);
    assert_eq!(function.push(space, GLOBAL, "refs/heads/main", NEW).await.status, 401);
}

async fn a_rotation_of_a_gitrepos_own_secret_works_at_once(space: &Space) {
    space.gitrepo("own", follows_with(space, "own")).await;
    space.secret(&space.apps, "own", json!({ "github": OWN })).await;
    let function = Function::start(space, &[]).await;
    assert_eq!(function.push(space, OWN, "refs/heads/main", NEW).await.status, 200);

    space.delete_secret(&space.apps, "own").await;
    space.secret(&space.apps, "own", json!({ "github": "rotated" })).await;

    assert_eq!(function.push(space, "rotated", "refs/heads/main", NEWER).await.status, 200);
    assert_eq!(function.push(space, OWN, "refs/heads/main", NEW).await.status, 401);
}

async fn the_previous_value_is_accepted_beside_the_new_one(space: &Space) {
    space.gitrepo("shop", space.follows_main()).await;
    space.global_secret(json!({ "github": "new", "github.previous": "old" })).await;
    let function = Function::start(space, &[]).await;

    assert_eq!(function.push(space, "new", "refs/heads/main", NEW).await.status, 200);
    assert_eq!(function.push(space, "old", "refs/heads/main", NEWER).await.status, 200);
    assert_eq!(function.push(space, "older", "refs/heads/main", NEW).await.status, 401);
}

async fn a_flood_of_forged_deliveries_reads_the_secret_once(space: &Space) {
    space.gitrepo("own", follows_with(space, "own")).await;
    space.global_secret(json!({ "github": GLOBAL })).await;
    space.secret(&space.apps, "own", json!({ "github": OWN })).await;
    let function = Function::start(space, &[]).await;

    futures::future::join_all(
        (0..50).map(|_| function.push(space, "forged", "refs/heads/main", NEW)),
    )
    .await;

    let reads = |namespace: &str| {
        let path = format!("/namespaces/{namespace}/secrets/");
        space.requests().iter().filter(|request| request.uri.contains(&path)).count()
    };
    assert!(reads(&space.fleet) <= 2, "{}", reads(&space.fleet));
    assert_eq!(reads(&space.apps), 1);
    assert!(space.writes().is_empty());
}

async fn a_secret_made_with_echo_works(space: &Space) {
    space.gitrepo("shop", space.follows_main()).await;
    space.global_secret(json!({ "github": format!("{GLOBAL}\n") })).await;
    let function = Function::start(space, &[]).await;

    assert_eq!(function.push(space, GLOBAL, "refs/heads/main", NEW).await.status, 200);
}
