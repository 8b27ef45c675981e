//! Figures for the documentation, not tests that pass or fail: the first lines of each file say how to run it.

#![cfg(all(feature = "aws", feature = "knative", feature = "lambda"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "it may panic")]

mod support;

#[path = "measure/cold_start.rs"]
mod cold_start;
#[path = "measure/forged.rs"]
mod forged;
#[path = "measure/found.rs"]
mod found;
#[path = "measure/runtime_api.rs"]
mod runtime_api;
#[path = "measure/second_scan.rs"]
mod second_scan;
