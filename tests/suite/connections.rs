//! Connections to the API server that are worth nothing any more, and reads that have to be tried again.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio::time::sleep;

use crate::{
    on_both,
    support::{
        api_server::Fault,
        between::Between,
        function::Function,
        github::{NEW, NEWER, OLD, SECRET, push},
        silent::Silent,
        space::Space,
    },
};

on_both!(
    connections_that_died_unheard_cost_no_delivery,
    connections_on_which_nobody_is_known_any_more_cost_no_delivery,
);

/// So many connections are open after a push to as many GitRepos.
const CONNECTIONS: usize = 16;

/// How old the way to the cluster has to be to be looked for again.
const LOOKED_FOR_AGAIN: Duration = Duration::from_millis(10_100);

async fn prepared() -> Space {
    let space = Space::embedded().await;
    prepare(&space, "shop").await;
    space.github_secret().await;
    space
}

async fn prepare(space: &Space, name: &str) {
    let spec = json!({ "repo": space.github_url(), "branch": "main", "pollingInterval": "1h" });
    space.gitrepo(name, spec).await;
}

/// Fails unless a push to many GitRepos is announced to all of them; gives how long that took.
async fn announced(function: &Function, space: &Space, before: &str, commit: &str) -> Duration {
    let mut payload = push(space, "refs/heads/main", commit);
    payload["before"] = json!(before);
    let began = Instant::now();
    let answer = function.deliver_github("push", SECRET, &payload).await;
    let took = began.elapsed();
    let counts = json!({ "patched": CONNECTIONS, "skipped": 0 });
    assert_eq!(answer.body["counts"], counts, "{took:?} {answer:?} {}", function.log());
    for number in 0..CONNECTIONS {
        assert_eq!(space.commit(&format!("shop-{number}")).await.as_deref(), Some(commit));
    }
    took
}

/// Starts the function with that, and has it open many connections.
async fn connected(space: &Space, variables: &[(&str, &str)]) -> Function {
    for number in 0..CONNECTIONS {
        prepare(space, &format!("shop-{number}")).await;
    }
    space.github_secret().await;
    let function = Function::start(space, variables).await;
    function.logs("the index is in use").await;
    announced(&function, space, OLD, NEW).await;
    function
}

async fn connections_that_died_unheard_cost_no_delivery(space: &Space) {
    let between = Silent::start(space).await;
    let variables = [("KUBECONFIG", &*between.kubeconfig), ("SECRET_CACHE_TTL", "0s")];
    let function = connected(space, &variables).await;

    between.swallow();

    let took = announced(&function, space, NEW, NEWER).await;
    assert!(took < Duration::from_secs(4), "{took:?}");
    // The one that had to wait found new connections for those after it.
    let took = announced(&function, space, NEWER, OLD).await;
    assert!(took < Duration::from_millis(1_500), "{took:?}");
}

async fn connections_on_which_nobody_is_known_any_more_cost_no_delivery(space: &Space) {
    let between = Between::start(space).await;
    let function = connected(space, &[("KUBECONFIG", &*between.kubeconfig)]).await;
    sleep(LOOKED_FOR_AGAIN).await;

    // The secret is remembered: it is all the patches at once that find nobody known.
    between.disown();

    announced(&function, space, NEW, NEWER).await;
    let refused = between.disowned();
    assert!(refused > 0, "it asked on no connection that was open");
    announced(&function, space, NEWER, OLD).await;
    assert_eq!(between.disowned(), refused, "none of them is used any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_server_is_asked_again_when_it_says() {
    for (path, status) in [("/secrets/", 429), ("/gitrepos?includeObject", 429), ("/secrets/", 503)]
    {
        let space = prepared().await;
        let function = Function::start(&space, &[("SECRET_CACHE_TTL", "0s")]).await;
        space.embedded_server().unwrap().ask_to_wait(1);
        space.embedded_server().unwrap().disturb_watches(|faults, _| faults.frozen = true);
        space.fail(Fault::always(Method::GET, path, status).once());

        let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

        assert_eq!(answer.outcome(), "accepted", "{path} {status} {}", function.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_credential_is_read_again_once_and_the_log_says_what_the_server_said() {
    let space = prepared().await;
    let path = format!("{}.rotated", space.kubeconfig.display());
    let kubeconfig = std::fs::read_to_string(&space.kubeconfig).unwrap();
    std::fs::write(&path, &kubeconfig).unwrap();
    let variables = [("KUBECONFIG", &*path), ("SECRET_CACHE_TTL", "0s")];
    let function = Function::start(&space, &variables).await;
    sleep(LOOKED_FOR_AGAIN).await;
    let before = space.requests().len();
    space.fail(Fault::always(Method::GET, "/secrets/", 401).once());

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!(answer.outcome(), "accepted", "{}", function.log());
    let secrets: Vec<_> = space.requests().split_off(before);
    let secrets = secrets.iter().filter(|request| request.uri.contains("/secrets/")).count();
    assert_eq!(secrets, 2, "{}", function.log());
}
