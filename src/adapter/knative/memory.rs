//! A limit on the bytes of all bodies that are held at once, so that no flood of large ones ends the process.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{body::Body, extract::Request, middleware::Next, response::Response};
use futures::TryStreamExt as _;

/// How many bodies of the largest size are held at once; of smaller ones accordingly more.
const LARGEST_BODIES: usize = 4;

/// What each body may take beside all others: most pushes fit, so that large bodies keep no small one out.
const FREE_OF_CHARGE: usize = 64 * 1024;

/// What the bodies under way hold, and may hold.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    held: Arc<AtomicUsize>,
    limit: usize,
}

impl Memory {
    /// Has room for some bodies of `max_body_bytes`.
    pub(super) fn for_bodies_of(max_body_bytes: usize) -> Self {
        Self { held: Arc::default(), limit: max_body_bytes.saturating_mul(LARGEST_BODIES) }
    }

    /// Serves a request whose body fails with [`io::ErrorKind::OutOfMemory`] if it does not fit beside the others.
    ///
    /// What has arrived counts, not what was announced: a client that sends slowly takes no room from others. It
    /// counts until the request's extensions are dropped.
    pub(super) async fn serve(self, request: Request, next: Next) -> Response {
        let share = Arc::new(Share { memory: self, taken: AtomicUsize::new(0) });
        let taking = Arc::clone(&share);
        let mut request = request.map(|body| {
            let chunks = body.into_data_stream().map_err(io::Error::other);
            Body::from_stream(
                    chunks.and_then(move |chunk| {
                        let fits = taking.take(chunk.len());
                        async move {
                            fits.then_some(chunk).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
                        }
                    }),
                )
        });
        request.extensions_mut().insert(share);
        next.run(request).await
    }
}

/// What one body holds; given back when its delivery is dropped.
#[derive(Debug)]
struct Share {
    memory: Memory,
    taken: AtomicUsize,
}

impl Share {
    /// Takes room for `bytes` more; tells whether there was.
    fn take(&self, bytes: usize) -> bool {
        let before = self.taken.fetch_add(bytes, Ordering::Relaxed);
        let more = charged(before.saturating_add(bytes)) - charged(before);
        let held = self.memory.held.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        more == 0 || held <= self.memory.limit
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(charged(*self.taken.get_mut()), Ordering::Relaxed);
    }
}

const fn charged(bytes: usize) -> usize {
    bytes.saturating_sub(FREE_OF_CHARGE)
}
