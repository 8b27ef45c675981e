//! Which of several pushes stays (contract §5, "Order"): by what the ref was before, where the payloads say it, and by
//! when they were received.

mod pushes;

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use self::pushes::{Known, OfRef, Pushes};
use crate::{
    event::CommitId,
    gitrepo::{GitRepo, Move},
};

/// How long a push waits for the one between what is announced and itself, counted from when it was received.
const WAIT_FOR_THE_ONE_BETWEEN: SignedDuration = SignedDuration::from_secs(1);

/// By how much the clocks of two processes may differ.
pub(super) const SKEW: SignedDuration = SignedDuration::from_secs(1);

/// Whose turn it is at a GitRepo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Ours.
    Announce,
    /// The commit is announced.
    Unchanged,
    /// That of a later push, which is announced.
    Superseded,
    /// It may be that of a push between what is announced and ours: to be asked again after a while.
    Wait,
}

/// When a push was received, when its GitRepo was looked at, and what the same clock says now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) received: Timestamp,
    /// When what is announced was first seen.
    pub(super) looked: Timestamp,
    pub(super) now: Timestamp,
}

impl Times {
    /// Whether a push has waited for as long as it waits for the one between.
    pub(super) fn waited(self) -> bool {
        self.now.duration_since(self.received) >= WAIT_FOR_THE_ONE_BETWEEN
    }
}

/// What was seen of a GitRepo since the push was received.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// It was where the push begins, or ends: nobody but a later push can have moved it on.
    pub(super) was_there: bool,
    /// Something was announced to it meanwhile.
    pub(super) moved_on: bool,
    /// It was first looked at so late that waiting has no sense any more, or somebody may have looked before.
    pub(super) late: bool,
}

/// The pushes that this process heard of lately, for each GitRepo that follows them and is verified by its secret.
#[derive(Debug, Default)]
pub(super) struct History {
    hasher: RandomState,
    pushes: Mutex<Pushes>,
}

impl History {
    /// Remembers a push that a GitRepo follows for a while.
    pub(super) fn note(&self, gitrepo: &GitRepo, follows: &Move, received: Timestamp) {
        let (key, known) = (self.key(gitrepo), self.known(follows, received));
        self.pushes().note(key, known);
    }

    /// Says whose turn it is, of a push that a GitRepo follows as it is now.
    pub(super) fn turn(&self, gitrepo: &GitRepo, follows: &Move, seen: Seen, times: Times) -> Turn {
        if gitrepo.announces(&follows.after) {
            return Turn::Unchanged;
        }
        let ours = self.known(follows, times.received);
        let announced = gitrepo.announced().map(|commit| self.hasher.hash_one(commit));
        let pushes = self.pushes();
        let known = pushes.of(self.key(gitrepo));
        let theirs = announced.and_then(|announced| known.last_to(announced));
        if let Some(turn) = by_what_the_ref_was(known, &ours, announced, theirs) {
            return turn;
        }
        let announced = match theirs {
            Some(theirs) => Announced::of_known(theirs, &ours),
            None => Announced::at(gitrepo.announced_at(), seen, times),
        };
        let in_the_end = match announced {
            Announced::Later => return Turn::Superseded,
            Announced::Earlier => return Turn::Announce,
            Announced::Unclear { perhaps_later: true, .. } if seen.was_there => {
                return Turn::Superseded;
            }
            Announced::Unclear { in_the_end, .. } => in_the_end,
        };
        if follows.before.as_ref().is_none_or(|before| may_be_at(gitrepo, before)) {
            return Turn::Announce;
        }
        if times.waited() { in_the_end } else { Turn::Wait }
    }

    fn key(&self, gitrepo: &GitRepo) -> u64 {
        let (metadata, spec) = (&gitrepo.metadata, &gitrepo.spec);
        self.hasher.hash_one((&metadata.namespace, &metadata.name, &spec.branch, &spec.revision))
    }

    fn known(&self, follows: &Move, received: Timestamp) -> Known {
        let hash = |commit: &CommitId| self.hasher.hash_one(commit.as_str());
        let after = hash(&follows.after);
        let before = follows.before.as_ref().map(hash).filter(|before| *before != after);
        Known { before, after, received, noted: Instant::now() }
    }

    fn pushes(&self) -> MutexGuard<'_, Pushes> {
        self.pushes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the push was received that is announced, as against ours.
#[derive(Clone, Copy, Debug)]
enum Announced {
    Earlier,
    Later,
    /// There may be one between, or nobody knows.
    Unclear {
        /// Whether nothing speaks against later.
        perhaps_later: bool,
        /// Whose turn it is where the push between does not come.
        in_the_end: Turn,
    },
}

impl Announced {
    /// This process received both, and knows which came first. Within a second they may come in any order, unless both
    /// begin at the same commit.
    fn of_known(theirs: &Known, ours: &Known) -> Self {
        let apart = ours.received.duration_since(theirs.received);
        let alike =
            ours.before.is_none() || theirs.before.is_none() || ours.before == theirs.before;
        match apart.is_negative() {
            true if alike || apart.abs() >= WAIT_FOR_THE_ONE_BETWEEN => Self::Later,
            true => Self::Unclear { perhaps_later: true, in_the_end: Turn::Superseded },
            false if alike => Self::Earlier,
            false => Self::Unclear { perhaps_later: false, in_the_end: Turn::Announce },
        }
    }

    /// Some process announced it that received it at `time`, a whole second; Fleet before 0.15.3 does not keep it.
    fn at(time: Option<Timestamp>, seen: Seen, times: Times) -> Self {
        let (received, looked) = (times.received.as_second(), times.looked.as_second());
        let skew = SKEW.as_secs();
        // One announcement too many does no harm where Fleet asks Git for the head; one too few does.
        let (perhaps_later, in_the_end) = match time.map(Timestamp::as_second) {
            // What was yet to come when it was seen first is no time: the clocks differ. By a second they always may.
            Some(at) if at > received && at <= looked => return Self::Later,
            Some(at) if at > received + skew && at <= looked + skew => return Self::Later,
            // Of two pushes in one second the other was announced, and ours does not begin where it ends: ours leads there.
            Some(at) if at == received && (seen.late || seen.moved_on) => (true, Turn::Superseded),
            Some(at) => (at + skew >= received, Turn::Announce),
            None => (true, Turn::Announce),
        };
        Self::Unclear { perhaps_later, in_the_end }
    }
}

/// Decides by what the ref was before: a GitRepo at where our push begins is behind us, and so is one from which other
/// pushes lead there; one to which others lead from where our push ends is ahead. `None` where neither is known.
fn by_what_the_ref_was(
    known: OfRef<'_>,
    ours: &Known,
    announced: Option<u64>,
    theirs: Option<&Known>,
) -> Option<Turn> {
    let (before, announced) = (ours.before?, announced?);
    let is_behind = known.lead(announced, before);
    let is_ahead = known.lead(ours.after, announced);
    match (is_behind, is_ahead) {
        (true, false) => Some(Turn::Announce),
        (false, true) => Some(Turn::Superseded),
        // The ref was pushed back to where it had been.
        (true, true) => match theirs {
            Some(theirs) if theirs.received > ours.received => Some(Turn::Superseded),
            _ => Some(Turn::Announce),
        },
        (false, false) => None,
    }
}

/// Whether a GitRepo to which nothing was announced is where a push begins, as far as Fleet says.
fn may_be_at(gitrepo: &GitRepo, before: &CommitId) -> bool {
    let status = gitrepo.status.as_ref();
    let deployed = status.and_then(|status| status.commit.as_deref());
    gitrepo.announced().is_none() && deployed.is_none_or(|deployed| deployed == before.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gitrepo::{GitRepoSpec, GitRepoStatus};

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const C: &str = "cccccccccccccccccccccccccccccccccccccccc";
    const D: &str = "dddddddddddddddddddddddddddddddddddddddd";

    /// The time of the tests, and some milliseconds.
    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + milliseconds).expect("is one")
    }

    /// A push, received and looked at.
    fn times(received: i64, now: i64) -> Times {
        Times { received: at(received), looked: at(now), now: at(now) }
    }

    fn push(before: &str, after: &str) -> Move {
        let after = CommitId::parse(after).expect("a commit id");
        Move { before: CommitId::parse(before), after }
    }

    /// A GitRepo to which a commit was announced that was received at some second.
    fn announcing(commit: &str, second: Option<i64>) -> GitRepo {
        let time =
            second.map(|second| at(second * 1000).strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        let status = GitRepoStatus {
            webhook_commit: Some(commit.to_owned()),
            last_webhook_time: time,
            ..GitRepoStatus::default()
        };
        GitRepo { status: Some(status), ..GitRepo::new("shop", GitRepoSpec::default()) }
    }

    fn turn(history: &History, gitrepo: &GitRepo, push: &Move, times: Times) -> Turn {
        history.turn(gitrepo, push, Seen::default(), times)
    }

    #[test]
    fn a_gitrepo_at_which_the_push_begins_is_behind_it_whatever_the_clocks_say() {
        for second in [None, Some(-60), Some(0), Some(1), Some(60)] {
            let gitrepo = announcing(A, second);
            let turn = turn(&History::default(), &gitrepo, &push(A, B), times(0, 3000));
            assert_eq!(turn, Turn::Announce, "{second:?}");
        }
    }

    #[test]
    fn a_push_of_which_others_lead_to_what_is_announced_is_superseded_for_a_minute() {
        let (history, gitrepo) = (History::default(), announcing(D, Some(0)));
        history.note(&gitrepo, &push(B, C), at(0));
        history.note(&gitrepo, &push(C, D), at(10));
        assert_eq!(turn(&history, &gitrepo, &push(A, B), times(30_000, 30_000)), Turn::Superseded);
        let other = History::default();
        assert_eq!(turn(&other, &gitrepo, &push(A, B), times(30_000, 31_000)), Turn::Announce);
    }

    #[test]
    fn a_push_waits_a_second_for_the_one_between_and_is_announced_then() {
        let (history, gitrepo) = (History::default(), announcing(A, Some(-60)));
        assert_eq!(turn(&history, &gitrepo, &push(B, C), times(0, 0)), Turn::Wait);
        assert_eq!(turn(&history, &gitrepo, &push(B, C), times(0, 999)), Turn::Wait);
        assert_eq!(turn(&history, &gitrepo, &push(B, C), times(0, 1000)), Turn::Announce);
        history.note(&gitrepo, &push(A, B), at(500));
        assert_eq!(turn(&history, &gitrepo, &push(B, C), times(0, 500)), Turn::Announce);
    }

    #[test]
    fn a_push_that_does_not_say_where_it_begins_waits_for_none() {
        let (history, gitrepo) = (History::default(), announcing(A, Some(0)));
        assert_eq!(turn(&history, &gitrepo, &push("", B), times(500, 500)), Turn::Announce);
    }

    #[test]
    fn the_first_push_waits_only_where_fleet_has_deployed_something_else() {
        let history = History::default();
        let deploying = |commit: Option<&str>| {
            let commit = commit.map(str::to_owned);
            let status = GitRepoStatus { commit, ..GitRepoStatus::default() };
            GitRepo { status: Some(status), ..announcing(A, None) }
        };
        for (deployed, expected) in
            [(None, Turn::Announce), (Some(A), Turn::Announce), (Some(C), Turn::Wait)]
        {
            let turn = turn(&history, &deploying(deployed), &push(A, B), times(0, 0));
            assert_eq!(turn, expected, "{deployed:?}");
        }
    }

    #[test]
    fn what_was_received_in_a_later_second_stays() {
        let history = History::default();
        let later = announcing(C, Some(2));
        assert_eq!(turn(&history, &later, &push("", B), times(1_900, 3_000)), Turn::Superseded);
        assert_eq!(turn(&history, &later, &push(A, B), times(1_900, 3_000)), Turn::Superseded);
        assert_eq!(turn(&history, &later, &push("", B), times(3_000, 3_000)), Turn::Announce);
    }

    #[test]
    fn a_clock_that_is_ahead_by_less_than_a_second_hides_no_later_push() {
        let history = History::default();
        let later = announcing(C, Some(5));
        assert_eq!(turn(&history, &later, &push("", B), times(3_100, 4_700)), Turn::Superseded);
        // It may be that clock alone which makes it later.
        assert_eq!(turn(&history, &later, &push("", B), times(4_700, 4_800)), Turn::Announce);
    }

    #[test]
    fn a_time_that_is_still_to_come_proves_nothing() {
        let ahead = announcing(C, Some(5));
        let turn = turn(&History::default(), &ahead, &push("", B), times(0, 3_000));
        assert_eq!(turn, Turn::Announce);
    }

    #[test]
    fn one_process_knows_to_the_millisecond_what_it_received_first() {
        let (history, gitrepo) = (History::default(), announcing(C, Some(0)));
        history.note(&gitrepo, &push("", C), at(500));
        assert_eq!(turn(&history, &gitrepo, &push("", B), times(400, 600)), Turn::Superseded);
        assert_eq!(turn(&history, &gitrepo, &push("", B), times(501, 600)), Turn::Announce);
    }

    #[test]
    fn pushes_that_begin_at_the_same_commit_go_by_when_they_were_received() {
        let (history, gitrepo) = (History::default(), announcing(C, Some(0)));
        history.note(&gitrepo, &push(A, C), at(500));
        assert_eq!(turn(&history, &gitrepo, &push(A, B), times(400, 600)), Turn::Superseded);
        assert_eq!(turn(&history, &gitrepo, &push(A, B), times(501, 600)), Turn::Announce);
    }

    #[test]
    fn what_took_the_place_of_where_the_push_begins_is_later() {
        let seen = Seen { was_there: true, ..Seen::default() };
        for second in [None, Some(-1), Some(0), Some(9)] {
            let gitrepo = announcing(C, second);
            let turn = History::default().turn(&gitrepo, &push(A, B), seen, times(500, 5_500));
            assert_eq!(turn, Turn::Superseded, "{second:?}");
        }
        let gitrepo = announcing(C, Some(-2));
        let turn = History::default().turn(&gitrepo, &push(A, B), seen, times(500, 5_500));
        assert_eq!(turn, Turn::Announce);
    }

    #[test]
    fn what_is_announced_meanwhile_as_of_the_same_second_is_later() {
        let seen = Seen { moved_on: true, ..Seen::default() };
        let turn_at = |second, now| {
            let gitrepo = announcing(C, second);
            History::default().turn(&gitrepo, &push(A, B), seen, times(500, now))
        };
        // The one between may come yet.
        assert_eq!(turn_at(Some(0), 1_400), Turn::Wait);
        assert_eq!(turn_at(Some(0), 1_500), Turn::Superseded);
        assert_eq!(turn_at(Some(-1), 1_500), Turn::Announce);
        assert_eq!(turn_at(None, 1_500), Turn::Announce);
    }

    #[test]
    fn a_push_that_comes_back_from_a_queue_is_before_another_of_its_second() {
        let late = Seen { late: true, ..Seen::default() };
        let turn_at = |second| {
            let gitrepo = announcing(C, second);
            History::default().turn(&gitrepo, &push(A, B), late, times(500, 60_000))
        };
        assert_eq!(turn_at(Some(0)), Turn::Superseded);
        assert_eq!(turn_at(Some(-1)), Turn::Announce);
        assert_eq!(turn_at(None), Turn::Announce);
    }

    #[test]
    fn a_push_back_goes_by_when_it_was_received() {
        let (history, gitrepo) = (History::default(), announcing(A, Some(0)));
        history.note(&gitrepo, &push(B, A), at(500));
        assert_eq!(turn(&history, &gitrepo, &push(A, B), times(400, 600)), Turn::Superseded);
        assert_eq!(turn(&history, &gitrepo, &push(A, B), times(600, 600)), Turn::Announce);
    }

    #[test]
    fn what_is_announced_already_is_unchanged() {
        let gitrepo = announcing(B, Some(9));
        let turn = turn(&History::default(), &gitrepo, &push(A, B), times(0, 0));
        assert_eq!(turn, Turn::Unchanged);
    }

    #[test]
    fn one_gitrepos_pushes_say_nothing_of_another() {
        let (history, gitrepo) = (History::default(), announcing(C, Some(-60)));
        history.note(&GitRepo::new("other", GitRepoSpec::default()), &push(B, C), at(0));
        assert_eq!(turn(&history, &gitrepo, &push(A, B), times(0, 0)), Turn::Wait);
    }
}
