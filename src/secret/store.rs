//! How long what was read of a secret is kept, and what may cause another read; `source` reads, `check` says what it
//! means for a delivery.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::SignedDuration;

use super::{
    ReadError,
    check::{Check, Outcome},
    source::{Asker, SecretOf, SecretSource},
    warnings::{OwnWarnings, Warnings},
};
use crate::{
    keys::Secret,
    remembered::{FAILURE_TTL, Remembered},
    seldom::{May, Seldom},
    signature::{Refusal, Verified},
};

/// How often a delivery that the kept secret refuses may cause a fresh read, so that a rotation works at once.
const FRESH_READ_INTERVAL: Duration = Duration::from_secs(10);

/// How many own secrets deliveries that nothing verifies may have read in [`FRESH_READ_INTERVAL`], all of them together,
/// beside those that are known to be there: a repository has a few, unless somebody makes GitRepos to make us read.
const STRANGERS_READS: usize = 64;

/// For how many GitRepos that name a missing secret it is remembered that they do.
const MISSED_BY_LIMIT: usize = 256;

/// How many secrets of GitRepos are kept.
const OWN_SECRETS_LIMIT: usize = 1024;

/// What is kept of one secret.
#[derive(Debug, Default)]
struct Kept {
    outcome: Remembered<Outcome>,
    /// Reads that refusals cause.
    rereads: Seldom,
    /// The GitRepos for which it was found missing.
    missed_by: Mutex<HashSet<u64>>,
    warnings: Warnings,
}

/// The GitRepos' own secrets, by namespace and name.
type OwnSecrets = HashMap<(String, String), Arc<Kept>>;

/// Reads webhook secrets and keeps them for a while. That the global one is absent is never remembered.
#[derive(Debug)]
pub struct SecretStore {
    source: SecretSource,
    cache_ttl: Duration,
    lookup_cache_ttl: Duration,
    global: Arc<Kept>,
    global_was_there: AtomicBool,
    own: Mutex<OwnSecrets>,
    /// Reads of own secrets that deliveries cause which nothing verifies.
    strangers_reads: Seldom,
    own_warnings: OwnWarnings,
}

impl Kept {
    fn missed_by(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.missed_by.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn was_missed_by(&self, gitrepos: &[u64]) -> bool {
        let missed_by = self.missed_by();
        gitrepos.iter().all(|gitrepo| missed_by.contains(gitrepo))
    }

    fn note_missed_by(&self, gitrepos: &[u64]) {
        let mut missed_by = self.missed_by();
        // Those that are forgotten cause a read more, of the few that they may.
        if missed_by.len() > MISSED_BY_LIMIT {
            missed_by.clear();
        }
        missed_by.extend(gitrepos);
    }
}

impl SecretStore {
    /// Reads from `source`, and keeps what it read for `cache_ttl`; for deliveries that nothing verifies a GitRepo's own
    /// secret is read once in `lookup_cache_ttl` at most.
    pub fn new(source: SecretSource, cache_ttl: Duration, lookup_cache_ttl: Duration) -> Self {
        Self {
            source,
            cache_ttl,
            lookup_cache_ttl,
            global: Arc::default(),
            global_was_there: AtomicBool::new(false),
            own: Mutex::default(),
            strangers_reads: Seldom::default(),
            own_warnings: OwnWarnings::default(),
        }
    }

    /// Where the global secret is read, for people.
    pub(crate) fn place(&self) -> String {
        self.source.place()
    }

    /// Why the last read of the global secret failed, for the log.
    pub(crate) fn global_trouble(&self) -> Option<String> {
        let (outcome, _) = self.global.outcome.last()?;
        outcome.err().map(|error| error.to_string())
    }

    /// Asks a secret about a delivery, which `verify` knows.
    pub async fn check(
        &self,
        of: SecretOf<'_>,
        asker: Asker<'_>,
        verify: impl Fn(&Secret) -> Result<Verified, Refusal>,
    ) -> Check {
        let kept = self.kept(of);
        // What the secret in hand verifies waits for nobody's read.
        let in_hand = kept.outcome.last().map(|(outcome, age)| {
            let check = Check::of(&outcome, &verify);
            (outcome, age, check)
        });
        if let Some((_, age, check @ Check::Verified(_))) = &in_hand
            && *age < self.cache_ttl
        {
            return check.clone();
        }
        // Once for each read: a body may be large.
        let check = |outcome: &Outcome| match &in_hand {
            Some((known, _, check)) if is_same(known, outcome) => check.clone(),
            _ => Check::of(outcome, &verify),
        };
        let (outcome, was_read) = self.current(of, asker, &kept, &check).await;
        if was_read && matches!(as_ref(&outcome), Err(ReadError::Missing)) {
            kept.note_missed_by(asker.gitrepos);
        }
        let check = self.governing(of, check(&outcome));
        self.warn(of, &kept.warnings, &outcome, &check);
        // Of a GitRepo's own secret the first read counts too, so that a flood causes one and not two.
        if was_read
            && of != SecretOf::Global
            && matches!(check, Check::Refused(_) | Check::Forbidden)
        {
            kept.rereads.may(self.reread_interval(of));
        }
        check
    }

    /// What there is of a secret for this asker, and whether it was read for it.
    async fn current(
        &self,
        of: SecretOf<'_>,
        asker: Asker<'_>,
        kept: &Kept,
        check: impl Fn(&Outcome) -> Check,
    ) -> (Outcome, bool) {
        let mut was_read = false;
        let outcome = kept.outcome.get_keeping(
            |last, age| self.is_good(of, asker, kept, &check(last), last, age),
            async {
                if !self.may_read(of, asker, kept) {
                    return Err(Arc::new(ReadError::Postponed));
                }
                was_read = true;
                self.read(of).await
            },
            |last, age, read| self.replaces(last, age, read),
        );
        let outcome = outcome.await;
        self.note(of, &outcome);
        (outcome, was_read)
    }

    /// Tells whether the global secret is there now, for the log.
    ///
    /// # Errors
    /// The [`ReadError`] of the read.
    pub async fn global_is_there(&self) -> Result<bool, Arc<ReadError>> {
        let outcome = self.global.outcome.get_keeping(
            |_, age| age < FAILURE_TTL,
            self.read(SecretOf::Global),
            |last, age, read| self.replaces(last, age, read),
        );
        let outcome = outcome.await;
        self.note(SecretOf::Global, &outcome);
        match outcome {
            Ok(_) => Ok(true),
            Err(error) if matches!(*error, ReadError::Missing) => Ok(false),
            Err(error) => {
                // What is remembered for a moment is not read again, and so not warned of, by the first delivery.
                self.global.warnings.unusable(
                    &self.own_warnings,
                    &self.source,
                    SecretOf::Global,
                    &error,
                );
                Err(error)
            }
        }
    }

    /// Whether the global secret is in hand, so that asking it waits for no read unless it refuses.
    pub fn global_is_in_hand(&self) -> bool {
        let last = self.global.outcome.last();
        last.is_some_and(|(outcome, age)| outcome.is_ok() && age < self.cache_ttl)
    }

    async fn read(&self, of: SecretOf<'_>) -> Outcome {
        // What holds this future would else hold tens of kilobytes, several times over.
        Box::pin(self.source.read(of)).await.map(Arc::new).map_err(Arc::new)
    }

    /// Whether an earlier read will do. Anybody may send what a secret refuses, so that a refusal causes few reads; a
    /// delivery without a proof causes none.
    fn is_good(
        &self,
        of: SecretOf<'_>,
        asker: Asker<'_>,
        kept: &Kept,
        check: &Check,
        last: &Outcome,
        age: Duration,
    ) -> bool {
        let own = of != SecretOf::Global;
        let reread = || asker.carries_proof && kept.rereads.may(self.reread_interval(of));
        match (as_ref(last), check) {
            (_, Check::Verified(_)) => age < self.cache_ttl,
            (Ok(_), _) => (own || age < self.cache_ttl) && !reread(),
            (Err(ReadError::Missing), _) => {
                own && !asker.is_verified
                    && age < self.lookup_cache_ttl
                    && kept.was_missed_by(asker.gitrepos)
            }
            (Err(ReadError::Unusable { .. }), _) => !reread(),
            (Err(ReadError::Forbidden(_)), _) if own => !reread(),
            (Err(ReadError::Forbidden(_) | ReadError::Unreachable(_)), _) => age < FAILURE_TTL,
            (Err(ReadError::Postponed), _) => false,
        }
    }

    /// Whether a secret may be read that has to be: what is known to be there may, and anything for a delivery that
    /// another one verifies.
    fn may_read(&self, of: SecretOf<'_>, asker: Asker<'_>, kept: &Kept) -> bool {
        let is_known = || kept.outcome.last().is_some_and(|(last, _)| is_there(&last));
        let limit = || self.strangers_reads.may_happen(STRANGERS_READS, FRESH_READ_INTERVAL);
        of == SecretOf::Global || asker.is_verified || is_known() || limit() != May::Not
    }

    /// Whether what was read takes the place of what is kept: one that cannot be read just now does not, where that may
    /// still be used.
    fn replaces(&self, last: &Outcome, age: Duration, read: &Outcome) -> bool {
        match as_ref(read) {
            Err(ReadError::Postponed) => false,
            Err(ReadError::Forbidden(_) | ReadError::Unreachable(_)) => {
                !is_there(last) || age >= self.cache_ttl
            }
            _ => true,
        }
    }

    /// What a secret says, where it governs: a global one that was named, or was there before, is never "no secret"
    /// (contract §3).
    fn governing(&self, of: SecretOf<'_>, check: Check) -> Check {
        match (of, check) {
            (SecretOf::Global, Check::Missing) if self.global_has_to_be_there() => {
                Check::Unavailable
            }
            (_, check) => check,
        }
    }

    fn global_has_to_be_there(&self) -> bool {
        self.source.is_named() || self.global_was_there.load(Ordering::Relaxed)
    }

    /// Notes that the global secret is there.
    fn note(&self, of: SecretOf<'_>, outcome: &Outcome) {
        if of == SecretOf::Global && is_there(outcome) {
            self.global_was_there.store(true, Ordering::Relaxed);
        }
    }

    fn warn(&self, of: SecretOf<'_>, warnings: &Warnings, outcome: &Outcome, check: &Check) {
        match (as_ref(outcome), check) {
            // Where none is configured there is none.
            (_, Check::Missing) if of == SecretOf::Global => {}
            (Err(error), _) => warnings.unusable(&self.own_warnings, &self.source, of, error),
            (
                Ok(_),
                Check::Refused(refusal @ (Refusal::KeyMissing(_) | Refusal::KeyUnusable(_))),
            ) => warnings.keyless(&self.own_warnings, &self.source, of, *refusal),
            (Ok(_), _) => {}
        }
    }

    /// For how long a delivery may be refused by what was read before it came: a secret, or the GitRepos that deliveries
    /// share as long.
    pub(crate) fn refusal_lasts(&self) -> SignedDuration {
        let longest = FRESH_READ_INTERVAL.max(self.lookup_cache_ttl);
        SignedDuration::try_from(longest).unwrap_or(SignedDuration::MAX)
    }

    /// How often a refusal may cause a read: the limit on what a flood can make us read.
    fn reread_interval(&self, of: SecretOf<'_>) -> Duration {
        let interval = if self.cache_ttl.is_zero() { Duration::ZERO } else { FRESH_READ_INTERVAL };
        match of {
            SecretOf::Global => interval,
            SecretOf::GitRepo { .. } => interval.max(self.lookup_cache_ttl),
        }
    }

    fn kept(&self, of: SecretOf<'_>) -> Arc<Kept> {
        let SecretOf::GitRepo { namespace, name } = of else { return Arc::clone(&self.global) };
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let id = (namespace.to_owned(), name.to_owned());
        if own.len() >= OWN_SECRETS_LIMIT && !own.contains_key(&id) {
            let age = |kept: &Kept| kept.outcome.last().map(|(_, age)| age);
            let oldest = own.iter().max_by_key(|(_, kept)| age(kept)).map(|(id, _)| id.clone());
            oldest.and_then(|oldest| own.remove(&oldest));
        }
        Arc::clone(own.entry(id).or_default())
    }
}

fn as_ref(outcome: &Outcome) -> Result<&Secret, &ReadError> {
    outcome.as_deref().map_err(|error| &**error)
}

/// Whether there is such a secret, good or bad.
fn is_there(outcome: &Outcome) -> bool {
    matches!(as_ref(outcome), Ok(_) | Err(ReadError::Unusable { .. }))
}

fn is_same(one: &Outcome, other: &Outcome) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => Arc::ptr_eq(one, other),
        (Err(one), Err(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}
