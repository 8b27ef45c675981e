//! What the log says of a secret that does not do its work: each thing once in a while, however many deliveries meet it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use super::{
    ReadError,
    source::{SecretOf, SecretSource},
};
use crate::{
    seldom::{May, Seldom},
    signature::Refusal,
};

/// How often the log says the same of the same secret.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// What to do where a secret of the cluster may not be read; of one in AWS its refusal says so itself.
const GRANT_GLOBAL: &str = "grant the right to get it: knative/rbac in the cluster, knative/eks or knative/kubeconfig outside";
const GRANT_OWN: &str = "grant the right to get it, with a RoleBinding for its namespace: knative/components/gitrepo-secrets in the cluster, \
    knative/eks/gitrepo-secrets or knative/kubeconfig/gitrepo-secrets outside";

/// How many warnings of GitRepos' own secrets there are in [`WARNING_INTERVAL`], all of them together.
const OWN_WARNINGS: usize = 8;

/// What was said of one secret, and when.
#[derive(Debug, Default)]
pub(super) struct Warnings(Mutex<Vec<(Flaw, SystemTime)>>);

/// What was said of all own secrets of GitRepos: whoever may make GitRepos can make any number of them.
#[derive(Debug, Default)]
pub(super) struct OwnWarnings {
    said: Seldom,
    said_postponed: Seldom,
}

impl OwnWarnings {
    /// Whether to warn of an own secret, and what to say of the others.
    fn may_say(&self) -> Option<Option<&'static str>> {
        match self.said.may_happen(OWN_WARNINGS, WARNING_INTERVAL) {
            May::Again => Some(None),
            May::ForTheLastTime => Some(Some("left out for ten seconds")),
            May::Not => None,
        }
    }

    fn postponed(&self, source: &SecretSource, of: SecretOf<'_>) {
        if self.said_postponed.may(WARNING_INTERVAL) {
            tracing::warn!(
                secret = source.describe(of),
                advice = "see who makes GitRepos of one repository with so many secrets that do not exist",
                "not every GitRepo's own secret was read: deliveries that nothing verifies have caused enough reads"
            );
        }
    }
}

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
    pub(super) fn unusable(
        &self,
        own: &OwnWarnings,
        source: &SecretSource,
        of: SecretOf<'_>,
        error: &ReadError,
    ) {
        let flaw = match error {
            ReadError::Missing => Flaw::Missing,
            ReadError::Forbidden(_) => Flaw::Forbidden,
            ReadError::Unusable { .. } => Flaw::Unusable,
            ReadError::Unreachable(_) => Flaw::Unreachable,
            ReadError::Postponed => return own.postponed(source, of),
        };
        let advice = match of {
            _ if flaw != Flaw::Forbidden || !source.is_in_cluster(of) => None,
            SecretOf::Global => Some(GRANT_GLOBAL),
            SecretOf::GitRepo { .. } => Some(GRANT_OWN),
        };
        if let Some(others) = self.may_say(own, of, flaw) {
            tracing::warn!(
                secret = source.describe(of),
                error = error as &dyn std::error::Error,
                advice,
                others,
                "cannot use the secret"
            );
        }
    }

    /// Says that a secret has no key, or none with a usable value, for a provider that sends deliveries.
    pub(super) fn keyless(
        &self,
        own: &OwnWarnings,
        source: &SecretSource,
        of: SecretOf<'_>,
        refusal: Refusal,
    ) {
        if let Some(others) = self.may_say(own, of, Flaw::Keyless(refusal)) {
            tracing::warn!(secret = source.describe(of), %refusal, others, "the secret verifies nothing");
        }
    }

    /// Whether to warn, with what there is to say of other secrets, and if so notes that it was: anybody can cause it,
    /// as often as they like.
    fn may_say(
        &self,
        own: &OwnWarnings,
        of: SecretOf<'_>,
        flaw: Flaw,
    ) -> Option<Option<&'static str>> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Where the clock was set back meanwhile, it is said again.
        said.retain(|(_, at)| at.elapsed().is_ok_and(|age| age < WARNING_INTERVAL));
        if said.iter().any(|(other, _)| *other == flaw) {
            return None;
        }
        let others = if of == SecretOf::Global { None } else { own.may_say()? };
        said.push((flaw, SystemTime::now()));
        Some(others)
    }
}
