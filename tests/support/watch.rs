//! Watches of the embedded API server: each change as a line of JSON, as it happens, and the faults of watches.

use std::{convert::Infallible, pin::pin, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures::stream::unfold;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::ApiServer;

/// For how long a frozen watch stays silent at the most.
const SILENCE: Duration = Duration::from_secs(3600);

/// A change of an object, and the version that it made.
#[derive(Clone)]
pub struct Change {
    pub version: u64,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub event: &'static str,
    pub resource: String,
    pub object: Value,
}

/// What a test has done to watches.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    /// How often all of them were cut.
    pub cuts: u64,
    /// Up to which version the changes are forgotten.
    pub forgotten: u64,
    /// They are silent, as on a connection that died unheard.
    pub frozen: bool,
}

/// What is watched.
pub struct Watched {
    pub resource: String,
    pub namespace: Option<String>,
}

/// Answers a watch with what changes after `since`, until `time` is over.
pub fn answer(server: ApiServer, watched: Watched, since: u64, time: Duration) -> Response {
    let cuts = server.watch_faults().cuts;
    let end = Instant::now() + time;
    let changes =
        unfold((server, watched, Some(since)), move |(server, watched, since)| async move {
            let since = since?;
            loop {
                let stirred = server.stirred();
                let mut stirred = pin!(stirred.notified());
                stirred.as_mut().enable();
                let faults = server.watch_faults();
                if faults.cuts != cuts || (Instant::now() >= end && !faults.frozen) {
                    return None;
                }
                if since < faults.forgotten {
                    let gone =
                        json!({ "type": "ERROR", "object": { "kind": "Status", "code": 410 } });
                    return Some((line(&gone), (server, watched, None)));
                }
                if !faults.frozen
                    && let Some(change) = server.change_after(since, &watched)
                {
                    let event = json!({ "type": change.event, "object": change.object });
                    return Some((line(&event), (server, watched, Some(change.version))));
                }
                let _ = timeout_at(if faults.frozen { end + SILENCE } else { end }, stirred).await;
            }
        });
    Response::new(Body::from_stream(changes))
}

fn line(event: &Value) -> Result<Bytes, Infallible> {
    Ok(Bytes::from(format!("{event}\n")))
}
