//! `GET /metrics`, for Prometheus, on a port of its own.

use std::sync::Arc;

use axum::{Router, routing::get};
use http::header::CONTENT_TYPE;

use crate::{
    cluster::index::Index,
    telemetry::{self, Metrics},
};

/// Makes the router that shows `metrics`, and the state of `index` among them.
pub(super) fn router(metrics: Arc<Metrics>, index: Option<Arc<Index>>) -> Router {
    let render = async move || {
        if let Some(index) = &index {
            let (size, confirmed) = index.state();
            metrics.index(size, confirmed);
        }
        ([(CONTENT_TYPE, telemetry::CONTENT_TYPE)], metrics.render())
    };
    Router::new().route("/metrics", get(render))
}
