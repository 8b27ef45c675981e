//! Two texts as the URL of a payload and of a GitRepo. `cargo +nightly fuzz run repo_url fuzz/corpus/repo_url fuzz/seeds/repo_url`

#![no_main]

#[path = "../oracles.rs"]
mod oracles;

libfuzzer_sys::fuzz_target!(|input: &[u8]| oracles::repo_url(input));
