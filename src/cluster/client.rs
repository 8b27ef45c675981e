//! Makes the HTTP client for one API server: TLS, proxy and credentials. Time limits and retries are `cluster`'s own.

use std::time::Duration;

use http::{HeaderValue, header::USER_AGENT};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::{
        legacy::{
            self,
            connect::{Connect, HttpConnector, proxy::Tunnel},
        },
        proxy::matcher::{Intercept, Matcher},
    },
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt as _},
};
use rustls::ClientConfig;
use tower::{BoxError, ServiceBuilder};
use tower_http::decompression::DecompressionLayer;

use super::{error::without_output, trust::trust};

const OUR_USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("fleet-webhook/", env!("CARGO_PKG_VERSION")));

/// After how long without a word the kernel asks whether the other side is still there, how often, and how many times:
/// a connection that died unheard is noticed after 15 s even where nobody waits for it.
const KEEPALIVE: Duration = Duration::from_secs(9);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_RETRIES: u32 = 2;

/// Makes a client that has no connection yet. Blocks while a credential plugin of the kubeconfig runs.
///
/// # Errors
/// What is wrong with what the kubeconfig or the pod holds, without its content.
pub(super) fn client(mut config: Config) -> Result<Client, String> {
    config.headers.push((USER_AGENT, OUR_USER_AGENT));
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    let tls = tls(&config)?;
    match proxy(&config)? {
        None => over(https(&config, tls, tcp)?, config),
        Some(proxy) => {
            let to_proxy = HttpsConnectorBuilder::new()
                .with_tls_config(tls.clone())
                .https_or_http()
                .enable_http1()
                .wrap_connector(tcp);
            let mut tunnel = Tunnel::new(proxy.uri().clone(), to_proxy);
            if let Some(credentials) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(credentials.clone());
            }
            over(https(&config, tls, tunnel)?, config)
        }
    }
}

fn over<C>(connector: C, config: Config) -> Result<Client, String>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let http: legacy::Client<C, Body> =
        legacy::Client::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(DecompressionLayer::new().gzip(!config.disable_compression))
        .option_layer(config.auth_layer().map_err(|error| without_output(&error))?)
        .layer(config.extra_headers_layer().map_err(|error| without_output(&error))?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace))
}

fn https<C>(config: &Config, tls: ClientConfig, connector: C) -> Result<HttpsConnector<C>, String> {
    let mut https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name.clone().try_into();
        let name = name.map_err(|_| "its tls-server-name is no name of a server".to_owned())?;
        https = https.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(https.enable_http1().wrap_connector(connector))
}

fn tls(config: &Config) -> Result<ClientConfig, String> {
    if config.accept_invalid_certs {
        return Err("it sets insecure-skip-tls-verify; TLS is always verified".to_owned());
    }
    let mut tls = config.rustls_client_config().map_err(|error| match &error {
        kube::Error::RustlsTls(kube::client::RustlsTlsError::InvalidPrivateKey(_)) => format!(
            "{}; a client key may be RSA, P-256, P-384 or Ed25519, and not P-521",
            without_output(&error)
        ),
        _ => without_output(&error),
    })?;
    // The pod's own comes from a file that kube reads again.
    if let (Some(certificates), None) = (&config.root_cert, &config.root_cert_file) {
        trust(&mut tls, certificates)?;
    }
    Ok(tls)
}

/// The proxy on the way: the kubeconfig's, or the environment's by the usual rules; none to the pod's own cluster.
fn proxy(config: &Config) -> Result<Option<Intercept>, String> {
    let matcher = match &config.proxy_url {
        Some(url) => Matcher::builder().all(url.to_string()).build(),
        None if config.root_cert_file.is_some() => return Ok(None),
        None => Matcher::from_env(),
    };
    let proxy = matcher.intercept(&config.cluster_url);
    let is_http = |proxy: &Intercept| matches!(proxy.uri().scheme_str(), Some("http" | "https"));
    if proxy.as_ref().map_or(config.proxy_url.is_some(), |proxy| !is_http(proxy)) {
        return Err("its proxy cannot be used; it takes an http or https URL".to_owned());
    }
    Ok(proxy)
}
