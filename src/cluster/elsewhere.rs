//! A cluster that AWS tells the way to: looked for at the first request, and again when it no longer takes us.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use aws_config::SdkConfig;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header::AUTHORIZATION, request::Parts};
use http_body_util::BodyExt as _;
use kube::{
    Client,
    client::{Body, ClientBuilder},
    config::{KubeConfigOptions, Kubeconfig},
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tokio::sync::Mutex;
use tower::BoxError;

use super::connect;
use crate::aws::{
    eks::{self, TokenSource},
    secrets_manager::{SecretsManager, Stage},
};

/// How often a cluster that refuses our credentials may make us look again, and at the most how long a look that found
/// nothing stands for those after it.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// How long the first of them does: it may have been a hiccup.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Who knows the way.
#[derive(Debug)]
pub(super) enum Guide {
    /// A kubeconfig in Secrets Manager, by id or ARN.
    KubeconfigSecret(SecretsManager, String),
    /// EKS, by the cluster's name.
    Eks(&'static SdkConfig, String),
}

/// Names the way, for the log.
impl fmt::Display for Guide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KubeconfigSecret(_, id) => write!(f, "kubeconfig in secret {id}"),
            Self::Eks(_, cluster) => write!(f, "EKS cluster {cluster}"),
        }
    }
}

/// Makes a client; nothing is asked of the network yet.
pub(super) fn client(guide: Guide) -> Client {
    let elsewhere = Arc::new(Elsewhere { guide, looked: Mutex::default() });
    let service = tower::service_fn(move |request| {
        let elsewhere = Arc::clone(&elsewhere);
        async move { elsewhere.send(request).await }
    });
    ClientBuilder::new(service, "default").build()
}

struct Elsewhere {
    guide: Guide,
    looked: Mutex<Looked>,
}

/// What came of looking for the way.
#[derive(Default)]
struct Looked {
    /// What was found last.
    way: Option<Way>,
    /// The last look, if it found nothing.
    in_vain: Option<InVain>,
}

struct InVain {
    /// By the wall clock, as [`Way::found`].
    began: SystemTime,
    /// How long it stands for the looks after it.
    pause: Duration,
    error: String,
}

#[derive(Clone)]
struct Way {
    client: Client,
    tokens: Option<TokenSource>,
    /// By the wall clock: Lambda freezes the process between events.
    found: SystemTime,
}

impl Elsewhere {
    /// Sends a request; looks for the way anew, and sends it once more, if the cluster does not know our credentials
    /// or is not where it was.
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let way = self.way(None).await?;
        let answer = way.send(parts.clone(), body.clone()).await;
        let is_astray =
            answer.as_ref().map_or(true, |response| response.status() == StatusCode::UNAUTHORIZED);
        let age = way.found.elapsed().unwrap_or(Duration::MAX);
        if !is_astray || age < LOOK_AGAIN_AFTER {
            return answer;
        }
        let way = self.way(Some(way.found)).await?;
        way.send(parts, body).await
    }

    /// The way that was found last, or a new one if that is the one which led nowhere.
    async fn way(&self, astray: Option<SystemTime>) -> Result<Way, String> {
        let mut looked = self.looked.lock().await;
        if let Some(way) = looked.way.as_ref().filter(|way| Some(way.found) != astray) {
            return Ok(way.clone());
        }
        let pause = match &looked.in_vain {
            Some(last) if last.began.elapsed().is_ok_and(|age| age < last.pause) => {
                return Err(last.error.clone());
            }
            Some(last) => LOOK_AGAIN_AFTER.min(last.pause * 2),
            None => FIRST_PAUSE,
        };
        let began = SystemTime::now();
        // A request whose time is over takes the look with it.
        let error = format!("{}: no answer in time", self.guide);
        looked.in_vain = Some(InVain { began, pause, error });
        match self.guide.find().await {
            Ok(way) => {
                *looked = Looked { way: Some(way.clone()), in_vain: None };
                Ok(way)
            }
            Err(error) => {
                let error = format!("{error:#}");
                looked.in_vain = Some(InVain { began, pause, error: error.clone() });
                Err(error)
            }
        }
    }
}

impl Guide {
    async fn find(&self) -> anyhow::Result<Way> {
        self.follow().await.with_context(|| self.to_string())
    }

    async fn follow(&self) -> anyhow::Result<Way> {
        let (config, tokens) = match self {
            Self::KubeconfigSecret(secrets, id) => (kubeconfig(secrets, id).await?, None),
            Self::Eks(aws, cluster) => {
                (described(aws, cluster).await?, Some(TokenSource::new(aws, cluster)?))
            }
        };
        Ok(Way { client: connect::client(config)?, tokens, found: SystemTime::now() })
    }
}

impl Way {
    async fn send(&self, mut parts: Parts, body: Bytes) -> Result<Response<Body>, BoxError> {
        if let Some(tokens) = &self.tokens {
            parts.headers.insert(AUTHORIZATION, tokens.bearer(SystemTime::now()).await?);
        }
        let request = Request::from_parts(parts, Body::from(body.to_vec()));
        self.client.send(request).await.map_err(BoxError::from)
    }
}

async fn described(aws: &SdkConfig, cluster: &str) -> anyhow::Result<kube::Config> {
    let described = eks::describe(aws, cluster).await?;
    let endpoint = described.endpoint.parse().context("the cluster's endpoint is no URL")?;
    let mut config = kube::Config::new(endpoint);
    config.root_cert = Some(certificates(&described.certificate_authority)?);
    Ok(config)
}

fn certificates(authority: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let pem =
        BASE64_STANDARD.decode(authority).context("the certificate authority is no base64")?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
        .collect::<Result<Vec<_>, _>>()
        .context("the certificate authority is no PEM")?;
    anyhow::ensure!(!certificates.is_empty(), "the certificate authority holds no certificate");
    Ok(certificates)
}

async fn kubeconfig(secrets: &SecretsManager, id: &str) -> anyhow::Result<kube::Config> {
    let version = secrets.version(id, Stage::Current).await?;
    let text = String::from_utf8(version.value).context("its value is not text")?;
    let unusable = |error| anyhow::anyhow!(connect::without_content(&error));
    let kubeconfig = Kubeconfig::from_yaml(&text).map_err(unusable)?;
    let options = KubeConfigOptions::default();
    kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable)
}
