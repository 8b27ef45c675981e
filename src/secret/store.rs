//! Where webhook secrets are read, how long they are kept, and what a secret says of a delivery.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use super::{
    ReadError, Secret, kubernetes,
    slot::{Outcome, Read, Slot},
};
use crate::{
    cluster::Cluster,
    signature::{Refusal, Verified},
};

/// How often a delivery that the cached secret refuses may cause a fresh read, so that a rotation works at once.
const FRESH_READ_INTERVAL: Duration = Duration::from_secs(10);

/// How often the log says that a secret has no usable key for a provider.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// How long it is remembered that a secret could not be read.
const FAILURE_TTL: Duration = Duration::from_secs(1);

/// How many secrets of GitRepos are kept.
const OWN_SECRETS_LIMIT: usize = 1024;

/// What to do where a secret may not be read.
const GRANT_GLOBAL: &str = "grant its reader the right to get it; in a cluster knative/rbac does";
const GRANT_OWN: &str = "grant the right to get it, with a RoleBinding for its namespace: knative/components/gitrepo-secrets in the cluster, \
    gitrepo-secrets of knative/eks or knative/kubeconfig outside";

/// Where the global secret is read.
#[derive(Debug)]
pub enum GlobalSource {
    /// In the cluster.
    Kubernetes {
        /// The Fleet namespace.
        namespace: String,
        /// The secret's name.
        name: String,
        /// Whether the name was configured: such a secret has to be there.
        named: bool,
    },
    /// In Secrets Manager.
    #[cfg(feature = "aws")]
    SecretsManager {
        /// The client.
        client: crate::aws::secrets_manager::SecretsManager,
        /// Id or ARN.
        id: String,
        /// How long the previous version still verifies.
        rotation_window: Duration,
    },
}

/// A secret of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretOf<'a> {
    /// The one that governs every GitRepo without its own.
    Everyone,
    /// The one that a GitRepo names, in the GitRepo's namespace.
    GitRepo {
        /// The namespace.
        namespace: &'a str,
        /// The secret's name.
        name: &'a str,
    },
}

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
    /// It could not be read.
    Unavailable,
}

/// The GitRepos' own secrets, by namespace and name.
type OwnSecrets = HashMap<(String, String), Arc<Slot>>;

/// Reads webhook secrets and keeps them for a while. That a secret is absent is never remembered.
#[derive(Debug)]
pub struct SecretStore {
    cluster: Cluster,
    global: GlobalSource,
    cache_ttl: Duration,
    lookup_cache_ttl: Duration,
    everyone: Arc<Slot>,
    seen: AtomicBool,
    own: Mutex<OwnSecrets>,
}

impl SecretStore {
    /// Reads the global secret from `global` and the GitRepos' own from the cluster.
    pub fn new(
        cluster: Cluster,
        global: GlobalSource,
        cache_ttl: Duration,
        lookup_cache_ttl: Duration,
    ) -> Self {
        Self {
            cluster,
            global,
            cache_ttl,
            lookup_cache_ttl,
            everyone: Arc::default(),
            seen: AtomicBool::new(false),
            own: Mutex::default(),
        }
    }

    /// Asks a secret about a delivery, which `verify` knows.
    pub async fn check(
        &self,
        of: SecretOf<'_>,
        verify: impl Fn(&Secret) -> Result<Verified, Refusal>,
    ) -> Check {
        let (arrived, slot) = (Instant::now(), self.slot(of));
        // What the secret in hand verifies waits for nobody's read.
        let in_hand = slot.last().and_then(|last| {
            let secret = last.secret_younger_than(self.cache_ttl)?;
            Some((Arc::clone(secret), verify(secret)))
        });
        if let Some((_, Ok(verified))) = in_hand {
            return Check::Verified(verified);
        }
        let verify_once = |secret: &Arc<Secret>| match &in_hand {
            Some((known, said)) if Arc::ptr_eq(known, secret) => *said,
            _ => verify(secret),
        };
        let _turn = slot.turn.lock().await;
        let last = slot.last().filter(|last| {
            last.started >= arrived || self.is_reusable(of, &slot, last, verify_once)
        });
        if let Some(last) = last {
            return self.judge(of, &slot, last.outcome, verify_once);
        }
        let outcome = self.read_and_keep(of, &slot).await;
        if let Err(error) = &outcome {
            self.warn(of, error);
        }
        let check = self.judge(of, &slot, outcome, verify_once);
        // Of a GitRepo's own secret the first read counts too, so that a flood causes one and not two.
        if of != SecretOf::Everyone && matches!(check, Check::Refused(_) | Check::Forbidden) {
            slot.may_reread(self.reread_interval(of));
        }
        check
    }

    /// Whether an earlier read will do. Anybody may send what a secret refuses, so that a refusal causes few reads;
    /// that a secret is missing is not remembered.
    fn is_reusable(
        &self,
        of: SecretOf<'_>,
        slot: &Slot,
        last: &Read,
        verify: impl Fn(&Arc<Secret>) -> Result<Verified, Refusal>,
    ) -> bool {
        let own = of != SecretOf::Everyone;
        let reread = || slot.may_reread(self.reread_interval(of));
        match last.outcome.as_ref().map_err(|error| &**error) {
            Ok(secret) if verify(secret).is_ok() => last.age() < self.cache_ttl,
            Ok(_) => (own || last.age() < self.cache_ttl) && !reread(),
            Err(ReadError::Missing) => false,
            Err(ReadError::Unusable(_)) => !reread(),
            Err(ReadError::Forbidden) if own => !reread(),
            Err(ReadError::Forbidden | ReadError::Unreachable(_)) => last.age() < FAILURE_TTL,
        }
    }

    /// Reads a secret. One that cannot be read just now does not take the place of what may still be used.
    async fn read_and_keep(&self, of: SecretOf<'_>, slot: &Slot) -> Outcome {
        let (started, started_at) = (Instant::now(), SystemTime::now());
        let outcome = self.read(of).await.map(Arc::new).map_err(Arc::new);
        let failed = matches!(
            outcome.as_ref().map_err(|error| &**error),
            Err(ReadError::Forbidden | ReadError::Unreachable(_))
        );
        let mut kept = slot.kept();
        let usable = kept.last.as_ref().and_then(|last| last.secret_younger_than(self.cache_ttl));
        if usable.is_none() || !failed {
            kept.last = Some(Read { outcome: outcome.clone(), started, started_at });
        }
        outcome
    }

    /// Tells whether the global secret is there now, for the log.
    ///
    /// # Errors
    /// The [`ReadError`] of the read.
    pub async fn global_is_there(&self) -> Result<bool, Arc<ReadError>> {
        let slot = self.slot(SecretOf::Everyone);
        let _turn = slot.turn.lock().await;
        let outcome = match slot.last().filter(|last| last.age() < FAILURE_TTL) {
            Some(last) => last.outcome,
            None => self.read_and_keep(SecretOf::Everyone, &slot).await,
        };
        // What is remembered for a moment is not read again, and so not warned of, by the first delivery.
        if let Err(error @ (ReadError::Forbidden | ReadError::Unreachable(_))) =
            outcome.as_ref().map_err(|error| &**error)
        {
            self.warn(SecretOf::Everyone, error);
        }
        match outcome {
            Ok(_) => {
                self.seen.store(true, Ordering::Relaxed);
                Ok(true)
            }
            Err(error) if matches!(*error, ReadError::Missing) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn judge(
        &self,
        of: SecretOf<'_>,
        slot: &Slot,
        outcome: Outcome,
        verify: impl Fn(&Arc<Secret>) -> Result<Verified, Refusal>,
    ) -> Check {
        let everyone = of == SecretOf::Everyone;
        let error = match outcome {
            Ok(secret) => {
                if everyone {
                    self.seen.store(true, Ordering::Relaxed);
                }
                let verified = verify(&secret);
                if let Err(refusal @ (Refusal::KeyMissing(_) | Refusal::KeyUnusable(_))) = verified
                    && slot.may_warn(refusal, WARNING_INTERVAL)
                {
                    tracing::warn!(secret = self.describe(of), %refusal, "the secret verifies nothing");
                }
                return verified.map_or_else(Check::Refused, Check::Verified);
            }
            Err(error) => error,
        };
        match *error {
            ReadError::Missing if everyone && self.has_to_be_there() => Check::Unavailable,
            ReadError::Missing => Check::Missing,
            ReadError::Forbidden => Check::Forbidden,
            ReadError::Unusable(_) => Check::Refused(Refusal::KeyMissing(&[])),
            ReadError::Unreachable(_) => Check::Unavailable,
        }
    }

    fn warn(&self, of: SecretOf<'_>, error: &ReadError) {
        let everyone = of == SecretOf::Everyone;
        if everyone && matches!(error, ReadError::Missing) && !self.has_to_be_there() {
            return;
        }
        let grant = if everyone { GRANT_GLOBAL } else { GRANT_OWN };
        let advice = matches!(error, ReadError::Forbidden).then_some(grant);
        tracing::warn!(
            secret = self.describe(of),
            error = error as &dyn std::error::Error,
            advice,
            "cannot use the secret"
        );
    }

    /// A global secret that was named, or was there before, is never "no secret" (contract §3).
    fn has_to_be_there(&self) -> bool {
        let named = match &self.global {
            GlobalSource::Kubernetes { named, .. } => *named,
            #[cfg(feature = "aws")]
            GlobalSource::SecretsManager { .. } => true,
        };
        named || self.seen.load(Ordering::Relaxed)
    }

    /// How often a refusal may cause a read: the limit on what a flood can make us read.
    fn reread_interval(&self, of: SecretOf<'_>) -> Duration {
        let interval = if self.cache_ttl.is_zero() { Duration::ZERO } else { FRESH_READ_INTERVAL };
        match of {
            SecretOf::Everyone => interval,
            SecretOf::GitRepo { .. } => interval.max(self.lookup_cache_ttl),
        }
    }

    fn slot(&self, of: SecretOf<'_>) -> Arc<Slot> {
        let SecretOf::GitRepo { namespace, name } = of else { return Arc::clone(&self.everyone) };
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let id = (namespace.to_owned(), name.to_owned());
        if own.len() >= OWN_SECRETS_LIMIT && !own.contains_key(&id) {
            let read_at = |slot: &Slot| slot.kept().last.as_ref().map(|last| last.started);
            let oldest = own.iter().min_by_key(|(_, slot)| read_at(slot)).map(|(id, _)| id.clone());
            oldest.and_then(|oldest| own.remove(&oldest));
        }
        Arc::clone(own.entry(id).or_default())
    }

    async fn read(&self, of: SecretOf<'_>) -> Result<Secret, ReadError> {
        match (of, &self.global) {
            (SecretOf::GitRepo { namespace, name }, _) => {
                kubernetes::read(&self.cluster, namespace, name).await
            }
            (SecretOf::Everyone, GlobalSource::Kubernetes { namespace, name, .. }) => {
                kubernetes::read(&self.cluster, namespace, name).await
            }
            #[cfg(feature = "aws")]
            (SecretOf::Everyone, GlobalSource::SecretsManager { client, id, rotation_window }) => {
                super::secrets_manager::read(client, id, *rotation_window, jiff::Timestamp::now())
                    .await
            }
        }
    }

    fn describe(&self, of: SecretOf<'_>) -> String {
        match (of, &self.global) {
            (SecretOf::GitRepo { namespace, name }, _) => format!("{namespace}/{name}"),
            (SecretOf::Everyone, global) => global.to_string(),
        }
    }
}

impl std::fmt::Display for GlobalSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kubernetes { namespace, name, .. } => write!(f, "{namespace}/{name}"),
            #[cfg(feature = "aws")]
            Self::SecretsManager { id, .. } => f.write_str(id),
        }
    }
}
