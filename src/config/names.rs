//! The table of all variables: for whoever reads one that is unset, for the help, for the log line at the start, and to
//! know one that is misspelt.

use std::mem;

use url::Url;

/// A variable, for people.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What counts where it is unset; empty where that is nothing.
    pub default: &'static str,
    /// What it is for, in a line.
    pub says: &'static str,
}

const fn variable(name: &'static str, default: &'static str, says: &'static str) -> Variable {
    Variable { name, default, says }
}

/// All variables, in the order of contract §2.
pub static VARIABLES: &[Variable] = &[
    variable("HOST", "", "address to listen at; every one unless it is set"),
    variable("PORT", "8080", "port for deliveries and probes"),
    variable(
        "FLEET_NAMESPACE",
        "",
        "where the global secret is; the pod's own namespace, or fleet-system",
    ),
    variable("WEBHOOK_SECRET_NAME", "gitjob-webhook", "name of the global secret in Kubernetes"),
    variable(
        "WEBHOOK_SECRET_ID",
        "",
        "name or ARN of the global secret in Secrets Manager, used instead",
    ),
    variable("SECRET_CACHE_TTL", "60s", "how long a secret may be used after it was read"),
    variable(
        "LOOKUP_CACHE_TTL",
        "10s",
        "how old a look-up may be for a delivery that nothing verifies",
    ),
    variable(
        "ROTATION_WINDOW",
        "24h",
        "how long the previous version in Secrets Manager still verifies",
    ),
    variable(
        "UNSIGNED_DELIVERIES",
        "accept, on Lambda reject",
        "what becomes of them where no secret is configured",
    ),
    variable(
        "POLLING_INTERVAL",
        "1h",
        "given to a GitRepo that has none; keep: nothing is written",
    ),
    variable("GITREPO_NAMESPACES", "all", "namespaces to look in, separated by commas"),
    variable(
        "GITREPO_EVENTS",
        "off",
        "on: Kubernetes Events on GitRepos, of what only their owners can mend",
    ),
    variable("KUBECONFIG", "", "how the cluster is reached, as for kubectl"),
    variable("KUBECONFIG_SECRET_ID", "", "name or ARN of a kubeconfig in Secrets Manager"),
    variable("EKS_CLUSTER_NAME", "", "an EKS cluster, reached with the role of the function"),
    variable("HOST_ALIASES", "", "alias=host, separated by commas: two names of one Git server"),
    variable("SHUTDOWN_DELAY", "10s", "how long after SIGTERM what still arrives is served"),
    variable(
        "FORWARD_QUEUE_URLS",
        "",
        "SQS queues, separated by commas: deliveries go there and to no cluster",
    ),
    variable("DELIVERY_QUEUE_URL", "", "SQS queue from which deliveries are taken as well"),
    variable("RETRY_QUEUE_URL", "", "SQS queue for what the cluster could not take"),
    variable("K_SINK", "", "CloudEvents sink for the same"),
    variable("K_CA_CERTS", "", "PEM: trusted for the sink, beside the usual authorities"),
    variable("MAX_BODY_BYTES", "26214400", "larger bodies are refused"),
    variable(
        "DEADLINE",
        "4500ms",
        "by when a delivery is answered; on Lambda by the end of the invocation",
    ),
    variable("METRICS_PORT", "9464", "port for Prometheus"),
    variable("EMBEDDED_METRICS", "on", "on Lambda: figures for CloudWatch in the log; off: none"),
    variable("HTTPS_PROXY", "", "proxy for AWS, the sink, and an API server outside"),
    variable("NO_PROXY", "", "what is reached without it"),
    variable("RUST_LOG", "info", "filter of the log"),
    variable("LOG_FORMAT", "json", "form of the log: json or text"),
];

/// What counts for a variable that is unset.
pub(super) fn default_of(name: &str) -> &'static str {
    VARIABLES.iter().find(|variable| variable.name == name).map_or("", |variable| variable.default)
}

/// How short a name may be to be taken for a misspelt one.
const SHORTEST: usize = 6;

/// The variable that somebody meant with a name which is none.
pub(super) fn meant_by(name: &str) -> Option<&'static str> {
    let is_known = |other: &Variable| other.name == name;
    let is_somebody_elses = name.to_ascii_lowercase().ends_with("_proxy");
    if VARIABLES.iter().any(is_known) || is_somebody_elses || name.len() < SHORTEST {
        return None;
    }
    let upper = name.to_ascii_uppercase().replace('-', "_");
    let near = |variable: &&Variable| {
        let length = variable.name.len();
        let most = length.min(12) / 6;
        // Letters are compared of those alone that are about as long.
        length >= SHORTEST
            && upper.len().abs_diff(length) <= most
            && distance(&upper, variable.name) <= most
    };
    VARIABLES.iter().find(near).map(|variable| variable.name)
}

/// How many letters have to be added, left out or changed.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (number, letter) in one.bytes().enumerate() {
        let (mut diagonal, mut left) = (number, number + 1);
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, expected) in row.iter_mut().skip(1).zip(other.bytes()) {
            left = (diagonal + usize::from(letter != expected)).min(*cell + 1).min(left + 1);
            diagonal = mem::replace(cell, left);
        }
    }
    row.last().copied().unwrap_or_default()
}

/// What a variable holds, fit for the log: without passwords, and no longer than a line.
pub(super) fn shown(variable: &Variable, held: &str) -> String {
    if variable.name == "K_CA_CERTS" {
        return format!("{} bytes", held.len());
    }
    match Url::parse(held) {
        Ok(mut url) if url.has_host() => {
            // Both fail for URLs without a host alone.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.to_string()
        }
        _ if held.contains('@') => "[REDACTED]".to_owned(),
        _ => held.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_known_and_a_stranger_is_not() {
        for (name, meant) in [
            ("POLING_INTERVAL", "POLLING_INTERVAL"),
            ("POLLING_INTERVALL", "POLLING_INTERVAL"),
            ("polling_interval", "POLLING_INTERVAL"),
            ("KUBE_CONFIG", "KUBECONFIG"),
            ("GITREPO_NAMESPACE", "GITREPO_NAMESPACES"),
            ("RETRY_QUEUE_URLS", "RETRY_QUEUE_URL"),
            ("MAX_BODY_BYTE", "MAX_BODY_BYTES"),
            ("DEADLINES", "DEADLINE"),
        ] {
            assert_eq!(meant_by(name), Some(meant), "{name}");
        }
        for name in [
            "HOME",
            "HOSTNAME",
            "PATH",
            "SHELL",
            "RUST_LOG",
            "HTTP_PROXY",
            "https_proxy",
            "no_proxy",
            "ALL_PROXY",
            "RUST_BACKTRACE",
            "AWS_REGION",
            "K_CE_OVERRIDES",
            "K_SERVICE",
            "K_REVISION",
            "KUBERNETES_PORT",
            "FLEET_WEBHOOK_PORT",
            "LOGNAME",
            "LAMBDA_TASK_ROOT",
            "SSL_CERT_FILE",
            "",
        ] {
            assert_eq!(meant_by(name), None, "{name}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        let sink = VARIABLES.iter().find(|variable| variable.name == "K_SINK").expect("is there");
        assert_eq!(shown(sink, "https://me:hunter2@sink.example/b"), "https://sink.example/b");
        assert_eq!(shown(sink, "me:hunter2@sink.example"), "[REDACTED]");
        assert_eq!(shown(sink, "https://sink.example/b"), "https://sink.example/b");
    }
}
