//! A function that is ended between the two patches of a GitRepo leaves an interval without a commit: the next delivery
//! for it sees to that.

use std::{process::Command, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    on_both,
    support::{
        between::{Between, Fate},
        github::{NEW, NEWER, SECRET},
        lambda::Lambda,
        space::Space,
    },
};

on_both!(
    #[ignore = "needs the Lambda emulator: tests/README.md"]
    after_a_kill_the_next_delivery_announces_its_commit_or_takes_the_interval_back,
);

/// How often the status may be refused before a function gives up.
const REFUSALS: usize = 40;

async fn interval(space: &Space, name: &str) -> Value {
    space.read(name).await["spec"]["pollingInterval"].clone()
}

async fn after_a_kill_the_next_delivery_announces_its_commit_or_takes_the_interval_back(
    space: &Space,
) {
    space.gitrepo("shop", json!({ "repo": space.github_url(), "branch": "main" })).await;
    space.global_secret(json!({ "github": SECRET })).await;
    let between = Between::start(space).await;
    let variables = [
        ("KUBECONFIG", &*between.kubeconfig),
        ("FLEET_NAMESPACE", &*space.fleet),
        ("AWS_LAMBDA_FUNCTION_TIMEOUT", "4"),
    ];
    between.order(Method::PATCH, "/shop/status", Fate::Silence);
    let killed = Lambda::start(&variables).await;
    let between_the_two = async {
        while interval(space, "shop").await.is_null() || !between.is_done() {
            sleep(Duration::from_millis(20)).await;
        }
        let id = killed.function_id().expect("it runs").to_string();
        let status = Command::new("kill").args(["-KILL", &id]).status();
        assert!(status.expect("kill is there").success());
    };
    tokio::select! {
        biased;
        () = between_the_two => {}
        _ = killed.push(space, SECRET, NEW) => {}
    }
    assert_eq!(interval(space, "shop").await, "1h", "{}", killed.log());
    assert_eq!(space.commit("shop").await, None);
    drop(killed);

    for _ in 0..REFUSALS {
        between.order(Method::PATCH, "/shop/status", Fate::Refused(500, None));
    }
    let lambda = Lambda::start(&variables).await;
    assert_eq!(lambda.push(space, SECRET, NEW).await.status, 503, "{}", lambda.log());
    assert_eq!(interval(space, "shop").await, Value::Null, "{}", lambda.log());

    // What the API server still refuses is worn down by those that come again.
    let accepted =
        async { while lambda.push(space, SECRET, NEWER).await.outcome() != "accepted" {} };
    timeout(Duration::from_secs(60), accepted).await.expect("is accepted in the end");
    assert_eq!(interval(space, "shop").await, "1h", "{}", lambda.log());
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEWER));
}
