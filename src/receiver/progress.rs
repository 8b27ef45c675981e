//! A delivery's times, and how far it got: shared by whoever receives it and whoever has to answer in time.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::order::{SKEW, Times};
use crate::{cluster::DEADLINE, outcome::Standing};

/// What is kept of the deadline, a quarter at most, for the other GitRepos while a secret or a namespace cannot be read.
const TIME_FOR_OTHERS: Duration = Duration::from_secs(2);

/// What is kept of a deadline after which nothing goes on, for taking polling intervals back.
const TAKE_BACK_TIME: Duration = Duration::from_millis(600);

/// How long the last attempt may take after that.
const LAST_ATTEMPT_TIME: Duration = Duration::from_secs(2);

/// How long the patch of one GitRepo may be tried again, even if its turn came just before the deadline: an attempt that
/// nobody answers takes two seconds of it.
const LEAST_PATCH_TIME: Duration = Duration::from_secs(3);

/// The stages of a delivery: whether it may still be stopped without a trace.
const LOOKING: u8 = 0;
const PATCHING: u8 = 1;
const ABANDONED: u8 = 2;

/// What a delivery waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The global secret.
    Secret,
    /// The GitRepos of its repository.
    LookUp,
    /// Secrets that GitRepos name.
    OwnSecrets,
    /// Patches.
    Patching,
}

/// How long patching a GitRepo may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Until when what failed is tried again.
    pub(super) retry_until: Instant,
    /// When the last attempt is cut off. Taking the polling interval back comes after it.
    pub(super) end: Instant,
}

/// A delivery's times, and how far it got, for whoever has to answer before it is done.
#[derive(Debug)]
pub struct Progress {
    pub(super) deadline: Instant,
    /// When it came, by the clock of the wall and by one that nobody sets.
    came: (Timestamp, Instant),
    received: Timestamp,
    judged_at: Timestamp,
    /// Whether it waited in a queue since it was received.
    pub(super) was_queued: bool,
    ends_at_deadline: bool,
    stage: AtomicU8,
    /// Whether a secret is known to verify it.
    is_verified: AtomicBool,
    /// What it waits for, and since when.
    step: Mutex<Option<(Step, Instant)>>,
    /// How many GitRepos have a patch that failed and may yet succeed, or failed for good.
    pub(super) troubled: AtomicUsize,
}

impl Progress {
    /// Received `now`; it has to be answered by `deadline`.
    pub fn new(deadline: Instant, now: Timestamp) -> Self {
        Self {
            deadline,
            came: (now, Instant::now()),
            received: now,
            judged_at: now,
            was_queued: false,
            ends_at_deadline: false,
            stage: AtomicU8::new(LOOKING),
            is_verified: AtomicBool::new(false),
            step: Mutex::default(),
            troubled: AtomicUsize::new(0),
        }
    }

    /// `received` a while ago, and waited since; the time of its proof is judged as of `judged_at`. Who received it may have
    /// a clock that is ahead, and not by more than clocks are: what is yet to come would beat every push until then.
    pub fn redelivery(
        deadline: Instant,
        received: Timestamp,
        judged_at: Timestamp,
        now: Timestamp,
    ) -> Self {
        let received = received.min(now.checked_add(SKEW).unwrap_or(now));
        Self { received, judged_at, was_queued: true, ..Self::new(deadline, now) }
    }

    /// Nothing goes on after the deadline, patches neither.
    #[must_use]
    pub fn ending_at_deadline(self) -> Self {
        Self { ends_at_deadline: true, ..self }
    }

    /// Notes what it proves, as soon as that is known.
    pub(super) fn note_standing(&self, standing: Standing) {
        self.is_verified.store(standing == Standing::Verified, Ordering::Relaxed);
    }

    /// What it is known to prove, for whoever answers before it is done.
    pub fn standing(&self) -> Standing {
        match self.is_verified.load(Ordering::Relaxed) {
            true => Standing::Verified,
            false => Standing::Unverified,
        }
    }

    /// Notes what it waits for from now on.
    pub(super) fn note_step(&self, step: Step) {
        let mut noted = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        *noted = Some((step, Instant::now()));
    }

    /// What it waits for, and for how long; [`Receiver::waits_for`](super::Receiver::waits_for) says it in words.
    pub fn step(&self) -> Option<(Step, Duration)> {
        let noted = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        noted.map(|(step, since)| (step, since.elapsed()))
    }

    /// When it was received first.
    pub const fn received(&self) -> Timestamp {
        self.received
    }

    /// The time as of which its proof is judged.
    pub const fn judged_at(&self) -> Timestamp {
        self.judged_at
    }

    /// When it was received, and what the same clock says now.
    pub(super) fn times(&self) -> Times {
        let (wall, clock) = self.came;
        let passed = SignedDuration::try_from(clock.elapsed()).unwrap_or(SignedDuration::MAX);
        let now = wall.checked_add(passed).unwrap_or(Timestamp::MAX);
        Times { received: self.received, looked: now, now }
    }

    /// By when it has to be answered.
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Reads what decides: what can be read is still to be patched when the rest is given up.
    pub(super) async fn reading<T>(&self, reads: impl Future<Output = T>) -> T {
        let whole = self.deadline.saturating_duration_since(self.came.1);
        let end = self.deadline - TIME_FOR_OTHERS.min(whole / 4);
        DEADLINE.scope(end, reads).await
    }

    /// Whether nothing goes on after the deadline.
    pub const fn ends_at_deadline(&self) -> bool {
        self.ends_at_deadline
    }

    /// Gives the delivery up, unless patches are under way; tells whether it is given up.
    pub fn abandon(&self) -> bool {
        self.enter(ABANDONED)
    }

    /// Tells whether patches may begin: not once the delivery was given up.
    pub(super) fn begin_patching(&self) -> bool {
        self.enter(PATCHING)
    }

    fn enter(&self, stage: u8) -> bool {
        let entered =
            self.stage.compare_exchange(LOOKING, stage, Ordering::AcqRel, Ordering::Acquire);
        entered.is_ok() || entered == Err(stage)
    }

    /// Whether a patch has failed so far.
    pub fn is_troubled(&self) -> bool {
        self.troubled.load(Ordering::Relaxed) > 0
    }

    /// How long the patch of one GitRepo may take whose turn is now.
    pub(super) fn patch_limits(&self) -> Limits {
        if self.ends_at_deadline {
            let end = self.deadline - TAKE_BACK_TIME;
            return Limits { retry_until: end, end };
        }
        let retry_until = self.deadline.max(Instant::now() + LEAST_PATCH_TIME);
        Limits { retry_until, end: retry_until + LAST_ATTEMPT_TIME }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_received_by_a_clock_that_is_ahead_keeps_its_place_and_nothing_comes_from_tomorrow()
     {
        let now = Timestamp::UNIX_EPOCH;
        let received_in = |time: SignedDuration| {
            let received = now.checked_add(time).expect("a time");
            let progress = Progress::redelivery(Instant::now(), received, now, now);
            progress.received().duration_since(now)
        };
        for (said, taken) in
            [(-5_000, -5_000), (0, 0), (400, 400), (1_000, 1_000), (86_400_000, 1_000)]
        {
            let (said, taken) =
                (SignedDuration::from_millis(said), SignedDuration::from_millis(taken));
            assert_eq!(received_in(said), taken);
        }
    }
}
