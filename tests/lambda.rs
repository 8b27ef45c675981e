//! The Lambda adapter, as AWS runs it: the function as a process under the Runtime Interface Emulator.

#![cfg(all(feature = "aws", feature = "knative", feature = "lambda"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "tests may panic")]

mod support;

#[path = "lambda/codecommit.rs"]
mod codecommit;
#[path = "lambda/deadline.rs"]
mod deadline;
#[path = "lambda/embedded_metrics.rs"]
mod embedded_metrics;
#[path = "lambda/faults.rs"]
mod faults;
#[path = "lambda/front_doors.rs"]
mod front_doors;
#[path = "lambda/frozen.rs"]
mod frozen;
#[path = "lambda/killed.rs"]
mod killed;
#[path = "lambda/lookups.rs"]
mod lookups;
#[path = "lambda/published.rs"]
mod published;
#[path = "lambda/reported.rs"]
mod reported;
#[path = "lambda/same_as_http.rs"]
mod same_as_http;
