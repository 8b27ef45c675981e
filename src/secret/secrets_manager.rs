//! Webhook secrets in Secrets Manager: what is in force, and after a rotation what was; `aws` reads the versions.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    aws::secrets_manager::{SecretsManager, SecretsManagerError, Stage, Version},
    secret::{Keys, ReadError, Secret},
};

/// Reads a webhook secret, and within `rotation_window` of its last rotation also the version before.
///
/// # Errors
/// [`ReadError`] for what is in force. That there is no usable version before is no error: a broken secret
/// that was put right must work.
pub(super) async fn read(
    secrets: &SecretsManager,
    id: &str,
    rotation_window: Duration,
    now: Timestamp,
) -> Result<Secret, ReadError> {
    let version = secrets.version(id, Stage::Current).await.map_err(read_error)?;
    let until = previous_until(&version, rotation_window).filter(|until| now < *until);
    let current = keys(&text(version)?)?;
    let previous = match until {
        Some(until) => previous(secrets, id).await?.map(|keys| (keys, until)),
        None => None,
    };
    Ok(Secret { current, previous })
}

async fn previous(secrets: &SecretsManager, id: &str) -> Result<Option<Keys>, ReadError> {
    let version = secrets.version(id, Stage::Previous).await.map_err(read_error);
    match version.and_then(|version| keys(&text(version)?)) {
        Ok(keys) => Ok(Some(keys)),
        Err(ReadError::Missing) => Ok(None),
        Err(error @ ReadError::Unreachable(_)) => Err(error),
        Err(error) => {
            let stage = Stage::Previous.label();
            tracing::warn!(secret.id = id, secret.stage = stage, %error, "only the current version verifies");
            Ok(None)
        }
    }
}

fn read_error(error: SecretsManagerError) -> ReadError {
    match error {
        SecretsManagerError::Missing => ReadError::Missing,
        SecretsManagerError::Forbidden(_) => ReadError::Forbidden,
        SecretsManagerError::Unavailable(_) => ReadError::Unreachable(error.into()),
    }
}

/// Until when the version before the current one verifies: the current one was created by the rotation.
fn previous_until(current: &Version, rotation_window: Duration) -> Option<Timestamp> {
    current.created?.checked_add(rotation_window).ok()
}

fn text(version: Version) -> Result<String, ReadError> {
    String::from_utf8(version.value)
        .map_err(|_| ReadError::Unusable("its value is not text".to_owned()))
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
            let created = Timestamp::from_second(seconds).ok();
            Version { value: Vec::new(), created }
        };
        let until =
            |seconds, window| previous_until(&created(seconds), Duration::from_secs(window));
        assert_eq!(until(1_000, 60), Some(Timestamp::from_second(1_060).expect("a time")));
        assert_eq!(until(1_000, 0), Some(Timestamp::from_second(1_000).expect("a time")));
        assert_eq!(until(1_000, u64::MAX), None);
        assert_eq!(
            previous_until(&Version { value: Vec::new(), created: None }, Duration::MAX),
            None
        );
    }
}
