//! Who drives the service: `service` is the work on a delivery, `http` its form, the others bring requests.

mod arrival;
mod body;
pub mod destination;
pub mod http;
#[cfg(feature = "knative")]
pub mod knative;
#[cfg(feature = "lambda")]
pub mod lambda;
mod log;
pub mod memory;
#[cfg(all(feature = "aws", feature = "knative"))]
pub mod pull;
pub mod readiness;
pub mod service;
