//! What a user relies on, on an embedded API server and on the real one: the function as a process, over HTTP.

#![cfg(all(feature = "aws", feature = "knative", feature = "lambda"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    missing_docs,
    reason = "tests may panic"
)]

mod support;

#[path = "suite/bitbucket_server.rs"]
mod bitbucket_server;
#[path = "suite/bodies.rs"]
mod bodies;
#[path = "suite/bursts.rs"]
mod bursts;
#[path = "suite/closed.rs"]
mod closed;
#[path = "suite/conformance.rs"]
mod conformance;
#[path = "suite/connections.rs"]
mod connections;
#[path = "suite/crowds.rs"]
mod crowds;
#[path = "suite/explain.rs"]
mod explain;
#[path = "suite/faults.rs"]
mod faults;
#[path = "suite/figures.rs"]
mod figures;
#[path = "suite/floods.rs"]
mod floods;
#[path = "suite/hang_ups.rs"]
mod hang_ups;
#[path = "suite/hostile.rs"]
mod hostile;
#[path = "suite/index.rs"]
mod index;
#[path = "suite/intervals.rs"]
mod intervals;
#[path = "suite/lookups.rs"]
mod lookups;
#[path = "suite/notices.rs"]
mod notices;
#[path = "suite/order.rs"]
mod order;
#[path = "suite/patches.rs"]
mod patches;
#[path = "suite/ping.rs"]
mod ping;
#[path = "suite/ping_secrets.rs"]
mod ping_secrets;
#[path = "suite/pressure.rs"]
mod pressure;
#[path = "suite/process.rs"]
mod process;
#[path = "suite/proxies.rs"]
mod proxies;
#[path = "suite/published.rs"]
mod published;
#[path = "suite/reading_secrets.rs"]
mod reading_secrets;
#[path = "suite/refusals.rs"]
mod refusals;
#[path = "suite/reported.rs"]
mod reported;
#[path = "suite/restore_polling.rs"]
mod restore_polling;
#[path = "suite/retry.rs"]
mod retry;
#[path = "suite/rights.rs"]
mod rights;
#[path = "suite/secrets.rs"]
mod secrets;
#[path = "suite/senders.rs"]
mod senders;
#[path = "suite/sinks.rs"]
mod sinks;
#[path = "suite/stopping.rs"]
mod stopping;
#[path = "suite/straight_line.rs"]
mod straight_line;
#[path = "suite/strangers.rs"]
mod strangers;
#[path = "suite/two_senders.rs"]
mod two_senders;
#[path = "suite/unavailable.rs"]
mod unavailable;
#[path = "suite/why.rs"]
mod why;
