//! Why a request to the API server came to nothing, and whether to try it again.

use std::{error::Error, iter::successors, time::Duration};

use http::{Response, StatusCode, header};
use kube::client::AuthError;

use crate::causes::causes;

/// How long we wait at the most where an answer asks to: a proxy may write anything there.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Why a request to the API server came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApiError {
    /// 404
    #[error("not found")]
    NotFound,
    /// 403, or 401: the API server does not know the credentials, or gives them no right.
    #[error("forbidden: the API server answered {0}")]
    Forbidden(StatusCode),
    /// 422: a JSON patch's test failed, or the API server does not take the change.
    #[error("the API server refused the change")]
    Unprocessable,
    /// 409, 429 and 5xx pass; the time is the server's `Retry-After`, a minute at the most.
    #[error("the API server answered {0}")]
    Passing(StatusCode, Option<Duration>),
    /// Any other answer.
    #[error("the API server answered {0}")]
    Unexpected(StatusCode),
    /// No answer within the request's time limit.
    #[error("no answer from the API server within {0:?}")]
    TimedOut(Duration),
    /// No answer before the delivery's time was over.
    #[error("no answer from the API server in time")]
    TooLate,
    /// No connection, or it broke.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
    /// The answer is not what the API promises.
    #[error("unreadable answer of the API server: {0}")]
    Unreadable(String),
}

impl ApiError {
    /// Whether the same request may succeed a moment later.
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(self, Self::Passing(..) | Self::TimedOut(_) | Self::Unreachable(_))
    }

    /// Whether what was asked for may have been done all the same.
    pub(crate) fn may_have_been_done(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::TooLate | Self::Unreachable(_) => true,
            Self::Passing(status, _) => status.is_server_error(),
            _ => false,
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

/// The error of an answer; `None` for a success.
pub(super) fn failure<B>(response: &Response<B>) -> Option<ApiError> {
    let status = response.status();
    if status.is_success() {
        return None;
    }
    let seconds = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = seconds
        .and_then(|seconds| seconds.parse().ok())
        .map(|seconds| LONGEST_WAIT.min(Duration::from_secs(seconds)));
    Some(match status {
        StatusCode::NOT_FOUND => ApiError::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ApiError::Forbidden(status),
        StatusCode::UNPROCESSABLE_ENTITY => ApiError::Unprocessable,
        StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS => {
            ApiError::Passing(status, retry_after)
        }
        _ if status.is_server_error() => ApiError::Passing(status, retry_after),
        _ => ApiError::Unexpected(status),
    })
}

/// The error of a request without an answer.
pub(super) fn unreachable_server(error: &(dyn Error + 'static)) -> ApiError {
    ApiError::Unreachable(without_output(error))
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
        _ => causes(error),
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
            let refused = failure(&answer.body(()).expect("an answer"));
            let wait = refused.expect("a refusal").retry_after();
            assert_eq!(wait, seconds.map(Duration::from_secs), "{asked}");
        }
    }
}
