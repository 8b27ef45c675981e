//! Where webhook secrets are read, how long they are kept, and what a secret says of a delivery.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use super::{ReadError, Secret, kubernetes};
use crate::{
    cluster::Cluster,
    signature::{Refusal, Verified},
    single_flight::SingleFlight,
};

/// How often a delivery that the cached secret refuses may cause a fresh read, so that a rotation works at once.
const FRESH_READ_INTERVAL: Duration = Duration::from_secs(10);

/// How many secrets of GitRepos are kept.
const OWN_SECRETS_LIMIT: usize = 1024;

/// What to do where a secret may not be read.
const GRANT_GLOBAL: &str = "grant its reader the right to get it; in a cluster knative/rbac does";
const GRANT_OWN: &str = "grant the right to get it: knative/components/gitrepo-secrets, with a RoleBinding for its namespace";

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
        client: super::secrets_manager::SecretsManager,
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

type Outcome = Result<Arc<Secret>, Arc<ReadError>>;

/// The GitRepos' own secrets, by namespace and name.
type OwnSecrets = HashMap<(String, String), Arc<Slot>>;

/// What is kept of one secret.
#[derive(Debug, Default)]
struct Slot {
    flight: SingleFlight<Outcome>,
    /// When a refusal last caused a read, by the wall clock.
    reread: Mutex<Option<SystemTime>>,
}

impl Slot {
    /// Tells whether a refusal may cause a read, and if so notes that it does.
    fn may_reread(&self, interval: Duration) -> bool {
        let mut last = self.reread.lock().unwrap_or_else(PoisonError::into_inner);
        let since = last.map(|at| at.elapsed().unwrap_or(Duration::MAX));
        let may = since.is_none_or(|since| since >= interval);
        if may {
            *last = Some(SystemTime::now());
        }
        may
    }
}

/// Reads webhook secrets and keeps them for a while. That a secret is absent is never remembered.
#[derive(Debug)]
pub struct SecretStore {
    cluster: Cluster,
    global: GlobalSource,
    cache_ttl: Duration,
    lookup_cache_ttl: Duration,
    everyone: Slot,
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
            everyone: Slot::default(),
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
        let slot;
        let slot = match of {
            SecretOf::Everyone => &self.everyone,
            SecretOf::GitRepo { namespace, name } => {
                slot = self.own_slot(namespace, name);
                &*slot
            }
        };
        let interval = self.reread_interval(of);
        let reuse = |last: &Outcome, age| match last {
            Ok(secret) if verify(secret).is_ok() => age < self.cache_ttl,
            Ok(_) => !slot.may_reread(interval),
            Err(error) => matches!(**error, ReadError::Unusable(_)) && !slot.may_reread(interval),
        };
        let read = async {
            let outcome = self.read_shared(of).await;
            // Of a GitRepo's own secret the first read counts too, so that a flood causes one and not two.
            if of != SecretOf::Everyone
                && outcome.as_ref().is_ok_and(|secret| verify(secret).is_err())
            {
                slot.may_reread(interval);
            }
            outcome
        };
        let outcome = slot.flight.get(reuse, read).await;
        self.judge(of, outcome, verify)
    }

    /// Tells whether the global secret is there now, for the log.
    ///
    /// # Errors
    /// The [`ReadError`] of the read.
    pub async fn global_is_there(&self) -> Result<bool, Arc<ReadError>> {
        match self.everyone.flight.get(|_, _| false, self.read_shared(SecretOf::Everyone)).await {
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
        outcome: Outcome,
        verify: impl Fn(&Secret) -> Result<Verified, Refusal>,
    ) -> Check {
        let everyone = of == SecretOf::Everyone;
        match outcome {
            Ok(secret) => {
                if everyone {
                    self.seen.store(true, Ordering::Relaxed);
                }
                verify(&secret).map_or_else(Check::Refused, Check::Verified)
            }
            Err(error) => {
                let missing_is_expected =
                    everyone && matches!(*error, ReadError::Missing) && !self.has_to_be_there();
                if !missing_is_expected {
                    let advice = matches!(*error, ReadError::Forbidden).then_some(if everyone {
                        GRANT_GLOBAL
                    } else {
                        GRANT_OWN
                    });
                    tracing::warn!(
                        secret = self.describe(of),
                        error = &*error as &dyn std::error::Error,
                        advice,
                        "cannot use the secret"
                    );
                }
                match *error {
                    ReadError::Missing if everyone && self.has_to_be_there() => Check::Unavailable,
                    ReadError::Missing => Check::Missing,
                    ReadError::Forbidden => Check::Forbidden,
                    ReadError::Unusable(_) => Check::Refused(Refusal::KeyMissing),
                    ReadError::Unreachable(_) => Check::Unavailable,
                }
            }
        }
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

    fn own_slot(&self, namespace: &str, name: &str) -> Arc<Slot> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if own.len() >= OWN_SECRETS_LIMIT {
            own.clear();
        }
        Arc::clone(own.entry((namespace.to_owned(), name.to_owned())).or_default())
    }

    async fn read_shared(&self, of: SecretOf<'_>) -> Outcome {
        self.read(of).await.map(Arc::new).map_err(Arc::new)
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
                client.read(id, *rotation_window, jiff::Timestamp::now()).await
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
