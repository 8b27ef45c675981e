//! An EKS cluster: `tests/tools/eks-front.py` in front of the real API server, which it takes IAM tokens for.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::{
    moto::{Moto, REGION},
    real_cluster::RealCluster,
    tools::tool,
};

/// What a role's keys have besides; every token is signed with it.
pub const SESSION_TOKEN: &str = "FwoGZXIvYXdzEXAMPLE/token+/=";

/// A running front; it ends when dropped.
pub struct EksFront {
    /// What answers `DescribeCluster`.
    pub api: String,
    process: Child,
}

impl EksFront {
    /// Starts it for a cluster that moto knows, and for the keys of [`Moto::variables`] with [`SESSION_TOKEN`].
    pub async fn start(moto: &Moto, name: &str, cluster: &RealCluster) -> Self {
        Self::described_with(moto, name, cluster, None).await
    }

    /// The same, described with the certificate authority of a file instead of its own.
    pub async fn described_with(
        moto: &Moto,
        name: &str,
        cluster: &RealCluster,
        ca: Option<&Path>,
    ) -> Self {
        moto.create_cluster(name).await;
        let kubeconfig =
            std::fs::read_to_string(cluster.directory.join("function.kubeconfig")).unwrap();
        let token =
            kubeconfig.lines().find_map(|line| line.trim().strip_prefix("token: ")).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/eks-front.py");
        let mut process = Command::new(tool("venv/bin/python"))
            .arg(script)
            .args(["--cluster", name, "--region", REGION])
            .args(["--access-key", "test", "--secret-key", "test"])
            .args(["--session-token", SESSION_TOKEN])
            .args(ca.into_iter().flat_map(|ca| [Path::new("--described-ca"), ca]))
            .args(["--moto", &moto.url, "--upstream", &cluster.url])
            .args(["--upstream-token", token, "--upstream-ca"])
            .arg(cluster.directory.join("ca.crt"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addresses: Value = serde_json::from_str(&line).expect("its addresses");
        Self { api: addresses["api"].as_str().unwrap().to_owned(), process }
    }

    /// The tokens that it took so far.
    pub async fn tokens(&self) -> Vec<String> {
        let answer = reqwest::get(format!("{}/seen", self.api)).await.expect("an answer");
        serde_json::from_str(&answer.text().await.expect("a body")).expect("tokens")
    }
}

impl Drop for EksFront {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
