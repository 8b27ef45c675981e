//! The manifests are applied to a real API server, and its own rules tell what the ServiceAccount may do.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::real_cluster::RealCluster;

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Kinds of others, which only have to be taken here: `tests/knative` holds the manifests against Knative itself.
const FOREIGN: [(&str, &str, &str, &str); 8] = [
    ("Service", "services", "serving.knative.dev", "v1"),
    ("DomainMapping", "domainmappings", "serving.knative.dev", "v1beta1"),
    ("SinkBinding", "sinkbindings", "sources.knative.dev", "v1"),
    ("Broker", "brokers", "eventing.knative.dev", "v1"),
    ("Trigger", "triggers", "eventing.knative.dev", "v1"),
    ("PodMonitor", "podmonitors", "monitoring.coreos.com", "v1"),
    ("ServiceMonitor", "servicemonitors", "monitoring.coreos.com", "v1"),
    ("PrometheusRule", "prometheusrules", "monitoring.coreos.com", "v1"),
];

/// A definition that lets everything through.
fn permissive(kind: &str, plural: &str, group: &str, version: &str) -> String {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase() },
            "versions": [{ "name": version, "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            } } }],
        },
    })
    .to_string()
}

fn apply(cluster: &RealCluster, path: &str) {
    cluster.kubectl(&["apply", "-k", folder(path).to_str().unwrap()], "");
}

/// Whether `who` (what `--as` takes, and groups) may do something.
fn may(cluster: &RealCluster, who: &[&str], verb: &str, what: &str, in_namespace: &str) -> bool {
    // What follows a slash is an object's name, unless it is said to be a subresource.
    let (what, subresource) = match what.strip_suffix("/status") {
        Some(what) => (what, "--subresource=status"),
        None => (what, "--subresource="),
    };
    let arguments =
        [&["auth", "can-i", verb, what, subresource, "--namespace", in_namespace], who].concat();
    cluster.kubectl_answer(&arguments).trim() == "yes"
}

/// Whether `who` may do something by the time that the API server's authorizer has seen the rights.
fn may_soon(
    cluster: &RealCluster,
    who: &[&str],
    verb: &str,
    what: &str,
    in_namespace: &str,
) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !may(cluster, who, verb, what, in_namespace) {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

fn service_account(namespace: &str, name: &str) -> String {
    format!("--as=system:serviceaccount:{namespace}:{name}")
}

/// Asserts that `who` has the least rights: on GitRepos everywhere, and on the one global secret.
fn assert_least(cluster: &RealCluster, path: &str, who: &[&str], namespace: &str, watch: bool) {
    let may = |verb, what, in_namespace| may(cluster, who, verb, what, in_namespace);
    let may_soon = |verb, what, in_namespace| may_soon(cluster, who, verb, what, in_namespace);
    for verb in ["list", "patch"] {
        assert!(may_soon(verb, "gitrepos.fleet.cattle.io", "team-a"), "{path}: {verb}");
    }
    assert!(may_soon("patch", "gitrepos.fleet.cattle.io/status", "team-a"), "{path}");
    let watches = if watch {
        may_soon("watch", "gitrepos.fleet.cattle.io", "team-a")
    } else {
        may("watch", "gitrepos.fleet.cattle.io", "team-a")
    };
    assert_eq!(watches, watch, "{path}");
    assert!(may_soon("get", "secret/gitjob-webhook", namespace), "{path}");
    for (verb, what, in_namespace) in [
        ("get", "secret/other", namespace),
        ("list", "secrets", namespace),
        ("get", "secret/gitjob-webhook", "fleet-default"),
        ("get", "gitrepos.fleet.cattle.io", "team-a"),
        ("create", "gitrepos.fleet.cattle.io", "team-a"),
        ("update", "gitrepos.fleet.cattle.io", "team-a"),
        ("delete", "gitrepos.fleet.cattle.io", "team-a"),
        ("update", "gitrepos.fleet.cattle.io/status", "team-a"),
        ("get", "pods", namespace),
    ] {
        assert!(!may(verb, what, in_namespace), "{path}: may {verb} {what} in {in_namespace}");
    }
}

/// Asserts that `who` may read GitRepos' own secrets where that is listed, and nowhere else.
fn assert_own_secrets(cluster: &RealCluster, who: &[&str]) {
    let may = |in_namespace| may(cluster, who, "get", "secret/any", in_namespace);
    let may_soon = |in_namespace| may_soon(cluster, who, "get", "secret/any", in_namespace);
    assert!(may_soon("fleet-default") && may_soon("fleet-local"), "{who:?}");
    assert!(!may("team-a") && !may("cattle-fleet-system"), "{who:?}");
}

/// A cluster with the namespaces that the manifests go to, and with the kinds that Kubernetes itself does not have.
async fn cluster(name: &'static str) -> &'static RealCluster {
    let cluster = crate::cluster(name).await;
    for (kind, plural, group, version) in FOREIGN {
        cluster.kubectl(&["apply", "-f", "-"], &permissive(kind, plural, group, version));
    }
    cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"], "");
    for namespace in ["cattle-fleet-system", "fleet-default", "fleet-local", "team-a"] {
        cluster.kubectl(&["create", "namespace", namespace], "");
    }
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn every_installation_is_taken_and_gives_the_least_rights() {
    let cluster = cluster("manifests").await;
    for path in [
        "knative",
        "knative/overlays/public",
        "knative/kubernetes",
        "knative/kubernetes/overlays/instead-of-gitjob",
        "tests/knative/testdata/alb",
        "tests/knative/testdata/monitored",
        "tests/knative/testdata/podmonitor",
        "tests/knative/testdata/pull",
        "tests/knative/testdata/retry",
    ] {
        apply(cluster, path);
        let who = service_account("cattle-fleet-system", "fleet-webhook");
        assert_least(cluster, path, &[&who], "cattle-fleet-system", true);
    }
    // With ingress-tls.
    apply(cluster, "tests/knative/testdata/gitrepo-secrets");
    assert_own_secrets(cluster, &[&service_account("cattle-fleet-system", "fleet-webhook")]);
    for (kind, name) in [
        ("domainmapping", "fleet-webhook.example.com"),
        ("podmonitor", "fleet-webhook"),
        ("servicemonitor", "fleet-webhook"),
        ("prometheusrule", "fleet-webhook"),
        ("sinkbinding", "fleet-webhook-retry"),
        ("broker", "fleet-webhook-retry"),
        ("trigger", "fleet-webhook-retry"),
    ] {
        cluster.kubectl(&["get", kind, name, "--namespace", "cattle-fleet-system"], "");
    }
    let hosts = [
        "get",
        "ingress",
        "fleet-webhook",
        "--namespace=cattle-fleet-system",
        "--output=jsonpath={.spec.rules[0].host} {.spec.tls[0].hosts[0]}",
    ];
    assert_eq!(cluster.kubectl(&hosts, ""), "fleet-webhook.example.com fleet-webhook.example.com");
    cluster.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn a_function_outside_the_cluster_gets_no_watch_and_some_namespaces_are_enough() {
    let cluster = cluster("outside").await;
    let account = service_account("cattle-fleet-system", "fleet-webhook-outside");
    for (path, who) in [
        ("knative/eks", &["--as=function", "--as-group=fleet-webhook"][..]),
        ("knative/kubeconfig", &[account.as_str()][..]),
    ] {
        apply(cluster, path);
        assert_least(cluster, path, who, "cattle-fleet-system", false);
        assert!(!may(cluster, who, "get", "secret/any", "fleet-default"), "{path}");
        apply(cluster, &format!("{path}/gitrepo-secrets"));
        assert_own_secrets(cluster, who);
    }

    apply(cluster, "tests/knative/testdata/gitrepo-namespaces");
    let account = service_account("cattle-fleet-system", "fleet-webhook");
    for verb in ["list", "watch", "patch"] {
        let may = |namespace| {
            may(cluster, &[account.as_str()], verb, "gitrepos.fleet.cattle.io", namespace)
        };
        let may_soon = |namespace| {
            may_soon(cluster, &[account.as_str()], verb, "gitrepos.fleet.cattle.io", namespace)
        };
        assert!(may_soon("fleet-default") && may_soon("fleet-local"), "{verb}");
        assert!(!may("team-a"), "{verb}");
    }
    cluster.end();
}
