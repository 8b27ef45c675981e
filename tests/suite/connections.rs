//! Connections to the API server that are worth nothing any more, and reads that have to be tried again.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::support::{
    api_server::Fault,
    function::Function,
    github::{NEW, NEWER, SECRET},
    silent::Silent,
    space::Space,
};

async fn prepared() -> Space {
    let space = Space::embedded().await;
    let spec = json!({ "repo": space.github_url(), "branch": "main", "pollingInterval": "1h" });
    space.gitrepo("shop", spec).await;
    space.github_secret().await;
    space
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_died_unheard_cost_no_delivery() {
    let space = prepared().await;
    let between = Silent::start(&space).await;
    let variables = [("KUBECONFIG", &*between.kubeconfig), ("SECRET_CACHE_TTL", "0s")];
    let function = Function::start(&space, &variables).await;
    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!(answer.outcome(), "accepted", "{}", function.log());

    between.swallow();
    let began = Instant::now();
    let answer = function.push(&space, SECRET, "refs/heads/main", NEWER).await;

    assert_eq!(answer.outcome(), "accepted", "{}", function.log());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEWER));
    // The one that had to wait found new connections for those after it.
    let began = Instant::now();
    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!(answer.outcome(), "accepted", "{}", function.log());
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
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
    tokio::time::sleep(Duration::from_millis(10_100)).await;
    let before = space.requests().len();
    space.fail(Fault::always(Method::GET, "/secrets/", 401).once());

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!(answer.outcome(), "accepted", "{}", function.log());
    let secrets: Vec<_> = space.requests().split_off(before);
    let secrets = secrets.iter().filter(|request| request.uri.contains("/secrets/")).count();
    assert_eq!(secrets, 2, "{}", function.log());
}
