//! The ServiceAccount of the manifests under `knative/`, with exactly the rights that they give it, for one test's space.

use std::{path::Path, sync::OnceLock};

use reqwest::Method;
use serde_json::{Value, json};

use super::{real_cluster::RealCluster, space::Space};

/// The manifests' objects, as JSON.
static MANIFESTS: OnceLock<Vec<Value>> = OnceLock::new();

/// A right that a test takes away.
#[derive(Clone, Copy, Debug)]
pub struct Right {
    /// The role that gives it.
    pub role: &'static str,
    pub resource: &'static str,
    pub verb: &'static str,
}

/// Creates ServiceAccount and rights in the space, less one right; gives the ServiceAccount's token.
pub async fn token(space: &Space, cluster: &'static RealCluster, less: Option<Right>) -> String {
    for object in MANIFESTS.get_or_init(|| manifests(cluster)) {
        let mut object = object.clone();
        if let Some(right) = less {
            take_away(&mut object, right);
        }
        place(&mut object, space);
        let (group, plural) = match object["kind"].as_str().unwrap() {
            "ServiceAccount" => ("/api/v1", "serviceaccounts"),
            "Role" => ("/apis/rbac.authorization.k8s.io/v1", "roles"),
            "RoleBinding" => ("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
            "ClusterRole" => ("/apis/rbac.authorization.k8s.io/v1", "clusterroles"),
            "ClusterRoleBinding" => ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
            kind => panic!("what is a {kind}?"),
        };
        let namespace = object["metadata"]["namespace"].as_str();
        let namespace =
            namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
        space.send(Method::POST, &format!("{group}{namespace}/{plural}"), &object).await;
    }
    let path = format!("/api/v1/namespaces/{}/serviceaccounts/fleet-webhook/token", space.fleet);
    let request =
        json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {} });
    let token = space.send(Method::POST, &path, &request).await;
    token["status"]["token"].as_str().expect("a token").to_owned()
}

/// Renders what all installations share, with the component for Events, and that for GitRepos' own secrets.
fn manifests(cluster: &RealCluster) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (folder, with_events) = (root.join("knative"), root.join("tests/knative/testdata/events"));
    let file = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap();
    let yaml = [
        cluster.kubectl(&["kustomize", with_events.to_str().unwrap()], ""),
        file("rbac/gitrepo-secrets/clusterrole.yaml"),
        file("rbac/gitrepo-secrets/rolebindings.yaml").split("---\n").next().unwrap().to_owned(),
    ];
    let arguments = ["create", "--dry-run=client", "--output=json", "--filename=-"];
    yaml.iter()
        .flat_map(|yaml| {
            let objects = cluster.kubectl(&arguments, yaml);
            serde_json::Deserializer::from_str(&objects)
                .into_iter()
                .map(Result::unwrap)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Puts an object where the space has it; what belongs to the whole cluster gets a name of its own.
fn place(object: &mut Value, space: &Space) {
    let kind = object["kind"].as_str().unwrap().to_owned();
    let own = |name: &Value| json!(format!("{}-{}", name.as_str().unwrap(), space.fleet));
    if kind.starts_with("Cluster") {
        object["metadata"]["name"] = own(&object["metadata"]["name"]);
    } else {
        let of_gitrepos = object["metadata"]["namespace"] == "fleet-default";
        object["metadata"]["namespace"] =
            json!(if of_gitrepos { &space.apps } else { &space.fleet });
    }
    if object["roleRef"]["kind"] == "ClusterRole" {
        object["roleRef"]["name"] = own(&object["roleRef"]["name"]);
    }
    if let Some(subjects) = object.get_mut("subjects") {
        subjects[0]["namespace"] = json!(space.fleet);
    }
}

fn take_away(object: &mut Value, right: Right) {
    let role = format!(
        "{}/{}",
        object["kind"].as_str().unwrap(),
        object["metadata"]["name"].as_str().unwrap()
    );
    if role != right.role {
        return;
    }
    let rules = object["rules"].as_array_mut().unwrap();
    for rule in rules.iter_mut().filter(|rule| rule["resources"] == json!([right.resource])) {
        rule["verbs"].as_array_mut().unwrap().retain(|verb| verb != right.verb);
    }
    rules.retain(|rule| rule["verbs"] != json!([]));
}
