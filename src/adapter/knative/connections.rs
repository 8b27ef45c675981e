//! HTTP/1.1 on the connections of a listener: slow clients are cut off, what is under way at the end is finished.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

/// How long a client may take from connecting to the end of its first request's head.
const FIRST_HEAD_LIMIT: Duration = Duration::from_secs(10);

/// The same for each further request, idle time included: longer than the 60 s for which proxies keep a connection,
/// so that it is they who close it, and never on a request.
const NEXT_HEAD_LIMIT: Duration = Duration::from_secs(75);

/// How large a request's head may be, in bytes: hyper's own limit would let a thousand half-sent ones fill a pod.
const HEAD_LIMIT: usize = 64 * 1024;

/// How many connections there may be; further ones wait to be accepted.
const CONNECTIONS: usize = 1024;

/// How long to wait where no connection can be accepted, for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` until `closed`; returns when every connection has ended.
pub(super) async fn serve(listener: TcpListener, router: Router, closed: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = select! {
            () = closed.cancelled() => break,
            accepted = accept => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(stream, router.clone(), graceful.watcher());
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn connection(stream: TcpStream, router: Router, watcher: Watcher) {
    // Only an answer in several packets would be slower without it.
    let _ = stream.set_nodelay(true);
    let asked = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let asked = Arc::clone(&asked);
        move |request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            router.clone().call(request.map(Body::new))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(NEXT_HEAD_LIMIT)
        .max_buf_size(HEAD_LIMIT)
        // Who closes its side right after the last byte has sent a whole push.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(watcher.watch(connection));
    let ended = match timeout(FIRST_HEAD_LIMIT, &mut connection).await {
        Err(_elapsed) if !asked.load(Ordering::Relaxed) => return,
        Err(_elapsed) => connection.await,
        Ok(ended) => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}
