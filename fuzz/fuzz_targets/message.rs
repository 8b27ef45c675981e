//! Any bytes as a message of the retry queue. `cargo +nightly fuzz run message fuzz/corpus/message fuzz/seeds/message`

#![no_main]

#[path = "../oracles.rs"]
mod oracles;

libfuzzer_sys::fuzz_target!(|input: &[u8]| oracles::message(input));
