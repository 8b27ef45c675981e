//! An API server outside that only a proxy reaches.

use serde_json::json;

use crate::support::{
    function::Function,
    github::{NEW, NEWER, SECRET},
    proxy::Proxy,
    space::Space,
};

async fn prepared() -> Space {
    let space = Space::real().await;
    space.gitrepo("shop", json!({ "repo": space.github_url(), "branch": "main" })).await;
    space.global_secret(json!({ "github": SECRET })).await;
    space
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn an_api_server_outside_is_reached_by_the_proxy_that_is_set_and_without_it_where_it_is_excepted()
 {
    let (space, proxy) = (prepared().await, Proxy::start().await);
    let address = space.url.trim_start_matches("https://").to_owned();

    // An empty part of the list is passed over.
    let variables = [("HTTPS_PROXY", &*proxy.url), ("NO_PROXY", ",.elsewhere.example,")];
    let function = Function::start(&space, &variables).await;
    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!(answer.outcome(), "accepted", "{}", function.log());
    let asked = proxy.asked();
    assert!(!asked.is_empty() && asked.iter().all(|it| *it == address), "{asked:?} {address}");

    let variables = [("HTTPS_PROXY", &*proxy.url), ("NO_PROXY", ",127.0.0.1")];
    let function = Function::start(&space, &variables).await;
    let answer = function.push(&space, SECRET, "refs/heads/main", NEWER).await;
    assert_eq!(answer.outcome(), "accepted", "{}", function.log());
    assert_eq!(proxy.asked(), asked);
}
