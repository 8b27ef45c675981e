//! Who sent a delivery, as far as it can be proved.

use jiff::Timestamp;

use crate::{
    aside::aside,
    delivery::Delivery,
    keys::Secret,
    provider::Provider,
    secret::source::Asker,
    signature::{self, Refusal, Verified},
};

/// Who a delivery comes from, as far as it can be proved.
#[derive(Clone, Copy, Debug)]
pub enum Sender<'a> {
    /// Whoever knows a provider's secret.
    Signed {
        /// The provider that the headers name.
        provider: &'a Provider,
        /// The delivery with its proof.
        delivery: &'a Delivery,
        /// The time by which a proof's own time is judged.
        now: Timestamp,
    },
    /// AWS itself, as the outer Lambda event: it counts as the global secret, and as no GitRepo's own.
    Iam(Verified),
}

impl Sender<'_> {
    /// Whether it comes with a proof, right or wrong.
    pub fn carries_proof(&self) -> bool {
        match self {
            Self::Signed { provider, delivery, .. } => {
                signature::carries_proof(provider.schemes, delivery.headers())
            }
            Self::Iam(_) => true,
        }
    }

    pub(super) fn asker<'g>(&self, is_verified: bool, gitrepos: &'g [u64]) -> Asker<'g> {
        Asker { carries_proof: self.carries_proof(), is_verified, gitrepos }
    }

    pub(super) fn verify(&self, secret: &Secret) -> Result<Verified, Refusal> {
        match self {
            Self::Signed { provider, delivery, now } => {
                let verify = || signature::verify(provider.schemes, delivery, secret, *now);
                aside(delivery.raw().len(), verify)
            }
            Self::Iam(_) => Err(Refusal::Unverified),
        }
    }
}
