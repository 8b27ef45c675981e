//! Reads webhook secrets in the cluster; `secrets_manager` reads them in AWS.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;

use super::{Keys, ReadError, Secret};
use crate::cluster::{ApiError, Cluster, secret_path};

/// How long a read is tried again while the API server is busy.
const READ_TIME_LIMIT: Duration = Duration::from_secs(1);

/// Reads a [Kubernetes secret](https://kubernetes.io/docs/concepts/configuration/secret/).
pub(super) async fn read(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<Secret, ReadError> {
    #[derive(Deserialize)]
    struct KubernetesSecret {
        data: Option<BTreeMap<String, String>>,
    }
    let path = secret_path(namespace, name);
    let until = Instant::now() + READ_TIME_LIMIT;
    let read = || cluster.object::<KubernetesSecret>(&path);
    let secret = cluster.retrying(until, read).await.map_err(|error| match error {
        ApiError::NotFound => ReadError::Missing,
        ApiError::Forbidden(_) => ReadError::Forbidden,
        error => ReadError::Unreachable(error.into()),
    })?;
    let decoded = secret.data.unwrap_or_default().into_iter().map(|(key, value)| {
        let value = BASE64_STANDARD.decode(value);
        value
            .map(|value| (key, value))
            .map_err(|_| ReadError::Unusable("a value is not base64".to_owned()))
    });
    Ok(Secret { current: decoded.collect::<Result<Keys, _>>()?, previous: None })
}
