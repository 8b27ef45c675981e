//! Why a request to the API server came to nothing, and whether to try it again.

use std::{error::Error, fmt, iter::successors, time::Duration};

use http::{Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use kube::client::{AuthError, Body};
use serde::Deserialize;

use crate::causes::causes;

/// How long we wait at the most where an answer asks to: a proxy may write anything there.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How much of a refusal is read, in bytes, and how much of its message is kept, in characters.
const LONGEST_STATUS: usize = 16 * 1024;
const LONGEST_MESSAGE: usize = 500;

/// What to do where nobody knows the credentials.
const RENEW: &str =
    "renew the kubeconfig's token or certificate; on EKS, see aws eks list-access-entries";

/// Why a request to the API server came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApiError {
    /// 404: the API server has no such thing as GitRepos. Where one object may be missing, whoever asks for it takes it so.
    #[error(
        "the API server answered 404: it knows no GitRepos (is this the cluster that Fleet is installed in?)"
    )]
    NotFound,
    /// 401: the API server does not know the credentials; what it says.
    #[error("unauthorized: the API server does not know the credentials: {0} ({RENEW})")]
    Unauthorized(String),
    /// 403: the credentials give no right; the API server says who may not do what.
    #[error("forbidden: the API server answered: {words}{remedy}", words = .0, remedy = remedy(.0))]
    Forbidden(String),
    /// 422: a JSON patch's test failed, or the API server does not take the change.
    #[error("the API server refused the change")]
    Unprocessable,
    /// 409, 429 and 5xx pass; the time is the server's `Retry-After`, a minute at the most.
    #[error("the API server answered {0}")]
    Passing(StatusCode, Option<Duration>),
    /// Any other answer.
    #[error("the API server answered {0}")]
    Unexpected(StatusCode),
    /// No answer, from whom, within the request's time limit.
    #[error("no answer from {0} within {1:?}")]
    TimedOut(String, Duration),
    /// Nothing was sent before the delivery's time was over, or no answer came.
    #[error("no answer from the API server in time")]
    TooLate,
    /// No connection, or it broke.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
    /// There is no way to the API server until somebody puts something right: no such cluster, no right in AWS, a
    /// kubeconfig that cannot be used, a certificate that we do not trust.
    #[error("the cluster cannot be used: {0}")]
    Misconfigured(String),
    /// The answer is not what the API promises.
    #[error("unreadable answer of the API server: {0}")]
    Unreadable(String),
}

impl ApiError {
    /// Whether the same request may succeed a moment later.
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(self, Self::Passing(..) | Self::TimedOut(..) | Self::Unreachable(_))
    }

    /// Whether it is the right to ask that is missing.
    pub(crate) const fn is_denied(&self) -> bool {
        matches!(self, Self::Forbidden(_))
    }

    /// Whether what was asked for may have been done all the same.
    pub(crate) fn may_have_been_done(&self) -> bool {
        match self {
            Self::TimedOut(..) | Self::TooLate | Self::Unreachable(_) => true,
            Self::Passing(status, _) => status.is_server_error(),
            _ => false,
        }
    }

    /// The same, with whom we wanted to reach.
    pub(super) fn at(self, whom: &impl fmt::Display) -> Self {
        match self {
            Self::Unreachable(why) => Self::Unreachable(format!("{whom}: {why}")),
            Self::Misconfigured(why) => Self::Misconfigured(format!("{whom}: {why}")),
            error => error,
        }
    }

    /// How long the server asked to wait.
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Passing(_, retry_after) => *retry_after,
            _ => None,
        }
    }
}

/// Gives an answer that is a success, and the error of any other, in the API server's own words where these help.
pub(super) async fn checked(response: Response<Body>) -> Result<Response<Body>, ApiError> {
    let status = response.status();
    match status {
        _ if status.is_success() => Ok(response),
        StatusCode::UNAUTHORIZED => Err(ApiError::Unauthorized(own_words(response).await)),
        StatusCode::FORBIDDEN => Err(ApiError::Forbidden(own_words(response).await)),
        _ => Err(failure(&response)),
    }
}

/// What gives the right that a refusal of the API server misses; whoever reads secrets says it of those.
fn remedy(words: &str) -> &'static str {
    match words.contains("gitrepos") {
        true => {
            " (apply knative/rbac in the cluster, knative/eks or knative/kubeconfig outside; with GITREPO_NAMESPACES, \
             knative/components/gitrepo-namespaces)"
        }
        false => "",
    }
}

/// The message of a [Status](https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/), which for
/// 403 names user, verb and resource. One line, bounded: what answers may be no API server.
async fn own_words(response: Response<Body>) -> String {
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    let status = response.status();
    let body = Limited::new(response.into_body(), LONGEST_STATUS).collect().await;
    let message = body.ok().and_then(|body| {
        let status: Status = serde_json::from_slice(&body.to_bytes()).ok()?;
        Some(status.message)
    });
    let Some(message) = message else { return status.to_string() };
    let words = message.chars().map(|char| if char.is_control() { ' ' } else { char });
    words.take(LONGEST_MESSAGE).collect()
}

fn failure<B>(response: &Response<B>) -> ApiError {
    let status = response.status();
    let seconds = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = seconds
        .and_then(|seconds| seconds.parse().ok())
        .map(|seconds| LONGEST_WAIT.min(Duration::from_secs(seconds)));
    match status {
        StatusCode::NOT_FOUND => ApiError::NotFound,
        StatusCode::UNPROCESSABLE_ENTITY => ApiError::Unprocessable,
        StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS => {
            ApiError::Passing(status, retry_after)
        }
        _ if status.is_server_error() => ApiError::Passing(status, retry_after),
        _ => ApiError::Unexpected(status),
    }
}

/// The error of a request without an answer.
pub(super) fn unreachable_server(error: &(dyn Error + 'static)) -> ApiError {
    let why = without_output(error);
    match tls_error(error) {
        // Neither who answers nor whom we trust changes by asking again.
        Some(rustls::Error::InvalidCertificate(_)) => ApiError::Misconfigured(why),
        _ => ApiError::Unreachable(why),
    }
}

/// What TLS says, from within the errors around it. [`std::io::Error`] does not count what it wraps as its source.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    successors(Some(error), |&error| match error.downcast_ref::<std::io::Error>() {
        Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
    .find_map(<dyn Error>::downcast_ref)
}

/// What went wrong, without what a kubeconfig's credential plugin was given or printed: either may be a token.
pub(super) fn without_output(error: &(dyn Error + 'static)) -> String {
    let plugin =
        successors(Some(error), |&error| error.source()).find_map(<dyn Error>::downcast_ref);
    match plugin {
        Some(AuthError::AuthExecRun { out, .. }) => {
            format!("the kubeconfig's credential plugin failed: {}", out.status)
        }
        Some(AuthError::AuthExecParse(_)) => {
            "the kubeconfig's credential plugin printed no ExecCredential".to_owned()
        }
        // kube's own "ServiceError" tells nobody anything.
        _ => match error.downcast_ref() {
            Some(kube::Error::Service(inner)) => causes(&**inner),
            _ => causes(error),
        },
    }
}

/// Says where JSON is unreadable, never what it held: it may be a secret.
pub(super) fn unreadable(error: &serde_json::Error) -> ApiError {
    let (line, column) = (error.line(), error.column());
    ApiError::Unreadable(format!("{:?} error in line {line}, column {column}", error.classify()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_makes_us_wait_a_minute_at_the_most() {
        let max = u64::MAX.to_string();
        for (asked, seconds) in
            [("0", Some(0)), ("59", Some(59)), ("61", Some(60)), (&*max, Some(60)), ("soon", None)]
        {
            let answer = Response::builder().status(429).header(header::RETRY_AFTER, asked);
            let wait = failure(&answer.body(()).expect("an answer")).retry_after();
            assert_eq!(wait, seconds.map(Duration::from_secs), "{asked}");
        }
    }
}
