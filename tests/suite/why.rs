//! It says why: what a person sees on the delivery page and in the log, where it was too little.

use serde_json::{Value, json};

use crate::{
    on_both,
    support::{
        function::Function,
        github::{NEW, NEWER, OLD, SECRET, headers, push, signature},
        space::Space,
    },
};

on_both!(
    each_refusal_has_its_reason_in_the_log,
    a_ref_that_was_deleted_or_has_no_commit_is_told_apart_from_another_branch,
    no_push_and_no_gitrepo_of_that_name_are_told_apart,
    a_delivery_has_one_line_with_who_sent_it_and_what_it_was_about,
);

async fn prepared(space: &Space) -> Function {
    space.shop().await;
    Function::start(space, &[]).await
}

async fn each_refusal_has_its_reason_in_the_log(space: &Space) {
    let function = prepared(space).await;
    let body = push(space, "refs/heads/main", NEW).to_string();
    let unsigned = [("content-type", "application/json"), ("x-github-event", "push")];
    let token = [
        ("content-type", "application/json"),
        ("x-gitlab-event", "Push Hook"),
        ("x-gitlab-token", "hunter2"),
    ];
    let gitlab = json!({
        "ref": "refs/heads/main", "after": NEW, "project": { "git_http_url": "https://gitlab.com/acme/shop.git" },
    });
    let mut expected = Vec::new();
    // Each twice: the reason is in every line, and not in the first alone.
    for _ in 0..2 {
        assert_eq!(function.push(space, "wrong", "refs/heads/main", NEW).await.status, 401);
        expected.push("the proof is wrong");
        assert_eq!(function.deliver(&unsigned, body.clone()).await.status, 401);
        expected.push("the delivery carries no proof");
        assert_eq!(function.deliver(&token, gitlab.to_string()).await.status, 401);
        expected.push(
            "the global secret verifies nothing: it has no key gitlab-signing-token, or gitlab",
        );
    }
    let lines = function.deliveries_logged(expected.len()).await;
    let details: Vec<_> = lines.iter().map(|line| line["detail"].as_str().unwrap()).collect();
    assert_eq!(details, expected);
    assert!(!function.log().contains("hunter2"));
}

async fn a_ref_that_was_deleted_or_has_no_commit_is_told_apart_from_another_branch(space: &Space) {
    let function = prepared(space).await;
    let zeros = "0".repeat(40);
    for (git_ref, after, reason) in [
        ("refs/heads/main", zeros.as_str(), "deleted"),
        ("refs/heads/main", "no commit id", "unusable_commit"),
        ("refs/heads/other", NEW, "branch"),
    ] {
        let answer = function.push(space, SECRET, git_ref, after).await;
        assert_eq!((answer.status, answer.outcome()), (200, "ignored"), "{}", answer.body);
        let skipped = answer.body["skipped"].as_array().expect("names it");
        assert_eq!((skipped.len(), &skipped[0]["reason"]), (1, &json!(reason)), "{}", answer.body);
    }
}

async fn no_push_and_no_gitrepo_of_that_name_are_told_apart(space: &Space) {
    let function = prepared(space).await;
    let issues = function.deliver_github("issues", SECRET, &json!({ "action": "opened" })).await;
    assert_eq!((issues.status, issues.outcome()), (200, "ignored"));
    assert!(issues.body["detail"].as_str().unwrap().starts_with("not a push"), "{}", issues.body);
    let mut elsewhere = push(space, "refs/heads/main", NEW);
    for url in ["html_url", "clone_url", "ssh_url", "git_url"] {
        elsewhere["repository"][url] = json!("https://github.com/acme/renamed");
    }
    let nobody = function.deliver_github("push", SECRET, &elsewhere).await;
    assert_eq!(nobody.body["detail"], "no GitRepo names github.com/acme/renamed");
    let lines = function.deliveries_logged(2).await;
    assert_eq!(lines[1]["detail"], nobody.body["detail"]);
}

async fn a_delivery_has_one_line_with_who_sent_it_and_what_it_was_about(space: &Space) {
    let function = prepared(space).await;
    for name in ["b", "a", "c"] {
        space.gitrepo(name, json!({ "repo": space.github_url(), "branch": name })).await;
    }
    let body = push(space, "refs/heads/main", NEW).to_string();
    let proof = signature(SECRET, body.as_bytes());
    let mut sent = headers(&proof).to_vec();
    sent.push(("x-forwarded-for", "203.0.113.9, 192.0.2.7"));
    sent.push(("x-amzn-trace-id", "Root=1-6955b900-0123456789abcdef01234567"));
    assert_eq!(function.deliver(&sent, body).await.status, 200);
    let lines = function.deliveries_logged(1).await;
    let line = &lines[0];
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["client.address"], "127.0.0.1");
    assert_eq!(line["client.forwarded_for"], "192.0.2.7");
    assert_eq!(line["aws.trace_id"], "Root=1-6955b900-0123456789abcdef01234567");
    assert_eq!(line["git.ref"], "refs/heads/main");
    let apps = &space.apps;
    let skipped = format!("{apps}/a: branch, {apps}/b: branch, {apps}/c: branch");
    assert_eq!(line["gitrepos.skipped"], skipped, "in the order of their names");
    let duration = line["duration_ms"].to_string();
    let digits = duration.split('.').nth(1).unwrap_or_default();
    assert!(digits.len() <= 1, "{duration}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_nothing_is_checked_is_said_once_and_not_with_each_delivery() {
    let space = Space::embedded().await;
    space.gitrepo("shop", space.follows_main()).await;
    let function = Function::start(&space, &[("UNSIGNED_DELIVERIES", "accept")]).await;
    for commit in [OLD, NEW, NEWER] {
        let answer = function.push(&space, "any", "refs/heads/main", commit).await;
        assert_eq!(answer.outcome(), "accepted", "{}", answer.body);
    }
    function.deliveries_logged(3).await;
    assert_eq!(function.log().matches("patched without a check").count(), 1, "{}", function.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_missing_secret_is_warned_of_once_and_not_with_each_delivery() {
    let space = Space::embedded().await;
    let spec = json!({ "repo": space.github_url(), "branch": "main", "webhookSecret": "nowhere" });
    space.gitrepo("own", spec).await;
    let function = prepared(&space).await;
    for commit in [OLD, NEW, NEWER] {
        assert_eq!(function.push(&space, SECRET, "refs/heads/main", commit).await.status, 200);
    }
    function.deliveries_logged(3).await;
    let log = function.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let warnings: Vec<_> =
        lines.filter(|line| line["message"] == "cannot use the secret").collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert_eq!(warnings[0]["secret"], format!("{}/nowhere", space.apps));
}
