//! What a secret says of a delivery; `store` asks it.

use std::sync::Arc;

use jiff::Timestamp;

use super::ReadError;
use crate::{
    keys::Secret,
    signature::{Refusal, Verified},
};

/// What a read gave; shared by all who asked for it.
pub(super) type Outcome = Result<Arc<Secret>, Arc<ReadError>>;

/// What a secret says of a delivery.
#[derive(Clone, Debug)]
pub enum Check {
    /// It verifies it.
    Verified(Verified),
    /// It is there and does not.
    Refused(Refusal),
    /// There is no such secret.
    Missing,
    /// It may not be read.
    Forbidden,
    /// It could not be read, or what is there cannot be used.
    Unavailable,
    /// It was not read for a delivery that nothing verifies: too many others were.
    Unasked,
}

impl Check {
    /// What the outcome of a read says; `verify` knows the delivery.
    pub(super) fn of(
        outcome: &Outcome,
        verify: impl Fn(&Secret) -> Result<Verified, Refusal>,
    ) -> Self {
        let error = match outcome {
            Ok(secret) => return verify(secret).map_or_else(Self::Refused, Self::Verified),
            Err(error) => &**error,
        };
        match error {
            ReadError::Missing => Self::Missing,
            ReadError::Forbidden(_) => Self::Forbidden,
            ReadError::Postponed => Self::Unasked,
            // A mistake of the operator and not of the sender: never a refusal.
            ReadError::Unusable { before: Some((secret, until)), .. }
                if Timestamp::now() < *until =>
            {
                verify(secret).map_or(Self::Unavailable, Self::Verified)
            }
            ReadError::Unusable { .. } | ReadError::Unreachable(_) => Self::Unavailable,
        }
    }
}
