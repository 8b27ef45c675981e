//! Carries a plan out: brings each planned commit to its GitRepo, whatever happens to either meanwhile.

use std::{sync::atomic::Ordering, time::Duration};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    Progress, Receiver,
    order::{Seen, Times, Turn},
    patch::is_tested_alike,
    plan::Plan,
    progress::Limits,
};
use crate::{
    cluster::{ApiError, CONCURRENT_REQUESTS, FIRST_PAUSE, LONGEST_PAUSE, tell_trouble},
    event::{Push, Repository},
    gitrepo::{GitRepo, Move},
    outcome::Fate,
    reason::Reason,
    verdict::{Judge, Planned, Verdict},
};

/// How long a push that waits for another one's turn waits before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A planned commit on its way to its GitRepo.
struct Announcement<'a> {
    receiver: &'a Receiver,
    judge: &'a Judge<'a>,
    push: &'a Push,
    progress: &'a Progress,
    limits: Limits,
    planned: Planned,
    /// Whether its sender may know of the GitRepo.
    shown: bool,
    /// Whether the GitRepo was read since it was found: what was found may be old.
    fresh: bool,
    seen: Seen,
    /// When what is announced to it was first seen.
    looked: Timestamp,
    /// Whether the polling interval may be ours; `None` while that was not tried.
    interval: Option<bool>,
    /// What the API server did not take because the GitRepo is another by now, or for good.
    refused: bool,
    /// Whether an attempt got no answer, so that the commit may be announced all the same.
    unanswered: bool,
    /// Whether an attempt has failed.
    troubled: bool,
    pause: Duration,
}

/// What came of a round.
enum Round {
    Done(Fate),
    /// The GitRepo has to be read again, not before the given time.
    Again(Instant),
}

/// Why a commit could not be announced.
#[derive(Debug, thiserror::Error)]
enum Unannounced {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("a secret cannot be read")]
    Secret,
}

impl Receiver {
    /// Patches what is planned, all at once and each for itself; one that fails stops no other. `earlier` is how GitRepos
    /// were when they were first looked at, if that was not how the plan was made.
    pub(super) async fn carry_out(
        &self,
        plan: &mut Plan,
        earlier: &[GitRepo],
        judge: &Judge<'_>,
        push: &Push,
        progress: &Progress,
    ) {
        let planned = std::mem::take(&mut plan.planned);
        if planned.is_empty() {
            return;
        }
        if !progress.begin_patching() {
            plan.unavailable = Some(ApiError::TooLate.to_string());
            return;
        }
        // All of them first, so that whoever announces an earlier or a later push knows of this one.
        for planned in &planned {
            self.history.note(planned.gitrepo(), planned.follows(), progress.received());
        }
        let announced = stream::iter(planned).map(|planned| {
            let mut announcement = Announcement::new(self, judge, push, progress, planned);
            announcement.look_back(earlier);
            // Boxed, so that those which wait for a place take none of the memory of a request.
            Box::pin(async move {
                let outcome = announcement.announce().await;
                (announcement.planned, announcement.shown, outcome)
            })
        });
        let mut announced = announced.buffer_unordered(CONCURRENT_REQUESTS);
        while let Some((planned, shown, outcome)) = announced.next().await {
            let fate = outcome.unwrap_or_else(|error| {
                plan.unavailable = Some(error.to_string());
                Fate::Skipped(Reason::Failed)
            });
            plan.report.add(planned.gitrepo(), fate, shown);
        }
    }
}

impl<'a> Announcement<'a> {
    fn new(
        receiver: &'a Receiver,
        judge: &'a Judge<'a>,
        push: &'a Push,
        progress: &'a Progress,
        planned: Planned,
    ) -> Self {
        let times = progress.times();
        Self {
            receiver,
            judge,
            push,
            progress,
            limits: progress.patch_limits(),
            shown: planned.is_verified(),
            planned,
            fresh: false,
            seen: Seen { late: times.waited() || progress.was_queued, ..Seen::default() },
            looked: times.now,
            interval: None,
            refused: false,
            unanswered: false,
            troubled: false,
            pause: FIRST_PAUSE,
        }
    }

    /// Takes note of how its GitRepo was `earlier`.
    fn look_back(&mut self, earlier: &[GitRepo]) {
        let (gitrepo, follows) = (self.planned.gitrepo(), self.planned.follows());
        let is_it =
            |it: &&GitRepo| it.metadata.uid.is_some() && it.metadata.uid == gitrepo.metadata.uid;
        self.seen.was_there = earlier.iter().filter(is_it).any(|it| is_there(it, follows));
    }

    /// Announces within the limits. A polling interval that was set for a commit which does not come is taken back.
    async fn announce(&mut self) -> Result<Fate, Unannounced> {
        let end = self.limits.end;
        let outcome = match timeout_at(end, self.rounds()).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(ApiError::TooLate.into()),
        };
        match outcome {
            // Whoever announced another commit found our interval, and relies on it.
            Ok(
                Fate::Patched(_)
                | Fate::Skipped(Reason::Unchanged | Reason::Superseded | Reason::Gone),
            ) => {}
            _ if self.interval == Some(true) => {
                self.receiver.patcher.take_interval_back(self.planned.gitrepo(), end).await;
            }
            // Another process may have set it, and not have come further than we.
            Err(_) => self.receiver.patcher.take_left_interval_back(self.planned.gitrepo()).await,
            _ => {}
        }
        if outcome.is_ok() && self.troubled {
            self.progress.troubled.fetch_sub(1, Ordering::Relaxed);
        } else if outcome.is_err() {
            self.note_trouble();
        }
        outcome
    }

    async fn rounds(&mut self) -> Result<Fate, Unannounced> {
        loop {
            let again = match self.round().await? {
                Round::Done(fate) => return Ok(fate),
                Round::Again(again) => again,
            };
            sleep_until(again).await;
            if let Some(fate) = self.read_again().await? {
                return Ok(fate);
            }
        }
    }

    /// Announces if it is our turn. What was found a while ago decides nothing else than that.
    async fn round(&mut self) -> Result<Round, Unannounced> {
        let (gitrepo, follows) = (self.planned.gitrepo(), self.planned.follows());
        self.seen.was_there |= is_there(gitrepo, follows);
        let times = Times { looked: self.looked, ..self.progress.times() };
        match self.receiver.history.turn(gitrepo, follows, self.seen, times) {
            Turn::Announce => self.attempt().await,
            _ if !self.fresh => Ok(Round::Again(Instant::now())),
            Turn::Wait => Ok(Round::Again(Instant::now() + LOOK_AGAIN)),
            Turn::Unchanged if self.unanswered => Ok(Round::Done(self.patched())),
            Turn::Unchanged => Ok(Round::Done(Fate::Skipped(Reason::Unchanged))),
            Turn::Superseded => Ok(Round::Done(Fate::Skipped(Reason::Superseded))),
        }
    }

    async fn attempt(&mut self) -> Result<Round, Unannounced> {
        let patcher = &self.receiver.patcher;
        if self.interval.is_none() {
            let until = self.limits.retry_until;
            // So it is where that is cut off.
            self.interval = Some(true);
            self.interval = Some(patcher.set_interval(&self.planned, until).await);
        }
        let error = match patcher.patch(&self.planned, self.progress.received()).await {
            Ok(gitrepo) => {
                self.receiver.lookup.announced(&gitrepo);
                return Ok(Round::Done(self.patched()));
            }
            Err(ApiError::NotFound) => return Ok(Round::Done(Fate::Skipped(Reason::Gone))),
            Err(ApiError::Unprocessable) => {
                self.refused = true;
                return Ok(Round::Again(Instant::now()));
            }
            Err(error) => error,
        };
        self.note_trouble();
        tell_trouble(&error);
        self.unanswered |= error.may_have_been_done();
        let again = Instant::now() + error.retry_after().unwrap_or_default().max(self.pause);
        if !error.is_passing() || again >= self.limits.retry_until {
            return Err(error.into());
        }
        tracing::debug!(%error, "trying again");
        self.pause = LONGEST_PAUSE.min(self.pause * 2);
        Ok(Round::Again(again))
    }

    /// Reads the GitRepo again, and judges it again; gives what is to be said where nothing is left to announce.
    async fn read_again(&mut self) -> Result<Option<Fate>, Unannounced> {
        let cluster = &self.receiver.cluster;
        let metadata = &self.planned.gitrepo().metadata;
        let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
            return Ok(Some(Fate::Skipped(Reason::Gone)));
        };
        let Some(now) = cluster.gitrepo(namespace, name).await? else {
            return Ok(Some(Fate::Skipped(Reason::Gone)));
        };
        if !is_still_of(&self.push.repository, self.planned.gitrepo(), &now) {
            return Ok(Some(Fate::Skipped(Reason::Gone)));
        }
        self.fresh = true;
        match self.judge.judge_again(&now, self.push).await {
            Verdict::Planned(planned) => {
                let refused = std::mem::take(&mut self.refused);
                if refused && is_tested_alike(&self.planned, &planned) {
                    // It is as it was, so it was not for that.
                    return Err(ApiError::Unprocessable.into());
                }
                if !is_announced_alike(self.planned.gitrepo(), planned.gitrepo()) {
                    self.looked = self.progress.times().now;
                    self.seen.moved_on = true;
                }
                self.shown = planned.is_verified();
                self.planned = *planned;
                Ok(None)
            }
            Verdict::Skipped { reason, shown, .. } => {
                self.shown = shown;
                Ok(Some(Fate::Skipped(reason)))
            }
            Verdict::Unavailable => {
                self.shown = false;
                Err(Unannounced::Secret)
            }
        }
    }

    fn patched(&self) -> Fate {
        Fate::Patched(self.planned.follows().after.clone())
    }

    /// Lets whoever has to answer in time know that it may fail.
    fn note_trouble(&mut self) {
        if !std::mem::replace(&mut self.troubled, true) {
            self.progress.troubled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether a GitRepo is where a push begins, or ends.
fn is_there(gitrepo: &GitRepo, follows: &Move) -> bool {
    let begins_there = follows.before.as_ref().is_some_and(|before| gitrepo.announces(before));
    begins_there || gitrepo.announces(&follows.after)
}

/// Whether a GitRepo deploys the pushed repository still. One that the payload names without its host has to be where
/// it was: only then is it known to be on one host with the others.
fn is_still_of(repository: &Repository, before: &GitRepo, now: &GitRepo) -> bool {
    let is_named = || now.spec.repo_url().is_some_and(|url| repository.is(&url));
    before.spec.repo == now.spec.repo || (matches!(repository, Repository::Urls(_)) && is_named())
}

/// Whether nothing was announced to a GitRepo meanwhile.
fn is_announced_alike(before: &GitRepo, now: &GitRepo) -> bool {
    (before.announced(), before.announced_at()) == (now.announced(), now.announced_at())
}
