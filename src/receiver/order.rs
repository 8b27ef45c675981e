//! Which of several pushes stays (contract §5, "Order"): by what the ref was before, where the payloads say it, and by
//! when they were received.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::{
    event::CommitId,
    gitrepo::{GitRepo, Move},
};

/// For how long it is remembered which push began where another ended.
const MEMORY: Duration = Duration::from_mins(1);

/// How often it is looked for what is too old.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Of how many refs of GitRepos: a few megabytes.
const REFS_LIMIT: usize = 65_536;

/// How many pushes of one of them.
const PUSHES_LIMIT: usize = 64;

/// How long a push waits for the one between what is announced and itself, counted from when it was received.
const WAIT_FOR_THE_ONE_BETWEEN: SignedDuration = SignedDuration::from_secs(1);

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
    /// It was where the push begins: nobody but a later push can have moved it on.
    pub(super) at_before: bool,
    /// It was first looked at so late that waiting has no sense any more.
    pub(super) late: bool,
}

/// The pushes that this process heard of lately, for each GitRepo that follows them and is verified by its secret.
#[derive(Debug, Default)]
pub(super) struct History {
    hasher: RandomState,
    pushes: Mutex<Pushes>,
}

#[derive(Debug, Default)]
struct Pushes {
    /// By the ref that a GitRepo follows, as a hash.
    by_ref: HashMap<u64, VecDeque<Known>>,
    /// When those were dropped that are too old.
    swept: Option<Instant>,
}

/// A push of one ref; its commits as hashes.
#[derive(Clone, Copy, Debug)]
struct Known {
    before: Option<u64>,
    after: u64,
    received: Timestamp,
    noted: Instant,
}

impl History {
    /// Remembers a push that a GitRepo follows for a while.
    pub(super) fn note(&self, gitrepo: &GitRepo, follows: &Move, received: Timestamp) {
        let (key, known) = (self.key(gitrepo), self.known(follows, received));
        let mut pushes = self.pushes();
        pushes.sweep(known.noted);
        let of_ref = pushes.by_ref.entry(key).or_default();
        if of_ref.len() >= PUSHES_LIMIT {
            of_ref.pop_front();
        }
        of_ref.push_back(known);
    }

    /// Says whose turn it is, of a push that a GitRepo follows as it is now.
    pub(super) fn turn(&self, gitrepo: &GitRepo, follows: &Move, seen: Seen, times: Times) -> Turn {
        if gitrepo.announces(&follows.after) {
            return Turn::Unchanged;
        }
        let ours = self.known(follows, times.received);
        let announced = gitrepo.announced().map(|commit| self.hasher.hash_one(commit));
        let pushes = self.pushes();
        let nothing = VecDeque::new();
        let known = pushes.by_ref.get(&self.key(gitrepo)).unwrap_or(&nothing);
        let theirs = announced.and_then(|announced| last_to(known, announced));
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
            Announced::Unclear { perhaps_later: true, .. } if seen.at_before => {
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

impl Pushes {
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
        // One announcement too many does no harm where Fleet asks Git for the head; one too few does.
        let (perhaps_later, in_the_end) = match time.map(Timestamp::as_second) {
            // What was yet to come when it was seen first is no time: the clocks differ.
            Some(at) if at > received && at <= looked => return Self::Later,
            // Of two pushes in one second the other was announced, and begins not where ours ends: ours leads there.
            Some(at) if at == received && seen.late => (true, Turn::Superseded),
            Some(at) => (at >= received, Turn::Announce),
            None => (true, Turn::Announce),
        };
        Self::Unclear { perhaps_later, in_the_end }
    }
}

/// Decides by what the ref was before: a GitRepo at where our push begins is behind us, and so is one from which other
/// pushes lead there; one to which others lead from where our push ends is ahead. `None` where neither is known.
fn by_what_the_ref_was(
    known: &VecDeque<Known>,
    ours: &Known,
    announced: Option<u64>,
    theirs: Option<&Known>,
) -> Option<Turn> {
    let (before, announced) = (ours.before?, announced?);
    let is_behind = leads(known, announced, before);
    let is_ahead = leads(known, ours.after, announced);
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

/// Whether pushes lead from one commit to another, or they are one.
fn leads(known: &VecDeque<Known>, from: u64, to: u64) -> bool {
    let mut reached = vec![from];
    let mut next = 0;
    while let Some(&commit) = reached.get(next) {
        if commit == to {
            return true;
        }
        next += 1;
        for push in known.iter().filter(|push| push.before == Some(commit)) {
            if !reached.contains(&push.after) {
                reached.push(push.after);
            }
        }
    }
    false
}

/// The push of a commit that was received last.
fn last_to(known: &VecDeque<Known>, commit: u64) -> Option<&Known> {
    known.iter().filter(|push| push.after == commit).max_by_key(|push| push.received)
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
        let seen = Seen { at_before: true, late: false };
        for second in [None, Some(0), Some(9)] {
            let gitrepo = announcing(C, second);
            let turn = History::default().turn(&gitrepo, &push(A, B), seen, times(500, 5_500));
            assert_eq!(turn, Turn::Superseded, "{second:?}");
        }
        let gitrepo = announcing(C, Some(-1));
        let turn = History::default().turn(&gitrepo, &push(A, B), seen, times(500, 5_500));
        assert_eq!(turn, Turn::Announce);
    }

    #[test]
    fn a_push_that_comes_back_from_a_queue_is_before_another_of_its_second() {
        let late = Seen { at_before: false, late: true };
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
    fn no_more_is_remembered_than_a_limit() {
        let history = History::default();
        for number in 0..REFS_LIMIT + 100 {
            let gitrepo = GitRepo::new(&number.to_string(), GitRepoSpec::default());
            history.note(&gitrepo, &push(A, B), at(0));
        }
        assert_eq!(history.pushes().by_ref.len(), 100);
        let gitrepo = announcing(A, None);
        for _ in 0..PUSHES_LIMIT + 100 {
            history.note(&gitrepo, &push(A, B), at(0));
        }
        let most = history.pushes().by_ref.values().map(VecDeque::len).max();
        assert_eq!(most, Some(PUSHES_LIMIT));
    }

    #[test]
    fn one_gitrepos_pushes_say_nothing_of_another() {
        let (history, gitrepo) = (History::default(), announcing(C, Some(-60)));
        history.note(&GitRepo::new("other", GitRepoSpec::default()), &push(B, C), at(0));
        assert_eq!(turn(&history, &gitrepo, &push(A, B), times(0, 0)), Turn::Wait);
    }
}
