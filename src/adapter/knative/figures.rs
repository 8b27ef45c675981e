//! `GET /metrics`, for Prometheus, on a port of its own.

use std::sync::Arc;

use axum::{Router, routing::get};
use http::{
    HeaderMap,
    header::{ACCEPT, CONTENT_TYPE},
};

use crate::{
    cluster::index::Index,
    telemetry::{Format, Metrics},
};

/// Makes the router that shows `metrics`, and the state of `index` among them.
pub(super) fn router(metrics: Arc<Metrics>, index: Option<Arc<Index>>) -> Router {
    let render = async move |headers: HeaderMap| {
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let format = Format::wanted(accept);
        if let Some(index) = &index {
            let (size, confirmed) = index.state();
            metrics.index(size, confirmed);
        }
        ([(CONTENT_TYPE, format.content_type())], metrics.render(format))
    };
    Router::new().route("/metrics", get(render))
}
