//! A cluster that is elsewhere: by a kubeconfig in Secrets Manager, by EKS, behind Rancher's proxy.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, response::IntoResponse as _};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};

use crate::support::{
    eks::{EksFront, SESSION_TOKEN},
    github::{NEW, NEWER, OLD},
    lambda::Lambda,
    moto::Moto,
    real_cluster::RealCluster,
    space::Space,
};

/// A CodeCommit push: it needs no secret, so that the way to the cluster is all that is tried.
async fn push(lambda: &Lambda, space: &Space, commit: &str) -> Value {
    let event = json!({
        "id": "1", "account": "012345678912", "time": "2026-11-23T21:00:00Z",
        "detail-type": "CodeCommit Repository State Change", "source": "aws.codecommit",
        "region": "eu-central-1", "detail": {
            "event": "referenceUpdated", "repositoryName": space.apps,
            "referenceFullName": "refs/heads/main", "commitId": commit,
        },
    });
    lambda.invoke(&event).await
}

fn kubeconfig(space: &Space) -> Value {
    serde_json::from_slice(&std::fs::read(&space.kubeconfig).unwrap()).unwrap()
}

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("knative/eks")
}

async fn gitrepo(space: &Space) {
    let url = format!("codecommit::eu-central-1://{}", space.apps);
    space.gitrepo("simple", json!({ "repo": url, "branch": "main" })).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_kubeconfig_in_secrets_manager_is_used_and_read_again_when_its_token_is_refused() {
    let (space, moto) = (Space::real().await, Moto::start().await);
    gitrepo(&space).await;
    let kubeconfig = kubeconfig(&space);
    let mut revoked = kubeconfig.clone();
    revoked["users"][0]["user"]["token"] = json!("revoked");
    moto.create_secret("kubeconfig", &revoked.to_string()).await;
    let mut variables = moto.variables();
    variables.push(("KUBECONFIG_SECRET_ID", "kubeconfig"));
    let lambda = Lambda::start(&variables).await;
    let refused = push(&lambda, &space, OLD).await;
    assert_eq!(refused["errorType"], "unavailable", "{refused}");

    moto.rotate_secret("kubeconfig", &kubeconfig.to_string()).await;
    sleep(Duration::from_millis(10_500)).await;
    let returned = push(&lambda, &space, NEW).await;
    assert_eq!(returned["outcome"], "accepted", "{returned}\n{}", lambda.log());
    assert_eq!(space.commit("simple").await.as_deref(), Some(NEW));
    let before = moto.requests();
    assert_eq!(push(&lambda, &space, NEWER).await["outcome"], "accepted");
    assert_eq!(moto.requests(), before, "a warm delivery asks AWS nothing");
    assert!(!lambda.log().contains("revoked"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_kubeconfig_that_is_not_there_is_looked_for_seldom_and_found_within_ten_seconds() {
    let (space, moto) = (Space::embedded().await, Moto::start().await);
    gitrepo(&space).await;
    let mut variables = moto.variables();
    // In time enough for each look: one that is cut off is another request.
    variables.extend([("KUBECONFIG_SECRET_ID", "late"), ("AWS_LAMBDA_FUNCTION_TIMEOUT", "30")]);
    let (lambda, began) = (Lambda::start(&variables).await, Instant::now());
    for _ in 0..3 {
        assert_eq!(push(&lambda, &space, NEW).await["errorType"], "unavailable");
    }
    // What is not there is answered at once, and looked for every five seconds.
    let (looks, fives) = (moto.requests(), began.elapsed().as_secs() / 5);
    assert!((1..=3 + fives).contains(&(looks as u64)), "{looks}, {:?}", began.elapsed());

    moto.create_secret("late", &kubeconfig(&space).to_string()).await;
    let created = Instant::now();
    while push(&lambda, &space, NEW).await["outcome"] != "accepted" {
        assert!(created.elapsed() < Duration::from_secs(10), "{}", lambda.log());
    }
    assert_eq!(space.commit("simple").await.as_deref(), Some(NEW));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_client_certificate_in_a_kubeconfig_works_as_well_as_a_token() {
    let (space, moto) = (Space::real().await, Moto::start().await);
    gitrepo(&space).await;
    let cluster = tokio::task::spawn_blocking(RealCluster::shared).await.unwrap();
    // Its user is in the group that the manifests for EKS give their rights to.
    cluster.kubectl(&["create", "namespace", "cattle-fleet-system"], "");
    cluster.kubectl(&["apply", "-k", manifests().to_str().unwrap()], "");
    let kubeconfig = std::fs::read_to_string(cluster.directory.join("client.kubeconfig")).unwrap();
    assert!(kubeconfig.contains("client-key-data") && !kubeconfig.contains("token"));
    moto.create_secret("certificate", &kubeconfig).await;
    let mut variables = moto.variables();
    variables.push(("KUBECONFIG_SECRET_ID", "certificate"));
    let lambda = Lambda::start(&variables).await;
    let returned = push(&lambda, &space, NEW).await;
    assert_eq!(returned["outcome"], "accepted", "{returned}\n{}", lambda.log());
    assert_eq!(space.commit("simple").await.as_deref(), Some(NEW));
}

/// An authority that has signed nothing here.
const ANOTHER_CA: &str = "\
-----BEGIN CERTIFICATE-----
MIIBgTCCASegAwIBAgIUPG5TS11+Z3TLmIWTDlPrD7dE1xYwCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKYW5vdGhlciBDQTAgFw0yNjExMjUxMTAzMDhaGA8yMTI2MTEw
MTExMDMwOFowFTETMBEGA1UEAwwKYW5vdGhlciBDQTBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABPA9XzdUE7XqztzAUJeloCnPYfD2sIa9tqd+9ihtbThKHm5boFN9
us51QQhulCHaRGm1GaWWSXMNYJRO7/ftwDujUzBRMB0GA1UdDgQWBBSeqUbaca25
dwDV97vOKEnJ2xHwSDAfBgNVHSMEGDAWgBSeqUbaca25dwDV97vOKEnJ2xHwSDAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQCIjwOh7n4HlIL7ILj9
3jWx9GV62/H6c6c/ieHrvPGvkwIgP+Wm3oOlxIXFh/haEcfrLSlmRn+Fs11xY8Uh
+GawunI=
-----END CERTIFICATE-----
";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_cluster_that_another_authority_vouches_for_gets_no_credentials() {
    let (space, moto) = (Space::real().await, Moto::start().await);
    gitrepo(&space).await;
    let mut kubeconfig = kubeconfig(&space);
    kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"] =
        json!(BASE64_STANDARD.encode(ANOTHER_CA));
    moto.create_secret("another-ca", &kubeconfig.to_string()).await;
    let mut by_secret = moto.variables();
    by_secret.push(("KUBECONFIG_SECRET_ID", "another-ca"));

    let cluster = tokio::task::spawn_blocking(RealCluster::shared).await.unwrap();
    let ca = std::env::temp_dir().join("another-ca.pem");
    std::fs::write(&ca, ANOTHER_CA).unwrap();
    let front = EksFront::described_with(&moto, "impostor", cluster, Some(&ca)).await;

    let mut by_eks = moto.variables();
    by_eks.extend([
        ("EKS_CLUSTER_NAME", "impostor"),
        ("AWS_ENDPOINT_URL_EKS", front.api.as_str()),
        ("AWS_SESSION_TOKEN", SESSION_TOKEN),
    ]);
    for mut variables in [by_secret, by_eks] {
        variables.push(("AWS_LAMBDA_FUNCTION_TIMEOUT", "3"));
        let lambda = Lambda::start(&variables).await;
        let returned = push(&lambda, &space, NEW).await;
        assert_eq!(returned["errorType"], "unavailable", "{returned}");
        let said = format!("{returned}\n{}", lambda.log());
        assert!(said.contains("invalid peer certificate"), "{said}");
    }
    assert!(space.requests().is_empty(), "{:?}", space.requests());
    assert!(front.tokens().await.is_empty());
    assert_eq!(space.commit("simple").await, None);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_kubeconfig_that_skips_tls_verification_is_refused() {
    let (space, moto) = (Space::real().await, Moto::start().await);
    gitrepo(&space).await;
    let mut insecure = kubeconfig(&space);
    insecure["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = json!(true);
    moto.create_secret("insecure", &insecure.to_string()).await;
    let mut variables = moto.variables();
    variables.push(("KUBECONFIG_SECRET_ID", "insecure"));
    let lambda = Lambda::start(&variables).await;
    let returned = push(&lambda, &space, NEW).await;
    let message = returned["errorMessage"].as_str().unwrap_or_default();
    assert!(message.contains("TLS is always verified"), "{returned}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn an_eks_cluster_is_reached_with_the_role_and_the_rights_of_its_group_alone() {
    let moto = Moto::start().await;
    let cluster = tokio::task::spawn_blocking(|| RealCluster::start("eks")).await.unwrap();
    // The user behind the front is in the group fleet-webhook; what it may do is what our manifests give that group.
    cluster.kubectl(&["create", "namespace", "cattle-fleet-system"], "");
    cluster.kubectl(&["create", "namespace", "apps"], "");
    let url = "codecommit::eu-central-1://examples";
    let gitrepo = json!({
        "apiVersion": "fleet.cattle.io/v1alpha1", "kind": "GitRepo",
        "metadata": { "name": "simple", "namespace": "apps" }, "spec": { "repo": url, "branch": "main" },
    });
    cluster.kubectl(&["apply", "-f", "-"], &gitrepo.to_string());
    let front = EksFront::start(&moto, "production", &cluster).await;

    let mut variables = moto.variables();
    variables.extend([
        ("EKS_CLUSTER_NAME", "production"),
        ("AWS_ENDPOINT_URL_EKS", front.api.as_str()),
        ("AWS_SESSION_TOKEN", SESSION_TOKEN),
        ("FLEET_NAMESPACE", "cattle-fleet-system"),
        ("AWS_LAMBDA_FUNCTION_TIMEOUT", "5"),
    ]);
    let event = |commit: &str| {
        json!({
            "id": "1", "account": "012345678912", "time": "2026-11-23T21:00:00Z",
            "detail-type": "CodeCommit Repository State Change", "source": "aws.codecommit",
            "region": "eu-central-1", "detail": {
                "event": "referenceUpdated", "repositoryName": "examples",
                "referenceFullName": "refs/heads/main", "commitId": commit,
            },
        })
    };
    let lambda = Lambda::start(&variables).await;
    let forbidden = lambda.invoke(&event(OLD)).await;
    assert_eq!(forbidden["errorType"], "unavailable", "no manifests yet: {forbidden}");
    cluster.kubectl(&["apply", "-k", manifests().to_str().unwrap()], "");
    for commit in [OLD, NEW, NEWER] {
        let returned = lambda.invoke(&event(commit)).await;
        assert_eq!(returned["outcome"], "accepted", "{returned}\n{}", lambda.log());
    }
    let commit =
        ["get", "gitrepo", "-n", "apps", "simple", "-o", "jsonpath={.status.webhookCommit}"];
    assert_eq!(cluster.kubectl(&commit, ""), NEWER);
    assert_eq!(front.tokens().await.len(), 1, "one token for all requests: {}", lambda.log());

    // Other keys, and a cluster that is not there.
    variables.push(("AWS_SECRET_ACCESS_KEY", "stolen"));
    let stranger = Lambda::start(&variables).await;
    assert_eq!(stranger.invoke(&event(OLD)).await["errorType"], "unavailable");
    assert_eq!(front.tokens().await.len(), 1);
    variables.push(("AWS_SECRET_ACCESS_KEY", "test"));
    variables.push(("AWS_SESSION_TOKEN", "of-another-session"));
    let another = Lambda::start(&variables).await;
    assert_eq!(another.invoke(&event(OLD)).await["errorType"], "unavailable");
    assert_eq!(front.tokens().await.len(), 1);
    variables.push(("EKS_CLUSTER_NAME", "nowhere"));
    let lost = Lambda::start(&variables).await;
    let returned = lost.invoke(&event(OLD)).await;
    let message = returned["errorMessage"].as_str().unwrap_or_default();
    assert!(message.contains("EKS cluster nowhere"), "{returned}");
}

/// Rancher gives each cluster a path below its own URL, and takes its own bearer token there.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_cluster_behind_ranchers_proxy_is_reached_by_its_path() {
    let (space, moto) = (Space::embedded().await, Moto::start().await);
    gitrepo(&space).await;
    let own = kubeconfig(&space);
    let upstream = own["clusters"][0]["cluster"]["server"].as_str().unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}/k8s/clusters/c-m-x7k2p", listener.local_addr().unwrap());
    let router = Router::new().fallback(rancher).with_state(upstream);
    tokio::spawn(async move { axum::serve(listener, router).await });

    let mut kubeconfig = own;
    kubeconfig["clusters"][0]["cluster"]["server"] = json!(proxy);
    kubeconfig["users"][0]["user"]["token"] = json!("kubeconfig-u-abc:secret");
    moto.create_secret("rancher", &kubeconfig.to_string()).await;
    let mut variables = moto.variables();
    variables.push(("KUBECONFIG_SECRET_ID", "rancher"));
    let lambda = Lambda::start(&variables).await;
    let returned = push(&lambda, &space, NEW).await;
    assert_eq!(returned["outcome"], "accepted", "{returned}\n{}", lambda.log());
    assert_eq!(space.commit("simple").await.as_deref(), Some(NEW));
}

async fn rancher(
    State(upstream): State<String>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> axum::response::Response {
    let uri = uri.to_string();
    let Some(path) = uri.strip_prefix("/k8s/clusters/c-m-x7k2p") else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if headers.get("authorization").unwrap() != "Bearer kubeconfig-u-abc:secret" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    headers.remove("host");
    headers.insert("authorization", "Bearer function".parse().unwrap());
    let request =
        reqwest::Client::builder().build().unwrap().request(method, format!("{upstream}{path}"));
    let answer = request.headers(headers).body(body).send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    (status, headers, answer.bytes().await.unwrap()).into_response()
}
