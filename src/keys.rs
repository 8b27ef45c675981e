//! Webhook secrets: their keys and values, redacted; `signature` verifies with them, `secret` reads and keeps them.

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

/// A secret value as it was stored. Prints as `[REDACTED]`, and cannot be compared but by what takes the same time for any value.
#[derive(Clone)]
pub struct SecretValue(Vec<u8>);

impl SecretValue {
    /// Takes a value as it is stored.
    pub const fn new(value: Vec<u8>) -> Self {
        Self(value)
    }

    /// What may be proven, the likeliest first: the value without one trailing newline (secrets made with `echo` have one),
    /// and as it is. Nothing where there is nothing beside the newline: nothing verifies with an empty secret.
    pub fn candidates(&self) -> impl Iterator<Item = &[u8]> {
        let as_it_is = self.usable().filter(|bare| bare.len() < self.0.len()).map(|_| &*self.0);
        self.usable().into_iter().chain(as_it_is)
    }

    /// The value without the blanks at its ends, which HTTP drops of a header: for a proof that is the value itself.
    /// `None` where it is blank.
    pub fn token(&self) -> Option<&[u8]> {
        Some(self.0.trim_ascii()).filter(|token| !token.is_empty())
    }

    /// The value without one trailing newline, unless nothing is left.
    pub fn usable(&self) -> Option<&[u8]> {
        let bare = self.0.strip_suffix(b"\n").unwrap_or(&self.0);
        // A carriage return belongs to the newline.
        let bare = bare.strip_suffix(b"\r").filter(|_| bare.len() < self.0.len()).unwrap_or(bare);
        Some(bare).filter(|bare| !bare.is_empty())
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
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

    fn candidates(value: &str) -> Vec<String> {
        let value = SecretValue::new(value.as_bytes().to_vec());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        value.candidates().map(text).collect()
    }

    #[test]
    fn a_value_counts_as_it_is_and_without_one_trailing_newline() {
        assert_eq!(candidates("s3cret"), ["s3cret"]);
        assert_eq!(candidates("s3cret\n"), ["s3cret", "s3cret\n"]);
        assert_eq!(candidates("s3cret\r\n"), ["s3cret", "s3cret\r\n"]);
        assert_eq!(candidates("s3cret\n\n"), ["s3cret\n", "s3cret\n\n"]);
        assert_eq!(candidates("s3cret\r"), ["s3cret\r"]);
        assert_eq!(candidates(" s3cret "), [" s3cret "]);
    }

    #[test]
    fn nothing_is_proven_to_an_empty_value() {
        for empty in ["", "\n", "\r\n"] {
            assert_eq!(candidates(empty), [""; 0], "{empty:?}");
            assert_eq!(SecretValue::new(empty.into()).usable(), None, "{empty:?}");
        }
    }

    #[test]
    fn of_a_token_blanks_at_the_ends_do_not_count() {
        for (value, token) in
            [(" s3 cret\t\r\n", Some("s3 cret")), ("s3cret", Some("s3cret")), (" \n", None)]
        {
            let value = SecretValue::new(value.into());
            assert_eq!(value.token(), token.map(str::as_bytes));
        }
    }
}
