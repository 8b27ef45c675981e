//! The API server goes away and comes back, on the same port and with the same data.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::support::{
    function::Function,
    github::{NEW, NEWER, OLD, SECRET},
    space::Space,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn a_restart_of_the_api_server_is_lived_through() {
    let cluster = crate::cluster("restarts").await;
    let space = Space::on_real(cluster).await;
    let follows = |branch: &str| json!({ "repo": space.github_url(), "branch": branch, "pollingInterval": "1h" });
    space.gitrepo("shop", follows("main")).await;
    space.github_secret().await;
    let function = Function::start(&space, &[]).await;
    function.logs("the index is in use").await;
    assert_eq!(function.push(&space, SECRET, "refs/heads/main", OLD).await.outcome(), "accepted");

    // A version that the index's watch has not seen, since it is of no GitRepo.
    space.secret(&space.fleet, "unrelated", json!({ "a": "b" })).await;
    tokio::task::block_in_place(|| cluster.stop());
    function.logs("the index is not in use").await;
    let away = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!((away.status, away.outcome()), (503, "unavailable"));
    assert!(away.headers.contains_key("retry-after"));
    assert_eq!(function.request("GET", "/healthz").await.status, 200);

    tokio::task::block_in_place(|| cluster.restart());
    let back = Instant::now();
    space.gitrepo("late", follows("late")).await;
    // No index yet, perhaps, and a storage that initialises: the provider's next attempt is what counts.
    let redelivered = accepted(&function, &space, "refs/heads/main", NEW).await;
    println!("accepted {:?} after the API server was back", redelivered - back);
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));
    // What has followed for a second is never missed; an API server that has just started may lag less long.
    sleep(Duration::from_secs(1)).await;
    accepted(&function, &space, "refs/heads/late", NEWER).await;
    assert_eq!(space.commit("late").await.as_deref(), Some(NEWER));

    function.logs_times("the index is in use", 2).await;
    println!("the index was in use again {:?} after the API server was back", back.elapsed());
    // The changes that an API server holds begin with its start: it answered 410, and the index was listed anew.
    assert!(function.log().contains("no longer has the changes"), "{}", function.log());
    let before = space.requests().len();
    assert_eq!(function.push(&space, SECRET, "refs/heads/main", NEWER).await.outcome(), "accepted");
    let requests = space.requests().split_off(before);
    let patches = requests.iter().filter(|request| request.is_write()).count();
    let scans = requests.iter().filter(|request| request.is_scan()).count();
    assert_eq!((patches, scans), (1, 0), "{requests:?}");

    let user_agent = concat!("fleet-webhook/", env!("CARGO_PKG_VERSION"));
    assert!(requests.iter().all(|request| request.user_agent == user_agent), "{requests:?}");
    let shop = space.read("shop").await;
    let managers = shop["metadata"]["managedFields"].as_array().unwrap();
    let ours = managers.iter().find(|manager| manager["manager"] == "fleet-webhook").unwrap();
    let status = &ours["fieldsV1"]["f:status"];
    assert!(
        status["f:webhookCommit"].is_object() && status["f:lastWebhookTime"].is_object(),
        "{ours}"
    );
    cluster.end();
}

/// Delivers until it is accepted; never may it be ignored.
async fn accepted(function: &Function, space: &Space, full_ref: &str, commit: &str) -> Instant {
    let started = Instant::now();
    loop {
        let answer = function.push(space, SECRET, full_ref, commit).await;
        match answer.outcome() {
            "accepted" => return Instant::now(),
            "unavailable" => assert!(started.elapsed() < Duration::from_secs(60)),
            outcome => panic!("{outcome}: {}", function.log()),
        }
    }
}
