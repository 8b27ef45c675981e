//! Serves the router on `PORT` until the process is told to stop, and then loses nothing; `connections` speaks HTTP.

mod connections;
mod figures;
mod places;
mod progress;

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use axum::{
    middleware::{Next, from_fn},
    response::Response,
};
use http::{HeaderValue, header};
use tokio::{
    net::TcpListener,
    select,
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{destination::Destination, http::router, service::Service};
use crate::cluster::index::Index;

/// How many open files are asked for.
const DESCRIPTORS: u64 = 8 * 1024;

/// How long deliveries and patches under way may take after that.
const FINISH: Duration = Duration::from_secs(30);

/// Where deliveries come in, and where figures are read.
#[derive(Debug)]
pub struct Listeners {
    /// For deliveries and probes: `PORT`.
    pub deliveries: TcpListener,
    /// For Prometheus: `METRICS_PORT`.
    pub figures: TcpListener,
}

impl Listeners {
    /// Listens at `host`, or at every address.
    ///
    /// # Errors
    /// That of the first port which cannot be had; it names the variable.
    pub async fn bind(host: Option<IpAddr>, port: u16, metrics_port: u16) -> io::Result<Self> {
        // Many systems give a process 1,024 at first, and a connection of a sender may need one to the API server.
        if let Err(error) = rlimit::increase_nofile_limit(DESCRIPTORS) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
        Ok(Self {
            deliveries: listen("PORT", host, port).await?,
            figures: listen("METRICS_PORT", host, metrics_port).await?,
        })
    }
}

async fn listen(variable: &str, host: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    let listener = match host {
        Some(host) => TcpListener::bind((host, port)).await,
        // All of both families, unless this machine knows one alone.
        None => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
            }
            listener => listener,
        },
    };
    listener.map_err(|error| {
        let takes = format!("{variable} is {port}; it takes a port that is free: {error}");
        io::Error::new(error.kind(), takes)
    })
}

/// Waits for the signal to stop; gives how long new deliveries are served after it: `drain` after SIGTERM, until no
/// proxy of the cluster sends any more, and not at all after Ctrl-C.
///
/// # Errors
/// Where signals cannot be had.
pub fn stop_signal(drain: Duration) -> io::Result<impl Future<Output = Duration>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        select! {
            _ = terminate.recv() => drain,
            _ = interrupt.recv() => Duration::ZERO,
        }
    })
}

/// Serves until `stop` is done, which says how long new deliveries are served after it; then finishes what is under way.
///
/// Readiness fails at once. Patches may go on when their deliveries are answered; they are waited for as well.
///
/// # Errors
/// Those of a listener.
pub async fn serve(
    listeners: Listeners,
    service: Service,
    index: Option<Arc<Index>>,
    stop: impl Future<Output = Duration>,
) -> io::Result<()> {
    tracing::info!(
        port = listeners.deliveries.local_addr()?.port(),
        metrics.port = listeners.figures.local_addr()?.port(),
        "listening"
    );
    if let (Some(index), Destination::Cluster(receiver)) = (&index, &service.destination) {
        let (receiver, index) = (Arc::clone(receiver), Arc::clone(index));
        tokio::spawn(async move { receiver.take_left_intervals_back(&index).await });
    }
    let (readiness, tasks) = (Arc::clone(&service.readiness), service.tasks.clone());
    let (draining, closed) = (CancellationToken::new(), CancellationToken::new());
    let figures = figures::router(Arc::clone(&service.metrics), index);
    let figures = tokio::spawn(connections::serve(listeners.figures, figures, closed.clone()));
    let deliveries = router(service).layer(from_fn({
        let draining = draining.clone();
        move |request, next: Next| say_goodbye(draining.clone(), next.run(request))
    }));
    let deliveries =
        tokio::spawn(connections::serve(listeners.deliveries, deliveries, closed.clone()));

    let drain = stop.await;
    readiness.stop();
    draining.cancel();
    // A u128 would be logged as a text.
    let drain_ms = u64::try_from(drain.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(drain_ms, "stopping: no longer ready, still serving");
    sleep(drain).await;
    closed.cancel();
    tasks.close();
    let finished = timeout(FINISH, async {
        // Neither panics; a task that did would have nothing left to wait for.
        let _ = deliveries.await;
        let _ = figures.await;
        tasks.wait().await;
    });
    match finished.await {
        Ok(()) => tracing::info!("stopped"),
        Err(_elapsed) => tracing::warn!(tasks = tasks.len(), "stopped with work under way"),
    }
    Ok(())
}

/// Closes a connection with its answer once the service is stopping, so that its client finds another instance.
async fn say_goodbye(
    draining: CancellationToken,
    answer: impl Future<Output = Response>,
) -> Response {
    let mut response = answer.await;
    if draining.is_cancelled() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
