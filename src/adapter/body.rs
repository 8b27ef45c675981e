//! Reads a request's body whole: in time, within the limit, and without what else its chunks would hold on to.

use std::{io, time::Instant};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout_at;
use tower::BoxError;

use crate::{delivery::Delivery, outcome::Kind};

/// How much room is made for a body before any of it is there, in bytes at the most.
const FIRST_BUFFER: usize = 1024 * 1024;

/// Reads a delivery whose body arrives by `deadline`.
pub(super) async fn read(
    parts: Parts,
    body: Body,
    limit: usize,
    deadline: Instant,
) -> Result<Delivery, Kind> {
    let length = parts.headers.get(header::CONTENT_LENGTH);
    let announced: usize =
        length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or_default();
    if announced > limit {
        return Err(Kind::TooLarge);
    }
    let whole = collect(Limited::new(body, limit), announced.min(FIRST_BUFFER));
    match timeout_at(deadline.into(), whole).await {
        Ok(Ok(body)) => Delivery::new(parts.headers, body)
            .map(|delivery| delivery.attached_to(parts.extensions))
            .map_err(|_| Kind::UnsupportedMediaType),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Kind::TooLarge),
        Ok(Err(error)) if is_out_of_memory(&*error) => Err(Kind::Unavailable),
        Ok(Err(_)) | Err(_) => Err(Kind::Incomplete),
    }
}

/// Copies a body together: each of its chunks may be a few bytes of a whole read buffer, which it would hold on to.
async fn collect(mut body: Limited<Body>, expected: usize) -> Result<Bytes, BoxError> {
    let mut whole = BytesMut::with_capacity(expected);
    while let Some(frame) = body.frame().await {
        if let Ok(chunk) = frame?.into_data() {
            whole.extend_from_slice(&chunk);
        }
    }
    Ok(whole.freeze())
}

/// Whether a driver had no room for the body.
fn is_out_of_memory(error: &(dyn std::error::Error + 'static)) -> bool {
    let is = |error: &io::Error| error.kind() == io::ErrorKind::OutOfMemory;
    error.downcast_ref().is_some_and(is) || error.source().is_some_and(is_out_of_memory)
}
