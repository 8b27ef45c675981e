//! What a delivery passes through inside the process, each beside what it cannot do without: `cargo bench`.
//! `benches/load` measures the whole of it from outside.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "it may panic"
)]

mod deliveries;
#[path = "../../tests/support/events.rs"]
mod events;
mod identity;
mod index;
mod parsing;
mod verification;

fn main() {
    index::print_resident();
    divan::main();
}
