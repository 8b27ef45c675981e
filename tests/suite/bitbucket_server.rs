//! A Bitbucket Server whose payload names no host: patched only where all GitRepos that it may mean are on one.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    on_both,
    support::{
        api_server::Fault,
        function::{Answer, Function},
        github::{NEW, SECRET, signature},
        space::Space,
    },
};

on_both!(
    a_repository_that_is_on_one_host_is_patched_over_http_and_ssh,
    a_repository_that_may_be_on_two_hosts_is_patched_on_none,
    a_gitrepo_whose_secret_does_not_verify_keeps_nobody_from_being_patched,
    without_links_key_or_slug_it_is_malformed,
);

async fn following(space: &Space, name: &str, repo: String) {
    let spec = json!({ "repo": repo, "branch": "main", "pollingInterval": "1h" });
    space.gitrepo(name, spec).await;
}

fn over_http(space: &Space, host: &str) -> String {
    format!("https://{host}/scm/{}.git", space.repository)
}

fn over_ssh(space: &Space, host: &str) -> String {
    format!("ssh://git@{host}:7999/{}.git", space.repository)
}

async fn started(space: &Space) -> Function {
    space.global_secret(json!({ "bitbucket-server": SECRET })).await;
    Function::start(space, &[]).await
}

/// As versions before 7 tell of the space's repository.
fn hostless(space: &Space) -> Value {
    let (project, slug) = space.repository.split_once('/').unwrap();
    json!({ "slug": slug, "project": { "key": project.to_uppercase() } })
}

/// Sends a push to a repository.
async fn push(function: &Function, repository: &Value) -> Answer {
    let change = json!({ "ref": { "id": "refs/heads/main" }, "toHash": NEW, "type": "UPDATE" });
    let body = json!({ "repository": repository, "changes": [change] }).to_string();
    let proof = signature(SECRET, body.as_bytes());
    let headers = [
        ("content-type", "application/json"),
        ("x-event-key", "repo:refs_changed"),
        ("x-hub-signature", proof.as_str()),
    ];
    function.deliver(&headers, body).await
}

async fn a_repository_that_is_on_one_host_is_patched_over_http_and_ssh(space: &Space) {
    following(space, "http", over_http(space, "bitbucket.example")).await;
    following(space, "ssh", over_ssh(space, "bitbucket.example")).await;
    following(space, "other", format!("https://other.example/scm/x{}.git", space.repository)).await;
    let function = started(space).await;

    let answer = push(&function, &hostless(space)).await;

    assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{}", function.log());
    assert_eq!(answer.body["counts"], json!({ "patched": 2, "skipped": 0 }));
    assert_eq!(space.commit("http").await.as_deref(), Some(NEW));
    assert_eq!(space.commit("ssh").await.as_deref(), Some(NEW));
    assert_eq!(space.commit("other").await, None);
}

async fn a_repository_that_may_be_on_two_hosts_is_patched_on_none(space: &Space) {
    following(space, "one", over_http(space, "one.example")).await;
    following(space, "two", over_ssh(space, "two.example")).await;
    let function = started(space).await;

    let answer = push(&function, &hostless(space)).await;

    assert_eq!((answer.status, answer.outcome()), (200, "ignored"), "{}", function.log());
    assert_eq!(space.writes(), []);
    function.logs("the payload names no host").await;

    let aliases = [("HOST_ALIASES", "two.example=one.example")];
    let function = Function::start(space, &aliases).await;
    let answer = push(&function, &hostless(space)).await;
    assert_eq!(answer.body["counts"], json!({ "patched": 2, "skipped": 0 }), "{}", function.log());
}

async fn a_gitrepo_whose_secret_does_not_verify_keeps_nobody_from_being_patched(space: &Space) {
    following(space, "ours", over_http(space, "bitbucket.example/stash")).await;
    space.secret(&space.apps, "theirs", json!({ "bitbucket-server": "another" })).await;
    let theirs = json!({
        "repo": over_http(space, "evil.example"), "branch": "main", "webhookSecret": "theirs",
    });
    space.gitrepo("theirs", theirs).await;
    let function = started(space).await;

    let answer = push(&function, &hostless(space)).await;

    assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{}", function.log());
    assert_eq!(space.commit("ours").await.as_deref(), Some(NEW));
    assert_eq!(space.commit("theirs").await, None);
}

async fn without_links_key_or_slug_it_is_malformed(space: &Space) {
    following(space, "http", over_http(space, "bitbucket.example")).await;
    let function = started(space).await;
    let unusable = [json!({}), json!({ "clone": [] }), json!({ "clone": [{ "href": "shop" }] })];
    for links in unusable {
        let answer = push(&function, &json!({ "slug": "shop", "links": links })).await;
        assert_eq!((answer.status, answer.outcome()), (400, "malformed"), "{links}");
    }
    assert_eq!(space.writes(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_gitrepo_that_may_be_on_another_host_cannot_be_read_none_is_patched() {
    let space = Space::embedded().await;
    following(&space, "http", over_http(&space, "bitbucket.example")).await;
    following(&space, "ssh", over_ssh(&space, "bitbucket.example")).await;
    // Without the index each GitRepo is read for itself.
    space.fail(Fault::always(Method::GET, "watch=true", 403));
    space.fail(Fault::always(Method::GET, "metadata.name%3Dssh", 500));
    let function = started(&space).await;

    let answer = push(&function, &hostless(&space)).await;

    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"), "{}", function.log());
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(space.writes(), []);

    space.embedded_server().unwrap().mend();
    let again = push(&function, &hostless(&space)).await;
    assert_eq!(again.body["counts"], json!({ "patched": 2, "skipped": 0 }), "{}", function.log());
}
