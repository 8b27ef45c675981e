//! What is measured: `page` prints it, `plot` draws it.

use std::time::Duration;

#[derive(Default)]
pub struct Figures {
    pub sizes: Vec<Size>,
    pub fan_out: Vec<FanOut>,
    pub forged: Forged,
    pub burst: Option<Burst>,
    /// In KiB, as everywhere.
    pub resident_after_flood: u64,
}

/// Among a number of GitRepos.
pub struct Size {
    pub gitrepos: usize,
    pub index: Deliveries,
    pub stateless: Deliveries,
    pub ready: Duration,
    pub index_in_use: Duration,
    pub resident_idle: u64,
    pub resident: u64,
    pub resident_stateless: u64,
}

/// Deliveries that one GitRepo follows, in turn with bare patches.
pub struct Deliveries {
    pub times: Times,
    pub bare: Times,
    pub cpu: Duration,
    /// Of each delivery, to the API server.
    pub requests: f64,
    pub sent: u64,
    pub received: u64,
}

/// GitRepos on one repository, beside the same patches 16 at a time.
pub struct FanOut {
    pub gitrepos: usize,
    pub delivery: Duration,
    pub bare: Duration,
    pub cpu: Duration,
}

#[derive(Default)]
pub struct Forged {
    /// A second, from 16 connections.
    pub rate: f64,
    pub cpu_in_a_flood: Duration,
    /// Each on a connection of its own.
    pub cpu_with_connection: Duration,
    pub bodies: Vec<Body>,
}

/// A forged delivery of a size, one after the other on one connection.
pub struct Body {
    pub bytes: usize,
    pub cpu: Duration,
    /// One HMAC over its body, and reading it to nothing.
    pub floor: Duration,
}

/// Pushes of as many repositories, each on a connection of its own, at once.
pub struct Burst {
    pub deliveries: usize,
    pub accepted: usize,
    pub took: Duration,
    pub slowest: Times,
    pub resident: u64,
}

/// Percentiles.
#[derive(Clone, Copy)]
pub struct Times {
    pub p50: Duration,
    pub p95: Duration,
    pub p99: Duration,
}

impl Times {
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        Self { p50: at(50), p95: at(95), p99: at(99) }
    }
}
