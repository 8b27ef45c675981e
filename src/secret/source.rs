//! Where webhook secrets are read: the GitRepos' own in the cluster, the global one there or in Secrets Manager.

use std::time::Duration;

#[cfg(feature = "aws")]
use tokio::sync::OnceCell;

#[cfg(feature = "aws")]
use super::secrets_manager;
use super::{ReadError, kubernetes};
#[cfg(feature = "aws")]
use crate::aws::{self, secrets_manager::SecretsManager};
use crate::{cluster::Cluster, config::GlobalSecret, keys::Secret};

/// Which secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretOf<'a> {
    /// The global one, which governs every GitRepo without its own.
    Global,
    /// The one that a GitRepo names, in the GitRepo's namespace.
    GitRepo {
        /// The namespace.
        namespace: &'a str,
        /// The secret's name.
        name: &'a str,
    },
}

/// For whom a secret is asked about a delivery.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Whether the delivery carries a proof, right or wrong: without one no secret that was read anew could verify it.
    pub carries_proof: bool,
    /// Whether another secret verifies the delivery. Anybody may have sent any other, so that it may cause few reads.
    pub is_verified: bool,
    /// The GitRepos that name the secret, each as it is now: that it is missing is remembered until one
    /// of them changes.
    pub gitrepos: &'a [u64],
}

/// Where secrets are read.
#[derive(Debug)]
pub struct SecretSource {
    /// Where deliveries go on to queues there is none.
    cluster: Option<Cluster>,
    global: GlobalSecret,
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "only Secrets Manager rotates"))]
    rotation_window: Duration,
    #[cfg(feature = "aws")]
    secrets_manager: OnceCell<SecretsManager>,
}

impl SecretSource {
    /// Reads in `cluster`, if there is one, and the global secret as `global` says; of Secrets Manager the version before counts for
    /// `rotation_window` after a rotation. Nothing is asked of the network yet.
    pub const fn new(
        cluster: Option<Cluster>,
        global: GlobalSecret,
        rotation_window: Duration,
    ) -> Self {
        Self {
            cluster,
            global,
            rotation_window,
            #[cfg(feature = "aws")]
            secrets_manager: OnceCell::const_new(),
        }
    }

    /// Reads a secret now.
    pub(super) async fn read(&self, of: SecretOf<'_>) -> Result<Secret, ReadError> {
        let (namespace, name) = match (of, &self.global) {
            (SecretOf::GitRepo { namespace, name }, _) => (namespace, name),
            (SecretOf::Global, GlobalSecret::Kubernetes { namespace, name, .. }) => {
                (&**namespace, &**name)
            }
            #[cfg(feature = "aws")]
            (SecretOf::Global, GlobalSecret::SecretsManager(id)) => {
                let client = async || SecretsManager::new(aws::config().await);
                let client = self.secrets_manager.get_or_init(client).await;
                let now = jiff::Timestamp::now();
                return secrets_manager::read(client, id, self.rotation_window, now).await;
            }
            #[cfg(not(feature = "aws"))]
            (SecretOf::Global, GlobalSecret::SecretsManager(id)) => match *id {},
        };
        let Some(cluster) = &self.cluster else { return Err(ReadError::Missing) };
        kubernetes::read(cluster, namespace, name).await
    }

    /// Whether the global secret was named, so that it has to be there.
    pub(super) const fn is_named(&self) -> bool {
        self.global.is_named()
    }

    /// Whether a secret is one of the cluster, so that rights in the cluster decide who reads it.
    pub(super) const fn is_in_cluster(&self, of: SecretOf<'_>) -> bool {
        match (of, &self.global) {
            (SecretOf::GitRepo { .. }, _) | (_, GlobalSecret::Kubernetes { .. }) => true,
            (SecretOf::Global, GlobalSecret::SecretsManager(_)) => false,
        }
    }

    /// Where the global secret is read, for people.
    pub(super) fn place(&self) -> String {
        match (&self.global, &self.cluster) {
            (GlobalSecret::SecretsManager(_), _) => "Secrets Manager".to_owned(),
            (_, Some(cluster)) => cluster.whom(),
            (_, None) => "nowhere".to_owned(),
        }
    }

    /// Names a secret, for the log.
    pub(super) fn describe(&self, of: SecretOf<'_>) -> String {
        match of {
            SecretOf::GitRepo { namespace, name } => format!("{namespace}/{name}"),
            SecretOf::Global => self.global.to_string(),
        }
    }
}
