//! Configuration: the only reader of the environment, once, at start.

mod names;
#[cfg(test)]
mod tests;
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
