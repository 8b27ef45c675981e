//! One of `GITREPO_NAMESPACES` that is closed to us stops no other, as the real API server closes it.

use reqwest::Method;
use serde_json::json;

use crate::support::{
    function::Function,
    github::{NEW, NEWER, SECRET},
    space::Space,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn a_namespace_whose_rolebinding_is_deleted_stops_no_other() {
    let space = Space::real().await;
    let closed = format!("{}-closed", space.apps);
    let namespace = json!({ "metadata": { "name": closed } });
    space.send(Method::POST, "/api/v1/namespaces", &namespace).await;
    // As `knative/rbac/namespaces` has it: the same rights, in some namespaces alone.
    let role = format!("fleet-webhook-{}", space.fleet);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let bindings = |namespace: &str| format!("{rbac}/namespaces/{namespace}/rolebindings");
    space.send(Method::DELETE, &format!("{rbac}/clusterrolebindings/{role}"), &json!({})).await;
    for namespace in [&space.apps, &closed] {
        let binding = json!({
            "metadata": { "name": "fleet-webhook-some" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "kind": "ServiceAccount", "name": "fleet-webhook", "namespace": space.fleet }],
        });
        space.send(Method::POST, &bindings(namespace), &binding).await;
    }
    let follows = |branch: &str| json!({ "repo": space.github_url(), "branch": branch });
    space.gitrepo("shop", follows("main")).await;
    space.gitrepo_in(&closed, "shop", follows("closed")).await;
    space.global_secret(json!({ "github": SECRET })).await;
    let namespaces = format!("{},{closed}", space.apps);
    let variables = [("GITREPO_NAMESPACES", &*namespaces), ("DEADLINE", "2s")];
    let before = Function::start(&space, &variables).await;
    assert_eq!(before.push(&space, SECRET, "refs/heads/main", NEW).await.outcome(), "accepted");
    assert_eq!(before.push(&space, SECRET, "refs/heads/closed", NEW).await.outcome(), "accepted");

    let binding = format!("{}/fleet-webhook-some", bindings(&closed));
    space.send(Method::DELETE, &binding, &json!({})).await;
    let after = Function::start(&space, &variables).await;

    for function in [&before, &after] {
        let commit = if space.commit("shop").await.as_deref() == Some(NEW) { NEWER } else { NEW };
        let answer = function.push(&space, SECRET, "refs/heads/main", commit).await;
        assert_eq!(answer.outcome(), "accepted", "{}", function.log());
        assert_eq!(space.commit("shop").await.as_deref(), Some(commit));
    }
    // What follows may be where nobody may look: it has to come again.
    let answer = after.push(&space, SECRET, "refs/heads/closed", NEWER).await;
    assert_eq!(answer.outcome(), "unavailable", "{}", after.log());
    assert!(after.log().contains("namespaces of GITREPO_NAMESPACES cannot be read"));
}
