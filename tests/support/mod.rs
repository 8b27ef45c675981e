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
pub mod between;
pub mod bursts;
pub mod crowd;
pub mod eks;
pub mod events;
pub mod function;
pub mod github;
pub mod https;
pub mod kubeconfig;
pub mod lambda;
pub mod moto;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod real_cluster;
pub mod reported;
pub mod sender;
pub mod service_account;
pub mod shared;
pub mod silent;
pub mod sink;
pub mod space;
pub mod tools;

/// Makes of each test function two tests: on the embedded API server, and on the real one, which is ignored where nobody
/// asks for it. What both of them need besides stands before the names, as the reason why both are ignored.
#[macro_export]
macro_rules! on_both {
    (#[ignore = $reason:literal] $($name:ident),* $(,)?) => {
        $crate::on_both!(@both [#[ignore = $reason]] [#[ignore = $reason]] $($name)*);
    };
    ($($name:ident),* $(,)?) => {
        $crate::on_both!(@both [] [#[ignore = "needs the real API server: tests/README.md"]] $($name)*);
    };
    (@test [$($ignore:tt)*] $server:ident $name:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $($ignore)*
        async fn $name() {
            super::$name(&$crate::support::space::Space::$server().await).await;
        }
    };
    (@both $embedded:tt $real:tt $($name:ident)*) => {
        mod embedded_api_server {
            $($crate::on_both!(@test $embedded embedded $name);)*
        }
        mod real_api_server {
            $($crate::on_both!(@test $real real $name);)*
        }
    };
}
