//! The seeds of `fuzz/` on stable, as they are and with a few bytes changed: what holds for any bytes holds for them.
//! `FUZZ_ROUNDS` is how often each is changed, 200 times where it is not set.

#[path = "../fuzz/oracles.rs"]
mod oracles;

use std::{env, fs, path::Path};

fn rounds() -> u64 {
    env::var("FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(200)
}

/// Random enough, and the same for everybody.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % sides.max(1)
    }

    /// Changes, drops, doubles or brings in some bytes.
    fn change(&mut self, seed: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.roll(4) {
            let (from, length) = (self.roll(bytes.len()), self.roll(24));
            let to = (from + length).min(bytes.len());
            let part = bytes.get(from..to).map(<[u8]>::to_vec).unwrap_or_default();
            match self.roll(5) {
                0 => drop(bytes.drain(from..to)),
                1 => drop(bytes.splice(from..from, part)),
                2 => {
                    let byte = u8::try_from(self.roll(256)).unwrap_or_default();
                    drop(bytes.splice(from..(from + 1).min(bytes.len()), [byte]));
                }
                3 => {
                    let telling = [
                        &b"\""[..],
                        b"null",
                        b"[]",
                        b"{",
                        b"}",
                        b":",
                        b"/",
                        b"..",
                        b"%2e",
                        b".git",
                        b"@",
                    ];
                    let word = telling.get(self.roll(telling.len())).copied().unwrap_or_default();
                    drop(bytes.splice(from..from, word.iter().copied()));
                }
                _ => {
                    let other = others.get(self.roll(others.len())).cloned().unwrap_or_default();
                    let at = self.roll(other.len());
                    let brought = other.into_iter().skip(at).take(length * 4);
                    drop(bytes.splice(from..to, brought));
                }
            }
        }
        bytes
    }
}

fn holds_for_all(target: &str, holds: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = fs::read_dir(folder).expect("is a folder").flatten();
    let mut paths: Vec<_> = files.map(|file| file.path()).collect();
    paths.sort();
    let seeds: Vec<_> = paths.iter().map(|path| fs::read(path).expect("is a file")).collect();
    assert!(!seeds.is_empty());
    let mut dice = Dice(1);
    for seed in &seeds {
        holds(seed);
        for _ in 0..rounds() {
            holds(&dice.change(seed, &seeds));
        }
    }
}

#[test]
fn no_delivery_crosses_a_border_or_verifies_without_a_secret() {
    holds_for_all("delivery", oracles::delivery);
}

#[test]
fn two_urls_are_one_only_where_host_and_name_agree() {
    holds_for_all("repo_url", oracles::repo_url);
}

#[test]
fn a_message_is_read_or_refused() {
    holds_for_all("message", oracles::message);
}
