//! How often a request is tried, and for how long: as its delivery has time, which the running task says.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout_at};

use super::ApiError;

/// How long one request may take that reads one object, GitRepos by name or a page of them, or that writes.
pub(super) const REQUEST_TIME_LIMIT: Duration = Duration::from_secs(2);

/// For how long a read is tried that belongs to no delivery, and to one that has been answered.
const READ_TIME: Duration = Duration::from_secs(4);
const LAST_READ: Duration = Duration::from_secs(1);

/// What is kept of a delivery's time for saying what could not be read.
const TIME_TO_ANSWER: Duration = Duration::from_millis(200);

/// Less time than this is not worth dividing among attempts.
const LEAST_ATTEMPT: Duration = Duration::from_millis(500);

/// How long to wait before a request is tried again, at first and at most.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(50);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(1);

tokio::task_local! {
    /// By when the delivery of the running task has to be answered.
    pub(crate) static DEADLINE: Instant;

    /// What was last tried in vain for the delivery of the running task: whoever stops it can say why.
    pub(crate) static TROUBLE: Trouble;
}

/// Why something was tried in vain, if anything was.
pub(crate) type Trouble = Arc<Mutex<Option<String>>>;

/// Tries until it succeeds, fails for good, or would have to try after `until`; heeds `Retry-After`.
///
/// # Errors
/// The last attempt's; the one's before if the last was cut off.
pub(crate) async fn retrying<T, F: Future<Output = Result<T, ApiError>>>(
    until: Instant,
    mut attempt: impl FnMut() -> F,
) -> Result<T, ApiError> {
    let mut pause = FIRST_PAUSE;
    let mut answered = None;
    loop {
        let error = match attempt().await {
            Err(error) if error.is_passing() => error,
            Err(ApiError::TooLate) => return Err(answered.unwrap_or(ApiError::TooLate)),
            outcome => return outcome,
        };
        tell_trouble(&error);
        let wait = error.retry_after().unwrap_or_default().max(pause);
        if Instant::now() + wait >= until {
            // What cut the last attempt off says less than what the server answered before.
            let is_cut_off = matches!(error, ApiError::TimedOut(..));
            return Err(answered.filter(|_| is_cut_off).unwrap_or(error));
        }
        tracing::debug!(%error, "trying again");
        sleep(wait).await;
        pause = LONGEST_PAUSE.min(pause * 2);
        // After a 429 nothing was done; of a request that was cut off, nobody knows.
        answered = Some(error).filter(ApiError::may_have_been_done);
    }
}

/// Tells whoever may stop the running task, if it is a delivery's, what was tried in vain.
pub(crate) fn tell_trouble(error: &ApiError) {
    let _no_delivery = TROUBLE.try_with(|trouble| {
        let mut trouble = trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *trouble = Some(error.to_string());
    });
}

/// Until when a read is tried: as long as its delivery has time; for a moment where that is over, since patches go on.
pub(super) fn read_until() -> Instant {
    let now = Instant::now();
    let deadline = DEADLINE.try_with(|deadline| (*deadline - TIME_TO_ANSWER).max(now + LAST_READ));
    deadline.unwrap_or(now + READ_TIME)
}

/// How long one attempt of a read may take: it leaves as much for another one, if that is worth it.
pub(super) fn attempt_limit(until: Instant) -> Duration {
    let left = until.saturating_duration_since(Instant::now());
    REQUEST_TIME_LIMIT.min(if left > LEAST_ATTEMPT { left / 2 } else { left })
}

/// Cuts `work` off at `end`.
pub(super) async fn by<T>(
    end: Instant,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    timeout_at(end, work).await.unwrap_or(Err(ApiError::TooLate))
}

/// The time since then, to a tenth of a second, as people read it.
pub(super) fn tenths(began: Instant) -> Duration {
    let tenths = began.elapsed().as_millis() / 100;
    Duration::from_millis(u64::try_from(tenths).unwrap_or(u64::MAX / 100) * 100)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// What is said in the end where the first attempt fails so, and the second is cut off.
    async fn said_after(first: ApiError) -> ApiError {
        let first = Cell::new(Some(first));
        let until = Instant::now() + Duration::from_secs(1);
        let attempt = || {
            let first = first.take();
            async move { first.map_or_else(|| Err(ApiError::TooLate), Err) }
        };
        retrying::<(), _>(until, attempt).await.expect_err("both attempts fail")
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_is_cut_off_hides_no_error_of_the_server() {
        let error = ApiError::Passing(http::StatusCode::INTERNAL_SERVER_ERROR, None);
        assert!(matches!(said_after(error).await, ApiError::Passing(..)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_cut_off_may_have_been_done_though_the_attempt_before_was_not() {
        let busy = ApiError::Passing(http::StatusCode::TOO_MANY_REQUESTS, None);
        assert!(said_after(busy).await.may_have_been_done());
    }
}
