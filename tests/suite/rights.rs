//! The manifests give the rights that are needed: every test on the real API server passes with exactly these, and without
//! each one something documented fails.

use serde_json::{Value, json};

use crate::support::{
    function::{Answer, Function},
    github::{NEW, NEWER, OLD, SECRET},
    real_cluster::RealCluster,
    service_account::Right,
    space::Space,
};

/// What three deliveries are answered: for a GitRepo of the global secret, for it again, for one with its own secret.
struct Answers {
    first: Answer,
    again: Answer,
    own: Answer,
    log: String,
    space: Space,
}

async fn answers_without(less: Option<Right>) -> Answers {
    let cluster = tokio::task::spawn_blocking(RealCluster::shared).await.expect("it starts");
    let space = Space::with_rights(cluster, less).await;
    let follows = |branch: &str| json!({ "repo": space.github_url(), "branch": branch });
    space.gitrepo("shop", follows("main")).await;
    let mut own: Value = follows("own");
    own["webhookSecret"] = json!("own");
    space.gitrepo("own", own).await;
    space.github_secret().await;
    space.secret(&space.apps, "own", json!({ "github": "its own" })).await;
    let function = Function::start(&space, &[("DEADLINE", "2s")]).await;
    let first = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    let again = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    let own = function.push(&space, "its own", "refs/heads/own", NEWER).await;
    // What its index comes to is in the log sooner or later.
    function.logs("the index ").await;
    Answers { first, again, own, log: function.log(), space }
}

const fn gitrepos(verb: &'static str) -> Option<Right> {
    Some(Right { role: "ClusterRole/fleet-webhook", resource: "gitrepos", verb })
}

fn statuses(answers: &Answers) -> [u16; 3] {
    [answers.first.status, answers.again.status, answers.own.status]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn with_all_rights_of_the_manifests_everything_works() {
    let answers = answers_without(None).await;
    assert_eq!(statuses(&answers), [200, 200, 200], "{}", answers.log);
    assert_eq!(answers.first.body["counts"], json!({ "patched": 1, "skipped": 1 }));
    assert_eq!(answers.space.commit("own").await.as_deref(), Some(NEWER));
    assert_eq!(answers.space.read("shop").await["spec"]["pollingInterval"], "1h");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn without_list_nothing_is_found_and_deliveries_are_to_be_sent_again() {
    let answers = answers_without(gitrepos("list")).await;
    assert_eq!(statuses(&answers), [503, 503, 503], "{}", answers.log);
    assert_eq!(answers.first.outcome(), "unavailable");
    // The API server's own words, and what to apply; to nobody but whom a secret verifies.
    let detail = answers.first.body["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("cannot list resource \"gitrepos\""), "{}", answers.first.body);
    assert!(detail.contains("apply knative/rbac"), "{}", answers.first.body);
    assert_eq!(answers.own.body.get("detail"), None, "{}", answers.own.body);
    assert_eq!(answers.space.commit("shop").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn without_watch_gitrepos_are_looked_up_and_the_log_says_so() {
    let answers = answers_without(gitrepos("watch")).await;
    assert_eq!(statuses(&answers), [200, 200, 200], "{}", answers.log);
    assert!(answers.log.contains("the index needs the rights to list and watch gitrepos"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn without_patch_the_polling_interval_stays_and_the_commit_is_announced() {
    let answers = answers_without(gitrepos("patch")).await;
    assert_eq!(statuses(&answers), [200, 200, 200], "{}", answers.log);
    assert!(answers.log.contains("could not set the polling interval"));
    assert_eq!(answers.space.read("shop").await["spec"].get("pollingInterval"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn without_patch_of_the_status_nothing_is_announced_and_polling_goes_on_as_before() {
    let right =
        Right { role: "ClusterRole/fleet-webhook", resource: "gitrepos/status", verb: "patch" };
    let answers = answers_without(Some(right)).await;
    assert_eq!(statuses(&answers), [503, 503, 503], "{}", answers.log);
    let gitrepo = answers.space.read("shop").await;
    assert_eq!(gitrepo["spec"].get("pollingInterval"), None);
    assert_ne!(gitrepo["status"]["webhookCommit"], json!(OLD));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn without_the_global_secret_only_gitrepos_with_their_own_are_served() {
    let right = Right { role: "Role/fleet-webhook", resource: "secrets", verb: "get" };
    let answers = answers_without(Some(right)).await;
    assert_eq!(statuses(&answers), [503, 503, 200], "{}", answers.log);
    assert!(answers.log.contains("may not be read"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn without_the_component_gitrepos_with_their_own_secret_are_left_out_and_the_log_says_what_to_apply()
 {
    let right = Right {
        role: "ClusterRole/fleet-webhook-gitrepo-secrets",
        resource: "secrets",
        verb: "get",
    };
    let answers = answers_without(Some(right)).await;
    assert_eq!(statuses(&answers), [200, 200, 401], "{}", answers.log);
    assert!(answers.log.contains("secret_forbidden"));
    assert!(answers.log.contains("knative/components/gitrepo-secrets"), "{}", answers.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn credentials_that_the_api_server_does_not_know_are_told_in_its_own_words_with_what_to_renew()
 {
    let space = Space::real().await;
    let kubeconfig = std::fs::read(&space.kubeconfig).unwrap();
    let mut kubeconfig: Value = serde_json::from_slice(&kubeconfig).unwrap();
    kubeconfig["users"][0]["user"]["token"] = json!("of nobody");
    std::fs::write(&space.kubeconfig, kubeconfig.to_string()).unwrap();
    space.shop().await;
    let function = Function::start(&space, &[("DEADLINE", "2s")]).await;

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"), "{}", function.log());
    assert_eq!(answer.body.get("detail"), None, "{}", answer.body);
    let line = &function.deliveries_logged(1).await[0];
    let detail = line["detail"].as_str().unwrap_or_default();
    let words = "the API server does not know the credentials: Unauthorized (";
    assert!(detail.contains(words), "{line}");
    assert_eq!(space.commit("shop").await, None);
}
