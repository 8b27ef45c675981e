//! The way to the API server: kubeconfig, in-cluster, or a cluster that is elsewhere.

use std::sync::Arc;

use http::{HeaderValue, header::USER_AGENT};
use kube::{
    Client,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

#[cfg(feature = "aws")]
use super::elsewhere::{self, Guide};
use super::{Cluster, error::without_output};
#[cfg(feature = "aws")]
use crate::aws::{self, secrets_manager::SecretsManager};
use crate::{causes::causes, config::ClusterAccess, telemetry::Metrics};

const OUR_USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("fleet-webhook/", env!("CARGO_PKG_VERSION")));

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
    /// The kubeconfig asks for what must not be.
    #[error("it sets insecure-skip-tls-verify; TLS is always verified")]
    Insecure,
    /// What a kubeconfig or a pod holds makes no client.
    #[error("no client for the cluster: {0}")]
    Client(String),
}

/// Connects; sends nothing yet. Gives the API server's URL too, for the log.
///
/// # Errors
/// [`ConnectError`]
pub async fn connect(
    access: ClusterAccess,
    metrics: Arc<Metrics>,
) -> Result<(Cluster, String), ConnectError> {
    let (paths, config) = match access {
        ClusterAccess::Kubeconfig(Some(paths)) => {
            let config = from_files(&paths).await;
            (paths, config)
        }
        ClusterAccess::Kubeconfig(None) => {
            if let Ok(config) = kube::Config::incluster() {
                return connected(config, metrics);
            }
            match kube::Config::from_kubeconfig(&KubeConfigOptions::default()).await {
                Err(KubeconfigError::ReadConfig(..) | KubeconfigError::FindPath) => {
                    return Err(ConnectError::NoCluster);
                }
                config => ("~/.kube/config".to_owned(), config),
            }
        }
        #[cfg(feature = "aws")]
        ClusterAccess::KubeconfigSecret(id) => {
            let secrets = SecretsManager::new(aws::config().await);
            return Ok(guided(Guide::KubeconfigSecret(secrets, id), metrics));
        }
        #[cfg(feature = "aws")]
        ClusterAccess::Eks(name) => {
            return Ok(guided(Guide::Eks(aws::config().await, name), metrics));
        }
    };
    let connected = match config {
        Ok(config) => connected(config, metrics).map_err(|error| error.to_string()),
        Err(error) => Err(without_content(&error)),
    };
    connected.map_err(|problem| ConnectError::Kubeconfig { held: paths, problem })
}

#[cfg(feature = "aws")]
fn guided(guide: Guide, metrics: Arc<Metrics>) -> (Cluster, String) {
    let name = guide.to_string();
    (Cluster::new(elsewhere::client(guide), metrics), name)
}

fn connected(
    config: kube::Config,
    metrics: Arc<Metrics>,
) -> Result<(Cluster, String), ConnectError> {
    let url = config.cluster_url.to_string();
    Ok((Cluster::new(client(config)?, metrics), url))
}

/// What is wrong with a kubeconfig. The parser's own message shows the lines around a mistake, and one may be a key.
pub(super) fn without_content(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(_) => "it is not the YAML of a kubeconfig".to_owned(),
        error => causes(error),
    }
}

/// Reads the files of `KUBECONFIG`, merged as kubectl does.
async fn from_files(paths: &str) -> Result<kube::Config, KubeconfigError> {
    let mut merged = Kubeconfig::default();
    for path in std::env::split_paths(paths).filter(|path| !path.as_os_str().is_empty()) {
        merged = merged.merge(Kubeconfig::read_from(path)?)?;
    }
    kube::Config::from_custom_kubeconfig(merged, &KubeConfigOptions::default()).await
}

/// Makes a client as we want it, of a kubeconfig from wherever.
pub(super) fn client(mut config: kube::Config) -> Result<Client, ConnectError> {
    if config.accept_invalid_certs {
        return Err(ConnectError::Insecure);
    }
    config.headers.push((USER_AGENT, OUR_USER_AGENT));
    // Retries and time limits are ours: one place, inside the delivery's deadline.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| ConnectError::Client(without_output(&error)))
}
