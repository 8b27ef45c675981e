//! Reads a request's body whole: in time, within the limit, and without what else its chunks would hold on to.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout, timeout_at};

use super::memory::Room;
use crate::outcome::Kind;

/// How much room is made for a body before any of it is there, in bytes at the most.
const FIRST_BUFFER: usize = 64 * 1024;

/// How long what was refused is read on.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Why a request is not taken, in a phrase for its sender.
#[derive(Debug)]
pub(super) struct Refused(pub(super) Kind, pub(super) &'static str);

const TOO_LARGE: Refused = Refused(Kind::TooLarge, "larger than MAX_BODY_BYTES");
const INCOMPLETE: Refused = Refused(Kind::Incomplete, "the body did not arrive in time");

/// There was no room for it by its deadline.
pub(super) const NO_ROOM: Refused = Refused(Kind::Unavailable, "no room in memory");

/// Reads a body that arrives by `deadline` and is no larger than `limit` bytes.
///
/// # Errors
/// Why there is none.
pub(super) async fn read(
    headers: &HeaderMap,
    body: &mut Body,
    room: &mut Room<'_>,
    limit: usize,
    deadline: Instant,
) -> Result<Bytes, Refused> {
    let length = headers.get(header::CONTENT_LENGTH);
    let announced: usize =
        length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or_default();
    if announced > limit {
        return Err(TOO_LARGE);
    }
    // Copied together: each chunk may be a few bytes of a whole read buffer, which it would hold on to.
    let mut whole = BytesMut::with_capacity(announced.min(FIRST_BUFFER));
    loop {
        let frame = timeout_at(deadline, body.frame()).await;
        let frame = match frame.map_err(|_elapsed| INCOMPLETE)? {
            None => return Ok(whole.freeze()),
            Some(frame) => frame.map_err(|_broken| INCOMPLETE)?,
        };
        let Ok(chunk) = frame.into_data() else { continue };
        if whole.len().saturating_add(chunk.len()) > limit {
            return Err(TOO_LARGE);
        }
        let room = timeout_at(deadline, room.take(chunk.len())).await;
        room.map_err(|_elapsed| NO_ROOM)?;
        whole.extend_from_slice(&chunk);
    }
}

/// Reads a refused body on for a moment: a proxy that is still sending would see a broken pipe and not the answer.
pub(super) async fn read_on(mut body: Body) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = timeout(LINGER_TIME, rest).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::memory::Memory;

    const LIMIT: usize = 1024 * 1024;

    async fn read_in(room: &mut Room<'_>, length: usize) -> Result<Bytes, Refused> {
        let deadline = Instant::now() + Duration::from_secs(4);
        let mut body = Body::from(vec![b' '; length]);
        read(&HeaderMap::new(), &mut body, room, LIMIT, deadline).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_for_which_there_is_no_room_in_time_has_to_come_again() {
        let memory = Memory::for_bodies_of(LIMIT);
        let mut held = [memory.room(), memory.room()];
        for room in &mut held {
            room.take(LIMIT).await;
        }

        let large = read_in(&mut memory.room(), LIMIT).await;
        assert!(matches!(large, Err(Refused(Kind::Unavailable, _))), "{large:?}");
        assert!(read_in(&mut memory.room(), 1000).await.is_ok());

        drop(held);
        assert!(read_in(&mut memory.room(), LIMIT).await.is_ok());
        let more = read_in(&mut memory.room(), LIMIT + 1).await;
        assert!(matches!(more, Err(Refused(Kind::TooLarge, _))), "{more:?}");
    }
}
