//! The image, run as a pod is: read-only, without capabilities, as the ServiceAccount, with what a pod finds mounted.
//!
//! `FLEET_WEBHOOK_IMAGE` names it, as `knative/build-image` prints it; `PODMAN_FLAGS` are given to podman.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    github::{self, SECRET},
    space::Space,
};

/// A container; removed when dropped.
struct Container(String);

fn podman(arguments: &[&str]) -> String {
    let flags = env::var("PODMAN_FLAGS").unwrap_or_default();
    let output = Command::new("podman")
        .args(flags.split_whitespace())
        .args(arguments)
        .output()
        .expect("podman runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "podman {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Drop for Container {
    fn drop(&mut self) {
        podman(&["rm", "--force", "--time", "0", &self.0]);
    }
}

impl Container {
    fn inspect(&self) -> Value {
        serde_json::from_str::<Value>(&podman(&["inspect", &self.0])).unwrap()[0].take()
    }

    /// A line of `/proc/PID/status`.
    fn status(&self, field: &str) -> String {
        let pid = self.inspect()["State"]["Pid"].as_u64().unwrap();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim_start_matches(':').trim().to_owned()
    }
}

/// What Kubernetes mounts at `/var/run/secrets/kubernetes.io/serviceaccount`.
fn mounted(space: &Space, ca: &[u8], folder: &Path) {
    let kubeconfig: Value = serde_json::from_slice(&fs::read(&space.kubeconfig).unwrap()).unwrap();
    let token = kubeconfig["users"][0]["user"]["token"].as_str().unwrap().to_owned();
    fs::create_dir_all(folder).unwrap();
    for (name, content) in
        [("token", token.as_bytes()), ("ca.crt", ca), ("namespace", space.fleet.as_bytes())]
    {
        fs::write(folder.join(name), content).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}

async fn get(client: &reqwest::Client, url: &str) -> (u16, String) {
    match client.get(url).send().await {
        Ok(response) => (response.status().as_u16(), response.text().await.unwrap_or_default()),
        Err(_) => (0, String::new()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the image: tests/README.md"]
async fn the_image_runs_without_any_privilege_and_stops_in_good_order() {
    let image = env::var("FLEET_WEBHOOK_IMAGE").expect("it names what tests/tools/image prints");
    let cluster = crate::cluster("image").await;
    let space = Space::on_real(cluster).await;
    space.shop().await;
    let pod = cluster.directory.join("pod");
    mounted(&space, &cluster.ca, &pod);
    fs::set_permissions(&cluster.directory, fs::Permissions::from_mode(0o755)).unwrap();
    let (_, api_port) = cluster.url.rsplit_once(':').unwrap();
    let volume = format!("{}:/var/run/secrets/kubernetes.io/serviceaccount:ro", pod.display());
    let api_port = format!("KUBERNETES_SERVICE_PORT={api_port}");

    let container = Container(podman(&[
        "run",
        "--detach",
        "--network=host",
        "--read-only",
        "--read-only-tmpfs=false",
        "--cap-drop=all",
        "--security-opt=no-new-privileges",
        "--volume",
        &volume,
        "--env=KUBERNETES_SERVICE_HOST=127.0.0.1",
        "--env",
        &api_port,
        "--env=HOST=127.0.0.1",
        "--env=PORT=18181",
        "--env=METRICS_PORT=18182",
        &image,
    ]));
    let started = Instant::now();
    let client = reqwest::Client::new();
    let url = "http://127.0.0.1:18181";
    while get(&client, &format!("{url}/readyz")).await.0 != 200 {
        assert!(started.elapsed() < Duration::from_secs(20), "{}", podman(&["logs", &container.0]));
    }

    assert!(container.status("Uid").starts_with("65532\t"), "{}", container.status("Uid"));
    assert_eq!(container.status("CapEff").trim_matches('0'), "");
    assert_eq!(container.status("CapBnd").trim_matches('0'), "");
    assert_eq!(container.status("NoNewPrivs"), "1");
    assert_eq!(container.inspect()["HostConfig"]["ReadonlyRootfs"], true);

    let body = github::push(&space, "refs/heads/main", github::NEW).to_string();
    let proof = github::signature(SECRET, body.as_bytes());
    let delivery = client
        .post(url)
        .header("content-type", "application/json")
        .header("x-github-event", "push");
    let answer = delivery.header("x-hub-signature-256", proof).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(space.commit("shop").await.as_deref(), Some(github::NEW));
    let (_, figures) = get(&client, "http://127.0.0.1:18182/metrics").await;
    assert!(figures.contains("fleet_webhook_gitrepos_patched_total 1"), "{figures}");

    podman(&["kill", "--signal=TERM", &container.0]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(get(&client, &format!("{url}/readyz")).await.0, 503);
    assert_eq!(get(&client, &format!("{url}/healthz")).await.0, 200);
    assert_eq!(podman(&["wait", &container.0]), "0", "{}", podman(&["logs", &container.0]));

    let labels = podman(&["image", "inspect", "--format", "{{json .Labels}}", &image]);
    for label in ["title", "licenses", "version", "revision", "created"] {
        assert!(labels.contains(&format!("org.opencontainers.image.{label}")), "{labels}");
    }
    cluster.end();
}
