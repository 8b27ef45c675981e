//! The index: a delivery costs one request, and what the index knows is never taken for all that there is.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    on_both,
    support::{
        api_server::Fault,
        function::Function,
        github::{NEW, NEWER, OLD, SECRET},
        space::{ApiRequest, Space},
    },
};

on_both!(
    with_the_index_a_delivery_costs_one_request,
    a_push_right_after_another_costs_one_request_too,
    what_is_created_edited_and_deleted_is_known_within_a_second,
    a_push_to_what_nobody_follows_is_confirmed_by_one_scan_a_second,
    a_push_back_to_an_older_commit_is_no_repetition,
    each_configured_namespace_has_an_index,
    gitrepos_that_come_and_go_under_load_are_never_missed,
);

/// For how long a GitRepo may be missed.
const A_SECOND: Duration = Duration::from_secs(1);

fn following(space: &Space, branch: &str) -> Value {
    json!({ "repo": space.github_url(), "branch": branch, "pollingInterval": "1h" })
}

fn of_index(request: &ApiRequest) -> bool {
    request.uri.contains("watch=true") || request.uri.ends_with("/gitrepos?resourceVersion=0")
}

/// The function with its index in use, and the secret read.
async fn indexed(space: &Space, variables: &[(&str, &str)]) -> Function {
    space.github_secret().await;
    let function = Function::start(space, variables).await;
    function.logs("the index is in use").await;
    function.deliver_github("push", SECRET, &json!({})).await;
    function
}

/// What the function asked for since there were `before` requests, but for the index's own.
fn since(space: &Space, before: usize) -> Vec<ApiRequest> {
    space.requests().split_off(before).into_iter().filter(|request| !of_index(request)).collect()
}

async fn with_the_index_a_delivery_costs_one_request(space: &Space) {
    space.gitrepo("shop", following(space, "main")).await;
    let function = indexed(space, &[]).await;
    let before = space.requests().len();

    let answer = function.push(space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!(answer.body["counts"], json!({ "patched": 1, "skipped": 0 }));
    let requests = since(space, before);
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0].is_write());
}

async fn a_push_right_after_another_costs_one_request_too(space: &Space) {
    space.gitrepo("shop", following(space, "main")).await;
    let function = indexed(space, &[]).await;
    // What was announced before this process began, nobody but the API server knows.
    function.push(space, SECRET, "refs/heads/main", OLD).await;
    // Whether the definition keeps times shows in what was announced.
    sleep(A_SECOND).await;
    if let Some(server) = space.embedded_server() {
        server.disturb_watches(|faults, _| faults.frozen = true);
    }
    let before = space.requests().len();

    let commits: Vec<_> = (1..=20).map(|number| format!("{number:040x}")).collect();
    for commit in &commits {
        let answer = function.push(space, SECRET, "refs/heads/main", commit).await;
        assert_eq!(answer.body["counts"], json!({ "patched": 1, "skipped": 0 }));
    }

    let requests = since(space, before);
    assert_eq!(requests.len(), commits.len(), "{requests:?}");
    assert_eq!(space.commit("shop").await.as_ref(), commits.last());
}

async fn what_is_created_edited_and_deleted_is_known_within_a_second(space: &Space) {
    let function = indexed(space, &[]).await;

    space.gitrepo("shop", following(space, "main")).await;
    sleep(A_SECOND).await;
    let created = function.push(space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!(created.body["counts"], json!({ "patched": 1, "skipped": 0 }));

    space.change_gitrepo("shop", "", json!({ "spec": { "branch": "dev" } })).await;
    sleep(A_SECOND).await;
    let edited = function.push(space, SECRET, "refs/heads/dev", NEWER).await;
    assert_eq!(edited.body["counts"], json!({ "patched": 1, "skipped": 0 }));

    space.delete_gitrepo("shop").await;
    sleep(A_SECOND).await;
    let deleted = function.push(space, SECRET, "refs/heads/dev", NEW).await;
    assert_eq!((deleted.status, deleted.outcome()), (200, "ignored"));
}

async fn a_push_to_what_nobody_follows_is_confirmed_by_one_scan_a_second(space: &Space) {
    space.gitrepo("shop", following(space, "main")).await;
    let function = indexed(space, &[]).await;
    let before = space.requests().len();

    let answers =
        join_all((0..20).map(|_| function.push(space, SECRET, "refs/heads/other", NEW))).await;

    assert!(answers.iter().all(|answer| answer.outcome() == "ignored"));
    let requests = since(space, before);
    let scans = requests.iter().filter(|request| request.is_scan()).count();
    assert!((1..=2).contains(&scans), "{requests:?}");
}

async fn a_push_back_to_an_older_commit_is_no_repetition(space: &Space) {
    space.gitrepo("shop", following(space, "main")).await;
    let function = indexed(space, &[]).await;

    for commit in [NEW, NEWER, NEW, OLD, NEW] {
        let answer = function.push(space, SECRET, "refs/heads/main", commit).await;
        assert_eq!(answer.outcome(), "accepted");
        assert_eq!(space.commit("shop").await.as_deref(), Some(commit));
    }
}

async fn each_configured_namespace_has_an_index(space: &Space) {
    space.gitrepo("shop", following(space, "main")).await;
    space.gitrepo_in(&space.fleet, "shop", following(space, "main")).await;
    let namespaces = format!("{},{}", space.apps, space.fleet);
    let function = indexed(space, &[("GITREPO_NAMESPACES", &namespaces)]).await;
    function.logs(&format!("\"namespace\":\"{}\",\"gitrepos\":1", space.apps)).await;
    function.logs(&format!("\"namespace\":\"{}\",\"gitrepos\":1", space.fleet)).await;
    let before = space.requests().len();

    let answer = function.push(space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!(answer.body["counts"], json!({ "patched": 2, "skipped": 0 }));
    assert_eq!(since(space, before).len(), 2);
    assert!(space.requests().iter().all(|request| !request.uri.contains("v1alpha1/gitrepos")));
}

async fn gitrepos_that_come_and_go_under_load_are_never_missed(space: &Space) {
    let function = indexed(space, &[]).await;
    let done = AtomicBool::new(false);
    let load = async {
        while !done.load(Ordering::Relaxed) {
            function.push(space, SECRET, "refs/heads/nobody", NEW).await;
        }
    };
    let changes = async {
        for round in 0..5 {
            let (name, branch) = (format!("shop-{round}"), format!("branch-{round}"));
            space.gitrepo(&name, following(space, "elsewhere")).await;
            space.change_gitrepo(&name, "", json!({ "spec": { "branch": branch } })).await;
            sleep(A_SECOND).await;
            let answer = function.push(space, SECRET, &format!("refs/heads/{branch}"), NEW).await;
            assert_eq!(answer.outcome(), "accepted", "round {round}");
            space.delete_gitrepo(&name).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(load, changes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_silent_hides_no_gitrepo() {
    let space = Space::embedded().await;
    let function = indexed(&space, &[]).await;
    space.embedded_server().unwrap().disturb_watches(|faults, _| faults.frozen = true);

    space.gitrepo("shop", following(&space, "main")).await;
    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!(answer.body["counts"], json!({ "patched": 1, "skipped": 0 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gitrepo_that_took_the_place_of_a_deleted_one_is_patched_though_the_watch_is_silent() {
    let space = Space::embedded().await;
    space.gitrepo("shop", following(&space, "main")).await;
    let function = indexed(&space, &[]).await;
    space.embedded_server().unwrap().disturb_watches(|faults, _| faults.frozen = true);

    space.delete_gitrepo("shop").await;
    space.gitrepo("store", following(&space, "main")).await;
    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{}", function.log());
    assert_eq!(answer.body["patched"][0]["name"], "store");
    assert_eq!(space.commit("store").await.as_deref(), Some(NEW));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_says_nothing_proves_nothing() {
    let space = Space::embedded().await;
    space.embedded_server().unwrap().disturb_watches(|faults, _| faults.frozen = true);
    let function = Function::start(&space, &[]).await;

    sleep(Duration::from_secs(2)).await;

    assert!(!function.log().contains("the index is in use"), "{}", function.log());
    let figures = function.figures().await;
    assert!(figures.contains("fleet_webhook_index_age_seconds NaN"), "{figures}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_may_not_be_read_stops_no_other() {
    let space = Space::embedded().await;
    space.fail(Fault::always(Method::GET, "/namespaces/gone/gitrepos", 403));
    space.gitrepo("shop", following(&space, "main")).await;
    let namespaces = format!("{},gone", space.apps);
    let function = indexed(&space, &[("GITREPO_NAMESPACES", &namespaces)]).await;
    let before = space.requests().len();

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{}", function.log());
    assert_eq!(since(&space, before).len(), 1);
    // For what nobody follows, the namespace that may not be read may hold the one that does.
    let answer = function.push(&space, SECRET, "refs/heads/other", NEW).await;
    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"), "{}", function.log());
    function.logs("namespaces of GITREPO_NAMESPACES cannot be read").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_was_cut_goes_on_where_it_was() {
    let space = Space::embedded().await;
    space.gitrepo("shop", following(&space, "main")).await;
    let function = indexed(&space, &[]).await;
    let before = space.requests().len();

    sleep(Duration::from_secs(1)).await;
    space.embedded_server().unwrap().disturb_watches(|faults, _| faults.cuts += 1);
    sleep(Duration::from_millis(500)).await;
    space.change_gitrepo("shop", "", json!({ "spec": { "branch": "dev" } })).await;
    sleep(Duration::from_millis(500)).await;
    let answer = function.push(&space, SECRET, "refs/heads/dev", NEW).await;

    assert_eq!(answer.body["counts"], json!({ "patched": 1, "skipped": 0 }));
    let of_index: Vec<_> =
        space.requests().split_off(before).into_iter().filter(of_index).collect();
    assert_eq!(of_index.len(), 1, "{of_index:?}");
    assert!(of_index[0].uri.contains("watch=true"));
    assert_eq!(since(&space, before).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_whose_changes_are_gone_lists_again() {
    let space = Space::embedded().await;
    space.gitrepo("shop", following(&space, "main")).await;
    let function = indexed(&space, &[]).await;

    sleep(Duration::from_secs(1)).await;
    space.embedded_server().unwrap().disturb_watches(|faults, _| faults.frozen = true);
    space.delete_gitrepo("shop").await;
    space.gitrepo("other", following(&space, "dev")).await;
    space.embedded_server().unwrap().disturb_watches(|faults, version| {
        *faults = crate::support::api_server::Faults { cuts: 1, forgotten: version, frozen: false };
    });
    function.logs("no longer has the changes").await;
    function.logs_times("the index is in use", 2).await;
    let before = space.requests().len();
    let answer = function.push(&space, SECRET, "refs/heads/dev", NEW).await;

    assert_eq!(answer.body["counts"], json!({ "patched": 1, "skipped": 0 }));
    assert_eq!(since(&space, before).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_not_in_use_says_what_to_do() {
    for (status, field, says) in [
        (403, "advice", "the rights to list and watch gitrepos: knative/rbac"),
        (404, "error", "is this the cluster that Fleet is installed in?"),
        (503, "advice", "see whether the API server is up"),
        (0, "advice", "see whether the API server is up"),
    ] {
        let space = Space::embedded().await;
        let nowhere = format!("{}.nowhere", space.kubeconfig.display());
        let kubeconfig = std::fs::read_to_string(&space.kubeconfig).unwrap();
        std::fs::write(&nowhere, kubeconfig.replace(&space.url, "http://127.0.0.1:1")).unwrap();
        space.fail(Fault::always(Method::GET, "/gitrepos", status));
        let variables = [("KUBECONFIG", &*nowhere)];

        let function = Function::start(&space, if status == 0 { &variables } else { &[] }).await;
        function.logs("the index is not in use").await;
        std::fs::remove_file(&nowhere).unwrap();

        let log = function.log();
        let line = log.lines().find(|line| line.contains("the index is not in use")).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["level"], "WARN");
        assert!(line[field].as_str().is_some_and(|text| text.contains(says)), "{line}");
    }
}
