//! What a test does to the answers of the embedded API server: refused, late, or without what they usually show.

use std::time::Duration;

use axum::http::Method;

/// What the function's next matching requests get in place of an answer.
#[derive(Clone, Debug)]
pub struct Fault {
    pub method: Method,
    /// A part of path and query.
    pub uri: String,
    pub status: u16,
    /// How often.
    pub times: usize,
    /// How long the answer takes.
    pub delay: Duration,
}

impl Fault {
    /// Every such request is refused at once.
    pub fn always(method: Method, uri: &str, status: u16) -> Self {
        let (uri, delay) = (uri.to_owned(), Duration::ZERO);
        Self { method, uri, status, times: usize::MAX, delay }
    }

    /// No such request is answered before its sender has lost patience.
    pub fn silence(method: Method, uri: &str) -> Self {
        Self::always(method, uri, 504).after(Duration::from_secs(60))
    }

    #[must_use]
    pub fn once(self) -> Self {
        Self { times: 1, ..self }
    }

    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

/// How the server behaves; as usual to begin with.
#[derive(Default)]
pub struct Behaviour {
    faults: Vec<Fault>,
    /// Requests that are done at once and answered late.
    slow: Vec<(Method, String, Duration)>,
    /// What every refusal asks to wait for, in seconds.
    pub retry_after: Option<u64>,
    /// The GitRepos' Table is without the column `Repo`.
    pub prints_no_repo: bool,
}

impl Behaviour {
    pub fn fail(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub fn delay(&mut self, method: Method, uri: &str, delay: Duration) {
        self.slow.push((method, uri.to_owned(), delay));
    }

    /// The fault that a request meets; it is one time fewer then.
    pub fn fault(&mut self, method: &Method, uri: &str) -> Option<Fault> {
        let fault = self
            .faults
            .iter_mut()
            .find(|fault| fault.times > 0 && fault.method == *method && uri.contains(&fault.uri))?;
        fault.times -= 1;
        Some(fault.clone())
    }

    /// How late a request is answered.
    pub fn lateness(&self, method: &Method, uri: &str) -> Duration {
        let slow = |(slow, part, _): &&(Method, String, Duration)| {
            slow == method && uri.contains(part.as_str())
        };
        self.slow.iter().find(slow).map_or(Duration::ZERO, |(_, _, delay)| *delay)
    }
}
