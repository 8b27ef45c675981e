//! What the service costs beside what it cannot do without, in one run on a real API server, and the table and the plots
//! of `docs/measured.md`:
//!
//!     cargo bench --bench load
//!
//! It needs what `tests/tools/cluster` builds. `LOAD_SIZES=10,100` is for a trial. Bare patches, the floor, are the service's own status patches from here,
//! as the same account over the same kind of connection, in turn with the deliveries.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    missing_docs,
    unreachable_pub,
    reason = "it may panic"
)]

mod bare;
mod counted;
mod fan_out;
mod figures;
mod forged;
mod gitrepos;
mod page;
mod plot;
mod pushes;
#[path = "../../tests/measure/runtime_api.rs"]
mod runtime_api;
mod size;
#[path = "../../tests/support/mod.rs"]
mod support;

use serde_json::json;

use self::{
    bare::Bare,
    figures::Figures,
    gitrepos::fill,
    pushes::SECRET,
    support::{function::Function, process, real_cluster::RealCluster, space::Space},
};

/// Among how many GitRepos.
const SIZES: [usize; 3] = [10, 1_000, 10_000];

#[tokio::main]
async fn main() {
    // `cargo test --benches` asks whether it runs, not for figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let sizes: Vec<usize> = match std::env::var("LOAD_SIZES") {
        Ok(sizes) => sizes.split(',').map(|size| size.parse().unwrap()).collect(),
        Err(_) => SIZES.to_vec(),
    };
    let cluster = tokio::task::spawn_blocking(|| RealCluster::start("load")).await.unwrap();
    let cluster: &'static RealCluster = Box::leak(Box::new(cluster));
    let space = Space::on_real(cluster).await;
    space.global_secret(json!({ "github": SECRET })).await;
    let bare = Bare::new(&space, cluster);

    let mut figures = Figures::default();
    let mut created = 0;
    for number in sizes {
        fill(&space, created..number).await;
        created = number;
        figures.sizes.push(size::measure(&space, &bare, number).await);
    }
    let function = start(&space).await;
    figures.forged = forged::measure(&space, &function).await;
    figures.resident_after_flood = process::resident(function.id());
    figures.burst = Some(fan_out::burst(&function).await);
    drop(function);
    figures.fan_out = fan_out::measure(&space, &bare).await;
    cluster.end();
    page::write(&figures);
}

/// The service, once its index is in use.
async fn start(space: &Space) -> Function {
    // However slow the machine is, an answer says what came of all of it.
    let function = Function::start(space, &[("RUST_LOG", "info"), ("DEADLINE", "60s")]).await;
    function.logs("the index is in use").await;
    function
}
