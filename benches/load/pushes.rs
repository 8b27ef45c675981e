//! Pushes as GitHub sends them, and a sender that costs little beside the service.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::github::signature;

pub const SECRET: &str = "correct horse battery staple";

const PATIENCE: Duration = Duration::from_secs(60);

/// A push to `main` of `owner/name`, with at least so many bytes.
pub fn push(repository: &str, commit: &str, bytes: usize) -> String {
    let url = format!("https://github.com/{repository}");
    let mut push = json!({
        "ref": "refs/heads/main", "before": "1111111111111111111111111111111111111111",
        "after": commit, "created": false, "deleted": false, "head_commit": { "id": commit },
        "repository": {
            "full_name": repository, "html_url": url, "clone_url": format!("{url}.git"),
            "ssh_url": format!("git@github.com:{repository}.git"),
            "git_url": format!("git://github.com/{repository}.git"),
        },
        "commits": [],
    });
    let commit = json!({
        "id": commit, "distinct": true, "message": "Take the basket's total from the ledger",
        "timestamp": "2026-01-01T00:00:00Z", "author": { "name": "A. Developer" },
        "added": [], "removed": [], "modified": ["src/basket.rs", "src/ledger.rs"],
    });
    let missing = bytes.saturating_sub(push.to_string().len());
    push["commits"] = vec![commit.clone(); missing.div_ceil(commit.to_string().len() + 1)].into();
    push.to_string()
}

/// The request that brings it, signed with `secret`.
pub fn request(body: &str, secret: &str) -> Vec<u8> {
    let (length, proof) = (body.len(), signature(secret, body.as_bytes()));
    format!(
        "POST / HTTP/1.1\r\nhost: webhook.example\r\nuser-agent: GitHub-Hookshot/044aadd\r\naccept: */*\r\n\
         content-type: application/json\r\nx-github-event: push\r\nx-github-hook-id: 292430182\r\n\
         x-github-delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958\r\nx-hub-signature-256: {proof}\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A connection to the service.
pub struct Connection(TcpStream);

impl Connection {
    pub async fn open(url: &str) -> Self {
        let address = url.strip_prefix("http://").unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Sends a request; gives the status and the body of its answer.
    pub async fn send(&mut self, request: &[u8]) -> (u16, String) {
        timeout(PATIENCE, self.exchange(request)).await.expect("an answer in time")
    }

    async fn exchange(&mut self, request: &[u8]) -> (u16, String) {
        self.0.write_all(request).await.unwrap();
        let (mut answer, mut chunk) = (Vec::new(), [0; 8192]);
        loop {
            let read = self.0.read(&mut chunk).await.unwrap();
            assert!(read > 0, "it hung up");
            answer.extend_from_slice(&chunk[..read]);
            if let Some(answer) = whole(&answer) {
                return answer;
            }
        }
    }
}

/// The answer, once all of it is there.
fn whole(answer: &[u8]) -> Option<(u16, String)> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    (body.len() >= length.parse().ok()?).then(|| (status, body.to_owned()))
}
