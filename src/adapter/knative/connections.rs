//! HTTP/1.1 on the connections of a listener: slow and idle clients keep nobody out, what is under way is finished.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Body};
use http::{HeaderValue, Request, header};
use http_body_util::BodyExt as _;
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::{places::Places, progress};
use crate::adapter::arrival::Peer;

/// How long a client may take from connecting to the end of its first request's head.
const FIRST_HEAD_LIMIT: Duration = Duration::from_secs(10);

/// The same while the connections are a crowd: a head comes in one packet, or from somebody who keeps others out.
const FIRST_HEAD_LIMIT_IN_A_CROWD: Duration = Duration::from_secs(1);

/// The same for each further request, idle time included: longer than the 60 s for which proxies keep a connection,
/// so that it is they who close it, and never on a request.
const NEXT_HEAD_LIMIT: Duration = Duration::from_secs(75);

/// How large a request's head may be, in bytes: hyper's own limit would let a thousand half-sent ones fill a pod.
const HEAD_LIMIT: usize = 32 * 1024;

/// How many connections there may be; further ones wait to be accepted.
const CONNECTIONS: usize = 1024;

/// How long to wait where no connection can be accepted, for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` until `closed`; returns when every connection has ended.
pub(super) async fn serve(listener: TcpListener, router: Router, closed: CancellationToken) {
    serve_in(Places::new(CONNECTIONS), listener, router, closed).await;
}

async fn serve_in(
    places: Places,
    listener: TcpListener,
    router: Router,
    closed: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    loop {
        let accept = async {
            let place = places.next().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = select! {
            () = closed.cancelled() => break,
            accepted = accept => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (router, places) = (router.clone(), places.clone());
                let peer = Peer(peer.ip().to_canonical());
                let connection = connection(stream, peer, router, places, graceful.watcher());
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

async fn connection(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    places: Places,
    watcher: Watcher,
) {
    // Only an answer in several packets would be slower without it.
    let _ = stream.set_nodelay(true);
    let asked = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let (asked, places) = (Arc::clone(&asked), places.clone());
        move |mut request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(peer);
            let request = request.map(|body| match body.is_end_stream() {
                true => Body::empty(),
                false => progress::in_time(body.into_data_stream(), places.clone()),
            });
            let (answer, places) = (router.clone().call(request), places.clone());
            async move {
                let mut answer = answer.await?;
                if places.are_crowded() {
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, Infallible>(answer)
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(NEXT_HEAD_LIMIT)
        .max_buf_size(HEAD_LIMIT)
        // Who closes its side right after the last byte has sent a whole push.
        .half_close(true)
        .serve_connection(TokioIo::new(progress::Connection::new(stream, places.clone())), service);
    let (mut connection, connected) = (pin!(watcher.watch(connection)), Instant::now());
    let ended = loop {
        match timeout(FIRST_HEAD_LIMIT_IN_A_CROWD, &mut connection).await {
            Ok(ended) => break ended,
            Err(_elapsed) if asked.load(Ordering::Relaxed) => break connection.await,
            Err(_elapsed) if places.are_crowded() || connected.elapsed() > FIRST_HEAD_LIMIT => {
                return;
            }
            Err(_elapsed) => {}
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::body::Bytes;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const PLACES: usize = 16;
    const HALF_A_HEAD: &str = "POST / HTTP/1.1\r\nhost: a\r\n";

    async fn served() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("is bound");
        let router = Router::new().fallback(async |uri: http::Uri, body: Bytes| {
            if uri.path() == "/slow" {
                sleep(FIRST_HEAD_LIMIT_IN_A_CROWD + Duration::from_millis(200)).await;
            }
            body
        });
        tokio::spawn(serve_in(Places::new(PLACES), listener, router, CancellationToken::new()));
        address
    }

    async fn sender(address: SocketAddr, bytes: &str) -> TcpStream {
        let mut sender = TcpStream::connect(address).await.expect("it listens");
        sender.write_all(bytes.as_bytes()).await.expect("it reads");
        sender
    }

    /// Reads an answer to its last byte, which is the echo of a `!`.
    async fn answer(sender: &mut TcpStream) -> String {
        let (mut answer, mut read) = (String::new(), [0; 1024]);
        while !answer.ends_with('!') {
            let length = timeout(Duration::from_secs(5), sender.read(&mut read)).await;
            let length = length.expect("an answer in time").expect("an answer");
            assert!(length > 0, "it hung up: {answer}");
            answer.push_str(&String::from_utf8_lossy(read.get(..length).expect("was read")));
        }
        answer
    }

    async fn ask(address: SocketAddr) -> (TcpStream, String) {
        let mut sender = sender(address, &format!("{HALF_A_HEAD}content-length: 1\r\n\r\n!")).await;
        let answer = answer(&mut sender).await;
        (sender, answer)
    }

    #[tokio::test]
    async fn connections_without_a_request_leave_places_for_those_that_have_one() {
        for next in ["", HALF_A_HEAD] {
            let address = served().await;
            let mut idle = Vec::new();
            for _ in 0..PLACES * 2 {
                let (mut sender, answer) = ask(address).await;
                // Those that were closed with their answer take no more.
                let _ = sender.write_all(next.as_bytes()).await;
                idle.push((sender, answer));
            }
            let closed = idle.iter().map(|(_, answer)| answer.contains("connection: close"));
            let closed: Vec<_> = closed.collect();
            assert_eq!((closed.first(), closed.last()), (Some(&false), Some(&true)), "{closed:?}");
        }
    }

    #[tokio::test]
    async fn a_crowd_that_never_ends_its_heads_keeps_nobody_out_for_long() {
        let address = served().await;
        let mut crowd = Vec::new();
        for _ in 0..PLACES * 2 {
            crowd.push(sender(address, HALF_A_HEAD).await);
        }
        ask(address).await;
    }

    #[tokio::test]
    async fn a_request_under_way_is_finished_in_a_crowd() {
        let address = served().await;
        let slow = "POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n!";
        let mut slow = sender(address, slow).await;
        let mut crowd = Vec::new();
        for _ in 0..PLACES * 2 {
            crowd.push(sender(address, HALF_A_HEAD).await);
        }
        assert!(answer(&mut slow).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn a_crowd_that_sends_heads_and_no_bodies_keeps_nobody_out_for_long() {
        let address = served().await;
        let mut crowd = Vec::new();
        for _ in 0..PLACES * 2 {
            crowd.push(sender(address, &format!("{HALF_A_HEAD}content-length: 9\r\n\r\n")).await);
        }
        ask(address).await;
    }
}
