//! Pings: whoever mistypes a secret sees it in the provider's own test, and nobody else is alarmed.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    on_both,
    support::{
        api_server::Fault,
        function::{Answer, Function},
        github::{NEW, push},
        space::Space,
    },
};

on_both!(
    a_ping_is_judged_by_a_gitrepos_own_secret_too,
    a_ping_where_no_secret_is_configured_is_fine_unless_unsigned_deliveries_are_rejected,
    a_ping_of_an_organisation_is_refused_where_the_global_secret_has_a_key_for_it,
    a_ping_where_a_named_global_secret_is_missing_is_unavailable,
);

const GLOBAL: &str = "global secret";
const OWN: &str = "own secret";

async fn following(space: &Space, own_secret: Option<&str>) {
    let spec = json!({ "repo": space.github_url(), "branch": "main", "webhookSecret": own_secret });
    space.gitrepo("shop", spec).await;
}

fn ping(space: &Space) -> Value {
    let repository = push(space, "refs/heads/main", NEW)["repository"].clone();
    json!({ "zen": "Keep it logically awesome.", "hook_id": 1, "repository": repository })
}

async fn pinged(space: &Space, function: &Function, secret: &str) -> Answer {
    let answer = function.deliver_github("ping", secret, &ping(space)).await;
    assert_eq!(space.writes(), [], "a ping writes nothing");
    answer
}

async fn a_ping_is_judged_by_a_gitrepos_own_secret_too(space: &Space) {
    following(space, Some("own")).await;
    space.global_secret(json!({ "github": GLOBAL })).await;
    space.secret(&space.apps, "own", json!({ "github": OWN })).await;
    let function = Function::start(space, &[]).await;

    for (secret, status, outcome) in
        [(OWN, 200, "pong"), (GLOBAL, 200, "pong"), ("mistyped", 401, "unauthorized")]
    {
        let answer = pinged(space, &function, secret).await;
        assert_eq!((answer.status, answer.outcome()), (status, outcome), "{secret}");
    }

    space.delete_secret(&space.fleet, "gitjob-webhook").await;
    let without_global = Function::start(space, &[]).await;
    for (secret, status, outcome) in [(OWN, 200, "pong"), ("mistyped", 401, "unauthorized")] {
        let answer = pinged(space, &without_global, secret).await;
        assert_eq!((answer.status, answer.outcome()), (status, outcome), "{secret} alone");
    }
}

async fn a_ping_where_no_secret_is_configured_is_fine_unless_unsigned_deliveries_are_rejected(
    space: &Space,
) {
    following(space, None).await;
    let organisations = json!({ "zen": "Keep it logically awesome.", "hook_id": 1 });
    for (unsigned, answered) in [("accept", (200, "pong")), ("reject", (401, "unauthorized"))] {
        let function = Function::start(space, &[("UNSIGNED_DELIVERIES", unsigned)]).await;
        // A followed repository, one that nobody follows, and none.
        let others = ping(space).to_string().replace(&space.repository, "acme/nobodys");
        let others = serde_json::from_str(&others).unwrap();
        for ping in [ping(space), others, organisations.clone()] {
            let answer = function.deliver_github("ping", "any", &ping).await;
            assert_eq!((answer.status, answer.outcome()), answered, "{unsigned} {ping}");
        }
        let headers = [("content-type", "application/json"), ("x-github-event", "ping")];
        let unproven = function.deliver(&headers, ping(space).to_string()).await;
        assert_eq!((unproven.status, unproven.outcome()), (200, "pong"), "{unsigned}");
    }
}

async fn a_ping_of_an_organisation_is_refused_where_the_global_secret_has_a_key_for_it(
    space: &Space,
) {
    following(space, None).await;
    space.global_secret(json!({ "github": GLOBAL })).await;
    let function = Function::start(space, &[]).await;
    let ping = json!({ "zen": "Keep it logically awesome.", "hook_id": 1 });
    for (secret, answered) in [(GLOBAL, (200, "pong")), ("mistyped", (401, "unauthorized"))] {
        let answer = function.deliver_github("ping", secret, &ping).await;
        assert_eq!((answer.status, answer.outcome()), answered, "{secret}");
    }

    space.delete_secret(&space.fleet, "gitjob-webhook").await;
    space.global_secret(json!({ "gitlab": GLOBAL })).await;
    let keyless = Function::start(space, &[]).await;
    let answer = keyless.deliver_github("ping", GLOBAL, &ping).await;
    assert_eq!((answer.status, answer.outcome()), (200, "pong"));
}

async fn a_ping_where_a_named_global_secret_is_missing_is_unavailable(space: &Space) {
    following(space, None).await;
    let function = Function::start(space, &[("WEBHOOK_SECRET_NAME", "my-webhook")]).await;

    let answer = pinged(space, &function, GLOBAL).await;

    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"));
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_is_unavailable_while_the_global_secret_or_the_gitrepos_cannot_be_read() {
    for fault in [
        Fault::always(Method::GET, "/secrets/", 500),
        Fault::always(Method::GET, "/secrets/", 403),
        Fault::always(Method::GET, "includeObject", 500),
    ] {
        let space = Space::embedded().await;
        following(&space, None).await;
        space.global_secret(json!({ "github": GLOBAL })).await;
        // So that GitRepos are looked up at the API server.
        space.fail(Fault::always(Method::GET, "watch=true", 403));
        space.fail(fault.clone());
        let function = Function::start(&space, &[]).await;

        let answer = pinged(&space, &function, "mistyped").await;

        let answered = (answer.status, answer.outcome());
        assert_eq!(answered, (503, "unavailable"), "{fault:?}\n{}", function.log());
    }
}
