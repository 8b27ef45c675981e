//! How old what was read may be, and who reads it again: for secrets, look-ups, tokens and remote clusters.
//!
//! Each asker says what is good enough (docs/operating.md has all limits in one table).

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

/// For how long it is remembered that a read failed, whatever was to be read: anybody may ask for it again.
pub(crate) const FAILURE_TTL: Duration = Duration::from_secs(1);

/// What was read last, and a turnstile: one read at a time.
#[derive(Debug)]
pub(crate) struct Remembered<T> {
    kept: Mutex<Option<Kept<T>>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Kept<T> {
    value: T,
    began: Instant,
    /// Lambda freezes the process between events, and a monotonic clock with it.
    began_at: SystemTime,
}

impl<T> Kept<T> {
    fn age(&self) -> Duration {
        let by_the_wall = self.began_at.elapsed().unwrap_or(Duration::MAX);
        by_the_wall.max(self.began.elapsed())
    }
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self { kept: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }
}

impl<T: Clone> Remembered<T> {
    /// Gives what a read found that began after this call, whoever began it, or an older one that is `good` enough.
    ///
    /// `good` gets what is kept and its age since that read began, as [`Self::last`] gives it. `read` is not polled
    /// where nothing has to be read; if the asker goes away meanwhile, the next one reads for itself.
    pub(crate) fn get(
        &self,
        good: impl FnOnce(&T, Duration) -> bool,
        read: impl Future<Output = T>,
    ) -> impl Future<Output = T> {
        self.get_keeping(good, read, |_, _, _| true)
    }

    /// As [`Self::get`]; what was read takes the place of what is kept only if `replaces` says so of what is kept, its
    /// age, and what was read. The asker gets what was read in either case.
    pub(crate) fn get_keeping(
        &self,
        good: impl FnOnce(&T, Duration) -> bool,
        read: impl Future<Output = T>,
        replaces: impl FnOnce(&T, Duration, &T) -> bool,
    ) -> impl Future<Output = T> {
        // An async function holds what it is given twice, as an argument and while it awaits it: reads within reads
        // would double their size with each until a thread's stack is too small.
        let read = Box::pin(read);
        async move {
            let arrived = Instant::now();
            let _turn = self.turn.lock().await;
            if let Some(kept) = &*self.kept()
                && (kept.began >= arrived || good(&kept.value, kept.age()))
            {
                return kept.value.clone();
            }
            let (began, began_at) = (Instant::now(), SystemTime::now());
            let value = read.await;
            let mut kept = self.kept();
            if kept.as_ref().is_none_or(|kept| replaces(&kept.value, kept.age(), &value)) {
                *kept = Some(Kept { value: value.clone(), began, began_at });
            }
            value
        }
    }

    /// What is kept and its age, for those who wait for nobody; `Duration::MAX` where the clock was set back meanwhile.
    pub(crate) fn last(&self) -> Option<(T, Duration)> {
        self.kept().as_ref().map(|kept| (kept.value.clone(), kept.age()))
    }

    /// What a read found that began at `since` or later.
    pub(crate) fn since(&self, since: Instant) -> Option<T> {
        self.kept().as_ref().filter(|kept| kept.began >= since).map(|kept| kept.value.clone())
    }

    /// Forgets what is kept if it is at least of this age.
    pub(crate) fn forget(&self, age: Duration) {
        let mut kept = self.kept();
        if kept.as_ref().is_some_and(|kept| kept.age() >= age) {
            *kept = None;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept<T>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn those_who_ask_at_the_same_time_share_one_read() {
        let (remembered, reads) = (Remembered::default(), AtomicUsize::new(0));
        let ask = || {
            remembered.get(|_, _| false, async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                reads.fetch_add(1, Ordering::SeqCst)
            })
        };
        futures::future::join_all((0..10).map(|_| ask())).await;
        // The first one's read began before the others asked, so these share a second one.
        assert!(reads.load(Ordering::SeqCst) <= 2);
    }

    #[tokio::test]
    async fn what_was_read_is_given_as_long_as_it_is_good() {
        let remembered = Remembered::default();
        assert_eq!(remembered.get(|_, _| true, async { 1 }).await, 1);
        let minute = Duration::from_secs(60);
        let good = |last: &i32, age| *last == 1 && age < minute;
        assert_eq!(remembered.get(good, async { 2 }).await, 1);
        assert_eq!(remembered.get(|_, _| false, async { 3 }).await, 3);
        assert!(remembered.last().is_some_and(|(last, age)| last == 3 && age < minute));
    }

    #[tokio::test]
    async fn what_does_not_replace_is_given_and_not_kept() {
        let remembered = Remembered::default();
        let read = |value, replaces| {
            let read = async move { value };
            remembered.get_keeping(|_, _| false, read, move |_, _, _| replaces)
        };
        assert_eq!(read(1, false).await, 1);
        assert_eq!(read(2, false).await, 2);
        assert_eq!(remembered.last().map(|(last, _)| last), Some(1));
        assert_eq!(read(3, true).await, 3);
        assert_eq!(remembered.last().map(|(last, _)| last), Some(3));
    }

    #[tokio::test]
    async fn the_last_one_is_given_while_a_read_is_under_way() {
        let remembered = Remembered::default();
        remembered.get(|_, _| false, async { 1 }).await;
        let never = remembered.get(|_, _| false, std::future::pending());
        let stopped = tokio::time::timeout(Duration::from_millis(1), never).await;
        assert!(stopped.is_err());
        assert_eq!(remembered.last().map(|(last, _)| last), Some(1));
    }

    #[tokio::test]
    async fn only_what_is_old_is_forgotten() {
        let remembered = Remembered::default();
        remembered.get(|_, _| false, async { 1 }).await;
        remembered.forget(Duration::from_secs(60));
        assert!(remembered.last().is_some());
        remembered.forget(Duration::ZERO);
        assert!(remembered.last().is_none());
    }

    #[tokio::test]
    async fn a_read_is_not_carried_about_by_those_who_wait_for_it() {
        let remembered = Remembered::default();
        let large = async {
            let bytes = [1_u8; 100_000];
            tokio::task::yield_now().await;
            bytes.len()
        };
        assert!(size_of_val(&large) >= 100_000);
        let get = remembered.get(|_, _| false, large);
        assert!(size_of_val(&get) < 1_000, "{}", size_of_val(&get));
        assert_eq!(get.await, 100_000);
    }

    #[tokio::test]
    async fn where_the_clock_was_set_back_what_is_kept_is_too_old_for_anybody() {
        let remembered = Remembered::default();
        remembered.get(|_, _| false, async { 1 }).await;
        if let Some(kept) = remembered.kept().as_mut() {
            kept.began_at += Duration::from_secs(3600);
        }
        assert_eq!(remembered.last(), Some((1, Duration::MAX)));
    }
}
