//! What has to hold once everything is quiet (contract §5), and what the contract leaves open.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

use crate::{conditions::Conditions, git::Push, gitrepos::Made, world::Seen};

/// How long a GitRepo has to be as it is for a push to be surely announced to it: the index may not know it yet, nor a
/// scan that is shared.
const KNOWN_AFTER: u64 = 1500;

/// How late a watch may bring what has changed.
const WATCH_LAG: u64 = 100;

/// A second, and what clocks may differ by.
const CLOSE: u64 = 1000;
const CLOCKS: u64 = 800;

/// For how long a process remembers.
const MEMORY: u64 = 55_000;

/// A process has received a delivery.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    pub push: Push,
    pub hook: usize,
    pub life: usize,
    pub place: usize,
    pub at: u64,
    /// Whether it came from a queue, received before.
    pub queued: bool,
    /// Whether it was answered so that nobody sends it again.
    pub taken: bool,
}

/// What was wrong.
#[derive(Debug)]
pub struct Verdict {
    pub violations: Vec<String>,
    pub log: Vec<String>,
    pub judged: usize,
    /// How many GitRepos the contract says nothing of under this seed.
    pub exempt: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.log {
            writeln!(f, "{line}")?;
        }
        self.violations.iter().try_for_each(|violation| writeln!(f, "VIOLATION {violation}"))
    }
}

/// Judges what the API server holds at rest.
pub fn judge(
    conditions: &Conditions,
    gitrepos: &BTreeMap<String, Made>,
    held: &BTreeMap<String, Value>,
    receipts: &[Receipt],
    seen: &Seen,
    verdict: &mut Verdict,
) {
    for (name, made) in gitrepos {
        let gitrepo = &held[name];
        let announced = gitrepo["status"]["webhookCommit"].as_str();
        // A function that was ended, or could not take it back, does so with the next delivery alone.
        let may_be_left = (conditions.kills || seen.left.contains(name))
            && conditions.functions > 0
            && !conditions.unreachable;
        if !may_be_left
            && !made.interval
            && gitrepo["spec"]["pollingInterval"] == "1h"
            && announced.is_none()
        {
            verdict.violations.push(format!("{name} has our interval and no commit"));
        }
        let hook = usize::from(made.own_secret);
        let ours: Vec<_> = receipts
            .iter()
            .filter(|receipt| receipt.push.branch == made.branch && receipt.hook == hook)
            .copied()
            .collect();
        let surely = |receipt: &&Receipt| {
            receipt.taken && first(&ours, receipt.push) >= made.since + KNOWN_AFTER
        };
        let Some(last) = ours.iter().filter(surely).map(|receipt| receipt.push).max() else {
            continue;
        };
        verdict.judged += 1;
        let told = |push: Push| seen.announced_at.get(&(name.clone(), push.commit())).copied();
        if is_left_open(conditions, made, &ours, told) {
            verdict.exempt += 1;
            continue;
        }
        let at = announced.and_then(Push::of).filter(|at| at.branch == made.branch);
        let first = seen.first_announced.get(name).filter(|_| !made.begun);
        let last_came_first = first.and_then(|first| Push::of(first)) == Some(last);
        if let Some(at) = at
            && at < last
            && last_came_first
            && came_at_once(conditions, &ours, at, last)
        {
            verdict.exempt += 1;
            continue;
        }
        let looked = |life: usize, at: u64| {
            let is_it = |what: &Option<String>| what.as_ref().is_none_or(|what| what == name);
            let mut looked =
                seen.looked.iter().filter(|(who, what, _)| *who == life && is_it(what));
            looked.find(|(.., when)| *when >= at).map_or(at + WATCH_LAG, |(.., when)| *when)
        };
        if at.is_some_and(|at| at < last && looked_too_late(conditions, &ours, at, told, looked)) {
            verdict.exempt += 1;
            continue;
        }
        if at.is_none_or(|at| at < last) {
            let what = format!(
                "{name} is at {announced:?} and not at push {} of {}",
                last.number,
                last.branch()
            );
            verdict.violations.push(what);
        }
    }
}

fn first(receipts: &[Receipt], push: Push) -> u64 {
    let of_push = receipts.iter().filter(|receipt| receipt.push == push);
    of_push.map(|receipt| receipt.at).min().unwrap_or(u64::MAX)
}

/// Whether two pushes came within a second, at two processes: where the later one is the first that is announced at all,
/// the other process cannot know where it began.
fn came_at_once(conditions: &Conditions, receipts: &[Receipt], earlier: Push, later: Push) -> bool {
    let of = |push| receipts.iter().filter(move |it| it.push == push && !it.queued);
    let close = if conditions.clocks_differ { CLOSE + CLOCKS } else { CLOSE };
    of(earlier).any(|earlier| {
        of(later).any(|later| earlier.life != later.life && earlier.at.abs_diff(later.at) <= close)
    })
}

/// Whether a push of the same second was announced by another process before the one that received `earlier` looked: that
/// cannot know which of the two is later.
fn looked_too_late(
    conditions: &Conditions,
    receipts: &[Receipt],
    earlier: Push,
    announced_at: impl Fn(Push) -> Option<u64>,
    looked: impl Fn(usize, u64) -> u64,
) -> bool {
    let close = if conditions.clocks_differ { CLOSE + CLOCKS } else { CLOSE };
    let fresh = || receipts.iter().filter(|receipt| !receipt.queued);
    fresh().filter(|receipt| receipt.push == earlier).any(|first| {
        fresh().filter(|receipt| receipt.push > earlier).any(|later| {
            first.life != later.life
                && first.at.abs_diff(later.at) <= close
                && announced_at(later.push).is_some_and(|at| at <= looked(first.life, first.at))
        })
    })
}

/// Whether a pair of pushes came in such a way that nobody can know their order, or three in a second.
fn is_left_open(
    conditions: &Conditions,
    made: &Made,
    receipts: &[Receipt],
    announced_at: impl Fn(Push) -> Option<u64>,
) -> bool {
    let mut pushes: Vec<_> = receipts.iter().map(|receipt| receipt.push).collect();
    pushes.sort_unstable();
    pushes.dedup();
    let of = |push: Push| receipts.iter().filter(move |receipt| receipt.push == push);
    let close = if conditions.clocks_differ { CLOSE + CLOCKS } else { CLOSE };
    for (position, earlier) in pushes.iter().enumerate() {
        for (between, later) in pushes[position + 1..].iter().enumerate() {
            let fresh = |push| of(push).filter(|receipt| !receipt.queued).map(|receipt| receipt.at);
            let (Some(last), Some(first)) = (fresh(*earlier).max(), fresh(*later).min()) else {
                continue;
            };
            let one_process = {
                let mut lives = of(*earlier).chain(of(*later)).map(|receipt| receipt.life);
                let life = lives.next();
                lives.all(|other| Some(other) == life)
            };
            let contiguous = between == 0 && later.number == earlier.number + 1;
            if last > first {
                let remembered = one_process && last - first < MEMORY;
                // Who looks once the later one is announced finds nothing that says how it began.
                let looks_in_time = announced_at(*later).is_none_or(|at| at > last);
                let at_once = last - first + CLOCKS < CLOSE && made.begun && looks_in_time;
                if !conditions.says_before || !contiguous || !(remembered || at_once) {
                    return true;
                }
            } else if !conditions.says_before && !one_process && first - last <= close {
                return true;
            }
        }
    }
    let lives = |from: u64| {
        let near = receipts.iter().filter(|it| it.at >= from && it.at <= from + close);
        let (mut pushes, mut lives): (Vec<_>, Vec<_>) = near.map(|it| (it.push, it.life)).unzip();
        pushes.sort_unstable();
        lives.sort_unstable();
        lives.dedup();
        // With those between that nobody was told of.
        let ends = pushes.first().zip(pushes.last());
        (ends.map_or(0, |(first, last)| last.number - first.number + 1), lives.len())
    };
    receipts.iter().any(|receipt| matches!(lives(receipt.at), (3.., 2..)))
}
