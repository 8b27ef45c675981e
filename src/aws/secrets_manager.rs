//! Secrets in AWS Secrets Manager, version by version; what a version means for a webhook is `secret`'s to say.

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::get_secret_value::{GetSecretValueError, GetSecretValueOutput},
};
use jiff::Timestamp;

use super::own_words;
use crate::causes::causes;

/// Secrets Manager in one region, with the function's own credentials.
#[derive(Clone, Debug)]
pub struct SecretsManager(Client);

/// The staging labels that we read. One is always named: without a label the service may answer with any version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// What is in force.
    Current,
    /// What was before the last rotation.
    Previous,
}

impl Stage {
    /// The label, as AWS writes it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Current => "AWSCURRENT",
            Self::Previous => "AWSPREVIOUS",
        }
    }
}

/// A version of a secret. It has no `Debug`: its value is a secret.
#[expect(missing_debug_implementations, reason = "it holds a secret")]
pub struct Version {
    /// Its value.
    pub value: Vec<u8>,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// Why a version could not be read. Names actions and resources, never a value.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SecretsManagerError {
    /// There is no such secret, or no version of that stage.
    #[error("no such secret")]
    Missing,
    /// The secret, or the key that it is encrypted with, may not be read; AWS says who may not do what.
    #[error("may not be read: {0}")]
    Forbidden(String),
    /// No answer in time, or none with a secret; marked for deletion, which can be undone, is among these.
    #[error("cannot be had: {0}")]
    Unavailable(String),
}

impl SecretsManager {
    /// Makes the client; nothing is asked of the network yet.
    pub fn new(config: &SdkConfig) -> Self {
        Self(Client::new(config))
    }

    /// Reads one version of a secret, by the secret's id or ARN.
    ///
    /// # Errors
    /// [`SecretsManagerError`]
    pub async fn version(&self, id: &str, stage: Stage) -> Result<Version, SecretsManagerError> {
        let get = self.0.get_secret_value().secret_id(id).version_stage(stage.label());
        let version = get.send().await.map_err(|error| refusal(&error))?;
        Ok(Version { created: created(&version), value: value(&version) })
    }
}

fn value(version: &GetSecretValueOutput) -> Vec<u8> {
    let binary = || version.secret_binary().map(|blob| blob.as_ref().to_vec());
    let text = version.secret_string().map(|text| text.as_bytes().to_vec());
    text.or_else(binary).unwrap_or_default()
}

fn created(version: &GetSecretValueOutput) -> Option<Timestamp> {
    let created = version.created_date()?;
    Timestamp::new(created.secs(), created.subsec_nanos().try_into().unwrap_or(0)).ok()
}

fn refusal(error: &SdkError<GetSecretValueError>) -> SecretsManagerError {
    let status = error.raw_response().map(|response| response.status().as_u16());
    match error.code() {
        Some("ResourceNotFoundException") => SecretsManagerError::Missing,
        Some("AccessDeniedException" | "AccessDenied" | "DecryptionFailure") => {
            SecretsManagerError::Forbidden(own_words("secretsmanager:GetSecretValue", error))
        }
        _ if status == Some(403) => {
            SecretsManagerError::Forbidden(own_words("secretsmanager:GetSecretValue", error))
        }
        _ => SecretsManagerError::Unavailable(causes(error)),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_secretsmanager::primitives::DateTime;

    use super::*;

    #[test]
    fn a_version_has_its_time_and_its_value() {
        let version = GetSecretValueOutput::builder()
            .created_date(DateTime::from_secs(1_000))
            .secret_string("hunter2")
            .build();
        assert_eq!(created(&version), Timestamp::from_second(1_000).ok());
        assert_eq!(value(&version), b"hunter2");
        assert_eq!(created(&GetSecretValueOutput::builder().build()), None);
    }
}
