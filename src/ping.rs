//! Sends the ping that GitHub sends when a webhook is made, signed, and says what was answered (contract §11): what
//! `helm test` does.

use std::{fmt, time::Duration};

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Client, StatusCode, Url, header::CONTENT_TYPE, redirect::Policy};
use sha2::Sha256;

use crate::{causes::causes, keys::SecretValue, outcome::printable};

/// How long the answer may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);

const BODY: &str = r#"{"zen":"fleet-webhook ping","hook_id":1}"#;

/// What was answered.
#[derive(Debug)]
pub struct Ping {
    /// Why it is not signed, if it is not.
    unsigned: Option<String>,
    answer: Result<(StatusCode, String), String>,
}

impl Ping {
    /// Sends it to `url`, signed with a key; or without one, and why there is none.
    pub async fn send(url: Url, key: Result<Vec<u8>, String>) -> Self {
        // As the service takes the value that it has: a file that `echo` made has a newline, too.
        let key = key.map(SecretValue::new);
        let bare = key.as_ref().map(|key| key.usable().unwrap_or_default());
        let answer = answer(url, bare.ok()).await.map_err(|error| causes(&error));
        Self { unsigned: key.err(), answer }
    }

    /// What a program returns that says it: 0 if the service takes it, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        u8::from(!matches!(self.answer, Ok((StatusCode::OK, _))))
    }
}

async fn answer(url: Url, key: Option<&[u8]>) -> reqwest::Result<(StatusCode, String)> {
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
        match &self.unsigned {
            None => f.write_str("a signed ping: ")?,
            Some(why) => write!(f, "an unsigned ping ({why}): ")?,
        }
        match &self.answer {
            Ok((status, body)) => writeln!(f, "{status} {}", printable(body))?,
            Err(error) => return writeln!(f, "no answer: {error}"),
        }
        match (&self.answer, &self.unsigned) {
            (Ok((StatusCode::UNAUTHORIZED, _)), None) => {
                writeln!(
                    f,
                    "the service has another secret for GitHub, or none: its log says which"
                )
            }
            _ => Ok(()),
        }
    }
}
