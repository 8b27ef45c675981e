//! The Git server of the simulation: the pushes of its refs, and the deliveries that tell of them.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{gitrepos::SECRETS, replica::Brought};

pub const REPOSITORY: &str = "https://github.com/acme/shop";

/// A push of a branch: the commit of a number follows on that of the number before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Push {
    pub branch: usize,
    pub number: u64,
}

pub const BRANCHES: [&str; 2] = ["main", "dev"];

impl Push {
    pub const fn branch(self) -> &'static str {
        BRANCHES[self.branch]
    }

    /// The commit that it pushes.
    pub fn commit(self) -> String {
        commit(self.branch, self.number)
    }

    /// The push of a commit.
    pub fn of(commit: &str) -> Option<Self> {
        let branch = usize::from_str_radix(commit.get(..8)?, 16).ok()?.checked_sub(1)?;
        let number = u64::from_str_radix(commit.get(24..)?, 16).ok()?;
        (branch < BRANCHES.len()).then_some(Self { branch, number })
    }

    /// The delivery of a hook that tells of it, signed; with what the ref was before, or without.
    pub fn delivery(self, hook: usize, says_before: bool) -> Brought {
        let before = match says_before {
            true => commit(self.branch, self.number - 1),
            false => String::new(),
        };
        let full_ref = format!("refs/heads/{}", self.branch());
        signed(&full_ref, &before, &self.commit(), hook, SECRETS[hook])
    }
}

/// The commit of a branch that a push has made; the one with the number 0 was there before.
pub fn commit(branch: usize, number: u64) -> String {
    format!("{:08x}{:032x}", branch + 1, number)
}

/// A delivery of somebody who does not know the secret.
pub fn forged() -> Brought {
    signed("refs/heads/main", &commit(0, 0), &"f".repeat(40), 0, "guessed")
}

/// Of which push a message of the queue tells, and by which hook; `None` of one that was made up.
pub fn told_by(message: &[u8]) -> Option<(Push, usize)> {
    let message: Value = serde_json::from_slice(message).ok()?;
    let body = BASE64_STANDARD.decode(message["body"].as_str()?).ok()?;
    let body: Value = serde_json::from_slice(&body).ok()?;
    let headers = message["headers"].as_array()?;
    let hook = headers.iter().find(|pair| pair[0] == HOOK)?[1].as_str()?.parse().ok()?;
    Some((Push::of(body["after"].as_str()?)?, hook))
}

const HOOK: &str = "x-hook";

fn signed(full_ref: &str, before: &str, after: &str, hook: usize, secret: &str) -> Brought {
    let body = json!({
        "ref": full_ref, "before": before, "after": after, "created": false, "deleted": false,
        "head_commit": { "id": after },
        "repository": { "html_url": REPOSITORY, "clone_url": format!("{REPOSITORY}.git") },
    });
    let body = body.to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key");
    mac.update(body.as_bytes());
    let proof = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/json"),
        ("x-github-event", "push"),
        ("x-hub-signature-256", &proof),
        (HOOK, &hook.to_string()),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("one"));
    }
    Brought { headers, body: Bytes::from(body), queued: false }
}
