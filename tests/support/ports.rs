//! Ports for programs that have to be told theirs.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below those that Linux gives to whoever asks for any, so that nobody gets one between its choice and its use.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// How far the first ports of two processes are from each other that were started one after the other.
const STRIDE: u32 = 97;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of this machine that nobody listens on; no other call gives it, in this process.
pub fn free_port() -> u16 {
    let start = u16::try_from(std::process::id() % u32::from(COUNT) * STRIDE % u32::from(COUNT))
        .expect("is less");
    loop {
        let number = (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", FIRST + number)).is_ok() {
            return FIRST + number;
        }
    }
}
