//! Who drives the service: `http` is the service itself, the others bring it requests.

mod body;
pub mod http;
#[cfg(feature = "knative")]
pub mod knative;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod readiness;
mod redelivery;
