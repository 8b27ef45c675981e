//! GitHub deliveries as the tests send them, signed.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::lambda::{FrontDoor, Lambda};
use super::{
    function::{Answer, Function},
    space::Space,
};

/// What the tests' global secret holds for GitHub.
pub const SECRET: &str = "correct horse battery staple";

/// Three commits; the last two are pushed.
pub const OLD: &str = "1111111111111111111111111111111111111111";
pub const NEW: &str = "2222222222222222222222222222222222222222";
pub const NEWER: &str = "3333333333333333333333333333333333333333";

impl Space {
    /// The spec of a GitRepo that follows `main` of its repository.
    pub fn follows_main(&self) -> Value {
        json!({ "repo": self.github_url(), "branch": "main" })
    }

    /// Creates the global secret that verifies GitHub's deliveries with [`SECRET`].
    pub async fn github_secret(&self) {
        self.global_secret(json!({ "github": SECRET })).await;
    }

    /// Creates that, and a GitRepo `shop` that follows `main`.
    pub async fn shop(&self) {
        self.gitrepo("shop", self.follows_main()).await;
        self.github_secret().await;
    }
}

/// A push to the space's repository.
pub fn push(space: &Space, full_ref: &str, after: &str) -> Value {
    json!({
        "ref": full_ref, "before": OLD, "after": after, "created": false, "deleted": after.bytes().all(|b| b == b'0'),
        "head_commit": { "id": after },
        "repository": {
            "full_name": space.repository,
            "html_url": space.github_url(),
            "clone_url": format!("{}.git", space.github_url()),
            "ssh_url": format!("git@github.com:{}.git", space.repository),
            "git_url": format!("git://github.com/{}.git", space.repository),
        },
    })
}

/// The value of `X-Hub-Signature-256`.
pub fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// A push of `commit` to `main`, and what proves it.
pub fn signed(space: &Space, secret: &str, commit: &str) -> (String, String) {
    padded(space, secret, commit, 0)
}

/// The same with `bytes`, or as many as it takes.
pub fn padded(space: &Space, secret: &str, commit: &str, bytes: usize) -> (String, String) {
    let mut payload = push(space, "refs/heads/main", commit);
    payload["padding"] = json!("");
    let missing = bytes.saturating_sub(payload.to_string().len());
    payload["padding"] = json!("x".repeat(missing));
    let body = payload.to_string();
    let proof = signature(secret, body.as_bytes());
    (body, proof)
}

/// The headers of a push that `proof` proves.
pub fn headers(proof: &str) -> [(&'static str, &str); 3] {
    [
        ("content-type", "application/json"),
        ("x-github-event", "push"),
        ("x-hub-signature-256", proof),
    ]
}

impl Lambda {
    /// Sends a signed push of `commit` to `main` through an HTTP API.
    pub async fn push(&self, space: &Space, secret: &str, commit: &str) -> Answer {
        let (body, proof) = signed(space, secret, commit);
        self.answer(&FrontDoor::HttpApi.post(&headers(&proof), body.as_bytes(), false)).await
    }
}

impl Function {
    /// Sends GitHub's `event`, signed with `secret`.
    pub async fn deliver_github(&self, event: &str, secret: &str, payload: &Value) -> Answer {
        let body = payload.to_string();
        let signature = signature(secret, body.as_bytes());
        let headers = [
            ("content-type", "application/json"),
            ("x-github-event", event),
            ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
            ("x-hub-signature-256", signature.as_str()),
        ];
        self.deliver(&headers, body).await
    }

    /// Sends a signed push.
    pub async fn push(&self, space: &Space, secret: &str, full_ref: &str, after: &str) -> Answer {
        self.deliver_github("push", secret, &push(space, full_ref, after)).await
    }
}
