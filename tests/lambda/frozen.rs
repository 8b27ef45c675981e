//! Between two events Lambda freezes the process: what it held may be gone when it goes on.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::time::sleep;

use crate::{
    on_both,
    support::{
        github::{NEW, NEWER, OLD, SECRET},
        lambda::Lambda,
        silent::Silent,
        space::Space,
    },
};

on_both!(
    #[ignore = "needs the Lambda emulator: tests/README.md"]
    after_a_freeze_in_which_all_connections_died_unheard_no_push_is_lost,
);

/// So many connections are open after a push to as many GitRepos.
const CONNECTIONS: usize = 16;

fn tell(lambda: &Lambda, signal: &str) {
    let id = lambda.function_id().expect("it runs").to_string();
    assert!(Command::new("kill").args([signal, &id]).status().expect("kill is there").success());
}

async fn after_a_freeze_in_which_all_connections_died_unheard_no_push_is_lost(space: &Space) {
    let follows = json!({ "repo": space.github_url(), "branch": "main", "pollingInterval": "1h" });
    let names: Vec<_> = (0..CONNECTIONS).map(|number| format!("shop-{number}")).collect();
    for name in &names {
        space.gitrepo(name, follows.clone()).await;
    }
    space.global_secret(json!({ "github": SECRET })).await;
    let silent = Silent::start(space).await;
    let variables = [
        ("KUBECONFIG", &*silent.kubeconfig),
        ("FLEET_NAMESPACE", &*space.fleet),
        ("SECRET_CACHE_TTL", "0s"),
    ];
    let lambda = Lambda::start(&variables).await;
    assert_eq!(lambda.push(space, SECRET, OLD).await.outcome(), "accepted", "{}", lambda.log());
    for commit in [NEW, NEWER] {
        tell(&lambda, "-STOP");
        silent.swallow();
        sleep(Duration::from_secs(2)).await;
        tell(&lambda, "-CONT");

        let began = Instant::now();
        let answer = lambda.push(space, SECRET, commit).await;

        assert_eq!(answer.outcome(), "accepted", "{:?} {}", began.elapsed(), lambda.log());
        for name in &names {
            assert_eq!(space.commit(name).await.as_deref(), Some(commit));
        }
    }
}
