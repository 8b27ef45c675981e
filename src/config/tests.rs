//! What is read of the environment, and what is refused.

use super::*;

fn config(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let value = |name: &str| {
        variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
    };
    Config::from_variables(&value, None)
}

fn refusal(variables: &[(&str, &str)]) -> String {
    config(variables).expect_err("is refused").to_string()
}

#[test]
fn an_empty_environment_gives_the_defaults_of_the_contract() {
    let config = config(&[]).expect("is taken");
    assert_eq!(config.platform, Platform::Http);
    assert_eq!((config.port, config.metrics_port), (8080, 9464));
    assert_eq!(config.cluster, ClusterAccess::Kubeconfig(None));
    assert_eq!(
        config.global_secret,
        GlobalSecret::Kubernetes {
            namespace: "fleet-system".to_owned(),
            name: "gitjob-webhook".to_owned(),
            named: false
        }
    );
    assert_eq!(config.secret_cache_ttl, Duration::from_secs(60));
    assert_eq!(config.lookup_cache_ttl, Duration::from_secs(10));
    assert_eq!(config.rotation_window, Duration::from_secs(24 * 3600));
    assert_eq!(config.unsigned, UnsignedDeliveries::Accept);
    assert_eq!(config.polling_interval.as_deref(), Some("1h"));
    assert_eq!(config.max_body_bytes, 26_214_400);
    assert_eq!(config.deadline, Duration::from_millis(4500));
    assert_eq!(config.shutdown_delay, Duration::from_secs(10));
    assert_eq!(config.log_format, LogFormat::Json);
}

#[cfg(feature = "lambda")]
#[test]
fn on_lambda_unsigned_deliveries_are_rejected_by_default() {
    let config = config(&[("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")]).expect("is taken");
    assert_eq!(config.platform, Platform::Lambda);
    assert_eq!(config.unsigned, UnsignedDeliveries::Reject);
}

#[cfg(feature = "lambda")]
#[test]
fn on_lambda_nothing_creates_events() {
    let on = ("GITREPO_EVENTS", "on");
    assert!(config(&[on]).is_ok_and(|config| config.gitrepo_events));
    let said = refusal(&[("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"), on]);
    assert!(said.starts_with("GITREPO_EVENTS is \"on\"; it takes off on Lambda"), "{said}");
    assert!(refusal(&[("GITREPO_EVENTS", "yes")]).ends_with("it takes off or on"));
}

#[test]
fn the_pods_own_namespace_is_the_default_in_a_cluster() {
    let config =
        Config::from_variables(&|_| None, Some("cattle-fleet-system\n")).expect("is taken");
    assert!(matches!(
        config.global_secret,
        GlobalSecret::Kubernetes { namespace, .. } if namespace == "cattle-fleet-system"
    ));
}

#[test]
fn a_wrong_value_is_refused_with_the_variable_what_it_held_and_what_it_takes() {
    assert_eq!(refusal(&[("PORT", "http")]), "PORT is \"http\"; it takes a port number");
    assert_eq!(
        refusal(&[("UNSIGNED_DELIVERIES", "maybe")]),
        "UNSIGNED_DELIVERIES is \"maybe\"; it takes accept or reject"
    );
    assert!(refusal(&[("SECRET_CACHE_TTL", "60")]).starts_with("SECRET_CACHE_TTL is \"60\""));
    assert!(refusal(&[("LOOKUP_CACHE_TTL", "-1s")]).starts_with("LOOKUP_CACHE_TTL"));
    assert!(refusal(&[("POLLING_INTERVAL", "7d")]).starts_with("POLLING_INTERVAL is \"7d\""));
    for nothing in ["a,B", ",", " "] {
        let refusal = refusal(&[("GITREPO_NAMESPACES", nothing)]);
        assert!(refusal.starts_with("GITREPO_NAMESPACES"), "{refusal}");
    }
    for no_duration in ["1h-30m", "++1h", "99999999999999999999h", "99999999h", "1", "\u{fffd}"] {
        for variable in ["SECRET_CACHE_TTL", "DEADLINE", "POLLING_INTERVAL"] {
            let refusal = refusal(&[(variable, no_duration)]);
            assert!(refusal.starts_with(&format!("{variable} is {no_duration:?}")), "{refusal}");
        }
    }
    assert!(refusal(&[("MAX_BODY_BYTES", "0")]).starts_with("MAX_BODY_BYTES"));
    assert!(refusal(&[("DEADLINE", "0s")]).starts_with("DEADLINE"));
    assert!(refusal(&[("RUST_LOG", "a=b=c")]).starts_with("RUST_LOG"));
    assert!(refusal(&[("LOG_FORMAT", "xml")]).starts_with("LOG_FORMAT"));
    assert!(refusal(&[("K_SINK", "sink")]).starts_with("K_SINK is \"no URL\""));
    let with_password = refusal(&[("K_SINK", "ftp://user:hunter2@sink")]);
    assert!(with_password.starts_with("K_SINK is \"a URL of ftp\""), "{with_password}");
    assert!(refusal(&[("FLEET_NAMESPACE", "Fleet")]).starts_with("FLEET_NAMESPACE"));
    assert!(refusal(&[("WEBHOOK_SECRET_NAME", "a/b")]).starts_with("WEBHOOK_SECRET_NAME"));
}

#[cfg(feature = "aws")]
#[test]
fn more_than_one_way_to_the_cluster_is_refused() {
    let both = [("KUBECONFIG", "/k"), ("EKS_CLUSTER_NAME", "prod")];
    assert!(refusal(&both).starts_with("EKS_CLUSTER_NAME is \"prod\""));
    let both = [("KUBECONFIG_SECRET_ID", "s"), ("EKS_CLUSTER_NAME", "prod")];
    assert!(refusal(&both).starts_with("KUBECONFIG_SECRET_ID is \"s\""));
}

#[cfg(feature = "aws")]
#[test]
fn forwarding_needs_a_secret_in_secrets_manager_and_takes_no_cluster_and_no_other_queue() {
    let urls = ("FORWARD_QUEUE_URLS", "https://sqs/a, https://sqs/b,");
    let secret = ("WEBHOOK_SECRET_ID", "webhook");
    let config = config(&[urls, secret]).expect("is taken");
    assert_eq!(config.forward_queue_urls, ["https://sqs/a", "https://sqs/b"]);
    for (variables, named) in [
        (vec![urls], "WEBHOOK_SECRET_ID"),
        (vec![("FORWARD_QUEUE_URLS", "queue"), secret], "FORWARD_QUEUE_URLS"),
        (vec![("FORWARD_QUEUE_URLS", ","), secret], "FORWARD_QUEUE_URLS"),
        (vec![urls, secret, ("KUBECONFIG", "/k")], "FORWARD_QUEUE_URLS"),
        (vec![urls, secret, ("EKS_CLUSTER_NAME", "prod")], "FORWARD_QUEUE_URLS"),
        (vec![urls, secret, ("RETRY_QUEUE_URL", "https://sqs/r")], "FORWARD_QUEUE_URLS"),
        (vec![urls, secret, ("DELIVERY_QUEUE_URL", "https://sqs/d")], "FORWARD_QUEUE_URLS"),
    ] {
        assert!(refusal(&variables).contains(named), "{variables:?}");
    }
}

#[cfg(feature = "aws")]
#[test]
fn a_delivery_queue_is_one_url() {
    assert!(refusal(&[("DELIVERY_QUEUE_URL", "queue")]).starts_with("DELIVERY_QUEUE_URL"));
}

#[cfg(feature = "aws")]
#[test]
fn a_retry_queue_is_one_url() {
    assert!(refusal(&[("RETRY_QUEUE_URL", "queue")]).starts_with("RETRY_QUEUE_URL"));
    let both = [("RETRY_QUEUE_URL", "https://queue"), ("K_SINK", "https://sink")];
    assert!(refusal(&both).starts_with("RETRY_QUEUE_URL"));
}

#[cfg(not(feature = "aws"))]
#[test]
fn a_variable_that_needs_a_feature_this_build_lacks_is_refused() {
    for variable in
        ["WEBHOOK_SECRET_ID", "KUBECONFIG_SECRET_ID", "EKS_CLUSTER_NAME", "RETRY_QUEUE_URL"]
    {
        assert!(refusal(&[(variable, "x")]).ends_with("this build lacks the feature aws"));
    }
}

#[test]
fn an_empty_variable_counts_as_unset() {
    assert_eq!(config(&[("PORT", ""), ("EKS_CLUSTER_NAME", "")]), config(&[]));
}

#[test]
fn keep_writes_no_polling_interval() {
    assert_eq!(config(&[("POLLING_INTERVAL", "keep")]).expect("is taken").polling_interval, None);
}

#[test]
fn namespaces_are_split_trimmed_and_named_once() {
    let config =
        config(&[("GITREPO_NAMESPACES", "fleet-local, team-a,,team-a")]).expect("is taken");
    assert_eq!(config.gitrepo_namespaces, ["fleet-local", "team-a"]);
}
