//! The end of an invocation: nothing goes on after the answer, and what a patch left half done is taken back before.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{
    api_server::{Fault, Seen},
    github::{NEW, SECRET},
    lambda::Lambda,
    space::Space,
};

/// The function with five seconds for an invocation, and GitRepos that poll as often as Fleet likes.
async fn start(space: &Space, names: &[&str]) -> Lambda {
    start_with(space, names, &[]).await
}

async fn start_with(space: &Space, names: &[&str], more: &[(&str, &str)]) -> Lambda {
    for name in names {
        space.gitrepo(name, space.follows_main()).await;
    }
    space.github_secret().await;
    let mut variables = vec![
        ("KUBECONFIG", space.kubeconfig.to_str().unwrap()),
        ("FLEET_NAMESPACE", space.fleet.as_str()),
        ("AWS_LAMBDA_FUNCTION_TIMEOUT", "5"),
    ];
    variables.extend_from_slice(more);
    Lambda::start(&variables).await
}

async fn interval(space: &Space, name: &str) -> Value {
    space.read(name).await["spec"]["pollingInterval"].clone()
}

fn of_function(space: &Space) -> Vec<Seen> {
    let seen = space.embedded_server().unwrap().seen();
    seen.into_iter().filter(|seen| !seen.by_admin).collect()
}

/// Nothing is asked of the API server from now on, for some seconds.
async fn assert_silence(space: &Space) {
    let before = of_function(space);
    sleep(Duration::from_secs(3)).await;
    let after = of_function(space);
    assert_eq!(after.len(), before.len(), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the Lambda emulator: tests/README.md"]
async fn at_the_deadline_intervals_are_taken_back_and_what_was_patched_is_told() {
    for fault in [
        Fault::silence(Method::PATCH, "/slow/status"),
        Fault::always(Method::PATCH, "/slow/status", 500),
        Fault::always(Method::PATCH, "/slow/status", 500).after(Duration::from_millis(900)),
    ] {
        let space = Space::embedded().await;
        let lambda = start(&space, &["quick", "slow"]).await;
        space.fail(fault.clone());
        let started = Instant::now();

        let answer = lambda.push(&space, SECRET, NEW).await;

        let answered = (answer.status, answer.outcome());
        assert_eq!(answered, (503, "unavailable"), "{fault:?}\n{}", lambda.log());
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        assert_eq!(answer.body["counts"], json!({ "patched": 1, "skipped": 1 }), "{fault:?}");
        assert_eq!(answer.body["patched"][0]["name"], "quick");
        assert_eq!(answer.body["skipped"][0]["reason"], "failed");
        assert_eq!(interval(&space, "quick").await, "1h");
        assert_eq!(interval(&space, "slow").await, Value::Null, "{fault:?}: {}", lambda.log());
        assert_eq!(space.commit("slow").await, None);
        assert_silence(&space).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the Lambda emulator: tests/README.md"]
async fn after_the_answer_nothing_is_asked_of_an_api_server_that_is_silent() {
    for uri in ["/secrets/", "/gitrepos"] {
        let space = Space::embedded().await;
        space.fail(Fault::silence(Method::GET, uri));
        let lambda = start(&space, &["shop"]).await;
        let started = Instant::now();

        let answer = lambda.push(&space, SECRET, NEW).await;

        let answered = (answer.status, answer.outcome());
        assert_eq!(answered, (503, "unavailable"), "{uri}: {}", lambda.log());
        assert!(started.elapsed() < Duration::from_secs(5), "{uri}: {:?}", started.elapsed());
        // Whom a secret verifies is told what was asked of whom, and for how long; nobody else is.
        let server = space.url.trim_start_matches("http://");
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        if uri == "/gitrepos" {
            assert!(
                detail.starts_with("GitRepos cannot be looked up: no answer from "),
                "{detail}"
            );
            assert!(detail.contains(server) && detail.contains(" within "), "{detail}");
        } else {
            assert_eq!(detail, "", "{}", answer.body);
        }
        let line = lambda.delivery_line(1).await;
        let detail = line["detail"].as_str().unwrap();
        assert!(detail.contains(server), "{uri}: {line}");
        let step =
            if uri == "/gitrepos" { "GitRepos cannot be looked up" } else { "the global secret" };
        assert!(detail.contains(step), "{uri}: {line}");
        assert_silence(&space).await;
        assert_eq!(space.writes(), [], "{uri}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the Lambda emulator: tests/README.md"]
async fn a_namespace_that_cannot_be_read_just_now_leaves_time_to_patch_the_others() {
    for fault in [
        Fault::always(Method::GET, "/namespaces/busy/gitrepos", 503),
        Fault::silence(Method::GET, "/namespaces/busy/gitrepos"),
    ] {
        let space = Space::embedded().await;
        let namespaces = format!("{},busy", space.apps);
        let lambda = start_with(&space, &["shop"], &[("GITREPO_NAMESPACES", &namespaces)]).await;
        space.fail(fault.clone());

        let answer = lambda.push(&space, SECRET, NEW).await;

        // It may hold GitRepos that follow: the delivery has to come again.
        assert_eq!(answer.outcome(), "unavailable", "{fault:?}\n{}", lambda.log());
        assert_eq!(space.commit("shop").await.as_deref(), Some(NEW), "{fault:?}\n{}", lambda.log());
    }
}
