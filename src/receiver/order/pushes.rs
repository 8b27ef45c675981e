//! The pushes that this process heard of lately, by the ref that a GitRepo follows: refs and commits as hashes, within
//! limits.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

/// For how long it is remembered which push began where another ended.
const MEMORY: Duration = Duration::from_mins(1);

/// How often it is looked for what is too old.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Of how many refs of GitRepos: a few megabytes.
const REFS_LIMIT: usize = 65_536;

/// How many pushes of one of them.
const PUSHES_LIMIT: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Pushes {
    by_ref: HashMap<u64, VecDeque<Known>>,
    /// When those were dropped that are too old.
    swept: Option<Instant>,
}

/// A push of one ref.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) before: Option<u64>,
    pub(super) after: u64,
    pub(super) received: Timestamp,
    pub(super) noted: Instant,
}

/// The pushes of one ref.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfRef<'a>(Option<&'a VecDeque<Known>>);

impl Pushes {
    /// Remembers a push for a while.
    pub(super) fn note(&mut self, of: u64, push: Known) {
        self.sweep(push.noted);
        let of_ref = self.by_ref.entry(of).or_default();
        if of_ref.len() >= PUSHES_LIMIT {
            of_ref.pop_front();
        }
        of_ref.push_back(push);
    }

    /// What is remembered of a ref.
    pub(super) fn of(&self, a_ref: u64) -> OfRef<'_> {
        OfRef(self.by_ref.get(&a_ref))
    }

    /// Drops what is too old, once in a while; and all, rather than to grow without a limit.
    fn sweep(&mut self, now: Instant) {
        if self.by_ref.len() >= REFS_LIMIT {
            self.by_ref.clear();
        }
        if self.swept.is_some_and(|swept| now.duration_since(swept) < SWEEP_INTERVAL) {
            return;
        }
        self.swept = Some(now);
        self.by_ref.retain(|_, of_ref| {
            of_ref.retain(|known| now.duration_since(known.noted) < MEMORY);
            !of_ref.is_empty()
        });
    }
}

impl<'a> OfRef<'a> {
    /// Whether pushes lead from one commit to another, or they are one.
    pub(super) fn lead(self, from: u64, to: u64) -> bool {
        let mut reached = vec![from];
        let mut next = 0;
        while let Some(&commit) = reached.get(next) {
            if commit == to {
                return true;
            }
            next += 1;
            for push in self.pushes().filter(|push| push.before == Some(commit)) {
                if !reached.contains(&push.after) {
                    reached.push(push.after);
                }
            }
        }
        false
    }

    /// The push of a commit that was received last.
    pub(super) fn last_to(self, commit: u64) -> Option<&'a Known> {
        self.pushes().filter(|push| push.after == commit).max_by_key(|push| push.received)
    }

    fn pushes(self) -> impl Iterator<Item = &'a Known> {
        self.0.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_remembered_than_a_limit() {
        let push = Known {
            before: Some(1),
            after: 2,
            received: Timestamp::UNIX_EPOCH,
            noted: Instant::now(),
        };
        let mut pushes = Pushes::default();
        for of in 0..REFS_LIMIT as u64 + 100 {
            pushes.note(of, push);
        }
        assert_eq!(pushes.by_ref.len(), 100);
        for _ in 0..PUSHES_LIMIT + 100 {
            pushes.note(0, push);
        }
        assert_eq!(pushes.of(0).pushes().count(), PUSHES_LIMIT);
    }
}
