//! Where webhook secrets are read, how long they are kept, and why one cannot be had; `keys` is what they hold.

pub mod check;
mod kubernetes;
#[cfg(feature = "aws")]
mod secrets_manager;
pub mod source;
pub mod store;
mod warnings;

use jiff::Timestamp;

use crate::keys::Secret;

/// Why a secret could not be read. Names ids and keys, never a value.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such secret.
    #[error("no such secret")]
    Missing,
    /// The secret, or the key that it is encrypted with, may not be read; in the words of whoever refuses it.
    #[error("may not be read: {0}")]
    Forbidden(String),
    /// The secret is there, but it is not what it should be.
    #[error("cannot be used: {what}")]
    Unusable {
        /// What it is instead.
        what: String,
        /// The version before, and until when that still verifies.
        before: Option<(Secret, Timestamp)>,
    },
    /// The store did not answer in time, or not with a secret; says what it answered.
    #[error("cannot be had: {0:#}")]
    Unreachable(anyhow::Error),
    /// It was not read, since deliveries that nothing verifies have caused as many reads as they may.
    #[error("was not read")]
    Postponed,
}

impl ReadError {
    fn unusable(what: impl Into<String>) -> Self {
        Self::Unusable { what: what.into(), before: None }
    }
}
