//! Forged deliveries of 1 KiB for a profiler around the program, of which it counts what each takes:
//!
//!     FORGED=1000 FLEET_WEBHOOK_PROGRAM=… cargo test --test measure forged -- --ignored

use crate::support::{
    function::Function,
    github::{NEW, headers, padded},
    space::Space,
};

const KIB: usize = 1024;

/// Longer than any machine takes under a profiler.
const PATIENT: [(&str, &str); 2] = [("RUST_LOG", "info"), ("DEADLINE", "60s")];

#[tokio::test]
#[ignore = "is for a profiler: its first lines say how to run it"]
async fn measures_forged_deliveries_from_outside() {
    let number = std::env::var("FORGED").map_or(0, |number| number.parse().unwrap());
    let space = Space::embedded().await;
    space.shop().await;
    let mut function = Function::start(&space, &PATIENT).await;
    function.logs("the index is in use").await;
    let (body, proof) = padded(&space, "not the secret", NEW, KIB);
    for _ in 0..number {
        assert_eq!(function.deliver(&headers(&proof), body.clone()).await.status, 401);
    }
    // Not killed: a profiler writes at the end.
    function.signal("TERM");
    assert_eq!(function.exit_code().await, Some(0));
}
