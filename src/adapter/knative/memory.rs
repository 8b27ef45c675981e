//! A limit on the bytes of all bodies that are held at once, so that no flood of large ones ends the process.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::{
    body::Body,
    extract::Request,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures::TryStreamExt as _;
use http::{StatusCode, header::RETRY_AFTER};

/// How many bodies of the largest size are held at once; of smaller ones accordingly more.
const LARGEST_BODIES: usize = 4;

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

    /// Serves a request; answers 503 if its body does not fit beside the others.
    ///
    /// What has arrived counts, not what was announced: a client that sends slowly takes no room from others.
    pub(super) async fn serve(self, request: Request, next: Next) -> Response {
        let share = Arc::new(Share::of(self));
        let taking = Arc::clone(&share);
        let counted = |body: Body| {
            let chunks = body.into_data_stream().map_err(io::Error::other);
            Body::from_stream(chunks.and_then(move |chunk| {
                let fits = taking.take(chunk.len());
                async move { fits.then_some(chunk).ok_or_else(|| io::ErrorKind::OutOfMemory.into()) }
            }))
        };
        let response = next.run(request.map(counted)).await;
        if share.refused.load(Ordering::Relaxed) {
            tracing::warn!("a delivery was refused: the bodies under way are too large together");
            let body = axum::Json(serde_json::json!({ "outcome": "unavailable" }));
            return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")], body).into_response();
        }
        response
    }
}

/// What one body holds; given back when its request is over.
struct Share {
    memory: Memory,
    taken: AtomicUsize,
    refused: AtomicBool,
}

impl Share {
    fn of(memory: Memory) -> Self {
        Self { memory, taken: AtomicUsize::new(0), refused: AtomicBool::new(false) }
    }

    /// Takes room for `bytes` more; tells whether there was.
    fn take(&self, bytes: usize) -> bool {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        let held = self.memory.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let fits = held <= self.memory.limit;
        self.refused.fetch_or(!fits, Ordering::Relaxed);
        fits
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(*self.taken.get_mut(), Ordering::Relaxed);
    }
}
