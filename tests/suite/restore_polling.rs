//! `fleet-webhook restore-polling`: what the service set is taken back, what anybody else wants stays, and it is said of each.

use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    on_both,
    support::{
        api_server::Fault,
        function::Function,
        github::{NEW, SECRET},
        real_cluster::RealCluster,
        service_account::Right,
        space::Space,
    },
};

on_both!(
    what_pushes_set_is_taken_back_and_what_anybody_else_set_stays,
    a_dry_run_says_the_same_and_writes_nothing,
    more_gitrepos_than_a_page_holds_are_all_looked_at,
);

/// What it printed, and its exit code.
async fn restore_polling(space: &Space, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleet-webhook"));
    command
        .arg("restore-polling")
        .args(arguments)
        .env_clear()
        .env("KUBECONFIG", &space.kubeconfig)
        .env("GITREPO_NAMESPACES", &space.apps);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let text = text + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), text)
}

async fn interval(space: &Space, name: &str) -> Value {
    space.read(name).await["spec"]["pollingInterval"].clone()
}

/// Sets the interval of a GitRepo as a client of that name.
async fn set_by(space: &Space, name: &str, manager: &str, interval: &str) {
    let change = json!({ "spec": { "pollingInterval": interval } });
    let path = format!("{}?fieldManager={manager}", path(space, name));
    space.send(Method::PATCH, &path, &change).await;
}

fn path(space: &Space, name: &str) -> String {
    format!("/apis/fleet.cattle.io/v1alpha1/namespaces/{}/gitrepos/{name}", space.apps)
}

/// GitRepos of each kind: `shop` was pushed to, `changed` too and then somebody set its interval.
async fn pushed(space: &Space) {
    let following = space.follows_main();
    for name in ["shop", "changed"] {
        space.gitrepo(name, following.clone()).await;
    }
    let mut slow = following.clone();
    slow["pollingInterval"] = json!("1h");
    space.gitrepo("theirs", slow).await;
    space.gitrepo("untouched", json!({ "repo": "https://git.example.com/other" })).await;
    space.github_secret().await;
    let function = Function::start(space, &[]).await;
    let answer = function.push(space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!((answer.status, answer.outcome()), (200, "accepted"));
    assert_eq!(interval(space, "shop").await, "1h");
    set_by(space, "changed", "kubectl-edit", "5m").await;
}

async fn what_pushes_set_is_taken_back_and_what_anybody_else_set_stays(space: &Space) {
    pushed(space).await;

    let (code, said) = restore_polling(space, &[]).await;

    assert_eq!(code, Some(0), "{said}");
    let apps = &space.apps;
    for line in [
        format!("{apps}/changed  5m      stays: kubectl-edit set it\n"),
        format!("{apps}/shop     1h      taken back\n"),
        format!("{apps}/theirs   1h      stays: "),
        "polling intervals: 1 taken back, 2 stay, 0 failed\n".to_owned(),
    ] {
        assert!(said.contains(&line), "{line:?} is not in\n{said}");
    }
    assert!(!said.contains("untouched"), "{said}");
    assert_eq!(interval(space, "shop").await, Value::Null);
    assert_eq!(interval(space, "changed").await, "5m");
    assert_eq!(interval(space, "theirs").await, "1h");
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW), "the commit stays announced");
    let (code, said) = restore_polling(space, &[]).await;
    assert_eq!(code, Some(0));
    assert!(said.ends_with("polling intervals: 0 taken back, 2 stay, 0 failed\n"), "{said}");
}

async fn a_dry_run_says_the_same_and_writes_nothing(space: &Space) {
    pushed(space).await;
    let before = space.writes().len();

    let (code, said) = restore_polling(space, &["--dry-run"]).await;

    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("/shop     1h      would be taken back\n"), "{said}");
    assert!(
        said.ends_with("polling intervals: 1 would be taken back, 2 stay, 0 failed\n"),
        "{said}"
    );
    assert_eq!(interval(space, "shop").await, "1h");
    assert_eq!(space.writes().len(), before);
}

async fn more_gitrepos_than_a_page_holds_are_all_looked_at(space: &Space) {
    let spec = space.follows_main();
    let gitrepo = |number: u16| {
        json!({
            "apiVersion": "fleet.cattle.io/v1alpha1", "kind": "GitRepo",
            "metadata": { "name": format!("shop-{number:03}") }, "spec": spec,
        })
    };
    let created = (0..=250).map(gitrepo).collect::<Vec<_>>();
    let all = path(space, "");
    let create = created.iter().map(|gitrepo| space.send(Method::POST, &all, gitrepo));
    futures::future::join_all(create).await;
    set_by(space, "shop-000", "fleet-webhook", "1h").await;
    set_by(space, "shop-250", "fleet-webhook", "30m").await;

    let (code, said) = restore_polling(space, &[]).await;

    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("polling intervals: 2 taken back, 0 stay, 0 failed\n"), "{said}");
    assert_eq!(interval(space, "shop-250").await, Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn who_applies_the_same_value_afterwards_keeps_it() {
    let cluster = tokio::task::spawn_blocking(RealCluster::shared).await.expect("it starts");
    let space = Space::on_real(cluster).await;
    let kubectl = |arguments: &[&str], name: &str, more: Value| {
        let mut manifest = json!({
            "apiVersion": "fleet.cattle.io/v1alpha1", "kind": "GitRepo",
            "metadata": { "name": name, "namespace": space.apps },
            "spec": { "repo": space.github_url(), "branch": "main" },
        });
        manifest["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut all = vec!["apply", "--filename=-"];
        all.extend(arguments);
        cluster.kubectl(&all, &manifest.to_string());
    };
    let by_server = &["--server-side", "--force-conflicts", "--field-manager=argo"];
    for name in ["by-client", "by-server", "without", "edited"] {
        kubectl(&[], name, json!({}));
        set_by(&space, name, "fleet-webhook", "1h").await;
    }
    kubectl(&[], "by-client", json!({ "pollingInterval": "1h" }));
    kubectl(by_server, "by-server", json!({ "pollingInterval": "1h" }));
    kubectl(by_server, "without", json!({}));
    // Who changes it away and back has made it his own.
    set_by(&space, "edited", "rancher", "5m").await;
    set_by(&space, "edited", "rancher", "1h").await;

    let (code, said) = restore_polling(&space, &[]).await;

    assert_eq!(code, Some(0), "{said}");
    let apps = &space.apps;
    for line in [
        format!("{apps}/by-client  1h      stays: kubectl apply set it too\n"),
        format!("{apps}/by-server  1h      stays: argo set it too\n"),
        format!("{apps}/edited     1h      stays: rancher set it\n"),
        format!("{apps}/without    1h      taken back\n"),
    ] {
        assert!(said.contains(&line), "{line:?} is not in\n{said}");
    }
    for name in ["by-client", "by-server", "edited"] {
        assert_eq!(interval(&space, name).await, "1h", "{name}");
    }
    assert_eq!(interval(&space, "without").await, Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn what_may_not_be_done_is_said_and_returns_1() {
    let cluster = tokio::task::spawn_blocking(RealCluster::shared).await.expect("it starts");
    for (verb, words) in
        [("patch", "/shop  1h      FAILED: forbidden"), ("list", "  FAILED: forbidden")]
    {
        let less = Right { role: "ClusterRole/fleet-webhook", resource: "gitrepos", verb };
        let space = Space::with_rights(cluster, Some(less)).await;
        space.gitrepo("shop", space.follows_main()).await;
        set_by(&space, "shop", "fleet-webhook", "1h").await;
        let (code, said) = restore_polling(&space, &[]).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(words), "{words:?} is not in\n{said}");
        assert!(said.ends_with(" 0 taken back, 0 stay, 1 failed\n"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gitrepo_that_somebody_changes_meanwhile_is_judged_again() {
    let space = Space::embedded().await;
    space.gitrepo("shop", space.follows_main()).await;
    set_by(&space, "shop", "fleet-webhook", "1h").await;
    let while_it_is_held_up = std::time::Duration::from_millis(700);
    space.fail(Fault::always(Method::PATCH, "/shop?", 503).once().after(while_it_is_held_up));

    let restored = restore_polling(&space, &[]);
    let meanwhile = async {
        tokio::time::sleep(while_it_is_held_up / 2).await;
        set_by(&space, "shop", "kubectl-edit", "2h").await;
        set_by(&space, "shop", "kubectl-edit", "1h").await;
    };
    let ((code, said), ()) = tokio::join!(restored, meanwhile);

    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("/shop  1h      stays: kubectl-edit set it\n"), "{said}");
    assert_eq!(interval(&space, "shop").await, "1h");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_no_cluster_to_ask_it_says_so_and_returns_2() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleet-webhook"));
    command.arg("restore-polling").env_clear().env("KUBECONFIG", "/nowhere");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("KUBECONFIG is \"/nowhere\""));
}
