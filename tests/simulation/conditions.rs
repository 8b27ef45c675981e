//! What a seed decides once: who serves, how reliable everything is, and what may happen.

use std::time::Duration;

use crate::chance::Chance;

/// For how long pushes are made, in milliseconds.
pub const BUSY: u64 = 12_000;

/// Where what the cluster cannot take now waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    Nowhere,
    /// In a broker, which posts it to any of the receivers.
    Broker,
    /// In SQS: services take it out, functions are fed with it.
    Sqs,
}

#[derive(Debug)]
pub struct Conditions {
    pub replicas: usize,
    /// How many of them are functions; the last ones.
    pub functions: usize,
    /// Whether nobody can reach the cluster: the last one is a function that forwards to a queue, and the others take
    /// deliveries out of it.
    pub unreachable: bool,
    pub says_before: bool,
    pub clocks_differ: bool,
    /// How many requests of a hundred meet a fault.
    pub faults: u64,
    /// How long a request takes at the most, one way, in milliseconds.
    pub slowest: u64,
    pub retries: Retries,
    pub kills: bool,
    pub outages: bool,
    pub operators: bool,
    /// Whether deliveries come late, twice, or not at all.
    pub unreliable: bool,
    /// Whether providers send again what was not taken.
    pub patient: bool,
    pub two_hooks: bool,
    /// Whether pushes come in bursts.
    pub hurried: bool,
    /// Whether two namespaces are looked in, of which one is closed to us by then, in milliseconds.
    pub closed_at: Option<u64>,
    /// After how long without a word something on the way has forgotten a connection.
    pub forgets_after: Option<Duration>,
    /// How long an answer may take.
    pub deadline: Duration,
    /// For how long nothing is pushed, before the pushes at rest.
    pub pause: Duration,
}

impl Conditions {
    pub fn of(seed: u64) -> Self {
        let chance = &mut Chance::of(seed, "conditions");
        let unreachable = chance.percent(12);
        let served = 1 + small(chance.below(3));
        let functions = [0, 0, 1, 1, 3][small(chance.below(5))];
        let slowest = [3, 20, 150, 1500][small(chance.below(4))];
        // Where requests are that slow, that is too short.
        let deadline = if slowest < 1000 && chance.percent(33) { 1500 } else { 4500 };
        let retries = [Retries::Nowhere, Retries::Broker, Retries::Sqs, Retries::Sqs];
        let retries = retries[small(chance.below(4))];
        Self {
            replicas: served + usize::from(unreachable),
            functions: if unreachable { 1 } else { functions },
            unreachable,
            says_before: chance.percent(75),
            clocks_differ: chance.percent(25),
            faults: [0, 3, 10, 25][small(chance.below(4))],
            slowest,
            retries: if unreachable { Retries::Nowhere } else { retries },
            kills: chance.percent(30),
            outages: chance.percent(30),
            operators: chance.percent(40),
            unreliable: chance.percent(50),
            patient: chance.percent(60),
            two_hooks: chance.percent(40),
            hurried: chance.percent(50),
            closed_at: chance.percent(25).then(|| chance.below(BUSY)),
            forgets_after: chance.percent(50).then(|| chance.millis(2_000, 60_000)),
            deadline: Duration::from_millis(deadline),
            pause: [Duration::ZERO, chance.millis(0, 90_000)][small(chance.below(2))],
        }
    }

    pub const fn is_function(&self, place: usize) -> bool {
        place + self.functions >= self.replicas
    }

    /// Whether what is in this place forwards what it gets.
    pub const fn forwards(&self, place: usize) -> bool {
        self.unreachable && self.is_function(place)
    }

    /// Whether there is a queue in SQS.
    pub fn has_sqs(&self) -> bool {
        self.unreachable || self.retries == Retries::Sqs
    }
}

/// A small number, as what counts things.
pub fn small(number: u64) -> usize {
    usize::try_from(number).expect("is small")
}
