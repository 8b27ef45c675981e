//! Figures that an alarm stands on: there from the start, and counted also where no answer came.

use std::time::Duration;

use fleet_webhook::provider::PROVIDERS;
use reqwest::Method;
use serde_json::json;

use crate::{
    on_both,
    support::{
        api_server::Fault,
        function::Function,
        github::{NEW, SECRET},
        space::Space,
    },
};

on_both!(what_an_alarm_stands_on_is_zero_from_the_start);

async fn prepared(deadline: &str) -> (Space, Function) {
    let space = Space::embedded().await;
    let spec = json!({ "repo": space.github_url(), "branch": "main", "pollingInterval": "1h" });
    space.gitrepo("shop", spec).await;
    space.github_secret().await;
    let function = Function::start(&space, &[("DEADLINE", deadline)]).await;
    (space, function)
}

async fn what_an_alarm_stands_on_is_zero_from_the_start(space: &Space) {
    let function = Function::start(space, &[]).await;

    let figures = function.figures().await;

    for provider in PROVIDERS.iter().map(|provider| provider.name) {
        for line in [
            format!(
                "fleet_webhook_deliveries_total{{provider=\"{provider}\",outcome=\"unavailable\"}} 0"
            ),
            format!(
                "fleet_webhook_deliveries_total{{provider=\"{provider}\",outcome=\"accepted\"}} 0"
            ),
            format!(
                "fleet_webhook_deliveries_failed_after_answer_total{{provider=\"{provider}\"}} 0"
            ),
            format!("fleet_webhook_deliveries_not_queued_total{{provider=\"{provider}\"}} 0"),
        ] {
            assert!(figures.lines().any(|figure| figure == line), "{line} is not in\n{figures}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_got_no_answer_in_time_is_counted_as_an_error() {
    let (space, function) = prepared("20s").await;
    space.fail(Fault::silence(Method::PATCH, "/status").once());

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{}", function.log());
    let figures = function.figures().await;
    for (code, times) in [("<error>", 1), ("200", 1)] {
        let line = format!(
            "fleet_webhook_kubernetes_requests_total{{verb=\"patch\",code=\"{code}\"}} {times}"
        );
        assert!(figures.lines().any(|figure| figure == line), "{line} is not in\n{figures}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_is_lost_after_its_answer_is_counted_as_lost() {
    let (space, function) = prepared("500ms").await;
    let late = Fault::always(Method::PATCH, "/status", 422);
    space.fail(late.after(Duration::from_millis(1200)));

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!((answer.status, answer.outcome()), (202, "in_progress"));
    function.logs("finished after the answer").await;

    let lost = "fleet_webhook_deliveries_failed_after_answer_total{provider=\"github\"} 1";
    let figures = function.figures().await;
    assert!(figures.contains(lost), "{figures}");
    function.logs("nobody will send it again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_was_answered_503_is_not_counted_as_lost_too() {
    let (space, function) = prepared("500ms").await;
    space.fail(Fault::always(Method::PATCH, "/status", 500).once());
    let late = Fault::always(Method::PATCH, "/status", 422);
    space.fail(late.after(Duration::from_millis(1200)));

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"));
    function.logs("finished after the answer").await;

    let lost = "fleet_webhook_deliveries_failed_after_answer_total{provider=\"github\"} 0";
    let figures = function.figures().await;
    assert!(figures.contains(lost), "{figures}");
    assert!(!function.log().contains("nobody will send it again"), "{}", function.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_come_in_the_format_that_is_asked_for() {
    let space = Space::embedded().await;
    let function = Function::start(&space, &[]).await;
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";
    for (accept, content_type, family) in [
        (prometheus, "application/openmetrics-text", "# TYPE fleet_webhook_deliveries counter"),
        ("*/*", "text/plain", "# TYPE fleet_webhook_deliveries_total counter"),
    ] {
        let answer = function.figures_in(accept).await;
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with(content_type));
        let figures = answer.text().await.expect("a text");
        assert!(figures.lines().any(|line| line == family), "{family} is not in\n{figures}");
        assert_eq!(figures.ends_with("# EOF\n"), accept == prometheus, "{figures}");
    }
}
