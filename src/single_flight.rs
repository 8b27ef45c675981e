//! What is read elsewhere and shared: by those who ask at the same time, and for a while afterwards.

use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Mutex;

/// The last outcome of a read, and a turnstile: one read at a time.
#[derive(Debug)]
pub(crate) struct SingleFlight<T>(Mutex<Option<Flight<T>>>);

#[derive(Debug)]
struct Flight<T> {
    started: Instant,
    /// By the wall clock, since a Lambda is frozen between events and its monotonic clock may be too.
    started_at: SystemTime,
    outcome: T,
}

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> SingleFlight<T> {
    /// Gives the outcome of a read that started after this call, whoever started it, or an older one that `reuse` takes.
    ///
    /// `read` is not polled where nothing has to be read. `reuse` gets the last outcome and its age; `Duration::MAX` where the clock was set back meanwhile.
    pub(crate) async fn get(
        &self,
        reuse: impl FnOnce(&T, Duration) -> bool,
        read: impl Future<Output = T>,
    ) -> T {
        let arrived = Instant::now();
        let mut last = self.0.lock().await;
        if let Some(flight) = &*last {
            let age = flight.started_at.elapsed().unwrap_or(Duration::MAX);
            if flight.started >= arrived || reuse(&flight.outcome, age) {
                return flight.outcome.clone();
            }
        }
        let (started, started_at) = (Instant::now(), SystemTime::now());
        let outcome = read.await;
        *last = Some(Flight { started, started_at, outcome: outcome.clone() });
        outcome
    }

    /// Forgets an outcome whose read started at least `age` ago.
    pub(crate) async fn forget(&self, age: Duration) {
        let mut last = self.0.lock().await;
        if last.as_ref().is_some_and(|flight| flight.started.elapsed() >= age) {
            *last = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn those_who_ask_at_the_same_time_share_one_read() {
        let (flight, reads) = (SingleFlight::default(), AtomicUsize::new(0));
        let ask = || {
            flight.get(|_, _| false, async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                reads.fetch_add(1, Ordering::SeqCst)
            })
        };
        futures::future::join_all((0..10).map(|_| ask())).await;
        // The first one's read started before the others asked, so these share a second one.
        assert!(reads.load(Ordering::SeqCst) <= 2);
    }

    #[tokio::test]
    async fn an_outcome_is_reused_as_long_as_it_is_wanted() {
        let flight = SingleFlight::default();
        assert_eq!(flight.get(|_, _| true, async { 1 }).await, 1);
        assert_eq!(
            flight.get(|last, age| *last == 1 && age < Duration::from_secs(60), async { 2 }).await,
            1
        );
        assert_eq!(flight.get(|_, _| false, async { 3 }).await, 3);
    }
}
