//! Any bytes through detection, reading and verification. `cargo +nightly fuzz run delivery fuzz/corpus/delivery fuzz/seeds/delivery`

#![no_main]

#[path = "../oracles.rs"]
mod oracles;

libfuzzer_sys::fuzz_target!(|input: &[u8]| oracles::delivery(input));
