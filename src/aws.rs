//! AWS: the only files that speak to it; here is the SDK's configuration, of which `aws/*` make their clients.

pub mod eks;
pub mod secrets_manager;
pub mod sqs;

use std::time::Duration;

pub use aws_config::SdkConfig;
use aws_config::{BehaviorVersion, timeout::TimeoutConfig};
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{Provider, rustls_provider::CryptoMode},
};
use tokio::sync::OnceCell;

/// Well inside a sender's patience: the SDK's own limit for connecting is 3.1 s, and it has none for an answer.
const CONNECT: Duration = Duration::from_millis(1_000);
const ATTEMPT: Duration = Duration::from_millis(1_500);
const OPERATION: Duration = Duration::from_millis(4_000);

/// How much of AWS's own words is kept.
const LONGEST_REFUSAL: usize = 500;

/// Region, credentials and endpoint, found the way every AWS tool finds them; one for the process, as its environment is.
pub async fn config() -> &'static SdkConfig {
    static CONFIG: OnceCell<SdkConfig> = OnceCell::const_new();
    CONFIG.get_or_init(load).await
}

async fn load() -> SdkConfig {
    // ring, since kube links it too: process start to first answer costs a fifth of what aws-lc takes.
    let http = Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = Connector::builder().proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.tls_provider(Provider::Rustls(CryptoMode::Ring)).build()
    });
    let limits = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(OPERATION)
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(limits)
        .load()
        .await
}

/// What AWS says of a denial: who, which action, which resource. One line, bounded.
pub(crate) fn own_words(error: &impl ProvideErrorMetadata) -> String {
    let (code, message) = (error.code().unwrap_or("denied"), error.message().unwrap_or_default());
    let words = message.chars().map(|char| if char.is_control() { ' ' } else { char });
    let words: String = words.take(LONGEST_REFUSAL).collect();
    format!("{code}: {words}")
}

#[cfg(test)]
mod tests {
    use aws_sdk_secretsmanager::error::ErrorMetadata;

    use super::*;

    #[test]
    fn aws_says_a_denial_in_its_own_words_in_one_bounded_line() {
        let denial = "User: arn:aws:sts::1:assumed-role/f is not authorized to perform: secretsmanager:GetSecretValue\non resource: x";
        let error = ErrorMetadata::builder().code("AccessDeniedException").message(denial).build();
        let said = own_words(&error);
        assert!(said.starts_with("AccessDeniedException: User: arn:aws:sts::1"), "{said}");
        assert!(said.ends_with("secretsmanager:GetSecretValue on resource: x"), "{said}");
        let error = ErrorMetadata::builder().message("x".repeat(10_000)).build();
        assert!(own_words(&error).len() < 600);
    }
}
