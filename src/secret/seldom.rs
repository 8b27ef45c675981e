//! What anybody can cause, and happens seldom all the same: reads after a refusal, warnings.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

/// Says when something may happen again.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    /// By the wall clock, since a Lambda is frozen between events.
    last: Mutex<Option<SystemTime>>,
}

impl Seldom {
    /// Whether it may happen now, at most once in `interval`; notes that it does.
    pub(super) fn may(&self, interval: Duration) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Where the clock was set back meanwhile, it may.
        let since = last.map_or(Duration::MAX, |at| at.elapsed().unwrap_or(Duration::MAX));
        let may = since >= interval;
        if may {
            *last = Some(SystemTime::now());
        }
        may
    }
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
    fn where_the_clock_was_set_back_it_happens() {
        let seldom = Seldom::default();
        *seldom.last.lock().expect("is whole") = Some(SystemTime::now() + Duration::from_secs(60));
        assert!(seldom.may(Duration::from_secs(600)));
    }
}
