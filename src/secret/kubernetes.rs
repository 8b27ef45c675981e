//! Reads webhook secrets in the cluster; `secrets_manager` reads them in AWS.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;

use super::ReadError;
use crate::{
    cluster::{ApiError, Cluster, paths::secret_path},
    keys::{Keys, Secret},
};

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
    if !is_object_name(name) {
        return Err(ReadError::Missing);
    }
    let path = secret_path(namespace, name);
    let secret = cluster.object::<KubernetesSecret>(&path).await.map_err(|error| match error {
        ApiError::NotFound => ReadError::Missing,
        error @ ApiError::Forbidden(_) => ReadError::Forbidden(error.to_string()),
        error => ReadError::Unreachable(error.into()),
    })?;
    let decoded = secret.data.unwrap_or_default().into_iter().map(|(key, value)| {
        let value = BASE64_STANDARD.decode(value);
        value.map(|value| (key, value)).map_err(|_| ReadError::unusable("a value is not base64"))
    });
    Ok(Secret { current: decoded.collect::<Result<Keys, _>>()?, previous: None })
}

/// Whether an object may have this name. The API server answers 400 for some others, and a GitRepo may name any secret.
fn is_object_name(name: &str) -> bool {
    let part =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    name.len() <= 253 && name.bytes().all(part) && !name.split('.').any(str::is_empty)
}
