//! The rule (contract §3): a GitRepo is patched if and only if the secret that governs it verifies the delivery.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;

use crate::{
    cluster::CONCURRENT_REQUESTS,
    config::UnsignedDeliveries,
    delivery::Delivery,
    gitrepo::GitRepo,
    provider::Provider,
    secret::{Secret, check::Check, source::SecretOf, store::SecretStore},
    signature::{self, Refusal, Verified},
};

/// The right to patch one GitRepo; only this file makes one.
#[derive(Clone, Copy, Debug)]
pub struct Authorization(Option<Verified>);

impl Authorization {
    /// Whether a secret verified the delivery; otherwise none is configured and unsigned deliveries are accepted.
    pub const fn is_verified(self) -> bool {
        self.0.is_some()
    }
}

/// What the governing secret says of a delivery.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// The GitRepo may be patched.
    Authorized(Authorization),
    /// It may not.
    Refused(Unauthorized),
    /// The secret cannot be read now.
    Unavailable,
}

/// Why a GitRepo may not be patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unauthorized {
    /// The governing secret does not verify the delivery, or there is none and unsigned deliveries are rejected.
    Unverified,
    /// `spec.webhookSecret` names a secret that does not exist.
    SecretMissing,
    /// The governing secret has no key for the provider.
    KeyMissing,
    /// The GitRepo's own secret may not be read.
    SecretForbidden,
}

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
    fn verify(&self, secret: &Secret) -> Result<Verified, Refusal> {
        match self {
            Self::Signed { provider, delivery, now } => {
                signature::verify(provider.schemes, delivery, secret, *now)
            }
            Self::Iam(_) => Err(Refusal::Unverified),
        }
    }
}

/// Judges one delivery.
#[derive(Debug)]
pub struct Judge<'a> {
    store: &'a SecretStore,
    sender: Sender<'a>,
    unsigned: UnsignedDeliveries,
    global: Check,
    own: BTreeMap<(String, String), Check>,
}

impl<'a> Judge<'a> {
    /// Asks the global secret.
    pub async fn new(
        store: &'a SecretStore,
        sender: Sender<'a>,
        unsigned: UnsignedDeliveries,
    ) -> Self {
        let global = match sender {
            Sender::Iam(verified) => Check::Verified(verified),
            Sender::Signed { .. } => {
                store.check(SecretOf::Global, |secret| sender.verify(secret)).await
            }
        };
        Self { store, sender, unsigned, global, own: BTreeMap::new() }
    }

    /// Asks the GitRepos' own secrets, each once.
    pub async fn ask_own_secrets(&mut self, gitrepos: &[GitRepo]) {
        let names: BTreeSet<_> = gitrepos.iter().filter_map(own_secret).collect();
        let asked: Vec<_> = names.into_iter().map(|name| self.ask_own_secret(name)).collect();
        self.own = stream::iter(asked).buffer_unordered(CONCURRENT_REQUESTS).collect().await;
    }

    async fn ask_own_secret(&self, (namespace, name): (&str, &str)) -> ((String, String), Check) {
        let of = SecretOf::GitRepo { namespace, name };
        let check = match self.sender {
            // No GitRepo's own secret can verify it, whatever it holds.
            Sender::Iam(_) => Check::Refused(Refusal::Unverified),
            Sender::Signed { .. } => {
                self.store.check(of, |secret| self.sender.verify(secret)).await
            }
        };
        ((namespace.to_owned(), name.to_owned()), check)
    }

    /// Judges a GitRepo, whose own secret was asked.
    pub fn verdict(&self, gitrepo: &GitRepo) -> Verdict {
        let Some((namespace, name)) = own_secret(gitrepo) else { return self.global_verdict() };
        match self.own.get(&(namespace.to_owned(), name.to_owned())) {
            Some(Check::Verified(verified)) => Verdict::Authorized(Authorization(Some(*verified))),
            Some(Check::Refused(refusal)) => Verdict::Refused((*refusal).into()),
            Some(Check::Missing) => Verdict::Refused(Unauthorized::SecretMissing),
            Some(Check::Forbidden) => Verdict::Refused(Unauthorized::SecretForbidden),
            Some(Check::Unavailable) | None => Verdict::Unavailable,
        }
    }

    fn global_verdict(&self) -> Verdict {
        match (&self.global, self.unsigned) {
            (Check::Verified(verified), _) => Verdict::Authorized(Authorization(Some(*verified))),
            (Check::Refused(refusal), _) => Verdict::Refused((*refusal).into()),
            (Check::Missing, UnsignedDeliveries::Accept) => {
                Verdict::Authorized(Authorization(None))
            }
            (Check::Missing, UnsignedDeliveries::Reject) => {
                Verdict::Refused(Unauthorized::Unverified)
            }
            (Check::Forbidden | Check::Unavailable, _) => Verdict::Unavailable,
        }
    }

    /// Whether the global secret verifies the delivery.
    pub const fn globally_verified(&self) -> bool {
        matches!(self.global, Check::Verified(_))
    }

    /// Whether any secret that was asked verifies the delivery.
    pub fn any_verified(&self) -> bool {
        self.checks().any(|check| matches!(check, Check::Verified(_)))
    }

    /// Whether any secret that was asked is there and refuses the delivery.
    pub fn any_refused(&self) -> bool {
        self.checks().any(|check| matches!(check, Check::Refused(_)))
    }

    /// Whether any secret that was asked could not be read now, or the global one may not be.
    pub fn any_unavailable(&self) -> bool {
        self.global_unavailable() || self.checks().any(|check| matches!(check, Check::Unavailable))
    }

    /// Whether the global secret cannot be read.
    pub const fn global_unavailable(&self) -> bool {
        matches!(self.global, Check::Forbidden | Check::Unavailable)
    }

    /// Whether a delivery that no secret verifies is refused even if nothing follows it.
    pub fn refuses_unverified(&self) -> bool {
        matches!(self.global, Check::Refused(_)) || self.unsigned == UnsignedDeliveries::Reject
    }

    fn checks(&self) -> impl Iterator<Item = &Check> {
        std::iter::once(&self.global).chain(self.own.values())
    }
}

impl From<Refusal> for Unauthorized {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::KeyMissing(_) => Self::KeyMissing,
            Refusal::KeyUnusable(_) | Refusal::Unverified => Self::Unverified,
        }
    }
}

fn own_secret(gitrepo: &GitRepo) -> Option<(&str, &str)> {
    Some((gitrepo.metadata.namespace.as_deref()?, gitrepo.spec.own_secret()?))
}
