//! Patches that fail: tried again, kept from stopping others, and answered so that nothing is lost.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::support::{
    api_server::Fault,
    function::Function,
    github::{NEW, NEWER, SECRET},
    real_cluster::RealCluster,
    space::Space,
};

async fn embedded(names: &[&str], variables: &[(&str, &str)]) -> (Space, Function) {
    let space = Space::embedded().await;
    for name in names {
        space.gitrepo(name, space.follows_main()).await;
    }
    space.github_secret().await;
    let function = Function::start(&space, variables).await;
    (space, function)
}

fn fail(space: &Space, uri: &str, status: u16, times: usize, delay: Duration) {
    let fault = Fault { method: Method::PATCH, uri: uri.to_owned(), status, times, delay };
    space.embedded_server().expect("is embedded").fail(fault);
}

#[tokio::test]
async fn a_conflict_a_busy_server_and_an_error_are_tried_again() {
    for status in [409, 429, 500, 503] {
        let (space, function) = embedded(&["shop"], &[]).await;
        fail(&space, "/shop/status", status, 2, Duration::ZERO);

        let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

        assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{status}");
        assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));
    }
}

#[tokio::test]
async fn a_patch_that_is_tried_again_does_not_overtake_a_later_push() {
    let (space, function) = embedded(&["shop"], &[]).await;
    fail(&space, "/shop/status", 503, 1, Duration::from_millis(1500));
    let later = async {
        // Times are in whole seconds.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        function.push(&space, SECRET, "refs/heads/main", NEWER).await
    };

    let push = function.push(&space, SECRET, "refs/heads/main", NEW);
    let (earlier, later) = tokio::join!(push, later);

    assert_eq!((later.status, later.outcome()), (200, "accepted"));
    assert_eq!((earlier.status, earlier.outcome()), (200, "ignored"));
    assert_eq!(earlier.body["skipped"][0]["reason"], "superseded");
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEWER));
}

#[tokio::test]
async fn one_gitrepo_that_fails_for_good_stops_no_other_and_goes_on_polling() {
    let (space, function) = embedded(&["bad", "good"], &[]).await;
    fail(&space, "/bad/status", 422, 1000, Duration::ZERO);

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"));
    assert_eq!(answer.body["patched"][0]["name"], "good");
    assert_eq!(
        answer.body["skipped"],
        json!([{ "namespace": space.apps, "name": "bad", "reason": "failed" }])
    );
    assert_eq!(space.commit("good").await.as_deref(), Some(NEW));
    assert!(space.read("bad").await["spec"]["pollingInterval"].is_null());
    assert_eq!(space.read("good").await["spec"]["pollingInterval"], "1h");
}

#[tokio::test]
async fn the_commit_is_announced_even_if_the_polling_interval_cannot_be_set() {
    let (space, function) = embedded(&["shop"], &[]).await;
    fail(&space, "/shop?", 403, 1000, Duration::ZERO);

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (200, "accepted"));
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));
}

#[tokio::test]
async fn a_gitrepo_deleted_meanwhile_is_skipped() {
    let (space, function) = embedded(&["shop", "gone"], &[]).await;
    fail(&space, "/gone", 404, 1000, Duration::ZERO);

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (200, "accepted"));
    assert_eq!(
        answer.body["skipped"][0],
        json!({ "namespace": space.apps, "name": "gone", "reason": "gone" })
    );
}

#[tokio::test]
async fn a_server_that_hangs_is_answered_in_time_as_unavailable() {
    let (space, function) = embedded(&["shop"], &[("DEADLINE", "1s")]).await;
    let hang = Fault {
        method: Method::GET,
        uri: "/gitrepos".to_owned(),
        status: 200,
        times: 1000,
        delay: Duration::from_secs(30),
    };
    space.embedded_server().expect("is embedded").fail(hang);

    let started = Instant::now();
    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(space.writes().is_empty());
}

#[tokio::test]
async fn patches_under_way_at_the_deadline_go_on_after_the_answer() {
    let (space, function) =
        embedded(&["shop"], &[("DEADLINE", "500ms"), ("POLLING_INTERVAL", "keep")]).await;
    // Slow, then refused as passing: the second try after the answer succeeds.
    fail(&space, "/shop/status", 503, 1, Duration::from_millis(900));

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!((answer.status, answer.outcome()), (202, "in_progress"));

    for _ in 0..100 {
        if space.commit("shop").await.as_deref() == Some(NEW) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the patch did not go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn a_policy_that_refuses_one_gitrepo_stops_no_other_on_the_real_api_server() {
    let space = Space::real().await;
    for name in ["bad", "good"] {
        space.gitrepo(name, space.follows_main()).await;
    }
    space.github_secret().await;
    let cluster = RealCluster::shared();
    let policy = format!("refuse-{}", space.apps);
    let expression = format!("!(request.namespace == '{}' && request.name == 'bad')", space.apps);
    let objects = json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": policy },
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": { "resourceRules": [{
                    "apiGroups": ["fleet.cattle.io"], "apiVersions": ["*"], "operations": ["UPDATE"],
                    "resources": ["gitrepos/status"],
                }] },
                "validations": [{ "expression": expression }],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": policy }, "spec": { "policyName": policy, "validationActions": ["Deny"] },
        },
    ] });
    cluster.kubectl(&["apply", "-f", "-"], &objects.to_string());
    let function = Function::start(&space, &[]).await;

    // The policy takes a moment to be in force.
    let mut commits = [NEW, NEWER].into_iter().cycle();
    let refused = loop {
        let answer = function
            .push(&space, SECRET, "refs/heads/main", commits.next().expect("endless"))
            .await;
        if answer.status != 200 {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };

    assert_eq!((refused.status, refused.outcome()), (503, "unavailable"));
    assert_eq!(refused.body["patched"][0]["name"], "good");
    assert_eq!(refused.body["skipped"][0]["reason"], "failed");
    cluster.kubectl(&["delete", "validatingadmissionpolicybinding", &policy], "");
    cluster.kubectl(&["delete", "validatingadmissionpolicy", &policy], "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn no_push_is_lost_while_the_real_api_server_is_down() {
    let cluster =
        tokio::task::spawn_blocking(|| RealCluster::start("down")).await.expect("it starts");

    let cluster: &'static RealCluster = Box::leak(Box::new(cluster));
    let space = Space::on_real(cluster).await;
    space.shop().await;
    let function = Function::start(&space, &[]).await;
    assert_eq!(function.push(&space, SECRET, "refs/heads/main", NEW).await.status, 200);

    cluster.stop();
    let down = function.push(&space, SECRET, "refs/heads/main", NEWER).await;
    assert_eq!((down.status, down.outcome()), (503, "unavailable"));
    assert_eq!(function.request("GET", "/healthz").await.status, 200);
    tokio::task::block_in_place(|| cluster.restart());

    let answer = function.push(&space, SECRET, "refs/heads/main", NEWER).await;
    assert_eq!((answer.status, answer.outcome()), (200, "accepted"));
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEWER));
    cluster.end();
}
