//! 503: whom a secret verifies is told which step failed, of whom it asked and for how long; a stranger is told nothing.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::{
    api_server::Fault,
    function::Function,
    github::{NEW, SECRET},
    space::Space,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_up_that_fails_is_told_to_whom_a_secret_verifies_and_to_nobody_else() {
    let mut silent = Vec::new();
    for (fault, says) in [
        (Fault::silence(Method::GET, "/gitrepos"), "no answer from "),
        (Fault::always(Method::GET, "/gitrepos", 500), "the API server answered 500"),
        (Fault::always(Method::GET, "/gitrepos", 403), "forbidden: the API server answered"),
        (
            Fault::always(Method::GET, "/gitrepos", 401),
            "unauthorized: the API server does not know",
        ),
    ] {
        let space = Space::embedded().await;
        space.shop().await;
        space.fail(fault.clone());
        let function = Function::start(&space, &[("DEADLINE", "2s")]).await;

        let verified = function.push(&space, SECRET, "refs/heads/main", NEW).await;
        let stranger = function.push(&space, "wrong", "refs/heads/main", NEW).await;

        assert_eq!((verified.status, stranger.status), (503, 503), "{fault:?} {}", function.log());
        let detail = verified.body["detail"].as_str().unwrap_or_default();
        let expected = format!("GitRepos cannot be looked up: {says}");
        assert!(detail.starts_with(&expected), "{fault:?} {}", verified.body);
        if says.starts_with("no answer") {
            let server = space.url.trim_start_matches("http://");
            assert!(detail.contains(server) && detail.contains(" within "), "{detail}");
        }
        assert_eq!(stranger.body.get("detail"), None, "{}", stranger.body);
        assert_eq!(stranger.body.get("counts"), None, "{}", stranger.body);
        let lines = function.deliveries_logged(2).await;
        let line = &lines[0];
        assert!(line["detail"].as_str().unwrap().contains(says), "{line}");
        assert_eq!(line["level"], "WARN");
        silent.push(stranger.body);
    }
    silent.dedup();
    assert_eq!(silent.len(), 1, "a stranger learns nothing of what is wrong: {silent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_or_patched_in_time_is_told_to_whom_a_secret_verifies() {
    for (fault, own, says) in [
        (Fault::silence(Method::GET, "/secrets/own"), true, "a secret cannot be read"),
        (Fault::always(Method::PATCH, "/status", 500), false, "the API server answered 500"),
        // The deadline comes in the middle of an attempt.
        (
            Fault::always(Method::PATCH, "/status", 500).after(Duration::from_millis(280)),
            false,
            "the API server answered 500",
        ),
    ] {
        let space = Space::embedded().await;
        let mut spec = space.follows_main();
        if own {
            spec["webhookSecret"] = json!("own");
        }
        space.gitrepo("shop", spec).await;
        space.github_secret().await;
        space.fail(fault.clone());
        let function = Function::start(&space, &[("DEADLINE", "2s")]).await;
        let verified = function.push(&space, SECRET, "refs/heads/main", NEW).await;
        let stranger = function.push(&space, "wrong", "refs/heads/main", NEW).await;
        assert_eq!(verified.status, 503, "{fault:?} {}", verified.body);
        let detail = verified.body["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(says), "{fault:?} {}", verified.body);
        assert_eq!(stranger.body.get("detail"), None, "{fault:?} {}", stranger.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_the_global_secret_from_being_read_is_in_the_log_and_in_no_answer() {
    let space = Space::embedded().await;
    space.shop().await;
    space.fail(Fault::always(Method::GET, "/secrets/", 403));
    let function = Function::start(&space, &[("DEADLINE", "2s")]).await;

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.body.get("detail")), (503, None), "{}", answer.body);
    let line = &function.deliveries_logged(1).await[0];
    let detail = line["detail"].as_str().unwrap();
    assert!(detail.starts_with("the global secret cannot be read: "), "{detail}");
    assert!(detail.contains("forbidden: the API server answered"), "{detail}");
}
