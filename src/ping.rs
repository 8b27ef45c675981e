//! Sends the ping that GitHub sends when a webhook is made, signed, and says what was answered (contract §11): what
//! `helm test` does.

use std::{fmt, time::Duration};

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Client, StatusCode, header::CONTENT_TYPE, redirect::Policy};
use sha2::Sha256;

use crate::{causes::causes, outcome::printable};

/// How long the answer may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);

const BODY: &str = r#"{"zen":"fleet-webhook ping","hook_id":1}"#;

/// What was answered.
#[derive(Debug)]
pub struct Ping {
    signed: bool,
    answer: Result<(StatusCode, String), String>,
}

impl Ping {
    /// Sends it to `url`, signed with `key` if there is one.
    pub async fn send(url: &str, key: Option<&[u8]>) -> Self {
        let answer = answer(url, key).await.map_err(|error| causes(&error));
        Self { signed: key.is_some(), answer }
    }

    /// What a program returns that says it: 0 if the service takes it, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        u8::from(!matches!(self.answer, Ok((StatusCode::OK, _))))
    }
}

async fn answer(url: &str, key: Option<&[u8]>) -> reqwest::Result<(StatusCode, String)> {
    let client = Client::builder().redirect(Policy::none()).timeout(TIME_LIMIT).build()?;
    let mut request = client
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .header("x-github-event", "ping")
        .header("x-github-delivery", "fleet-webhook-ping")
        .body(BODY);
    if let Some(key) = key {
        request = request.header("x-hub-signature-256", signature(key));
    }
    let response = request.send().await?;
    Ok((response.status(), response.text().await?))
}

/// [GitHub's](https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries).
fn signature(key: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key may have any length");
    mac.update(BODY.as_bytes());
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

impl fmt::Display for Ping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed = if self.signed { "a signed ping" } else { "an unsigned ping" };
        match &self.answer {
            Ok((status, body)) => writeln!(f, "{signed}: {status} {}", printable(body)),
            Err(error) => writeln!(f, "{signed}: no answer: {error}"),
        }
    }
}
