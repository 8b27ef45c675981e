//! A cluster that AWS tells the way to: by a kubeconfig in Secrets Manager, or by the name of an EKS cluster.

use std::fmt;

use kube::Config;

use super::{ApiError, kubeconfig};
use crate::aws::{
    SdkConfig,
    eks::{self, EksError, TokenSource},
    secrets_manager::{SecretsManager, SecretsManagerError, Stage},
};

/// Where the way is written.
#[derive(Debug)]
pub(super) enum Remote {
    /// A kubeconfig in Secrets Manager, by id or ARN.
    KubeconfigSecret(SecretsManager, String),
    /// EKS, by the cluster's name.
    Eks(&'static SdkConfig, String),
}

/// Names it, for the log.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KubeconfigSecret(_, id) => write!(f, "kubeconfig in secret {id}"),
            Self::Eks(_, cluster) => write!(f, "EKS cluster {cluster}"),
        }
    }
}

impl Remote {
    /// Asks AWS for the way, and for what makes the tokens where the way holds none.
    pub(super) async fn find(&self) -> Result<(Config, Option<TokenSource>), ApiError> {
        match self {
            Self::KubeconfigSecret(secrets, id) => Ok((self.kubeconfig(secrets, id).await?, None)),
            Self::Eks(aws, cluster) => {
                let config = self.eks(aws, cluster).await?;
                let tokens = TokenSource::new(aws, cluster);
                Ok((config, Some(tokens.map_err(|error| self.unusable(&error))?)))
            }
        }
    }

    async fn kubeconfig(&self, secrets: &SecretsManager, id: &str) -> Result<Config, ApiError> {
        let version = secrets.version(id, Stage::Current).await.map_err(|error| match error {
            SecretsManagerError::Unavailable(_) => self.unreachable(&error),
            SecretsManagerError::Missing | SecretsManagerError::Forbidden(_) => {
                self.unusable(&error)
            }
        })?;
        let text = std::str::from_utf8(&version.value);
        let text = text.map_err(|_| self.unusable(&"its value is not text"))?;
        kubeconfig::from_text(text).map_err(|problem| self.unusable(&problem))
    }

    async fn eks(&self, aws: &SdkConfig, cluster: &str) -> Result<Config, ApiError> {
        let described = eks::describe(aws, cluster).await.map_err(|error| match error {
            EksError::Unavailable(_) => self.unreachable(&error),
            EksError::Refused(_) => self.unusable(&error),
        })?;
        let endpoint = described.endpoint.parse();
        let mut config =
            Config::new(endpoint.map_err(|_| self.unusable(&"the cluster's endpoint is no URL"))?);
        let authority = kubeconfig::authority_data(&described.certificate_authority);
        config.root_cert = Some(authority.map_err(|problem| self.unusable(&problem))?);
        Ok(config)
    }

    fn unusable(&self, problem: &dyn fmt::Display) -> ApiError {
        ApiError::Misconfigured(format!("{self}: {problem}"))
    }

    fn unreachable(&self, problem: &dyn fmt::Display) -> ApiError {
        ApiError::Unreachable(format!("{self}: {problem}"))
    }
}
