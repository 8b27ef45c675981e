//! Reads single variables, each with its own check and its own message; `config` puts them together.

use std::{num::NonZeroUsize, str::FromStr, time::Duration};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::{
    AwsName, ClusterAccess, ConfigError, GlobalSecret, Platform, UnsignedDeliveries,
    names::default_of,
};

/// The environment, with the ways to read one variable.
pub(super) struct Variables<'a>(pub(super) &'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    fn value(&self, variable: &str) -> Option<String> {
        (self.0)(variable).filter(|value| !value.is_empty())
    }

    fn value_or_default(&self, variable: &str) -> String {
        self.value(variable).unwrap_or_else(|| default_of(variable).to_owned())
    }

    pub(super) fn platform(&self) -> Result<Platform, ConfigError> {
        match self.value("AWS_LAMBDA_RUNTIME_API") {
            #[cfg(not(feature = "lambda"))]
            Some(held) => Err(lacks_feature("AWS_LAMBDA_RUNTIME_API", held, "lambda")),
            #[cfg(feature = "lambda")]
            Some(_) => Ok(Platform::Lambda),
            None => Ok(Platform::Http),
        }
    }

    pub(super) fn parsed<T: FromStr>(
        &self,
        variable: &'static str,
        takes: &str,
    ) -> Result<Option<T>, ConfigError> {
        self.value(variable).map(|held| parse(variable, held, takes)).transpose()
    }

    pub(super) fn number<T: FromStr>(
        &self,
        variable: &'static str,
        takes: &str,
    ) -> Result<T, ConfigError> {
        parse(variable, self.value_or_default(variable), takes)
    }

    pub(super) fn max_body_bytes(&self) -> Result<usize, ConfigError> {
        self.number("MAX_BODY_BYTES", "a number of bytes above 0").map(NonZeroUsize::get)
    }

    pub(super) fn duration(&self, variable: &'static str) -> Result<Duration, ConfigError> {
        let held = self.value_or_default(variable);
        go_duration(&held).ok_or_else(|| ConfigError {
            variable,
            held,
            takes: "a duration such as 60s, 4500ms or 1h30m, ten years at the most".to_owned(),
        })
    }

    pub(super) fn deadline(&self) -> Result<Duration, ConfigError> {
        let deadline = self.duration("DEADLINE")?;
        if deadline.is_zero() {
            let takes = "a duration above 0s".to_owned();
            return Err(ConfigError { variable: "DEADLINE", held: "0s".to_owned(), takes });
        }
        Ok(deadline)
    }

    /// On Lambda nothing runs behind the answer, so nothing would create them.
    pub(super) fn gitrepo_events(&self, platform: Platform) -> Result<bool, ConfigError> {
        let variable = "GITREPO_EVENTS";
        match self.choice(variable, &[("off", false), ("on", true)])? {
            true if platform == Platform::Lambda => Err(ConfigError {
                variable,
                held: "on".to_owned(),
                takes: "off on Lambda, where nothing runs behind the answer".to_owned(),
            }),
            chosen => Ok(chosen),
        }
    }

    pub(super) fn polling_interval(&self) -> Result<Option<String>, ConfigError> {
        let variable = "POLLING_INTERVAL";
        let held = self.value_or_default(variable);
        if held == "keep" {
            return Ok(None);
        }
        if go_duration(&held).is_some() {
            return Ok(Some(held));
        }
        let takes = "a duration such as 1h or 30m, or keep".to_owned();
        Err(ConfigError { variable, held, takes })
    }

    pub(super) fn choice<T: Copy>(
        &self,
        variable: &'static str,
        choices: &[(&str, T)],
    ) -> Result<T, ConfigError> {
        let held = self.value_or_default(variable);
        match choices.iter().find(|(name, _)| *name == held) {
            Some((_, choice)) => Ok(*choice),
            None => {
                let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
                Err(ConfigError { variable, held, takes: names.join(" or ") })
            }
        }
    }

    pub(super) fn unsigned(&self, platform: Platform) -> Result<UnsignedDeliveries, ConfigError> {
        let variable = "UNSIGNED_DELIVERIES";
        let (accept, reject) = (UnsignedDeliveries::Accept, UnsignedDeliveries::Reject);
        match (self.value(variable), platform) {
            (None, Platform::Lambda) => Ok(reject),
            (None, Platform::Http) => Ok(accept),
            (Some(_), _) => self.choice(variable, &[("accept", accept), ("reject", reject)]),
        }
    }

    pub(super) fn namespaces(&self, variable: &'static str) -> Result<Vec<String>, ConfigError> {
        let held = self.value(variable).unwrap_or_default();
        let mut names: Vec<_> = held
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        names.sort();
        names.dedup();
        // None at all would mean every namespace.
        if names.iter().all(|name| is_dns_label(name)) && names.is_empty() == held.is_empty() {
            return Ok(names);
        }
        Err(ConfigError { variable, held, takes: "namespaces, separated by commas".to_owned() })
    }

    pub(super) fn cluster_access(&self) -> Result<ClusterAccess, ConfigError> {
        let secret = self.needs_aws("KUBECONFIG_SECRET_ID")?;
        let eks = self.needs_aws("EKS_CLUSTER_NAME")?;
        let kubeconfig = self.value("KUBECONFIG");
        match (kubeconfig, secret, eks) {
            (paths, None, None) => Ok(ClusterAccess::Kubeconfig(paths)),
            (None, Some(id), None) => Ok(ClusterAccess::KubeconfigSecret(id)),
            (None, None, Some(name)) => Ok(ClusterAccess::Eks(name)),
            (_, Some(held), _) => Err(one_cluster("KUBECONFIG_SECRET_ID", held)),
            (_, None, Some(held)) => Err(one_cluster("EKS_CLUSTER_NAME", held)),
        }
    }

    pub(super) fn global_secret(
        &self,
        pod_namespace: Option<&str>,
    ) -> Result<GlobalSecret, ConfigError> {
        let namespace = self
            .value("FLEET_NAMESPACE")
            .or_else(|| {
                pod_namespace.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
            })
            .unwrap_or_else(|| "fleet-system".to_owned());
        if !is_dns_label(&namespace) {
            let takes = "the name of a namespace".to_owned();
            return Err(ConfigError { variable: "FLEET_NAMESPACE", held: namespace, takes });
        }
        let named = self.value("WEBHOOK_SECRET_NAME");
        if let Some(held) = named.clone().filter(|name| !name.split('.').all(is_dns_label)) {
            let takes = "the name of a Kubernetes secret".to_owned();
            return Err(ConfigError { variable: "WEBHOOK_SECRET_NAME", held, takes });
        }
        if let Some(id) = self.needs_aws("WEBHOOK_SECRET_ID")? {
            return Ok(GlobalSecret::SecretsManager(id));
        }
        Ok(GlobalSecret::Kubernetes {
            namespace,
            named: named.is_some(),
            name: named.unwrap_or_else(|| default_of("WEBHOOK_SECRET_NAME").to_owned()),
        })
    }

    pub(super) fn retry_queue_url(&self) -> Result<Option<AwsName>, ConfigError> {
        let variable = "RETRY_QUEUE_URL";
        let Some(url) = self.needs_aws(variable)? else { return Ok(None) };
        is_web_url(variable, &url.to_string())?;
        if self.value("K_SINK").is_some() {
            let takes = "a value only where K_SINK has none".to_owned();
            return Err(ConfigError { variable, held: "a URL".to_owned(), takes });
        }
        Ok(Some(url))
    }

    pub(super) fn delivery_queue_url(
        &self,
        platform: Platform,
    ) -> Result<Option<AwsName>, ConfigError> {
        let variable = "DELIVERY_QUEUE_URL";
        let Some(url) = self.needs_aws(variable)? else { return Ok(None) };
        is_web_url(variable, &url.to_string())?;
        if platform == Platform::Lambda {
            let takes =
                "nothing on Lambda: an event source mapping brings messages there".to_owned();
            return Err(ConfigError { variable, held: "a URL".to_owned(), takes });
        }
        Ok(Some(url))
    }

    pub(super) fn forward_queue_urls(&self) -> Result<Vec<AwsName>, ConfigError> {
        match self.needs_aws("FORWARD_QUEUE_URLS")? {
            None => Ok(Vec::new()),
            #[cfg(feature = "aws")]
            Some(held) => self.queues_to_forward_to(held),
            #[cfg(not(feature = "aws"))]
            Some(never) => match never {},
        }
    }

    /// With queues to forward to there is neither a cluster nor another queue, and the secret is where a function finds it.
    #[cfg(feature = "aws")]
    fn queues_to_forward_to(&self, held: String) -> Result<Vec<String>, ConfigError> {
        let variable = "FORWARD_QUEUE_URLS";
        let urls: Vec<_> = held.split(',').map(str::trim).filter(|url| !url.is_empty()).collect();
        for url in &urls {
            is_web_url(variable, url)?;
        }
        let others = [
            "KUBECONFIG",
            "KUBECONFIG_SECRET_ID",
            "EKS_CLUSTER_NAME",
            "RETRY_QUEUE_URL",
            "DELIVERY_QUEUE_URL",
            "K_SINK",
        ];
        let takes = if urls.is_empty() {
            "URLs of SQS queues, separated by commas".to_owned()
        } else if self.value("WEBHOOK_SECRET_ID").is_none() {
            "a value only together with WEBHOOK_SECRET_ID: what is forwarded is verified first"
                .to_owned()
        } else if let Some(other) = others.into_iter().find(|name| self.value(name).is_some()) {
            format!("a value only where {other} has none: what is forwarded goes to no cluster")
        } else {
            return Ok(urls.into_iter().map(str::to_owned).collect());
        };
        Err(ConfigError { variable, held, takes })
    }

    pub(super) fn sink(&self) -> Result<Option<String>, ConfigError> {
        let sink = self.value("K_SINK");
        if let Some(url) = &sink {
            is_web_url("K_SINK", url)?;
        }
        Ok(sink)
    }

    pub(super) fn sink_ca_certs(&self) -> Result<Option<String>, ConfigError> {
        let Some(held) = self.value("K_CA_CERTS") else { return Ok(None) };
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(held.as_bytes()).collect();
        if certificates.is_ok_and(|certificates| !certificates.is_empty()) {
            return Ok(Some(held));
        }
        let (held, takes) = ("a text without a whole certificate".to_owned(), "PEM".to_owned());
        Err(ConfigError { variable: "K_CA_CERTS", held, takes })
    }

    pub(super) fn embedded_metrics(
        &self,
        platform: Platform,
    ) -> Result<Option<String>, ConfigError> {
        let are_on = self.choice("EMBEDDED_METRICS", &[("on", true), ("off", false)])?;
        let function = self.value("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
        Ok((are_on && platform == Platform::Lambda).then_some(function))
    }

    pub(super) fn log_filter(&self) -> Result<String, ConfigError> {
        let held = self.value_or_default("RUST_LOG");
        match crate::telemetry::log_filter(&held) {
            Ok(_) => Ok(held),
            Err(_) => {
                let takes = "a level or target=level pairs, separated by commas".to_owned();
                Err(ConfigError { variable: "RUST_LOG", held, takes })
            }
        }
    }

    fn needs_aws(&self, variable: &'static str) -> Result<Option<AwsName>, ConfigError> {
        match self.value(variable) {
            None => Ok(None),
            #[cfg(feature = "aws")]
            Some(name) => Ok(Some(name)),
            #[cfg(not(feature = "aws"))]
            Some(held) => Err(lacks_feature(variable, held, "aws")),
        }
    }
}

fn parse<T: FromStr>(variable: &'static str, held: String, takes: &str) -> Result<T, ConfigError> {
    held.parse().map_err(|_| ConfigError { variable, held, takes: takes.to_owned() })
}

#[cfg(not(all(feature = "aws", feature = "lambda")))]
fn lacks_feature(variable: &'static str, held: String, feature: &str) -> ConfigError {
    let takes = format!("nothing here: this build lacks the feature {feature}");
    ConfigError { variable, held, takes }
}

#[cfg_attr(
    feature = "aws",
    expect(clippy::needless_pass_by_value, reason = "without AWS there is no value to borrow")
)]
fn one_cluster(variable: &'static str, held: AwsName) -> ConfigError {
    let takes = "a value only where no other of KUBECONFIG, KUBECONFIG_SECRET_ID and EKS_CLUSTER_NAME is set";
    ConfigError { variable, held: held.to_string(), takes: takes.to_owned() }
}

/// Whether a value is an `http` or `https` URL. The error shows its scheme alone: it may hold a password.
fn is_web_url(variable: &'static str, held: &str) -> Result<(), ConfigError> {
    match url::Url::parse(held) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(()),
        parsed => Err(ConfigError {
            variable,
            held: parsed.map_or("no URL".to_owned(), |url| format!("a URL of {}", url.scheme())),
            takes: "an http or https URL".to_owned(),
        }),
    }
}

/// Reads a duration as [Go](https://pkg.go.dev/time#ParseDuration) writes it, without a sign; `None` over ten years.
fn go_duration(text: &str) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
    // The parser panics on some signs and on numbers that are too large.
    if text.len() > 16 || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.') {
        return None;
    }
    let duration: Duration = text.parse::<kube::core::Duration>().ok()?.into();
    (duration <= LONGEST).then_some(duration)
}

/// Whether a name is a DNS label ([RFC 1123](https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names)).
fn is_dns_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}
