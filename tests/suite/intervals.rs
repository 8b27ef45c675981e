//! The polling interval: set before the commit, never over anybody's own, and taken back where the commit cannot follow.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    on_both,
    support::{
        api_server::Fault,
        between::{Between, Fate},
        function::Function,
        github::{NEW, SECRET},
        space::Space,
    },
};

on_both!(
    the_interval_is_set_before_the_commit_is_announced,
    an_interval_that_a_killed_process_left_without_a_commit_is_taken_back_after_the_start,
);

/// How long a patch is held up, so that somebody else can be faster.
const A_WHILE: Duration = Duration::from_millis(700);

async fn prepared(space: &Space, names: &[&str]) -> Function {
    for name in names {
        space.gitrepo(name, space.follows_main()).await;
    }
    space.github_secret().await;
    Function::start(space, &[]).await
}

async fn interval(space: &Space, name: &str) -> Value {
    space.read(name).await["spec"]["pollingInterval"].clone()
}

/// Somebody sets the interval of a GitRepo.
async fn somebody_sets(space: &Space, name: &str, interval: &str) {
    space.change_gitrepo(name, "", json!({ "spec": { "pollingInterval": interval } })).await;
}

async fn the_interval_is_set_before_the_commit_is_announced(space: &Space) {
    let function = prepared(space, &["shop"]).await;

    let answer = function.push(space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (200, "accepted"));
    let writes = space.writes();
    let paths: Vec<_> = writes.iter().map(|write| write.uri.split('?').next().unwrap()).collect();
    let [interval, commit] = paths.as_slice() else { panic!("{writes:?}") };
    assert!(interval.ends_with("/gitrepos/shop"), "{writes:?}");
    assert!(commit.ends_with("/gitrepos/shop/status"), "{writes:?}");
}

async fn an_interval_that_a_killed_process_left_without_a_commit_is_taken_back_after_the_start(
    space: &Space,
) {
    let path = |name: &str| {
        format!("/apis/fleet.cattle.io/v1alpha1/namespaces/{}/gitrepos/{name}", space.apps)
    };
    space.gitrepo("left", space.follows_main()).await;
    space.github_secret().await;
    let between = Between::start(space).await;
    between.order(Method::PATCH, "/left/status", Fate::Silence);
    let killed = Function::start(space, &[("KUBECONFIG", &between.kubeconfig)]).await;
    let is_between_the_two = async {
        while interval(space, "left").await.is_null() || !between.is_done() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = is_between_the_two => drop(killed),
        answer = killed.push(space, SECRET, "refs/heads/main", NEW) => panic!("{answer:?}"),
    }
    assert_eq!(interval(space, "left").await, "1h");
    for (name, manager) in [("theirs", "somebody"), ("announced", "fleet-webhook")] {
        space.gitrepo(name, space.follows_main()).await;
        let path = format!("{}?fieldManager={manager}", path(name));
        let set = json!({ "spec": { "pollingInterval": "1h" } });
        space.send(Method::PATCH, &path, &set).await;
    }
    space
        .change_gitrepo("announced", "/status", json!({ "status": { "webhookCommit": NEW } }))
        .await;

    let function = Function::start(space, &[]).await;
    function.logs("took back a polling interval that was left without a commit").await;

    assert_eq!(interval(space, "left").await, Value::Null, "{}", function.log());
    assert_eq!(space.commit("left").await, None);
    assert_eq!(interval(space, "theirs").await, "1h");
    assert_eq!(interval(space, "announced").await, "1h");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interval_that_somebody_set_meanwhile_is_kept_and_the_commit_is_announced() {
    let space = Space::embedded().await;
    let function = prepared(&space, &["shop"]).await;
    function.logs("the index is in use").await;
    // What somebody sets now, the index does not learn.
    space.embedded_server().unwrap().disturb_watches(|faults, _| faults.frozen = true);
    somebody_sets(&space, "shop", "5m").await;

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (200, "accepted"));
    assert_eq!(interval(&space, "shop").await, "5m");
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));
    let statuses: Vec<_> = space.writes().iter().map(|write| write.status).collect();
    assert_eq!(statuses, [422, 200], "somebody was faster, and was tried once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interval_is_taken_back_only_where_it_is_still_ours() {
    let space = Space::embedded().await;
    let function = prepared(&space, &["ours", "theirs"]).await;
    space.fail(Fault::always(Method::PATCH, "/status", 422).after(A_WHILE));

    let push = function.push(&space, SECRET, "refs/heads/main", NEW);
    let meanwhile = async {
        tokio::time::sleep(A_WHILE / 2).await;
        for name in ["ours", "theirs"] {
            assert_eq!(interval(&space, name).await, "1h", "it is set by now");
        }
        somebody_sets(&space, "theirs", "5m").await;
    };
    let (answer, ()) = tokio::join!(push, meanwhile);

    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"), "{}", function.log());
    assert_eq!(interval(&space, "ours").await, Value::Null);
    assert_eq!(interval(&space, "theirs").await, "5m");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interval_whose_answer_came_too_late_is_taken_back_too() {
    let space = Space::embedded().await;
    let function = prepared(&space, &["shop"]).await;
    let server = space.embedded_server().unwrap();
    server.delay(Method::PATCH, "/shop?", Duration::from_secs(4));

    let push = function.push(&space, SECRET, "refs/heads/main", NEW);
    let meanwhile = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(interval(&space, "shop").await, "1h", "it is set, and the function waits");
        server.mend();
        space.fail(Fault::always(Method::PATCH, "/status", 422));
    };
    let (answer, ()) = tokio::join!(push, meanwhile);

    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"), "{}", function.log());
    assert_eq!(interval(&space, "shop").await, Value::Null);
}
