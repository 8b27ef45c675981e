//! What `kubectl apply -k` installs, on API servers of its own: manifests, restarts, and the image as a pod runs it.
#![cfg(all(feature = "aws", feature = "knative", feature = "lambda"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "tests may panic")]

mod support;

use support::real_cluster::RealCluster;

#[path = "in_cluster/image.rs"]
mod image;
#[path = "in_cluster/manifests.rs"]
mod manifests;
#[path = "in_cluster/restarts.rs"]
mod restarts;

/// Starts an API server for one test; it is never dropped, and stops with the test binary.
async fn cluster(name: &'static str) -> &'static RealCluster {
    let start = move || &*Box::leak(Box::new(RealCluster::start(name)));
    tokio::task::spawn_blocking(start).await.expect("it starts")
}
