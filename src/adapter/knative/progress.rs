//! What makes no progress gives its place back: a body that brings nothing, and an answer that nobody reads.
//! `connections` says whether others wait for the place.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, Bytes};
use futures::{Stream, StreamExt as _, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep, timeout},
};

use super::places::Places;

/// How long a body may bring nothing, and an answer not be read.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same while the connections are a crowd.
const PATIENCE_IN_A_CROWD: Duration = Duration::from_secs(1);

/// How many bytes of a body have to come in each second while the connections are a crowd.
const LEAST_RATE_IN_A_CROWD: u64 = 16 * 1024;

/// The body of a request, which ends with [`io::ErrorKind::TimedOut`] where it makes no progress.
pub(super) fn in_time<S, E>(chunks: S, places: Places) -> Body
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: Into<axum::BoxError> + Send + 'static,
{
    let arriving = Arriving { chunks, places, began: Instant::now(), bytes: 0 };
    Body::from_stream(stream::try_unfold(arriving, |mut arriving| async {
        let chunk = arriving.next().await?;
        Ok::<_, axum::BoxError>(chunk.map(|chunk| (chunk, arriving)))
    }))
}

struct Arriving<S> {
    chunks: S,
    places: Places,
    began: Instant,
    bytes: u64,
}

impl<S, E> Arriving<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<axum::BoxError>,
{
    async fn next(&mut self) -> Result<Option<Bytes>, axum::BoxError> {
        let waited_since = Instant::now();
        loop {
            match timeout(PATIENCE_IN_A_CROWD, self.chunks.next()).await {
                Ok(Some(chunk)) => {
                    let chunk = chunk.map_err(Into::into)?;
                    self.bytes = self.bytes.saturating_add(chunk.len() as u64);
                    if self.is_a_trickle() {
                        return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                    }
                    return Ok(Some(chunk));
                }
                Ok(None) => return Ok(None),
                Err(_) if self.places.are_crowded() || waited_since.elapsed() >= PATIENCE => {
                    return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                }
                Err(_elapsed) => {}
            }
        }
    }

    fn is_a_trickle(&self) -> bool {
        let least = self.began.elapsed().as_secs().saturating_mul(LEAST_RATE_IN_A_CROWD);
        self.bytes < least && self.places.are_crowded()
    }
}

/// A connection whose writes fail with [`io::ErrorKind::TimedOut`] where the other end does not read.
pub(super) struct Connection {
    stream: TcpStream,
    places: Places,
    /// Since when a write waits, and when to look again.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Connection {
    pub(super) const fn new(stream: TcpStream, places: Places) -> Self {
        Self { stream, places, waiting: None }
    }

    fn in_time<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let look_again = || Box::pin(sleep(PATIENCE_IN_A_CROWD));
        let (since, look) = self.waiting.get_or_insert_with(|| (Instant::now(), look_again()));
        loop {
            ready!(look.as_mut().poll(context));
            if self.places.are_crowded() || since.elapsed() >= PATIENCE {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            *look = look_again();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.in_time(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::{io::AsyncWriteExt as _, net::TcpListener, sync::OwnedSemaphorePermit};

    use super::*;

    /// Places that are a crowd as long as the permit is held.
    fn crowd() -> (Places, OwnedSemaphorePermit) {
        let places = Places::new(4);
        let taken = places.take(2).expect("are free");
        (places, taken)
    }

    async fn took(body: Body) -> (bool, Duration) {
        let began = Instant::now();
        let whole = body.collect().await.is_ok();
        (whole, began.elapsed())
    }

    fn endless() -> impl Stream<Item = Result<Bytes, io::Error>> + Send + Unpin {
        Box::pin(stream::once(async { Ok(Bytes::from_static(b"{")) }).chain(stream::pending()))
    }

    /// A byte in each half of a second, `number` in all.
    fn trickle(number: u64) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + Unpin {
        Box::pin(stream::iter(0..number).then(|_| async {
            sleep(Duration::from_millis(500)).await;
            Ok(Bytes::from_static(b"x"))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_brings_nothing_is_waited_for_a_while_and_in_a_crowd_for_a_moment() {
        let (whole, took_alone) = took(in_time(endless(), Places::new(4))).await;
        assert!(!whole && took_alone >= PATIENCE, "{took_alone:?}");
        let (places, _taken) = crowd();
        let (whole, took_in_a_crowd) = took(in_time(endless(), places)).await;
        assert!(!whole && took_in_a_crowd <= PATIENCE_IN_A_CROWD * 2, "{took_in_a_crowd:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_keeps_its_place_until_there_is_a_crowd() {
        let (whole, _) = took(in_time(trickle(20), Places::new(4))).await;
        assert!(whole);
        let (places, taken) = crowd();
        let (whole, took_in_a_crowd) = took(in_time(trickle(20), places.clone())).await;
        assert!(!whole && took_in_a_crowd < Duration::from_secs(3), "{took_in_a_crowd:?}");
        drop(taken);
        assert!(took(in_time(trickle(20), places)).await.0);
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_ends_its_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("is bound");
        let _never_reads = TcpStream::connect(address).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("it connects");
        let (places, _taken) = crowd();
        let mut connection = Connection::new(stream, places);
        let answer = vec![b'x'; 64 * 1024 * 1024];
        let written = timeout(PATIENCE, connection.write_all(&answer)).await.expect("in time");
        assert_eq!(written.expect_err("nobody reads").kind(), io::ErrorKind::TimedOut);
    }
}
