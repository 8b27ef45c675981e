//! An EKS cluster: where it is, and tokens for it from the function's own IAM role; `cluster` uses both.
//!
//! EKS takes as a bearer token the [URL of a presigned `GetCallerIdentity`][token]: it asks STS who the caller is.
//!
//! [token]: https://github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use aws_config::SdkConfig;
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};
use aws_sdk_eks::{Client, error::ProvideErrorMetadata};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderValue, Request};

use super::own_words;
use crate::{causes::causes, remembered::Remembered};

/// What the presigned URL says of itself. EKS takes it for 15 minutes whatever it says.
const EXPIRES: Duration = Duration::from_secs(60);
/// Five minutes for clocks that differ.
const RENEWED_AFTER: Duration = Duration::from_secs(10 * 60);
/// A token dies with the credentials that signed it.
const CREDENTIALS_MARGIN: Duration = Duration::from_secs(60);

/// Where a cluster is.
#[derive(Clone, Debug)]
pub struct Described {
    /// The API server's URL.
    pub endpoint: String,
    /// The authority that its certificate is from: PEM in base64.
    pub certificate_authority: String,
}

/// Why a cluster cannot be found.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EksError {
    /// It does not exist, may not be described, or has no address; AWS says which. To ask again changes nothing.
    #[error("{0}")]
    Refused(String),
    /// EKS did not answer.
    #[error("EKS cannot be reached: {0}")]
    Unavailable(String),
}

/// Asks EKS where a cluster is.
///
/// # Errors
/// [`EksError`]
pub async fn describe(aws: &SdkConfig, cluster: &str) -> Result<Described, EksError> {
    let described = Client::new(aws).describe_cluster().name(cluster).send().await;
    let described = described.map_err(|error| match error.raw_response() {
        // Throttling is a 400 too.
        Some(answer) if answer.status().is_client_error() && !is_throttled(&error) => {
            EksError::Refused(own_words("eks:DescribeCluster", &error))
        }
        _ => EksError::Unavailable(causes(&error)),
    })?;
    let refused = |lacks: &str| EksError::Refused(lacks.to_owned());
    let described = described.cluster.ok_or_else(|| refused("EKS described no cluster"))?;
    let authority = described.certificate_authority.and_then(|authority| authority.data);
    Ok(Described {
        endpoint: described.endpoint.ok_or_else(|| refused("the cluster has no endpoint yet"))?,
        certificate_authority: authority
            .ok_or_else(|| refused("the cluster has no certificate authority yet"))?,
    })
}

fn is_throttled(error: &impl ProvideErrorMetadata) -> bool {
    error.code().is_some_and(|code| code.contains("Throttl") || code.contains("TooManyRequests"))
}

/// Makes tokens for one cluster, and each only when the one before grows old.
#[derive(Clone)]
pub struct TokenSource(Arc<Source>);

struct Source {
    cluster: String,
    region: String,
    credentials: SharedCredentialsProvider,
    token: Remembered<Result<Token, String>>,
}

#[derive(Clone)]
struct Token {
    bearer: HeaderValue,
    from: SystemTime,
    until: SystemTime,
}

impl TokenSource {
    /// Prepares tokens for `cluster`.
    ///
    /// # Errors
    /// No region or no credentials are configured.
    pub fn new(aws: &SdkConfig, cluster: &str) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Source {
            cluster: cluster.to_owned(),
            region: aws.region().context("no AWS region is configured")?.to_string(),
            credentials: aws.credentials_provider().context("no AWS credentials are configured")?,
            token: Remembered::default(),
        })))
    }

    /// The value of the `Authorization` header at `now`.
    ///
    /// # Errors
    /// No credentials could be had.
    pub async fn bearer(&self, now: SystemTime) -> anyhow::Result<HeaderValue> {
        let holds = |token: &Token| token.from <= now && now < token.until;
        let make = async { self.0.make_token(now).await.map_err(|error| format!("{error:#}")) };
        let token = self.0.token.get(|token, _| token.as_ref().is_ok_and(holds), make).await;
        token.map(|token| token.bearer).map_err(anyhow::Error::msg)
    }
}

impl Source {
    async fn make_token(&self, now: SystemTime) -> anyhow::Result<Token> {
        let credentials = self.credentials.provide_credentials().await;
        let credentials = credentials.map_err(|error| anyhow::anyhow!(causes(&error)))?;
        let mut until = now + RENEWED_AFTER;
        if let Some(end) = credentials.expiry().and_then(|end| end.checked_sub(CREDENTIALS_MARGIN))
        {
            until = until.min(end);
        }
        let signed = sign_token(&self.cluster, &self.region, credentials, now)?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {signed}"))?;
        bearer.set_sensitive(true);
        Ok(Token { bearer, from: now, until })
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource").field("cluster", &self.0.cluster).finish_non_exhaustive()
    }
}

fn sign_token(
    cluster: &str,
    region: &str,
    credentials: Credentials,
    now: SystemTime,
) -> anyhow::Result<String> {
    let url = format!(
        "https://sts.{region}.{}/?Action=GetCallerIdentity&Version=2011-06-15",
        dns_suffix(region)
    );
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(EXPIRES);
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sts")
        .time(now)
        .settings(settings)
        .build()?
        .into();
    let headers = [("x-k8s-aws-id", cluster)];
    let request = SignableRequest::new("GET", &url, headers.into_iter(), SignableBody::Bytes(b""))?;
    let (signature, _) = sign(request, &params)?.into_parts();
    let mut presigned = Request::get(&url).body(())?;
    signature.apply_to_request_http1x(&mut presigned);
    let encoded = BASE64_URL_SAFE_NO_PAD.encode(presigned.uri().to_string());
    Ok(format!("k8s-aws-v1.{encoded}"))
}

/// The domain of a region's partition. EKS takes a token only from its own region's STS.
fn dns_suffix(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("cn-") => "amazonaws.com.cn",
        _ if region.starts_with("eusc-") => "amazonaws.eu",
        _ if region.starts_with("us-iso-") => "c2s.ic.gov",
        _ if region.starts_with("us-isob-") => "sc2s.sgov.gov",
        _ if region.starts_with("us-isof-") => "csp.hci.ic.gov",
        _ if region.starts_with("eu-isoe-") => "cloud.adc-e.uk",
        _ => "amazonaws.com",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aws_config::Region;

    use super::*;

    /// 2026-11-23T21:00:00Z
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_467_600)
    }

    fn keys(session: Option<&str>, expires: Option<SystemTime>) -> Credentials {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        Credentials::new("AKIDEXAMPLE", secret, session.map(str::to_owned), expires, "test")
    }

    fn source(expires: Option<SystemTime>) -> TokenSource {
        let credentials = SharedCredentialsProvider::new(keys(None, expires));
        let region = Region::new("eu-central-1");
        let aws = SdkConfig::builder().region(region).credentials_provider(credentials).build();
        TokenSource::new(&aws, "production").expect("a source")
    }

    /// The presigned URL's parts; their order carries no meaning.
    fn parts(token: &str) -> BTreeSet<String> {
        let encoded = token.strip_prefix("k8s-aws-v1.").expect("the prefix");
        let url = BASE64_URL_SAFE_NO_PAD.decode(encoded).expect("base64");
        let url = String::from_utf8(url).expect("text");
        url.split(['?', '&']).map(str::to_owned).collect()
    }

    // Both from `tests/tools/eks-token.py`, which has botocore make them.
    #[test]
    fn a_token_equals_the_one_of_aws_eks_get_token() {
        let signed = sign_token("production", "eu-central-1", keys(None, None), now());
        assert_eq!(
            signed.expect("a token"),
            "k8s-aws-v1.aHR0cHM6Ly9zdHMuZXUtY2VudHJhbC0xLmFtYXpvbmF3cy5jb20vP0FjdGlvbj1HZXRDYWxsZXJJZGVudGl0eSZWZXJzaW9uPTIwMTEtMDYtMTUmWC1BbXotQWxnb3JpdGhtPUFXUzQtSE1BQy1TSEEyNTYmWC1BbXotQ3JlZGVudGlhbD1BS0lERVhBTVBMRSUyRjIwMjYxMTIzJTJGZXUtY2VudHJhbC0xJTJGc3RzJTJGYXdzNF9yZXF1ZXN0JlgtQW16LURhdGU9MjAyNjExMjNUMjEwMDAwWiZYLUFtei1FeHBpcmVzPTYwJlgtQW16LVNpZ25lZEhlYWRlcnM9aG9zdCUzQngtazhzLWF3cy1pZCZYLUFtei1TaWduYXR1cmU9YzI5NGMzZWFhYjE0YzJmNTQxZDE5N2RjYzU2Yjc4MzE5MjU1Y2ExMDdhNWI0OWE1Nzk1NTNmZDYyYzhiZDM4YQ"
        );
        let session = Some("FwoGZXIvYXdzEXAMPLE/token+/=");
        let signed = sign_token("production", "cn-north-1", keys(session, None), now());
        let botocore = "k8s-aws-v1.aHR0cHM6Ly9zdHMuY24tbm9ydGgtMS5hbWF6b25hd3MuY29tLmNuLz9BY3Rpb249R2V0Q2FsbGVySWRlbnRpdHkmVmVyc2lvbj0yMDExLTA2LTE1JlgtQW16LUFsZ29yaXRobT1BV1M0LUhNQUMtU0hBMjU2JlgtQW16LUNyZWRlbnRpYWw9QUtJREVYQU1QTEUlMkYyMDI2MTEyMyUyRmNuLW5vcnRoLTElMkZzdHMlMkZhd3M0X3JlcXVlc3QmWC1BbXotRGF0ZT0yMDI2MTEyM1QyMTAwMDBaJlgtQW16LUV4cGlyZXM9NjAmWC1BbXotU2lnbmVkSGVhZGVycz1ob3N0JTNCeC1rOHMtYXdzLWlkJlgtQW16LVNlY3VyaXR5LVRva2VuPUZ3b0daWEl2WVhkekVYQU1QTEUlMkZ0b2tlbiUyQiUyRiUzRCZYLUFtei1TaWduYXR1cmU9YzAxMmQ5ODg2YTIxM2M3ZTMxMjhmYzRkZWUyZTY1MmQ1Y2VjNWUxMzE3ODFiOWIwNGVhYjhjNTUwN2VmZGUwYQ";
        assert_eq!(parts(&signed.expect("a token")), parts(botocore));
    }

    #[tokio::test]
    async fn a_token_is_used_for_ten_minutes_of_the_wall_clock() {
        let source = source(None);
        let first = source.bearer(now()).await.expect("a token");
        let later = |seconds| source.bearer(now() + Duration::from_secs(seconds));
        assert_eq!(later(599).await.expect("a token"), first);
        let second = later(600).await.expect("a token");
        assert_ne!(second, first);
        assert_eq!(later(601).await.expect("a token"), second);
        // The clock was set back: the token is one from the future, which nobody takes.
        assert_eq!(source.bearer(now()).await.expect("a token"), first);
    }

    #[tokio::test]
    async fn a_token_is_renewed_before_its_credentials_end() {
        let source = source(Some(now() + Duration::from_secs(300)));
        let first = source.bearer(now()).await.expect("a token");
        let later = |seconds| source.bearer(now() + Duration::from_secs(seconds));
        assert_eq!(later(239).await.expect("a token"), first);
        assert_ne!(later(240).await.expect("a token"), first);
    }

    #[tokio::test]
    async fn debug_output_holds_no_token() {
        let source = source(None);
        let bearer = source.bearer(now()).await.expect("a token");
        assert!(bearer.is_sensitive());
        assert!(!format!("{source:?} {bearer:?}").contains("k8s-aws-v1"));
    }
}
