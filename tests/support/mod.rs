//! What the integration tests share: an API server, real or embedded, and the function itself as a process.

#![allow(dead_code, reason = "no test file uses all of it")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests may panic"
)]

pub mod api_server;
#[cfg(feature = "lambda")]
pub mod eks;
pub mod events;
pub mod function;
pub mod github;
pub mod kubeconfig;
#[cfg(feature = "lambda")]
pub mod lambda;
#[cfg(feature = "lambda")]
pub mod moto;
pub mod real_cluster;
pub mod sender;
pub mod service_account;
pub mod shared;
pub mod sink;
pub mod space;

/// Makes of each test function two tests: on the embedded API server, and on the real one where it is to be had.
#[macro_export]
macro_rules! on_both {
    ($($(#[$attribute:meta])* $name:ident),* $(,)?) => {
        mod embedded_api_server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] $(#[$attribute])* async fn $name() {
                super::$name(&$crate::support::space::Space::embedded().await).await;
            })*
        }
        mod real_api_server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] $(#[$attribute])* async fn $name() {
                let Some(space) = $crate::support::space::Space::real().await else { return };
                super::$name(&space).await;
            })*
        }
    };
}
