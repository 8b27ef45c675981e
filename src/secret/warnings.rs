//! What the log says of a secret that does not do its work: each thing once in a while, however many deliveries meet it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use super::{
    ReadError,
    source::{SecretOf, SecretSource},
};
use crate::signature::Refusal;

/// How often the log says the same of the same secret.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// What to do where a secret may not be read.
const GRANT_GLOBAL: &str = "grant its reader the right to get it; in a cluster knative/rbac does";
const GRANT_OWN: &str = "grant the right to get it, with a RoleBinding for its namespace: knative/components/gitrepo-secrets in the cluster, \
    gitrepo-secrets of knative/eks or knative/kubeconfig outside";

/// What was said of one secret, and when.
#[derive(Debug, Default)]
pub(super) struct Warnings(Mutex<Vec<(Flaw, SystemTime)>>);

/// What is wrong with a secret, as far as two warnings of it are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Missing,
    Forbidden,
    Unusable,
    Unreachable,
    /// It has no key that verifies anything.
    Keyless(Refusal),
}

impl Warnings {
    /// Says that a secret cannot be had or used.
    pub(super) fn unusable(&self, source: &SecretSource, of: SecretOf<'_>, error: &ReadError) {
        let flaw = match error {
            ReadError::Missing => Flaw::Missing,
            ReadError::Forbidden(_) => Flaw::Forbidden,
            ReadError::Unusable { .. } => Flaw::Unusable,
            ReadError::Unreachable(_) => Flaw::Unreachable,
        };
        let advice = match of {
            _ if flaw != Flaw::Forbidden => None,
            SecretOf::Global => Some(GRANT_GLOBAL),
            SecretOf::GitRepo { .. } => Some(GRANT_OWN),
        };
        if self.may_say(flaw) {
            tracing::warn!(
                secret = source.describe(of),
                error = error as &dyn std::error::Error,
                advice,
                "cannot use the secret"
            );
        }
    }

    /// Says that a secret has no key, or none with a usable value, for a provider that sends deliveries.
    pub(super) fn keyless(&self, source: &SecretSource, of: SecretOf<'_>, refusal: Refusal) {
        if self.may_say(Flaw::Keyless(refusal)) {
            tracing::warn!(secret = source.describe(of), %refusal, "the secret verifies nothing");
        }
    }

    /// Whether to warn, and if so notes that it was: anybody can cause it, as often as they like.
    fn may_say(&self, flaw: Flaw) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Where the clock was set back meanwhile, it is said again.
        said.retain(|(_, at)| at.elapsed().is_ok_and(|age| age < WARNING_INTERVAL));
        let may = said.iter().all(|(other, _)| *other != flaw);
        if may {
            said.push((flaw, SystemTime::now()));
        }
        may
    }
}
