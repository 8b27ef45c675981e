//! Of the pushes of a ref the one that Git made last stays, and what is judged is what is patched (contract §5): each
//! fault as it was found once.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    on_both,
    support::{
        api_server::Fault,
        between::Between,
        function::{Answer, Function},
        github::{self, NEW, NEWER, OLD, SECRET},
        space::Space,
    },
};

on_both!(
    of_two_pushes_at_two_replicas_the_later_stays_at_every_gitrepo,
    of_two_pushes_that_arrive_at_two_replicas_in_the_wrong_order_the_later_stays,
    a_push_to_a_gitrepo_without_a_status_and_to_one_with_half_of_it_is_announced,
    what_a_push_changed_is_unchanged_when_it_comes_again,
    a_gitrepo_that_follows_another_branch_by_now_is_not_patched,
    a_gitrepo_that_has_a_secret_of_its_own_by_now_is_not_patched_by_the_global_one,
    a_gitrepo_that_was_made_again_under_its_name_is_judged_as_what_it_is,
);

const NEWEST: &str = "4444444444444444444444444444444444444444";

fn following(space: &Space, branch: &str) -> Value {
    json!({ "repo": space.github_url(), "branch": branch, "pollingInterval": "1h" })
}

/// The function with its index in use.
async fn indexed(space: &Space) -> Function {
    space.github_secret().await;
    replica(space).await
}

/// Another one, of the same secret.
async fn replica(space: &Space) -> Function {
    let function = Function::start(space, &[]).await;
    function.logs("the index is in use").await;
    function
}

/// A push from one commit to another.
async fn push(function: &Function, space: &Space, before: &str, after: &str) -> Answer {
    let mut payload = github::push(space, "refs/heads/main", after);
    payload["before"] = json!(before);
    function.deliver_github("push", SECRET, &payload).await
}

fn names(number: usize) -> Vec<String> {
    (0..number).map(|number| format!("shop-{number}")).collect()
}

async fn commits(space: &Space, names: &[String]) -> Vec<Option<String>> {
    join_all(names.iter().map(|name| space.commit(name))).await
}

/// Fails where any of them is not at a commit.
fn all_at(commit: &str, commits: &[Option<String>]) {
    let elsewhere = commits.iter().filter(|at| at.as_deref() != Some(commit)).count();
    assert_eq!(elsewhere, 0, "of {}", commits.len());
}

async fn of_two_pushes_at_two_replicas_the_later_stays_at_every_gitrepo(space: &Space) {
    let names = names(60);
    join_all(names.iter().map(|name| space.gitrepo(name, following(space, "main")))).await;
    let (one, other) = (indexed(space).await, replica(space).await);
    push(&one, space, "", OLD).await;

    let earlier = push(&one, space, OLD, NEW);
    let later = async {
        sleep(Duration::from_millis(50)).await;
        push(&other, space, NEW, NEWER).await
    };
    let (earlier, later) = tokio::join!(earlier, later);

    assert_eq!((earlier.status, later.status), (200, 200));
    assert_eq!(later.body["counts"], json!({ "patched": 60, "skipped": 0 }));
    all_at(NEWER, &commits(space, &names).await);
}

async fn of_two_pushes_that_arrive_at_two_replicas_in_the_wrong_order_the_later_stays(
    space: &Space,
) {
    space.gitrepo("shop", following(space, "main")).await;
    let (one, other) = (indexed(space).await, replica(space).await);
    push(&one, space, "", OLD).await;

    let later = push(&other, space, NEW, NEWER);
    let earlier = async {
        sleep(Duration::from_millis(300)).await;
        push(&one, space, OLD, NEW).await
    };
    let (later, earlier) = tokio::join!(later, earlier);

    assert_eq!((earlier.status, later.status), (200, 200));
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEWER));
}

async fn a_push_to_a_gitrepo_without_a_status_and_to_one_with_half_of_it_is_announced(
    space: &Space,
) {
    for name in ["none", "empty", "half"] {
        space.gitrepo(name, following(space, "main")).await;
    }
    space.change_gitrepo("empty", "/status", json!({ "status": {} })).await;
    space.change_gitrepo("half", "/status", json!({ "status": { "webhookCommit": OLD } })).await;
    let function = indexed(space).await;

    let answer = push(&function, space, OLD, NEW).await;

    assert_eq!(answer.body["counts"], json!({ "patched": 3, "skipped": 0 }), "{}", function.log());
    for name in ["none", "empty", "half"] {
        let status = &space.read(name).await["status"];
        assert_eq!(status["webhookCommit"], NEW, "{name}");
        assert!(status["lastWebhookTime"].is_string(), "{name}");
    }
}

async fn what_a_push_changed_is_unchanged_when_it_comes_again(space: &Space) {
    space.gitrepo("shop", following(space, "main")).await;
    let function = indexed(space).await;
    for (reasons, at) in [(json!([]), NEW), (json!(["unchanged"]), NEW)] {
        let answer = push(&function, space, OLD, NEW).await;
        let skipped = answer.body["skipped"].as_array().unwrap();
        let reason = skipped.iter().map(|skipped| &skipped["reason"]).collect::<Vec<_>>();
        assert_eq!((answer.outcome(), json!(reason)), ("accepted", reasons));
        assert_eq!(space.commit("shop").await.as_deref(), Some(at));
    }
    push(&function, space, NEW, NEWER).await;
    let again = push(&function, space, OLD, NEW).await;
    assert_eq!(again.body["skipped"][0]["reason"], "superseded");
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEWER));
}

/// One push is refused once, another comes meanwhile (found A1, A3).
async fn overtaken(space: &Space, retry_after: u64, meanwhile: Duration) -> (Answer, Answer) {
    space.gitrepo("shop", following(space, "main")).await;
    let function = indexed(space).await;
    push(&function, space, "", OLD).await;
    let server = space.embedded_server().unwrap();
    server.ask_to_wait(retry_after);
    space.fail(Fault::always(Method::PATCH, "/shop/status", 503).once());

    let earlier = push(&function, space, OLD, NEW);
    let later = async {
        sleep(meanwhile).await;
        push(&function, space, NEW, NEWER).await
    };
    tokio::join!(earlier, later)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_is_tried_again_after_a_second_does_not_overtake_the_one_that_came_meanwhile() {
    let space = Space::embedded().await;
    let (earlier, later) = overtaken(&space, 1, Duration::from_millis(200)).await;
    assert_eq!((later.status, later.outcome()), (200, "accepted"));
    assert_eq!(earlier.body["skipped"][0]["reason"], "superseded");
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEWER));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_is_tried_again_in_the_same_second_does_not_overtake_the_one_that_came_meanwhile()
 {
    let space = Space::embedded().await;
    overtaken(&space, 0, Duration::from_millis(20)).await;
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEWER));
}

/// What a push does that a GitRepo followed until 0.3 s before: it was looked up then, and is changed, or for `null` made
/// again with another branch. The watch tells of it at first, and then says nothing any more (found A4).
async fn changed_since_it_was_looked_up(space: &Space, change: Value) -> [Answer; 2] {
    space.github_secret().await;
    let mut answers = Vec::new();
    for is_silent in [false, true] {
        space.delete_gitrepo("shop").await;
        space.gitrepo("shop", following(space, "main")).await;
        let between = Between::start(space).await;
        let function = Function::start(space, &[("KUBECONFIG", &between.kubeconfig)]).await;
        function.logs("the index is in use").await;
        // A look-up that others may share.
        function.push(space, "forged", "refs/heads/nobody", OLD).await;
        if is_silent {
            between.hush();
        }

        if change.is_null() {
            space.delete_gitrepo("shop").await;
            space.gitrepo("shop", following(space, "dev")).await;
        } else {
            space.change_gitrepo("shop", "", json!({ "spec": change })).await;
        }
        sleep(Duration::from_millis(300)).await;
        answers.push(push(&function, space, OLD, NEW).await);

        assert_eq!(space.commit("shop").await, None, "silent: {is_silent} {}", function.log());
    }
    answers.try_into().unwrap()
}

async fn a_gitrepo_that_follows_another_branch_by_now_is_not_patched(space: &Space) {
    for answer in changed_since_it_was_looked_up(space, json!({ "branch": "dev" })).await {
        assert_eq!(answer.body["skipped"][0]["reason"], "branch", "{answer:?}");
    }
}

async fn a_gitrepo_that_has_a_secret_of_its_own_by_now_is_not_patched_by_the_global_one(
    space: &Space,
) {
    for answer in changed_since_it_was_looked_up(space, json!({ "webhookSecret": "own" })).await {
        assert_eq!(answer.body["counts"]["patched"], 0, "{answer:?}");
        assert_eq!(answer.body["skipped"], json!([]), "its sender may not know of it");
    }
}

async fn a_gitrepo_that_was_made_again_under_its_name_is_judged_as_what_it_is(space: &Space) {
    for answer in changed_since_it_was_looked_up(space, Value::Null).await {
        assert_eq!(answer.body["skipped"][0]["reason"], "branch", "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_begins_at_nothing_known_is_announced_after_a_second() {
    let space = Space::embedded().await;
    space.gitrepo("shop", following(&space, "main")).await;
    space.change_gitrepo("shop", "/status", json!({ "status": { "webhookCommit": OLD } })).await;
    let function = indexed(&space).await;
    let started = std::time::Instant::now();
    let answer = push(&function, &space, NEW, NEWER).await;
    assert_eq!(answer.outcome(), "accepted");
    assert!(started.elapsed() > Duration::from_millis(900), "{:?}", started.elapsed());
    // What begins where that ended waits for nothing.
    let started = std::time::Instant::now();
    push(&function, &space, NEWER, NEWEST).await;
    assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEWEST));
}
