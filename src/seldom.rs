//! What anybody can cause, and happens seldom all the same: reads after a refusal, warnings.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

/// Says when something may happen again.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Option<Happened>>);

/// How often it has happened, and since when.
#[derive(Debug)]
struct Happened {
    /// By the wall clock, since a Lambda is frozen between events.
    since: SystemTime,
    times: usize,
}

impl Seldom {
    /// What has not happened yet.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Whether it may happen now, at most once in `interval`; notes that it does.
    pub(crate) fn may(&self, interval: Duration) -> bool {
        self.may_happen(1, interval) != May::Not
    }

    /// Whether it may happen now, at most `times` times in `interval`; notes that it does.
    pub(crate) fn may_happen(&self, times: usize, interval: Duration) -> May {
        let mut happened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Where the clock was set back meanwhile, it may.
        let still = |it: &&mut Happened| it.since.elapsed().is_ok_and(|age| age < interval);
        let Some(it) = happened.as_mut().filter(still) else {
            *happened = Some(Happened { since: SystemTime::now(), times: 1 });
            return if times > 1 { May::Again } else { May::ForTheLastTime };
        };
        if it.times >= times {
            return May::Not;
        }
        it.times += 1;
        if it.times < times { May::Again } else { May::ForTheLastTime }
    }
}

/// Whether something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum May {
    /// Now, and once more at least.
    Again,
    /// Now, and then not until its time has passed.
    ForTheLastTime,
    /// Not now.
    Not,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_happen_happens_once_in_its_interval() {
        let seldom = Seldom::default();
        assert!(seldom.may(Duration::from_secs(60)));
        assert!(!seldom.may(Duration::from_secs(60)));
        assert!(seldom.may(Duration::ZERO));
    }

    #[test]
    fn what_may_happen_three_times_says_when_it_is_the_last() {
        let seldom = Seldom::default();
        let may = || seldom.may_happen(3, Duration::from_secs(60));
        assert_eq!([may(), may()], [May::Again; 2]);
        assert_eq!([may(), may(), may()], [May::ForTheLastTime, May::Not, May::Not]);
    }

    #[test]
    fn where_the_clock_was_set_back_it_happens() {
        let seldom = Seldom::default();
        let later = SystemTime::now() + Duration::from_secs(60);
        *seldom.0.lock().expect("is whole") = Some(Happened { since: later, times: 1 });
        assert!(seldom.may(Duration::from_secs(600)));
    }
}
