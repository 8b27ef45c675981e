//! Webhook secrets in Secrets Manager: what is in force, and after a rotation what was; `aws` reads the versions.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    aws::secrets_manager::{SecretsManager, SecretsManagerError, Stage, Version},
    keys::{Keys, Secret},
    secret::ReadError,
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
    let current = text(version).and_then(|text| keys(&text));
    let previous = match until {
        Some(until) => previous(secrets, id).await?.map(|keys| (keys, until)),
        None => None,
    };
    match current {
        Ok(current) => Ok(Secret { current, previous }),
        Err(what) => {
            let secret = |keys| Secret { current: keys, previous: None };
            let before = previous.map(|(keys, until)| (secret(keys), until));
            Err(ReadError::Unusable { what, before })
        }
    }
}

async fn previous(secrets: &SecretsManager, id: &str) -> Result<Option<Keys>, ReadError> {
    let flaw = match secrets.version(id, Stage::Previous).await {
        Ok(version) => match text(version).and_then(|text| keys(&text)) {
            Ok(keys) => return Ok(Some(keys)),
            Err(flaw) => flaw,
        },
        Err(SecretsManagerError::Missing) => return Ok(None),
        Err(error @ SecretsManagerError::Unavailable(_)) => return Err(read_error(error)),
        Err(error @ SecretsManagerError::Forbidden(_)) => error.to_string(),
    };
    let stage = Stage::Previous.label();
    tracing::warn!(
        secret.id = id,
        secret.stage = stage,
        error = flaw,
        "only the current version verifies"
    );
    Ok(None)
}

fn read_error(error: SecretsManagerError) -> ReadError {
    match error {
        SecretsManagerError::Missing => ReadError::Missing,
        SecretsManagerError::Forbidden(words) => ReadError::Forbidden(words),
        SecretsManagerError::Unavailable(_) => ReadError::Unreachable(error.into()),
    }
}

/// Until when the version before the current one verifies: the current one was created by the rotation.
fn previous_until(current: &Version, rotation_window: Duration) -> Option<Timestamp> {
    current.created?.checked_add(rotation_window).ok()
}

fn text(version: Version) -> Result<String, String> {
    String::from_utf8(version.value).map_err(|_| "its value is not text".to_owned())
}

/// Reads the JSON object. Messages say where and what kind, never what: it is a secret.
///
/// What is no string verifies nothing, and harms no other key: people keep more than keys there, and some tools write a
/// value of digits as a number.
fn keys(text: &str) -> Result<Keys, String> {
    // Editors put a byte order mark there.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let value: Value = serde_json::from_str(text).map_err(|error| {
        format!("its value is not JSON (line {}, column {})", error.line(), error.column())
    })?;
    let Value::Object(pairs) = value else {
        return Err(format!("its value is {}, not a JSON object", kind(&value)));
    };
    let bytes = |value| match value {
        Value::String(text) => text.into_bytes(),
        _ => Vec::new(),
    };
    Ok(pairs.into_iter().map(|(key, value)| (key, bytes(value))).collect())
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
    use crate::keys::SecretValue;

    #[test]
    fn an_object_of_strings_gives_its_keys() {
        let keys = keys(r#"{"github":"It's a Secret\n","github.previous":"old"}"#).expect("keys");
        let value = |key| keys.value(key).and_then(|value| value.usable());
        assert_eq!(value("github"), Some(&b"It's a Secret"[..]));
        assert_eq!(value("github.previous"), Some(&b"old"[..]));
        assert_eq!(value("gitlab"), None);
    }

    #[test]
    fn a_byte_order_mark_does_no_harm() {
        let keys = keys("\u{feff}{\"github\":\"s3cret\"}").expect("keys");
        assert_eq!(keys.value("github").and_then(SecretValue::usable), Some(&b"s3cret"[..]));
    }

    #[test]
    fn what_is_no_string_verifies_nothing_and_harms_no_other_key() {
        let text =
            r#"{"github":"s3cret","gitlab":12345,"expires":1776000000,"tags":["x"],"gogs":null}"#;
        let keys = keys(text).expect("keys");
        assert_eq!(keys.value("github").and_then(SecretValue::usable), Some(&b"s3cret"[..]));
        for key in ["gitlab", "gogs"] {
            // There it is: what is weaker must not take its place.
            let value = keys.value(key).expect("is there");
            assert_eq!(value.usable(), None, "{key}");
        }
    }

    #[test]
    fn what_is_no_object_is_named_and_never_shown() {
        for (text, said) in [
            ("hunter2", "its value is not JSON (line 1, column 1)"),
            ("\"hunter2\"", "its value is a string, not a JSON object"),
            ("[\"hunter2\"]", "its value is an array, not a JSON object"),
            (r#"{"github":"hunter2",}"#, "its value is not JSON (line 1, column 21)"),
            ("", "its value is not JSON (line 1, column 0)"),
        ] {
            let error = keys(text).expect_err("is refused");
            assert_eq!(error, said);
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
