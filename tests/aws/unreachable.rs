//! Clusters that nobody can reach: a function without a way to any forwards to queues, and a service in each cluster
//! takes the deliveries out of its own. The order and the numbers are those of contract §8.

use std::time::{Duration, Instant};

use jiff::{Timestamp, ToSpan as _};
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use crate::support::{
    events::{BRANCH, COMMIT, Event, REPOSITORIES, SECRET},
    function::{Answer, Function},
    github::{NEW, NEWER, OLD, headers, push, signature},
    lambda::{FrontDoor, Lambda},
    moto::Moto,
    real_cluster::RealCluster,
    sink::generic_message,
    space::Space,
};

const FORWARDED: (u16, &str) = (202, "forwarded");

fn secret() -> Value {
    SECRET.into_iter().collect()
}

fn github_secret() -> &'static str {
    SECRET[0].1
}

/// The function, which knows queues and a secret, and nothing of a cluster.
async fn function(moto: &Moto, queues: &[&str]) -> Lambda {
    moto.create_secret("webhook", &secret().to_string()).await;
    let queues = queues.join(",");
    let mut variables = moto.variables();
    variables.extend([("FORWARD_QUEUE_URLS", &*queues), ("WEBHOOK_SECRET_ID", "webhook")]);
    variables.push(("SECRET_CACHE_TTL", "0s"));
    Lambda::start(&variables).await
}

/// A service that takes deliveries out of `queue`.
async fn manager(space: &Space, moto: &Moto, queue: &str) -> Function {
    let mut variables = moto.variables();
    variables.extend([("DELIVERY_QUEUE_URL", queue), ("GITREPO_NAMESPACES", &space.apps)]);
    variables.push(("SECRET_CACHE_TTL", "0s"));
    Function::start(space, &variables).await
}

async fn deliver(lambda: &Lambda, secret: &str, payload: &Value) -> Answer {
    let body = payload.to_string();
    let proof = signature(secret, body.as_bytes());
    lambda.answer(&FrontDoor::HttpApi.post(&headers(&proof), body.as_bytes(), true)).await
}

fn given(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.outcome())
}

async fn until_commit(space: &Space, function: &Function, name: &str, commit: &str) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while space.commit(name).await.as_deref() != Some(commit) {
        assert!(Instant::now() < deadline, "{name} has no {commit}:\n{}", function.log());
        sleep(Duration::from_millis(50)).await;
    }
}

async fn until_empty(moto: &Moto, queue: &str) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while moto.messages(queue).await != (0, 0) {
        assert!(Instant::now() < deadline, "{:?} are left", moto.messages(queue).await);
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto, the Lambda emulator and the real API server: tests/README.md"]
async fn pushes_of_five_providers_reach_both_clusters_and_a_forged_one_reaches_no_queue() {
    const PROVIDERS: [&str; 5] = ["github", "gitlab", "bitbucket-server", "gitea", "generic"];
    let moto = Moto::start().await;
    let (first, second) =
        (moto.create_queue("first", 1_048_576).await, moto.create_queue("second", 1_048_576).await);
    let other: &'static RealCluster =
        tokio::task::spawn_blocking(|| &*Box::leak(Box::new(RealCluster::start("other"))))
            .await
            .unwrap();
    let spaces = [Space::real().await, Space::on_real(other).await];
    for space in &spaces {
        space.global_secret(secret()).await;
        for (provider, repo) in REPOSITORIES {
            space.gitrepo(provider, json!({ "repo": repo, "branch": BRANCH })).await;
        }
    }
    let lambda = function(&moto, &[&first, &second]).await;

    let forged = deliver(&lambda, "wrong", &push(&spaces[0], "refs/heads/main", NEW)).await;
    assert_eq!(given(&forged), (401, "unauthorized"));
    let mistyped = lambda.answer(&Event::load("github-ping-wrong-signature").json).await;
    assert_eq!(given(&mistyped), (401, "unauthorized"));
    assert_eq!((moto.messages(&first).await, moto.messages(&second).await), ((0, 0), (0, 0)));

    for provider in PROVIDERS {
        let event = Event::load(&format!("{provider}-push")).signed_at(Timestamp::now());
        let answer = lambda.answer(&event.json).await;
        assert_eq!(given(&answer), FORWARDED, "{provider}: {}", lambda.log());
        assert_eq!(answer.body.get("patched"), Some(&json!([])), "{}", answer.body);
    }
    assert_eq!((moto.messages(&first).await, moto.messages(&second).await), ((5, 0), (5, 0)));

    let managers =
        [manager(&spaces[0], &moto, &first).await, manager(&spaces[1], &moto, &second).await];
    for (space, manager) in spaces.iter().zip(&managers) {
        for provider in PROVIDERS {
            until_commit(space, manager, provider, COMMIT).await;
        }
        assert_eq!(space.commit("gogs").await, None, "nobody pushed there");
    }
    until_empty(&moto, &first).await;
    until_empty(&moto, &second).await;
    let figures = managers[0].figures().await;
    let received = "fleet_webhook_queue_messages_received_total{queue=\"deliveries\"} 5";
    assert!(figures.contains(received), "{figures}");
    assert_eq!(managers[0].request("GET", "/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_cluster_that_was_away_catches_up_in_order() {
    const BRANCHES: usize = 4;
    const PUSHES: usize = 50;
    let commit = |branch: usize, push: usize| format!("{:040x}", (branch << 16) + push + 1);
    let (moto, space) = (Moto::start().await, Space::embedded().await);
    space.global_secret(secret()).await;
    for branch in 0..BRANCHES {
        let spec = json!({ "repo": space.github_url(), "branch": format!("b{branch}") });
        space.gitrepo(&format!("b{branch}"), spec).await;
    }
    let queue = moto.create_queue("away", 1_048_576).await;
    let lambda = function(&moto, &[&queue]).await;
    for number in 0..PUSHES {
        for branch in 0..BRANCHES {
            let mut payload =
                push(&space, &format!("refs/heads/b{branch}"), &commit(branch, number));
            payload["before"] = match number {
                0 => json!(OLD),
                _ => json!(commit(branch, number - 1)),
            };
            assert_eq!(given(&deliver(&lambda, github_secret(), &payload).await), FORWARDED);
        }
    }

    let manager = manager(&space, &moto, &queue).await;
    until_empty(&moto, &queue).await;
    for branch in 0..BRANCHES {
        let last = commit(branch, PUSHES - 1);
        assert_eq!(space.commit(&format!("b{branch}")).await, Some(last), "{}", manager.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_secret_that_is_rotated_at_the_function_first_loses_nothing() {
    let (moto, space) = (Moto::start().await, Space::embedded().await);
    space.global_secret(secret()).await;
    space.gitrepo("shop", space.follows_main()).await;
    let queue = moto.create_queue("rotated", 1_048_576).await;
    let lambda = function(&moto, &[&queue]).await;
    let manager = manager(&space, &moto, &queue).await;
    let rotated = json!({ "github": "the next one" });
    moto.rotate_secret("webhook", &rotated.to_string()).await;

    let answer = deliver(&lambda, "the next one", &push(&space, "refs/heads/main", NEW)).await;
    assert_eq!(given(&answer), FORWARDED, "{}", lambda.log());
    manager.logs("the delivery stays in the queue").await;
    assert_eq!(space.commit("shop").await, None);

    space.delete_secret(&space.fleet, "gitjob-webhook").await;
    space.global_secret(rotated).await;
    until_commit(&space, &manager, "shop", NEW).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_secret_that_is_rotated_in_the_cluster_first_loses_nothing() {
    let (moto, space) = (Moto::start().await, Space::embedded().await);
    let mut both: Map<String, Value> = Map::new();
    both.insert("github".to_owned(), json!("the next one"));
    both.insert("github.previous".to_owned(), json!(github_secret()));
    space.global_secret(Value::Object(both)).await;
    space.gitrepo("shop", space.follows_main()).await;
    let queue = moto.create_queue("rotated", 1_048_576).await;
    let lambda = function(&moto, &[&queue]).await;
    let manager = manager(&space, &moto, &queue).await;

    let main = "refs/heads/main";
    let answer = deliver(&lambda, github_secret(), &push(&space, main, NEW)).await;
    assert_eq!(given(&answer), FORWARDED);
    until_commit(&space, &manager, "shop", NEW).await;

    moto.rotate_secret("webhook", &json!({ "github": "the next one" }).to_string()).await;
    let mut next = push(&space, main, NEWER);
    next["before"] = json!(NEW);
    assert_eq!(given(&deliver(&lambda, "the next one", &next).await), FORWARDED);
    until_commit(&space, &manager, "shop", NEWER).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn what_never_works_ends_in_the_dead_letters_with_a_reason() {
    let generic = SECRET.into_iter().find(|(key, _)| *key == "generic").unwrap().1;
    let (moto, space) = (Moto::start().await, Space::embedded().await);
    space.global_secret(secret()).await;
    space.gitrepo("shop", space.follows_main()).await;
    let (queue, dead) = moto.create_queue_with_dead_letters("dying", 1).await;
    let received = Timestamp::now() - 10.minutes();
    let late = generic_message(&space.github_url(), NEW, generic, received);
    let mut late: Value = serde_json::from_str(&late).unwrap();
    // Its proof was nine minutes old when it came in, and nothing is remembered that is older than that.
    late["received"] = json!((received + 9.minutes()).to_string());
    moto.send(&queue, "no delivery").await;
    moto.send(&queue, &late.to_string()).await;

    let manager = manager(&space, &moto, &queue).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while moto.messages(&dead).await.0 < 2 {
        assert!(Instant::now() < deadline, "{}", manager.log());
        sleep(Duration::from_millis(200)).await;
    }
    let log = manager.log();
    assert!(log.contains("holds no delivery: it is left to the queue's dead letters"), "{log}");
    assert!(log.contains("the delivery stays in the queue") && log.contains("unauthorized"));
    assert_eq!(space.commit("shop").await, None);
    assert_eq!(space.writes(), []);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_large_push_is_compressed_and_one_that_does_not_fit_is_413_with_a_reason() {
    let (moto, space) = (Moto::start().await, Space::embedded().await);
    space.global_secret(secret()).await;
    space.gitrepo("shop", space.follows_main()).await;
    let queue = moto.create_queue("large", 1_048_576).await;
    let lambda = function(&moto, &[&queue]).await;
    let mut large = push(&space, "refs/heads/main", NEW);
    large["padding"] = json!("as commit messages go, this is a long one. ".repeat(40_000));
    assert_eq!(given(&deliver(&lambda, github_secret(), &large).await), FORWARDED);
    let manager = manager(&space, &moto, &queue).await;
    until_commit(&space, &manager, "shop", NEW).await;

    let mut state = 1_u64;
    let noise: String = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}")
    })
    .take(150_000)
    .collect();
    large["padding"] = json!(noise);
    let refused = deliver(&lambda, github_secret(), &large).await;
    assert_eq!(given(&refused), (413, "too_large"), "{}", lambda.log());
    let detail = refused.body["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("does not fit into a message of 1 MiB"), "{}", refused.body);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_service_empties_its_own_retry_queue_without_knative() {
    let (moto, space) = (Moto::start().await, Space::embedded().await);
    space.global_secret(secret()).await;
    space.gitrepo("shop", space.follows_main()).await;
    let queue = moto.create_queue("retry", 1_048_576).await;
    let mut variables = moto.variables();
    variables.push(("RETRY_QUEUE_URL", &queue));
    let function = Function::start(&space, &variables).await;
    let generic = SECRET.into_iter().find(|(key, _)| *key == "generic").unwrap().1;
    let forged = generic_message(&space.github_url(), NEWER, "whsec_d3Jvbmc=", Timestamp::now());
    moto.send(&queue, &forged).await;
    let message = generic_message(&space.github_url(), NEW, generic, Timestamp::now());
    moto.send(&queue, &message).await;

    until_commit(&space, &function, "shop", NEW).await;
    until_empty(&moto, &queue).await;
}
