//! The real API server of `tests/cluster`, one for each test binary; it stops when the test binary ends.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use fleet_webhook::gitrepo::GitRepo;
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use super::tools::tool;

/// A running API server, and how to reach it.
pub struct RealCluster {
    pub directory: PathBuf,
    pub url: String,
    pub ca: Vec<u8>,
    pub admin_token: String,
    flags: &'static [&'static str],
    process: Mutex<(Child, Option<ChildStdin>)>,
}

static SHARED: LazyLock<RealCluster> = LazyLock::new(|| RealCluster::start("shared"));

/// The program that `tests/tools/cluster` builds.
fn program() -> PathBuf {
    tool("cluster")
}

/// The CRD of our own type, with Fleet's columns and the fields that it has; the API server drops all others.
fn definition() -> Value {
    let text = json!({ "type": "string", "nullable": true });
    let fields = |names: &[&str]| {
        let fields: serde_json::Map<_, _> =
            names.iter().map(|name| ((*name).to_owned(), text.clone())).collect();
        json!({ "type": "object", "nullable": true, "properties": fields })
    };
    let column =
        |name: &str, path: &str| json!({ "name": name, "type": "string", "jsonPath": path });
    let mut crd = json!(GitRepo::crd());
    crd["spec"]["versions"][0]["additionalPrinterColumns"] =
        json!([column("Repo", ".spec.repo"), column("Commit", ".status.commit")]);
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({
        "type": "object",
        "properties": {
            "spec": fields(&["repo", "branch", "revision", "webhookSecret", "pollingInterval"]),
            "status": fields(&["commit", "webhookCommit", "lastWebhookTime"]),
        },
    });
    crd
}

impl RealCluster {
    /// The one that the tests of this binary share, prepared with the CRD.
    pub fn shared() -> &'static Self {
        &SHARED
    }

    /// Starts one in a directory of its own, with the CRD of our own type or the one that `FLEET_WEBHOOK_CRD` names.
    pub fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    /// The same with more flags of kube-apiserver.
    pub fn start_with(name: &str, flags: &'static [&'static str]) -> Self {
        let program = program();
        let directory =
            env::temp_dir().join(format!("fleet-webhook-{}-{name}", std::process::id()));
        let process = serve(&program, &directory, flags);
        let state: Value =
            serde_json::from_slice(&std::fs::read(directory.join("state.json")).unwrap()).unwrap();
        let cluster = Self {
            url: format!("https://127.0.0.1:{}", state["Port"]),
            ca: std::fs::read(directory.join("ca.crt")).unwrap(),
            admin_token: state["AdminToken"].as_str().unwrap().to_owned(),
            directory,
            flags,
            process: Mutex::new(process),
        };
        let crd =
            env::var("FLEET_WEBHOOK_CRD").ok().map(|path| std::fs::read_to_string(path).unwrap());
        let crd = crd.unwrap_or_else(|| definition().to_string());
        cluster.kubectl(&["apply", "-f", "-"], &crd);
        let crd = "crd/gitrepos.fleet.cattle.io";
        cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", crd], "");
        // Established is said a moment before its storage can be read; until then each list is answered with 429.
        let list = "/apis/fleet.cattle.io/v1alpha1/gitrepos?resourceVersion=0";
        let deadline = Instant::now() + Duration::from_secs(60);
        while cluster.kubectl_answer(&["get", "--raw", list]).is_empty() {
            assert!(Instant::now() < deadline, "GitRepos cannot be listed");
            std::thread::sleep(Duration::from_millis(50));
        }
        cluster
    }

    /// Runs kubectl as the admin and gives what it printed, whatever its exit code: `auth can-i` says no with 1.
    pub fn kubectl_answer(&self, arguments: &[&str]) -> String {
        let output = Command::new(program())
            .arg("kubectl")
            .args(arguments)
            .env("KUBECONFIG", self.directory.join("kubeconfig"))
            .env("KUBECACHEDIR", self.directory.join("kubectl-cache"))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs kubectl as the admin and gives what it printed.
    pub fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        let mut child = Command::new(program())
            .arg("kubectl")
            .args(arguments)
            .env("KUBECONFIG", self.directory.join("kubeconfig"))
            .env("KUBECACHEDIR", self.directory.join("kubectl-cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Kills the API server, as a crash does.
    pub fn stop(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.1 = None;
        process.0.wait().unwrap();
    }

    /// Stops it and removes its directory.
    pub fn end(&self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.directory);
    }

    /// Starts it again, on the same port and with the same data.
    pub fn restart(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        *process = serve(&program(), &self.directory, self.flags);
    }

    /// The lines of the audit log so far.
    pub fn audit(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.directory.join("audit.log")).unwrap_or_default();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

fn serve(program: &Path, directory: &Path, flags: &[&str]) -> (Child, Option<ChildStdin>) {
    let mut child = Command::new(program)
        .args(["serve", "--stop-on-stdin-eof", "--dir"])
        .arg(directory)
        .arg("--")
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it is a program");
    let stdin = child.stdin.take();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "the API server did not start: see {}", directory.display());
    (child, stdin)
}
