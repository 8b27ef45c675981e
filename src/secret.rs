//! Webhook secrets: their keys and values, redacted; `signature` verifies with them, `secret/*` read them.

mod kubernetes;
#[cfg(feature = "aws")]
pub mod secrets_manager;
mod slot;
pub mod store;

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;

/// A webhook secret: what verifies now, and for a while what did before a rotation.
#[derive(Clone, Debug)]
pub struct Secret {
    /// The keys that are in force.
    pub current: Keys,
    /// The version before (Secrets Manager's `AWSPREVIOUS`) and until when it still verifies.
    pub previous: Option<(Keys, Timestamp)>,
}

/// The keys of a secret with their values (contract §3: `github`, `gitlab`, … and `<key>.previous`).
#[derive(Clone, Debug, Default)]
pub struct Keys(BTreeMap<String, SecretValue>);

impl Keys {
    /// The value of a key: `None` if it is not there, an empty one if it is misconfigured.
    pub fn value(&self, key: &str) -> Option<&SecretValue> {
        self.0.get(key)
    }
}

impl FromIterator<(String, Vec<u8>)> for Keys {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(key, value)| (key, SecretValue::new(value))).collect())
    }
}

/// A secret value. Prints as `[REDACTED]`, and cannot be compared but by what takes the same time for any value.
#[derive(Clone)]
pub struct SecretValue(Vec<u8>);

impl SecretValue {
    /// Takes a value and drops one trailing newline (secrets made with `echo` have one).
    pub fn new(mut value: Vec<u8>) -> Self {
        if value.ends_with(b"\n") {
            value.pop();
            if value.ends_with(b"\r") {
                value.pop();
            }
        }
        Self(value)
    }

    /// The bytes, unless there are none: nothing verifies with an empty secret.
    pub fn usable(&self) -> Option<&[u8]> {
        (!self.0.is_empty()).then_some(&self.0)
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// Why a secret could not be read. Names ids and keys, never a value.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such secret.
    #[error("no such secret")]
    Missing,
    /// The secret, or the key that it is encrypted with, may not be read.
    #[error("may not be read")]
    Forbidden,
    /// The secret is there, but it is not what it should be; says what it is instead.
    #[error("cannot be used: {0}")]
    Unusable(String),
    /// The store did not answer in time, or not with a secret; says what it answered.
    #[error("cannot be had: {0:#}")]
    Unreachable(anyhow::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_redacted() {
        let keys: Keys = [("github".to_owned(), b"hunter2".to_vec())].into_iter().collect();
        let printed = format!("{:?}", Secret { current: keys, previous: None });
        assert!(printed.contains("[REDACTED]") && !printed.contains("hunter2"));
    }

    #[test]
    fn one_trailing_newline_is_dropped() {
        assert_eq!(SecretValue::new(b"s3cret\n".to_vec()).usable(), Some(&b"s3cret"[..]));
        assert_eq!(SecretValue::new(b"s3cret\n\n".to_vec()).usable(), Some(&b"s3cret\n"[..]));
    }

    #[test]
    fn an_empty_value_is_not_usable() {
        assert_eq!(SecretValue::new(Vec::new()).usable(), None);
        assert_eq!(SecretValue::new(b"\n".to_vec()).usable(), None);
    }
}
