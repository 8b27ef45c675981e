//! The AWS SDK's configuration; `secret::secrets_manager`, `cluster::elsewhere` and `retry` make their clients from it.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig, timeout::TimeoutConfig};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use tokio::sync::OnceCell;

/// Well inside a sender's patience: the SDK's own limit for connecting is 3.1 s, and it has none for an answer.
const CONNECT: Duration = Duration::from_millis(1_000);
const ATTEMPT: Duration = Duration::from_millis(1_500);
const OPERATION: Duration = Duration::from_millis(4_000);

/// Region, credentials and endpoint, found the way every AWS tool finds them; one for the process, as its environment is.
pub async fn config() -> &'static SdkConfig {
    static CONFIG: OnceCell<SdkConfig> = OnceCell::const_new();
    CONFIG.get_or_init(load).await
}

async fn load() -> SdkConfig {
    // ring, since kube links it too: process start to first answer costs a fifth of what aws-lc takes.
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
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
