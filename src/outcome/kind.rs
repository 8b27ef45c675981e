//! The outcomes, by the names that answers, logs and figures have for them, and the status of each.

use http::StatusCode;

/// The outcomes of contract §6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// At least one GitRepo was patched, or had the commit.
    Accepted,
    /// Nothing follows, or it was no push.
    Ignored,
    /// A ping that nothing speaks against.
    Pong,
    /// The deadline came while patches were under way; they go on.
    InProgress,
    /// The delivery was handed to the retry queue.
    Queued,
    /// The delivery was forwarded to the clusters' queues.
    Forwarded,
    /// The API server or a secret store is not to be had.
    Unavailable,
    /// No secret verifies the delivery.
    Unauthorized,
    /// The body is not what the provider promises.
    Malformed,
    /// No header of a known provider.
    UnknownProvider,
    /// Neither JSON nor a form.
    UnsupportedMediaType,
    /// The body is larger than the limit.
    TooLarge,
    /// The body did not arrive before the deadline.
    Incomplete,
}

impl Kind {
    /// The status that it is answered with.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Accepted | Self::Ignored | Self::Pong => StatusCode::OK,
            Self::InProgress | Self::Queued | Self::Forwarded => StatusCode::ACCEPTED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Malformed | Self::UnknownProvider => StatusCode::BAD_REQUEST,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Incomplete => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// Its name in answers, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Ignored => "ignored",
            Self::Pong => "pong",
            Self::InProgress => "in_progress",
            Self::Queued => "queued",
            Self::Forwarded => "forwarded",
            Self::Unavailable => "unavailable",
            Self::Unauthorized => "unauthorized",
            Self::Malformed => "malformed",
            Self::UnknownProvider => "unknown_provider",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::TooLarge => "too_large",
            Self::Incomplete => "incomplete",
        }
    }

    pub(super) const fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::Unauthorized
                | Self::Malformed
                | Self::UnknownProvider
                | Self::UnsupportedMediaType
                | Self::TooLarge
                | Self::Incomplete
        )
    }
}
