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
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
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
        // Each client asks once without components and drops what it gets: no authorities are read for that.
        let trusted = TrustStore::empty().with_native_roots(components.is_some());
        let tls = TlsContext::builder().with_trust_store(trusted).build();
        let tls = tls.expect("it names no server");
        connector.tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(tls).build()
    });
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(limits())
        .load()
        .await
}

/// How long AWS may take.
pub fn limits() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(OPERATION)
        .build()
}

/// What AWS says where it refuses an action: who, which action, which resource; and for a denial what to do. One line,
/// bounded.
pub(crate) fn own_words(action: &str, error: &impl ProvideErrorMetadata) -> String {
    let (code, message) = (error.code().unwrap_or("denied"), error.message().unwrap_or_default());
    let words = message.chars().map(|char| if char.is_control() { ' ' } else { char });
    let words: String = words.take(LONGEST_REFUSAL).collect();
    match remedy(action, code, &words) {
        Some(remedy) => format!("{code}: {words} ({remedy})"),
        None => format!("{code}: {words}"),
    }
}

/// Whether AWS denies, and does not only find fault with what was asked.
pub(crate) fn is_denial(code: &str) -> bool {
    const DENIALS: [&str; 4] =
        ["AccessDenied", "NotAuthorized", "DecryptionFailure", "KmsAccessDenied"];
    DENIALS.iter().any(|denial| code.contains(denial))
}

/// What gives the right that a denial misses.
fn remedy(action: &str, code: &str, words: &str) -> Option<&'static str> {
    let of_key = code == "DecryptionFailure"
        || [code, words].iter().any(|it| it.to_lowercase().contains("kms"));
    if !is_denial(code) {
        return None;
    }
    Some(match action.split_once(':')?.0 {
        "secretsmanager" if of_key => {
            "allow the role kms:Decrypt with the secret's key: SecretKmsKeyArns of template.yaml"
        }
        "secretsmanager" => {
            "allow the role secretsmanager:GetSecretValue of that secret: WebhookSecretId or KubeconfigSecretId of template.yaml"
        }
        "eks" => {
            "allow the role eks:DescribeCluster of that cluster: EksClusterName of template.yaml"
        }
        "sqs" if of_key => {
            "allow the role kms:GenerateDataKey and kms:Decrypt with the queue's key: KmsKeyArn of template.yaml"
        }
        "sqs" => {
            "allow the role that action on the queue: ForwardQueueArns of template.yaml, docs/unreachable-clusters.md"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_secretsmanager::error::ErrorMetadata;

    use super::*;

    #[test]
    fn aws_says_a_denial_in_its_own_words_in_one_bounded_line() {
        let denial = "User: arn:aws:sts::1:assumed-role/f is not authorized to perform: secretsmanager:GetSecretValue\non resource: x";
        let error = ErrorMetadata::builder().code("AccessDeniedException").message(denial).build();
        let said = own_words("secretsmanager:GetSecretValue", &error);
        assert!(said.starts_with("AccessDeniedException: User: arn:aws:sts::1"), "{said}");
        assert!(said.contains("secretsmanager:GetSecretValue on resource: x ("), "{said}");
        let error = ErrorMetadata::builder().message("x".repeat(10_000)).build();
        assert!(own_words("eks:DescribeCluster", &error).len() < 600);
    }

    #[test]
    fn a_denial_says_what_to_allow_and_another_refusal_does_not() {
        for (action, code, words, remedy) in [
            (
                "secretsmanager:GetSecretValue",
                "AccessDeniedException",
                "not authorized",
                "WebhookSecretId",
            ),
            (
                "secretsmanager:GetSecretValue",
                "AccessDeniedException",
                "Access to KMS is not allowed",
                "SecretKmsKeyArns",
            ),
            (
                "secretsmanager:GetSecretValue",
                "DecryptionFailure",
                "can't decrypt",
                "SecretKmsKeyArns",
            ),
            ("eks:DescribeCluster", "AccessDeniedException", "not authorized", "EksClusterName"),
            (
                "sqs:SendMessage",
                "AccessDenied",
                "not authorized to perform: sqs:sendmessage",
                "ForwardQueueArns",
            ),
            ("sqs:SendMessage", "KmsAccessDenied", "x", "KmsKeyArn"),
        ] {
            let error = ErrorMetadata::builder().code(code).message(words).build();
            let said = own_words(action, &error);
            assert!(
                said.starts_with(&format!("{code}: {words} (")) && said.contains(remedy),
                "{said}"
            );
        }
        let error = ErrorMetadata::builder().code("ResourceNotFoundException").message("x").build();
        assert_eq!(own_words("eks:DescribeCluster", &error), "ResourceNotFoundException: x");
    }
}
