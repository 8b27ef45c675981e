//! Reads a kubeconfig as kubectl takes it; `client` makes a client of it.
//!
//! Not [`Config::from_custom_kubeconfig`]: it refuses base64 with line breaks, and reads proxies by rules of its own.

use std::{fs, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderValue, Uri};
use kube::{
    Config,
    config::{AuthInfo, Cluster, Kubeconfig, KubeconfigError},
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;

use crate::causes::causes;

/// What to make where a kubeconfig needs more than its own text.
#[cfg(feature = "aws")]
const SELF_CONTAINED: &str = "make one that holds all it needs: a ServiceAccount's token, and the cluster's certificate \
    authority (kubectl config view --raw --flatten puts files into it)";

/// Why there is no kubeconfig.
#[derive(Debug)]
pub(super) enum NoKubeconfig {
    /// There is no such file.
    Missing(String),
    /// It cannot be used. Never a line of it: one may be a key.
    Unusable(String),
}

impl NoKubeconfig {
    pub(super) fn into_problem(self) -> String {
        match self {
            Self::Missing(problem) | Self::Unusable(problem) => problem,
        }
    }
}

impl From<String> for NoKubeconfig {
    fn from(problem: String) -> Self {
        Self::Unusable(problem)
    }
}

/// Reads the files of `KUBECONFIG`, merged as kubectl does; without paths the file in the home directory.
pub(super) fn from_files(paths: Option<&str>) -> Result<Config, NoKubeconfig> {
    let Some(paths) = paths else {
        return Ok(config(&Kubeconfig::read().map_err(no_kubeconfig)?)?);
    };
    let mut merged = Kubeconfig::default();
    for path in std::env::split_paths(paths).filter(|path| !path.as_os_str().is_empty()) {
        merged = merged.merge(read(&path)?).map_err(no_kubeconfig)?;
    }
    Ok(config(&merged)?)
}

/// Reads the text of a kubeconfig that is no file, and so may neither name files nor run programs.
#[cfg(feature = "aws")]
pub(super) fn from_text(text: &str) -> Result<Config, String> {
    let kubeconfig = parse(text).map_err(|error| no_kubeconfig(error).into_problem())?;
    let config = config(&kubeconfig)?;
    let user = &config.auth_info;
    if user.exec.is_some() || user.auth_provider.is_some() {
        return Err(format!(
            "it runs a program for its credentials, which is not done here: {SELF_CONTAINED}"
        ));
    }
    let (_, cluster) = chosen(&kubeconfig)?;
    let files = [
        ("certificate-authority", &cluster.certificate_authority),
        ("client-certificate", &user.client_certificate),
        ("client-key", &user.client_key),
        ("tokenFile", &user.token_file),
    ];
    let is_named = |file: &Option<String>| file.as_ref().is_some_and(|file| !file.is_empty());
    if let Some((field, _)) = files.iter().find(|(_, file)| is_named(file)) {
        return Err(format!("its {field} is a file, which is not here: {SELF_CONTAINED}"));
    }
    Ok(config)
}

fn read(path: &Path) -> Result<Kubeconfig, NoKubeconfig> {
    match Kubeconfig::read_from(path) {
        // With a tag that kube's YAML does not take; its relative paths are those of the process then.
        Err(KubeconfigError::Parse(error)) => {
            let text = fs::read_to_string(path).unwrap_or_default();
            parse(&text).map_err(|_| no_kubeconfig(KubeconfigError::Parse(error)))
        }
        read => read.map_err(no_kubeconfig),
    }
}

/// Parses YAML; `!!binary` marks what is base64 here anyway.
fn parse(text: &str) -> Result<Kubeconfig, KubeconfigError> {
    Kubeconfig::from_yaml(&text.replace("!!binary", ""))
}

/// What is wrong with a kubeconfig. The parser's own message shows the lines around a mistake, and one may be a key.
fn no_kubeconfig(error: KubeconfigError) -> NoKubeconfig {
    match error {
        KubeconfigError::Parse(_) => {
            NoKubeconfig::Unusable("it is not the YAML of a kubeconfig".to_owned())
        }
        KubeconfigError::ReadConfig(..) | KubeconfigError::FindPath => {
            NoKubeconfig::Missing(causes(&error))
        }
        error => NoKubeconfig::Unusable(causes(&error)),
    }
}

/// The way that the current context is.
fn config(kubeconfig: &Kubeconfig) -> Result<Config, String> {
    let kubeconfig = mended(kubeconfig)?;
    let (mut user, cluster) = chosen(&kubeconfig)?;
    if let Some(exec) = user.exec.as_mut().filter(|exec| exec.provide_cluster_info) {
        exec.cluster = Some((&cluster).try_into().map_err(|error| causes(&error))?);
    }
    let mut config = Config::new(server(cluster.server.as_deref().unwrap_or_default())?);
    config.root_cert = authority(&cluster)?;
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or_default();
    config.disable_compression = cluster.disable_compression.unwrap_or_default();
    config.tls_server_name = cluster.tls_server_name.filter(|name| !name.is_empty());
    let proxy = cluster.proxy_url.filter(|url| !url.is_empty());
    config.proxy_url =
        proxy.map(|url| url.parse()).transpose().map_err(|_| "its proxy-url is no URL")?;
    config.auth_info = user;
    // Retries and time limits are ours: one place, inside the delivery's deadline.
    config.default_retry = false;
    Ok(config)
}

/// User and cluster of the current context; no user is nobody, as for kubectl.
fn chosen(kubeconfig: &Kubeconfig) -> Result<(AuthInfo, Cluster), String> {
    let name = kubeconfig.current_context.as_deref().filter(|name| !name.is_empty());
    let name = name.ok_or("it has no current-context")?;
    let context = kubeconfig.contexts.iter().find(|context| context.name == name);
    let context = context.and_then(|context| context.context.as_ref());
    let context = context.ok_or_else(|| format!("it has no context {name:?}"))?;
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster);
    let cluster = cluster.and_then(|cluster| cluster.cluster.clone());
    let cluster = cluster.ok_or_else(|| format!("it has no cluster {:?}", context.cluster))?;
    let is_chosen = |user: &str| context.user.as_deref() == Some(user);
    let user = kubeconfig.auth_infos.iter().find(|user| is_chosen(&user.name));
    Ok((user.and_then(|user| user.auth_info.clone()).unwrap_or_default(), cluster))
}

fn server(server: &str) -> Result<Uri, String> {
    let url: Option<Uri> = server.trim().parse().ok();
    let is_whole = |url: &Uri| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.host().is_some_and(|host| !host.is_empty())
    };
    url.filter(is_whole)
        .ok_or_else(|| format!("its server is {server:?}; it takes a URL, https://host:port"))
}

/// The certificates (DER) that the server's is checked by; `None` for those of the system.
fn authority(cluster: &Cluster) -> Result<Option<Vec<Vec<u8>>>, String> {
    let pem = match (&cluster.certificate_authority_data, &cluster.certificate_authority) {
        (Some(data), _) if !data.is_empty() => decoded(data)?,
        (_, Some(path)) if !path.is_empty() => fs::read(path)
            .map_err(|error| format!("its certificate-authority cannot be read: {error}"))?,
        _ => return Ok(None),
    };
    certificates(&pem).map(Some)
}

/// The certificates (DER) of some PEM in base64.
#[cfg(feature = "aws")]
pub(super) fn authority_data(data: &str) -> Result<Vec<Vec<u8>>, String> {
    certificates(&decoded(data)?)
}

fn decoded(data: &str) -> Result<Vec<u8>, String> {
    BASE64_STANDARD.decode(data).map_err(|_| "its certificate authority is not base64".to_owned())
}

fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .map(|certificate| certificate.map(|certificate| certificate.to_vec()));
    match certificates.collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err("its certificate authority holds no certificate in PEM".to_owned()),
    }
}

/// Without line breaks in base64, which kubectl's decoder passes over, and around tokens, which it cuts off.
fn mended(kubeconfig: &Kubeconfig) -> Result<Kubeconfig, String> {
    let unusable = |_| "it is not the YAML of a kubeconfig".to_owned();
    let mut value = serde_json::to_value(kubeconfig).map_err(unusable)?;
    mend(&mut value)?;
    serde_json::from_value(value).map_err(unusable)
}

fn mend(value: &mut Value) -> Result<(), String> {
    match value {
        Value::Object(fields) => fields.iter_mut().try_for_each(|(name, field)| match field {
            Value::String(data) if name.ends_with("-data") => {
                data.retain(|char| !char.is_whitespace());
                Ok(())
            }
            Value::String(token) if name == "token" => {
                *token = token.trim().to_owned();
                let header = HeaderValue::from_str(token);
                header
                    .map(drop)
                    .map_err(|_| "its token is none: it has line breaks in it".to_owned())
            }
            field => mend(field),
        }),
        Value::Array(items) => items.iter_mut().try_for_each(mend),
        _ => Ok(()),
    }
}

#[cfg(all(test, feature = "aws"))]
mod tests {
    use serde_json::json;

    use super::*;

    const CERTIFICATE: &str = "MIIBfzCCASWgAwIBAgIUawX138ZxaEgll85kIKw6UEDIapYwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJYXV0aG9yaXR5MCAXDTI2MTEyNTIzMzEzOFoYDzIxMjYxMTAxMjMzMTM4WjAUMRIwEAYDVQQDDAlhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQoU+a8LyjD3k9BHWli6Rbwa5GU2KjjalWdjkFsSSOAiXz7Ao2mPq3FGaB8RAu/IZ+wxF+CboqycO59XGS+yRPIo1MwUTAdBgNVHQ4EFgQUVto9LKhOORLNZa7gWesVdOvNGKIwHwYDVR0jBBgwFoAUVto9LKhOORLNZa7gWesVdOvNGKIwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEAsM75SCC+/1erdnXc+F9kggQrvJJaF7pcxrF13DpWN3UCIGEqWpBwLNnt4DMVc05TnG24D6CzsM3HRBUndgsE7CS+";

    fn authority() -> String {
        let pem =
            format!("-----BEGIN CERTIFICATE-----\n{CERTIFICATE}\n-----END CERTIFICATE-----\n");
        BASE64_STANDARD.encode(pem)
    }

    fn text(cluster: &Value, user: &Value) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": cluster }],
            "users": [{ "name": "function", "user": user }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "function" } }],
        })
        .to_string()
    }

    fn refusal(cluster: &Value, user: &Value) -> String {
        from_text(&text(cluster, user)).expect_err("is refused")
    }

    #[test]
    fn data_that_is_wrapped_or_marked_and_a_newline_behind_a_token_are_taken() {
        let (whole, half) = (authority(), authority().len() / 2);
        let (one, other) = whole.split_at(half);
        let yaml = |data: &str| {
            format!(
                "current-context: test\ncontexts: [{{name: test, context: {{cluster: test, user: f}}}}]\n\
                 users:\n- name: f\n  user:\n    token: |\n      hunter2\nclusters:\n- name: test\n  cluster:\n    \
                 server: https://api.example:6443\n    certificate-authority-data: {data}\n"
            )
        };
        for data in [
            whole.clone(),
            format!("|\n      {one}\n      {other}"),
            format!("!!binary |\n      {one}\n      {other}"),
            format!("!!binary {whole}"),
        ] {
            let config = from_text(&yaml(&data)).expect("is taken");
            assert_eq!(config.root_cert.map(|certificates| certificates.len()), Some(1));
            let token = serde_json::to_value(&config.auth_info).expect("is JSON");
            assert_eq!(token.get("token"), Some(&json!("hunter2")));
        }
    }

    #[test]
    fn a_server_without_a_scheme_is_refused_with_what_it_takes() {
        for server in ["api.example:6443", "api.example", "", "ftp://api.example", "https://"] {
            let refusal = refusal(&json!({ "server": server }), &json!({ "token": "t" }));
            assert!(
                refusal.starts_with(&format!("its server is {server:?}; it takes")),
                "{refusal}"
            );
        }
    }

    #[test]
    fn what_is_no_file_may_name_none_and_run_nothing() {
        let server = json!({ "server": "https://api.example" });
        let exec = json!({ "exec": { "apiVersion": "client.authentication.k8s.io/v1", "command": "aws" } });
        let refused = refusal(&server, &exec);
        assert!(
            refused.contains("runs a program") && refused.contains("ServiceAccount"),
            "{refused}"
        );
        for (field, cluster, user) in [
            ("tokenFile", server.clone(), json!({ "tokenFile": "/t" })),
            (
                "client-key",
                server.clone(),
                json!({ "client-certificate-data": "", "client-key": "/k" }),
            ),
        ] {
            let refused = refusal(&cluster, &user);
            assert!(refused.contains(field) && refused.contains("--flatten"), "{refused}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_said_and_never_shown() {
        let server =
            json!({ "server": "https://api.example", "certificate-authority-data": "hunter2" });
        for said in [
            refusal(&server, &json!({})),
            refusal(&json!({ "server": "https://api.example" }), &json!({ "token": "hun\nter2" })),
            from_text("hunter2: [").expect_err("is refused"),
            from_text("current-context: hunter\n").expect_err("is refused"),
        ] {
            assert!(!said.contains("ter2"), "{said}");
        }
    }
}
