//! The manifests are applied to a real API server, and its own rules tell what the ServiceAccount may do.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{real_cluster::RealCluster, shared};

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Knative's own definition of its kind where it is to be had, else one that lets everything through; `tests/knative`
/// holds the manifests against Knative itself.
fn knative_services() -> String {
    let published = shared::folder().map(|folder| folder.join("knative/service-crd.yaml"));
    if let Some(definition) = published.and_then(|file| std::fs::read_to_string(file).ok()) {
        return definition;
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "services.serving.knative.dev" },
        "spec": {
            "group": "serving.knative.dev", "scope": "Namespaced",
            "names": { "kind": "Service", "plural": "services", "singular": "service" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            } } }],
        },
    })
    .to_string()
}

fn apply(cluster: &RealCluster, path: &str) {
    cluster.kubectl(&["apply", "-k", folder(path).to_str().unwrap()], "");
}

fn may(cluster: &RealCluster, namespace: &str, verb: &str, what: &str, in_namespace: &str) -> bool {
    let account = format!("--as=system:serviceaccount:{namespace}:fleet-webhook");
    let arguments = ["auth", "can-i", verb, what, "--namespace", in_namespace, &account];
    cluster.kubectl_answer(&arguments).trim() == "yes"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_installation_is_taken_and_gives_the_least_rights() {
    let Some(cluster) = crate::cluster("manifests").await else { return };
    cluster.kubectl(&["apply", "-f", "-"], &knative_services());
    cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"], "");
    for namespace in
        ["fleet-system", "cattle-fleet-system", "fleet-default", "fleet-local", "team-a"]
    {
        cluster.kubectl(&["create", "namespace", namespace], "");
    }

    for (path, namespace) in [
        ("knative", "fleet-system"),
        ("knative/kubernetes", "fleet-system"),
        ("knative/overlays/cattle-fleet-system", "cattle-fleet-system"),
        ("knative/kubernetes/overlays/cattle-fleet-system", "cattle-fleet-system"),
        ("knative/kubernetes/overlays/instead-of-gitjob", "cattle-fleet-system"),
    ] {
        apply(cluster, path);
        let may = |verb, what, in_namespace| may(cluster, namespace, verb, what, in_namespace);
        for verb in ["get", "list", "watch", "patch"] {
            assert!(may(verb, "gitrepos.fleet.cattle.io", "team-a"), "{path}: {verb}");
        }
        assert!(may("get", "secret/gitjob-webhook", namespace), "{path}");
        for (verb, what, in_namespace) in [
            ("get", "secret/other", namespace),
            ("list", "secrets", namespace),
            ("get", "secret/gitjob-webhook", "fleet-default"),
            ("create", "gitrepos.fleet.cattle.io", "team-a"),
            ("update", "gitrepos.fleet.cattle.io", "team-a"),
            ("delete", "gitrepos.fleet.cattle.io", "team-a"),
            ("get", "pods", namespace),
        ] {
            assert!(!may(verb, what, in_namespace), "{path}: may {verb} {what} in {in_namespace}");
        }
    }

    apply(cluster, "tests/knative/testdata/gitrepo-secrets");
    let may = |in_namespace| may(cluster, "cattle-fleet-system", "get", "secret/any", in_namespace);
    assert!(may("fleet-default") && may("fleet-local"));
    assert!(!may("team-a") && !may("cattle-fleet-system"));
    cluster.end();
}
