//! Secrets in AWS Secrets Manager: what is in force, and after a rotation what was; `secret` has the types.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::get_secret_value::{GetSecretValueError, GetSecretValueOutput},
};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    causes::causes,
    secret::{Keys, ReadError, Secret},
};

/// Secrets Manager in one region, with the function's own credentials.
#[derive(Clone, Debug)]
pub struct SecretsManager(Client);

/// The staging labels that we read. One is always named: without a label the service may answer with any version.
const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";

impl SecretsManager {
    /// Makes the client; nothing is asked of the network yet.
    pub fn new(config: &SdkConfig) -> Self {
        Self(Client::new(config))
    }

    /// Reads a webhook secret, and within `rotation_window` of its last rotation also the version before.
    ///
    /// # Errors
    /// [`ReadError`] for what is in force. That there is no usable version before is no error: a broken secret
    /// that was put right must work.
    pub async fn read(
        &self,
        id: &str,
        rotation_window: Duration,
        now: Timestamp,
    ) -> Result<Secret, ReadError> {
        let version = self.version(id, CURRENT).await?;
        let current = keys(&text(&version)?)?;
        let previous = match previous_until(&version, rotation_window).filter(|until| now < *until)
        {
            Some(until) => self.previous(id).await?.map(|keys| (keys, until)),
            None => None,
        };
        Ok(Secret { current, previous })
    }

    /// Reads a secret as it is, such as a kubeconfig.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn read_text(&self, id: &str) -> Result<String, ReadError> {
        text(&self.version(id, CURRENT).await?)
    }

    async fn previous(&self, id: &str) -> Result<Option<Keys>, ReadError> {
        let read = self.version(id, PREVIOUS).await.and_then(|version| keys(&text(&version)?));
        match read {
            Ok(keys) => Ok(Some(keys)),
            Err(ReadError::Missing) => Ok(None),
            Err(error @ ReadError::Unreachable(_)) => Err(error),
            Err(error) => {
                tracing::warn!(secret.id = id, secret.stage = PREVIOUS, %error, "only the current version verifies");
                Ok(None)
            }
        }
    }

    async fn version(&self, id: &str, stage: &str) -> Result<GetSecretValueOutput, ReadError> {
        self.0
            .get_secret_value()
            .secret_id(id)
            .version_stage(stage)
            .send()
            .await
            .map_err(|error| read_error(&error))
    }
}

fn read_error(error: &SdkError<GetSecretValueError>) -> ReadError {
    let status = error.raw_response().map(|response| response.status().as_u16());
    match error.code() {
        Some("ResourceNotFoundException") => ReadError::Missing,
        Some("AccessDeniedException" | "AccessDenied" | "DecryptionFailure") => {
            ReadError::Forbidden
        }
        _ if status == Some(403) => ReadError::Forbidden,
        // Marked for deletion, which can be undone, among them.
        _ => ReadError::Unreachable(anyhow::anyhow!(causes(error))),
    }
}

/// Until when the version before the current one verifies: the current one was created by the rotation.
fn previous_until(current: &GetSecretValueOutput, rotation_window: Duration) -> Option<Timestamp> {
    let created = current.created_date()?;
    let created =
        Timestamp::new(created.secs(), created.subsec_nanos().try_into().unwrap_or(0)).ok()?;
    created.checked_add(rotation_window).ok()
}

fn text(version: &GetSecretValueOutput) -> Result<String, ReadError> {
    if let Some(text) = version.secret_string() {
        return Ok(text.to_owned());
    }
    let bytes = version.secret_binary().map(|blob| blob.as_ref().to_vec()).unwrap_or_default();
    String::from_utf8(bytes).map_err(|_| ReadError::Unusable("its value is not text".to_owned()))
}

/// Reads the JSON object. Messages say where and what kind, never what: it is a secret.
fn keys(text: &str) -> Result<Keys, ReadError> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        ReadError::Unusable(format!("its value is not JSON (line {line}, column {column})"))
    })?;
    let Value::Object(pairs) = value else {
        return Err(ReadError::Unusable(format!(
            "its value is {}, not a JSON object",
            kind(&value)
        )));
    };
    pairs
        .into_iter()
        .map(|(key, value)| match value {
            Value::String(text) => Ok((key, text.into_bytes())),
            other => {
                let kind = kind(&other);
                Err(ReadError::Unusable(format!("its key {key:?} holds {kind}, not a string")))
            }
        })
        .collect()
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_secretsmanager::primitives::DateTime;

    use super::*;

    #[test]
    fn an_object_of_strings_gives_its_keys() {
        let keys = keys(r#"{"github":"It's a Secret\n","github.previous":"old"}"#).expect("keys");
        let value = |key| keys.value(key).and_then(|value| value.usable());
        assert_eq!(value("github"), Some(&b"It's a Secret"[..]));
        assert_eq!(value("github.previous"), Some(&b"old"[..]));
        assert_eq!(value("gitlab"), None);
    }

    #[test]
    fn what_is_no_object_of_strings_is_named_and_never_shown() {
        for (text, said) in [
            ("hunter2", "its value is not JSON (line 1, column 1)"),
            ("\"hunter2\"", "its value is a string, not a JSON object"),
            ("[\"hunter2\"]", "its value is an array, not a JSON object"),
            (r#"{"github":["hunter2"]}"#, r#"its key "github" holds an array, not a string"#),
            (r#"{"github":null}"#, r#"its key "github" holds null, not a string"#),
            ("", "its value is not JSON (line 1, column 0)"),
        ] {
            let error = keys(text).expect_err("is refused");
            assert_eq!(error.to_string(), format!("cannot be used: {said}"));
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn the_version_before_ends_with_the_rotation_window() {
        let created = |seconds| {
            let date = DateTime::from_secs(seconds);
            GetSecretValueOutput::builder().created_date(date).build()
        };
        let until =
            |seconds, window| previous_until(&created(seconds), Duration::from_secs(window));
        assert_eq!(until(1_000, 60), Some(Timestamp::from_second(1_060).expect("a time")));
        assert_eq!(until(1_000, 0), Some(Timestamp::from_second(1_000).expect("a time")));
        assert_eq!(until(1_000, u64::MAX), None);
        assert_eq!(previous_until(&GetSecretValueOutput::builder().build(), Duration::MAX), None);
    }
}
