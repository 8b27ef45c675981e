//! What is kept of one secret: what the last read gave, and when a refusal last caused one; `store` decides what for.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use super::{ReadError, Secret};
use crate::signature::Refusal;

/// What a read gave; shared by all who asked for it.
pub(super) type Outcome = Result<Arc<Secret>, Arc<ReadError>>;

/// What is kept of one secret.
#[derive(Debug, Default)]
pub(super) struct Slot {
    kept: Mutex<Kept>,
    /// One read at a time.
    pub(super) turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) last: Option<Read>,
    /// When a refusal last caused a read, by the wall clock.
    reread: Option<SystemTime>,
    /// What was warned of, and when.
    warned: Vec<(Refusal, Instant)>,
}

/// What a read gave, and when.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) outcome: Outcome,
    pub(super) started: Instant,
    /// By the wall clock, since a Lambda is frozen between events and its monotonic clock may be too.
    pub(super) started_at: SystemTime,
}

impl Read {
    /// How long ago; `Duration::MAX` where the clock was set back meanwhile.
    pub(super) fn age(&self) -> Duration {
        self.started_at.elapsed().unwrap_or(Duration::MAX)
    }

    pub(super) fn secret_younger_than(&self, age: Duration) -> Option<&Arc<Secret>> {
        self.outcome.as_ref().ok().filter(|_| self.age() < age)
    }
}

impl Slot {
    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn last(&self) -> Option<Read> {
        self.kept().last.clone()
    }

    /// Tells whether a refusal may cause a read, and if so notes that it does.
    pub(super) fn may_reread(&self, interval: Duration) -> bool {
        let mut kept = self.kept();
        let since = kept.reread.map(|at| at.elapsed().unwrap_or(Duration::MAX));
        let may = since.is_none_or(|since| since >= interval);
        if may {
            kept.reread = Some(SystemTime::now());
        }
        may
    }

    /// Tells whether to warn of a refusal, and if so notes that it was: anybody can cause it, as often as they like.
    pub(super) fn may_warn(&self, refusal: Refusal, interval: Duration) -> bool {
        let mut kept = self.kept();
        kept.warned.retain(|(_, at)| at.elapsed() < interval);
        let may = kept.warned.iter().all(|(warned, _)| *warned != refusal);
        if may {
            kept.warned.push((refusal, Instant::now()));
        }
        may
    }
}
