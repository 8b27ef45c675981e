//! Each command of the pages is run as it stands, or its mark says why it cannot be: `docs.rs` lists the marks.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use crate::{
    page::{Block, blocks, pages, root},
    support::{ports::free_port, real_cluster::RealCluster, tools::tool},
};

/// Why a block cannot be run here.
const NEEDS: [(&str, &str); 7] = [
    ("controllers", "it needs Kubernetes' controllers, and the API server of the tests has none"),
    ("aws", "it makes something in an AWS account"),
    ("release", "it verifies what a release published, and there is none yet"),
    ("registry", "it pushes an image to a registry of yours"),
    ("nodes", "it needs pods that run, and the API server of the tests has no nodes"),
    ("itself", "it runs this test"),
    ("time", "it measures for minutes, on a machine that does nothing else"),
];

#[test]
fn every_block_is_run_or_says_why_not() {
    for block in pages().iter().flat_map(|page| blocks(page)) {
        let place = block.place();
        match block.language.as_str() {
            "mermaid" | "text" => {}
            "json" => {
                let json: Result<serde_json::Value, _> = serde_json::from_str(&block.text);
                assert!(json.is_ok(), "{place}: {json:?}");
            }
            _ => {
                let how = ["run", "by", "needs"].map(|mark| block.mark(mark).is_some());
                let marks = how.iter().filter(|is_there| **is_there).count();
                assert_eq!(
                    marks, 1,
                    "{place}: a block is marked run, by= or needs=: tests/docs.rs"
                );
            }
        }
        if let Some(reason) = block.mark("needs") {
            let reason = reason.as_deref().unwrap_or_default();
            assert!(NEEDS.iter().any(|(needs, _)| *needs == reason), "{place}: needs={reason}?");
        }
        if let Some(test) = block.mark("by") {
            let test = test.as_deref().unwrap_or_default();
            let text = fs::read_to_string(root().join(test)).unwrap_or_default();
            assert!(text.contains(&block.page), "{place}: {test} does not name {}", block.page);
        }
    }
}

#[test]
fn what_needs_nothing_but_rust_runs_and_prints_what_the_page_says() {
    for page in pages() {
        let blocks = blocks(&page);
        for (at, block) in blocks.iter().enumerate().filter(|(_, block)| block.runs_on(None)) {
            let printed = run(block, &root(), &[("PORT", &free_port().to_string())]);
            let promised = blocks.get(at + 1).filter(|next| next.language == "text");
            for line in promised.map(|block| block.text.lines()).into_iter().flatten() {
                let line = line.trim_end();
                assert!(
                    line == "…" || printed.contains(line),
                    "{} does not print {line:?} but\n{printed}",
                    block.place()
                );
            }
        }
    }
}

#[test]
fn what_needs_the_service_runs_on_that_of_the_quickstart() {
    let port = free_port().to_string();
    let quickstart = blocks("README.md").into_iter().find(|block| block.runs_on(None));
    let quickstart = quickstart.expect("the README starts with it");
    let mut service = Shell::start(&quickstart, &root(), &[("PORT", &port)]);
    service.wait_for("Ctrl-C");
    let url = format!("http://127.0.0.1:{port}/");
    for block in pages().iter().flat_map(|page| blocks(page)) {
        if block.runs_on(Some("service")) {
            let printed = run(&block, &root(), &[("url", &url), ("secret", "github-test-secret")]);
            assert!(printed.contains("\"pong\"") && printed.ends_with(" 200\n"), "{printed}");
        }
    }
    service.end();
}

#[test]
#[ignore = "needs the real API server: tests/README.md"]
fn what_needs_a_cluster_runs_on_a_real_api_server() {
    let cluster = RealCluster::start("docs");
    let folder = Installation::new(&cluster);
    let path = format!("{}:{}", folder.0.join("bin").display(), env!("PATH"));
    let kubeconfig = cluster.directory.join("kubeconfig").display().to_string();
    for block in pages().iter().flat_map(|page| blocks(page)) {
        if block.runs_on(Some("cluster")) {
            run(&block, &folder.0, &[("PATH", &path), ("KUBECONFIG", &kubeconfig)]);
        }
    }
}

/// Runs a block, and gives what it printed.
fn run(block: &Block, folder: &Path, variables: &[(&str, &str)]) -> String {
    let mut shell = Shell::start(block, folder, variables);
    match block.mark("until").and_then(Option::as_deref) {
        None => shell.finish(),
        Some(last) => {
            shell.wait_for(last);
            shell.end()
        }
    }
}

/// A block that runs in a shell, which stops at the first failure.
struct Shell {
    place: String,
    process: Child,
    output: BufReader<ChildStdout>,
    printed: String,
}

impl Shell {
    fn start(block: &Block, folder: &Path, variables: &[(&str, &str)]) -> Self {
        let mut process = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &block.text])
            .current_dir(folder)
            .env_clear()
            .envs(self::variables())
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("there is bash");
        let output = BufReader::new(process.stdout.take().expect("is piped"));
        Self { place: block.place(), process, output, printed: String::new() }
    }

    fn wait_for(&mut self, last: &str) {
        while !self.printed.contains(last) {
            let read = self.output.read_line(&mut self.printed).expect("is text");
            assert!(read > 0, "{} ends without {last:?}:\n{}", self.place, self.printed);
        }
    }

    /// Gives what it printed once it has ended well.
    fn finish(mut self) -> String {
        self.output.read_to_string(&mut self.printed).expect("is text");
        let status = self.process.wait().expect("ends");
        assert!(status.success(), "{}: {status}\n{}", self.place, self.printed);
        std::mem::take(&mut self.printed)
    }

    /// Ends it, and gives what it printed.
    fn end(mut self) -> String {
        self.kill();
        self.output.read_to_string(&mut self.printed).expect("is text");
        std::mem::take(&mut self.printed)
    }

    fn kill(&mut self) {
        // Its id is somebody else's once it has ended.
        if !matches!(self.process.try_wait(), Ok(None)) {
            return;
        }
        let group = format!("-{}", self.process.id());
        let _ = Command::new("kill").args(["-TERM", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.process.wait();
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The variables of whoever runs the tests, without what cargo sets for one: build scripts look at some of that, and
/// would build it all again.
pub(crate) fn variables() -> impl Iterator<Item = (String, String)> {
    env::vars().filter(|(name, _)| !is_set_by_cargo(name))
}

fn is_set_by_cargo(name: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// A folder with `knative`, `my-fleet-webhook` and a `kubectl`, and a cluster with what the pages take for granted.
struct Installation(PathBuf);

impl Installation {
    fn new(cluster: &RealCluster) -> Self {
        let folder = cluster.directory.join("docs");
        let first = blocks("docs/in-the-cluster.md")
            .into_iter()
            .find(|block| block.language == "yaml" && block.text.starts_with("resources:"))
            .expect("has a kustomization");
        fs::create_dir_all(folder.join("my-fleet-webhook")).expect("can be made");
        fs::write(folder.join("my-fleet-webhook/kustomization.yaml"), first.text)
            .expect("can be written");
        let copied = Command::new("cp")
            .args(["-r", "knative"])
            .arg(&folder)
            .current_dir(root())
            .status()
            .expect("there is cp");
        assert!(copied.success());
        fs::create_dir_all(folder.join("bin")).expect("can be made");
        let kubectl = folder.join("bin/kubectl");
        let program = tool("cluster");
        fs::write(&kubectl, format!("#!/bin/sh\nexec '{}' kubectl \"$@\"\n", program.display()))
            .expect("can be written");
        let executable = Command::new("chmod").arg("755").arg(&kubectl).status();
        assert!(executable.expect("there is chmod").success());
        cluster.kubectl(&["apply", "-f", "-"], TAKEN_FOR_GRANTED);
        Self(folder)
    }
}

/// Fleet's namespaces, a GitRepo, and the Ingress of Fleet's page on webhooks.
const TAKEN_FOR_GRANTED: &str = r#"
{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cattle-fleet-system"}}
---
{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fleet-local"}}
---
{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fleet-default"}}
---
{"apiVersion": "fleet.cattle.io/v1alpha1", "kind": "GitRepo",
 "metadata": {"name": "simple", "namespace": "fleet-local"}, 
 "spec": {"repo": "https://github.com/rancher/fleet-examples", "pollingInterval": "1h"}}
---
{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
 "metadata": {"name": "webhook-ingress", "namespace": "cattle-fleet-system"},
 "spec": {"rules": [{"host": "your.domain.com", "http": {"paths": [{"path": "/", "pathType": "Prefix",
  "backend": {"service": {"name": "gitjob", "port": {"number": 80}}}}]}}]}}
"#;
