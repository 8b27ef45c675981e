//! Configuration: the only reader of the environment, once, at start.

mod names;
mod variables;

use std::{env, fmt, fs, net::IpAddr, time::Duration};

pub use self::names::{VARIABLES, Variable};
use self::variables::Variables;
use crate::{repo_url::HostAliases, telemetry::LogFormat};

/// Where Kubernetes mounts the namespace of the pod that it runs.
const POD_NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Everything that can be set; contract §2 has the table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Who drives the service.
    pub platform: Platform,
    /// `HOST`; `None` for every address.
    pub host: Option<IpAddr>,
    /// `PORT`
    pub port: u16,
    /// `METRICS_PORT`
    pub metrics_port: u16,
    /// How the cluster is reached.
    pub cluster: ClusterAccess,
    /// `GITREPO_NAMESPACES`; empty for all.
    pub gitrepo_namespaces: Vec<String>,
    /// Where the global webhook secret is read.
    pub global_secret: GlobalSecret,
    /// `SECRET_CACHE_TTL`
    pub secret_cache_ttl: Duration,
    /// `LOOKUP_CACHE_TTL`
    pub lookup_cache_ttl: Duration,
    /// `ROTATION_WINDOW`
    pub rotation_window: Duration,
    /// `UNSIGNED_DELIVERIES`
    pub unsigned: UnsignedDeliveries,
    /// `HOST_ALIASES`
    pub host_aliases: HostAliases,
    /// `POLLING_INTERVAL`; `None` for `keep`.
    pub polling_interval: Option<String>,
    /// `GITREPO_EVENTS`: whether owners of GitRepos are told by Kubernetes Events what only they can mend.
    pub gitrepo_events: bool,
    /// `RETRY_QUEUE_URL`: the SQS queue for what the cluster cannot take now.
    pub retry_queue_url: Option<AwsName>,
    /// `FORWARD_QUEUE_URLS`: the SQS queues to which deliveries go on; with any there is no cluster.
    pub forward_queue_urls: Vec<AwsName>,
    /// `DELIVERY_QUEUE_URL`: the SQS queue from which deliveries are taken as well.
    pub delivery_queue_url: Option<AwsName>,
    /// `K_SINK`: the CloudEvents sink for the same.
    pub sink: Option<String>,
    /// `K_CA_CERTS`: what the sink's certificate may be signed with, beside the usual authorities; PEM.
    pub sink_ca_certs: Option<String>,
    /// `MAX_BODY_BYTES`
    pub max_body_bytes: usize,
    /// `DEADLINE`
    pub deadline: Duration,
    /// `SHUTDOWN_DELAY`
    pub shutdown_delay: Duration,
    /// `EMBEDDED_METRICS`, and the name of the function whose figures these are; `None` where there are none.
    pub embedded_metrics: Option<String>,
    /// `RUST_LOG`
    pub log_filter: String,
    /// `LOG_FORMAT`
    pub log_format: LogFormat,
}

/// The name of something in AWS, which only a build with the feature `aws` can hold.
#[cfg(feature = "aws")]
pub type AwsName = String;
/// The name of something in AWS, which only a build with the feature `aws` can hold.
#[cfg(not(feature = "aws"))]
pub type AwsName = std::convert::Infallible;

/// Who drives the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// The Lambda runtime; every Lambda has `AWS_LAMBDA_RUNTIME_API`.
    Lambda,
    /// HTTP on `PORT`, as Knative's container contract has it.
    Http,
}

/// How the cluster is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterAccess {
    /// The usual kubeconfig rules, in-cluster included; with the value of `KUBECONFIG` nothing else is used.
    Kubeconfig(Option<String>),
    /// A kubeconfig in Secrets Manager, by id or ARN.
    KubeconfigSecret(AwsName),
    /// An EKS cluster, by name, with the function's own role.
    Eks(AwsName),
}

/// Where the global webhook secret is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GlobalSecret {
    /// A Kubernetes secret.
    Kubernetes {
        /// `FLEET_NAMESPACE`
        namespace: String,
        /// `WEBHOOK_SECRET_NAME`
        name: String,
        /// Whether the name was set: such a secret has to be there.
        named: bool,
    },
    /// `WEBHOOK_SECRET_ID`: a secret in Secrets Manager, by id or ARN.
    SecretsManager(AwsName),
}

impl fmt::Display for GlobalSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kubernetes { namespace, name, .. } => write!(f, "{namespace}/{name}"),
            Self::SecretsManager(id) => id.fmt(f),
        }
    }
}

impl GlobalSecret {
    /// The command that makes it, with a key for GitHub; of one in Secrets Manager that is known by its ARN, the name is the
    /// operator's to say.
    pub fn made_by(&self) -> String {
        match self {
            Self::Kubernetes { namespace, name, .. } => format!(
                "kubectl --namespace {namespace} create secret generic {name} --from-literal=github=\"$(openssl rand -hex 32)\""
            ),
            Self::SecretsManager(id) => {
                let id = id.to_string();
                let name = if id.starts_with("arn:") { "webhook" } else { &id };
                format!(
                    "aws secretsmanager create-secret --name {name} --secret-string \"{{\\\"github\\\":\\\"$(openssl rand -hex 32)\\\"}}\""
                )
            }
        }
    }

    /// Whether it was named, so that it has to be there.
    pub const fn is_named(&self) -> bool {
        match self {
            Self::Kubernetes { named, .. } => *named,
            Self::SecretsManager(_) => true,
        }
    }
}

/// `UNSIGNED_DELIVERIES`: what becomes of a GitRepo for which no secret is configured at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsignedDeliveries {
    /// It is patched, with a warning, as Fleet does.
    Accept,
    /// It is not patched.
    Reject,
}

/// A variable that cannot be used: which, what it held, what it takes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{variable} is {held:?}; it takes {takes}")]
pub struct ConfigError {
    variable: &'static str,
    held: String,
    takes: String,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// [`ConfigError`] for the first variable that cannot be used, or that needs a feature this build lacks.
    pub fn from_env() -> Result<Self, ConfigError> {
        let pod_namespace = fs::read_to_string(POD_NAMESPACE_FILE).ok();
        // What is not UTF-8 is no value that any of them takes, and must not count as unset.
        let variable = |name: &str| Some(env::var_os(name)?.to_string_lossy().into_owned());
        Self::from_variables(&variable, pod_namespace.as_deref())
    }

    /// Each variable and what counts for it, in one line without secrets, for the log.
    pub fn settings() -> String {
        let setting = |variable: &Variable| {
            let held = env::var_os(variable.name).filter(|held| !held.is_empty());
            match held {
                Some(held) => {
                    let held = names::shown(variable, &held.to_string_lossy());
                    format!("{}={held}", variable.name)
                }
                None => format!("{}={}", variable.name, variable.default),
            }
        };
        let settings: Vec<_> = VARIABLES.iter().map(setting).collect();
        settings.join(" ")
    }

    /// The variables that are set and are none of ours, but look like one: their names, and what was meant.
    pub fn misspelt() -> Vec<(String, &'static str)> {
        let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        names.filter_map(|name| names::meant_by(&name).map(|meant| (name, meant))).collect()
    }

    /// Reads variables with `variable`, an empty one as if it were unset; `pod_namespace` is the pod's own in a cluster.
    ///
    /// # Errors
    /// As [`Self::from_env`].
    pub fn from_variables(
        variable: &dyn Fn(&str) -> Option<String>,
        pod_namespace: Option<&str>,
    ) -> Result<Self, ConfigError> {
        let variables = Variables(variable);
        let platform = variables.platform()?;
        Ok(Self {
            platform,
            host: variables.parsed("HOST", "an IP address")?,
            port: variables.number("PORT", "a port number")?,
            metrics_port: variables.number("METRICS_PORT", "a port number")?,
            cluster: variables.cluster_access()?,
            gitrepo_namespaces: variables.namespaces("GITREPO_NAMESPACES")?,
            global_secret: variables.global_secret(pod_namespace)?,
            secret_cache_ttl: variables.duration("SECRET_CACHE_TTL")?,
            lookup_cache_ttl: variables.duration("LOOKUP_CACHE_TTL")?,
            rotation_window: variables.duration("ROTATION_WINDOW")?,
            host_aliases: variables
                .parsed(
                    "HOST_ALIASES",
                    "host names as alias=host, separated by commas, each alias once",
                )?
                .unwrap_or_default(),
            unsigned: variables.unsigned(platform)?,
            polling_interval: variables.polling_interval()?,
            retry_queue_url: variables.retry_queue_url()?,
            forward_queue_urls: variables.forward_queue_urls()?,
            delivery_queue_url: variables.delivery_queue_url(platform)?,
            sink: variables.sink()?,
            sink_ca_certs: variables.sink_ca_certs()?,
            max_body_bytes: variables.max_body_bytes()?,
            deadline: variables.deadline()?,
            shutdown_delay: variables.duration("SHUTDOWN_DELAY")?,
            gitrepo_events: variables.gitrepo_events(platform)?,
            embedded_metrics: variables.embedded_metrics(platform)?,
            log_filter: variables.log_filter()?,
            log_format: variables
                .choice("LOG_FORMAT", &[("json", LogFormat::Json), ("text", LogFormat::Text)])?,
        })
    }
}

#[cfg(test)]
mod tests {
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
        for no_duration in ["1h-30m", "++1h", "99999999999999999999h", "99999999h", "1", "\u{fffd}"]
        {
            for variable in ["SECRET_CACHE_TTL", "DEADLINE", "POLLING_INTERVAL"] {
                let refusal = refusal(&[(variable, no_duration)]);
                assert!(
                    refusal.starts_with(&format!("{variable} is {no_duration:?}")),
                    "{refusal}"
                );
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
        assert_eq!(
            config(&[("POLLING_INTERVAL", "keep")]).expect("is taken").polling_interval,
            None
        );
    }

    #[test]
    fn namespaces_are_split_trimmed_and_named_once() {
        let config =
            config(&[("GITREPO_NAMESPACES", "fleet-local, team-a,,team-a")]).expect("is taken");
        assert_eq!(config.gitrepo_namespaces, ["fleet-local", "team-a"]);
    }
}
