//! Where deliveries go: to the GitRepos of a cluster, or on to queues. `service` gives them to it.

use std::sync::Arc;

#[cfg(feature = "aws")]
use crate::forward::Forwarder;
use crate::{
    cluster::Cluster,
    delivery::Delivery,
    outcome::Outcome,
    provider::Provider,
    receiver::{Progress, Receiver},
    secret::store::SecretStore,
};

/// Who takes deliveries; cheap to clone.
#[derive(Clone, Debug)]
pub enum Destination {
    /// They become patches of GitRepos.
    Cluster(Arc<Receiver>),
    /// They go to queues, out of which clusters take them.
    #[cfg(feature = "aws")]
    Queues(Arc<Forwarder>),
}

impl Destination {
    /// Takes one delivery of a provider.
    pub(super) async fn receive(
        &self,
        provider: &Provider,
        delivery: &Delivery,
        progress: &Progress,
    ) -> Outcome {
        match self {
            Self::Cluster(receiver) => receiver.receive(provider, delivery, progress).await,
            #[cfg(feature = "aws")]
            Self::Queues(forwarder) => forwarder.receive(provider, delivery, progress).await,
        }
    }

    /// The cluster, unless deliveries go on to queues.
    pub fn receiver(&self) -> Option<&Receiver> {
        match self {
            Self::Cluster(receiver) => Some(receiver),
            #[cfg(feature = "aws")]
            Self::Queues(_) => None,
        }
    }

    /// The connection to the API server, unless deliveries go on to queues.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.receiver().map(Receiver::cluster)
    }

    /// The secrets.
    pub fn secrets(&self) -> &SecretStore {
        match self {
            Self::Cluster(receiver) => receiver.secrets(),
            #[cfg(feature = "aws")]
            Self::Queues(forwarder) => forwarder.secrets(),
        }
    }
}
