//! The way to the API server that the configuration asks for: the pod's own, a kubeconfig, or one that AWS knows.

use std::sync::Arc;

#[cfg(feature = "aws")]
use super::remote::Remote;
use super::{
    ApiError, Cluster,
    connection::{Connection, Origin},
    kubeconfig::{self, NoKubeconfig},
};
#[cfg(feature = "aws")]
use crate::aws::{self, secrets_manager::SecretsManager};
use crate::{config::ClusterAccess, telemetry::Metrics};

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No kubeconfig and no pod.
    #[error(
        "no cluster: set KUBECONFIG, KUBECONFIG_SECRET_ID or EKS_CLUSTER_NAME, or run in a pod; \
         to look around without a cluster: cargo run --example quickstart"
    )]
    NoCluster,
    /// The kubeconfig cannot be used.
    #[error(
        "KUBECONFIG is {held:?}; it takes paths of kubeconfigs, separated by colons: {problem}"
    )]
    Kubeconfig {
        /// What the variable holds, or the default path.
        held: String,
        /// Why not. Never a line of the file.
        problem: String,
    },
    /// The pod's own account cannot be used.
    #[error("no client for the pod's own cluster: {0}")]
    Pod(String),
}

/// Connects; sends nothing yet. Gives the API server's URL too, for the log.
///
/// # Errors
/// [`ConnectError`]
pub async fn connect(
    access: ClusterAccess,
    metrics: Arc<Metrics>,
) -> Result<(Cluster, String), ConnectError> {
    let origin = match access {
        ClusterAccess::Kubeconfig(None) if kube::Config::incluster().is_ok() => Origin::Pod,
        ClusterAccess::Kubeconfig(None) => {
            if let Err(NoKubeconfig::Missing(_)) = kubeconfig::from_files(None) {
                return Err(ConnectError::NoCluster);
            }
            Origin::Files(None)
        }
        ClusterAccess::Kubeconfig(paths) => Origin::Files(paths),
        #[cfg(feature = "aws")]
        ClusterAccess::KubeconfigSecret(id) => {
            let secrets = SecretsManager::new(aws::config().await);
            return Ok(over(
                Connection::to(Origin::Remote(Remote::KubeconfigSecret(secrets, id))),
                metrics,
            ));
        }
        #[cfg(feature = "aws")]
        ClusterAccess::Eks(name) => {
            let eks = Remote::Eks(aws::config().await, name);
            return Ok(over(Connection::to(Origin::Remote(eks)), metrics));
        }
    };
    let held = match &origin {
        Origin::Files(Some(paths)) => paths.clone(),
        origin => origin.to_string(),
    };
    let is_pod = matches!(origin, Origin::Pod);
    let connection = Connection::to(origin);
    // What is at hand is read now, so that a mistake stops the start.
    match connection.pool().await {
        Ok(_) => Ok(over(connection, metrics)),
        Err(ApiError::Misconfigured(problem)) if is_pod => Err(ConnectError::Pod(problem)),
        Err(ApiError::Misconfigured(problem)) => Err(ConnectError::Kubeconfig { held, problem }),
        Err(error) => Err(ConnectError::Kubeconfig { held, problem: error.to_string() }),
    }
}

fn over(connection: Connection, metrics: Arc<Metrics>) -> (Cluster, String) {
    let url = connection.url();
    (Cluster::over(connection, metrics), url)
}
