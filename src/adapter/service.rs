//! A delivery under its deadline: received, handed to the retry queue where the cluster cannot take it, and logged.
//! `http` and `lambda/*` bring it, `arrival` says when and how it came.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use super::{
    arrival::Arrival,
    destination::Destination,
    log,
    memory::{Memory, Taken},
    readiness::Readiness,
};
use crate::{
    aside::aside,
    cluster::{TRACE, TROUBLE, Trouble},
    delivery::Delivery,
    outcome::{Kind, Outcome},
    provider::{self, Provider},
    receiver::Progress,
    retry::{Message, RetryQueue},
    telemetry::Metrics,
    trace::TraceContext,
};

/// How much of a delivery's time is kept for handing it over, but at most a quarter of what there is.
const HAND_OVER_TIME: Duration = Duration::from_secs(2);

/// What the service needs for every request; cheap to clone.
#[derive(Clone, Debug)]
pub struct Service {
    /// Takes deliveries.
    pub destination: Destination,
    /// Counts them.
    pub metrics: Arc<Metrics>,
    /// Whether deliveries are wanted.
    pub readiness: Arc<Readiness>,
    /// Takes what the cluster cannot take now.
    pub retry: Option<Arc<RetryQueue>>,
    /// What is still under way; a driver that stops waits for it.
    pub tasks: TaskTracker,
    /// The room for what deliveries hold.
    pub memory: Memory,
    /// The largest body that is taken, in bytes.
    pub max_body_bytes: usize,
    /// How long an answer may take.
    pub deadline: Duration,
    /// What time it is.
    pub clock: Clock,
}

/// The clock on the wall.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that says what it is told to say.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        (self.0)()
    }
}

/// The system's.
impl Default for Clock {
    fn default() -> Self {
        Self::new(Timestamp::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// A delivery whose sender is known, as far as its headers say; all that it holds is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Received {
    delivery: Delivery,
    provider: Option<&'static Provider>,
    /// The id by which its provider knows it.
    id: Option<String>,
    _room: Option<Taken>,
}

impl Received {
    /// A delivery in the room that it takes.
    fn new(delivery: Delivery, room: Option<Taken>) -> Self {
        Self::marked(provider::detect(delivery.headers()), delivery, room)
    }

    /// One whose headers are known to say who sent it, if they do.
    pub(super) fn marked(
        marked: Option<&'static Provider>,
        delivery: Delivery,
        room: Option<Taken>,
    ) -> Self {
        let (provider, id) = aside(delivery.raw().len(), || {
            let provider = marked.or_else(|| provider::known_unmarked(&delivery));
            let id = provider.and_then(|provider| provider.delivery_id(&delivery));
            (provider, id.map(str::to_owned))
        });
        Self { id, delivery, provider, _room: room }
    }

    /// An outcome with what is known of the delivery.
    fn told(&self, outcome: Outcome) -> Outcome {
        let provider = self.provider.map(|provider| provider.name);
        Outcome { provider, delivery: self.id.clone(), ..outcome }
    }
}

/// What is done with a delivery. Boxed: a task is moved many times before and after it runs, and a box costs a word each.
type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

impl Service {
    /// Takes a delivery and logs what became of it, by the deadline.
    pub(super) async fn take(&self, received: Received, arrival: Arrival) -> Outcome {
        let service = self.clone();
        let work = Box::pin(async move {
            let outcome = service.receive_or_queue(received, &arrival).await;
            log::answered(&service.metrics, &outcome, &arrival);
            outcome
        });
        self.in_a_task(work).await
    }

    /// Takes a delivery that waited in a queue, whose proof is judged as of `judged_at`; it has to come again if the
    /// outcome is `unavailable`, as it is where what refuses it may be older than the delivery. It is never handed over
    /// again.
    pub(super) async fn take_again(
        &self,
        message: Message,
        room: Option<Taken>,
        judged_at: Timestamp,
        arrival: Arrival,
    ) -> Outcome {
        let service = self.clone();
        let work = Box::pin(async move {
            let Message { delivery, received: waited_since } = message;
            let trace = TraceContext::from_headers(delivery.headers());
            let arrival = Arrival { trace, ..arrival };
            // What is not done in time is stopped: it comes again.
            let (deadline, now) = (arrival.deadline, service.clock.now());
            let progress = Progress::redelivery(deadline, waited_since, judged_at, now);
            let progress = Arc::new(progress.ending_at_deadline());
            let received = Arc::new(Received::new(delivery, room));
            let outcome = service.receive(received, progress, &arrival.trace).await;
            let outcome = Outcome { waited_since: Some(waited_since), ..outcome };
            // As it is: a stranger, who may post what looks like a message, raises no alarm of what is unavailable.
            log::answered(&service.metrics, &outcome, &arrival);
            let refusal_lasts = service.destination.secrets().refusal_lasts();
            match now.duration_since(waited_since) < refusal_lasts {
                true => outcome.refused_too_early(),
                false => outcome,
            }
        });
        self.in_a_task(work).await
    }

    /// A sender that hangs up stops nothing and is logged; a panic stops nobody else.
    async fn in_a_task(&self, work: Work) -> Outcome {
        let done = self.tasks.spawn(work).await;
        done.unwrap_or_else(|_panicked| Outcome::new(Kind::Unavailable))
    }

    /// Receives in time, with some left to hand over what the cluster cannot take.
    async fn receive_or_queue(&self, received: Received, arrival: &Arrival) -> Outcome {
        let left = arrival.deadline.saturating_duration_since(Instant::now());
        let kept = self.retry.as_ref().map_or(Duration::ZERO, |_| HAND_OVER_TIME.min(left / 4));
        let mut progress = Progress::new(arrival.deadline - kept, self.clock.now());
        if arrival.request_id.is_some() {
            progress = progress.ending_at_deadline();
        }
        let (received, progress) = (Arc::new(received), Arc::new(progress));
        let outcome =
            self.receive(Arc::clone(&received), Arc::clone(&progress), &arrival.trace).await;
        if outcome.kind != Kind::Unavailable {
            return outcome;
        }
        let at = progress.received();
        self.hand_over(outcome, &received.delivery, at, &arrival.trace, arrival.deadline).await
    }

    /// Receives in a task of its own, and gives what can be said by the deadline.
    async fn receive(
        &self,
        received: Arc<Received>,
        progress: Arc<Progress>,
        trace: &TraceContext,
    ) -> Outcome {
        let Some(provider) = received.provider else {
            return Outcome::new(Kind::UnknownProvider).because("no header of a known provider");
        };
        let early = received.told(Outcome::new(Kind::Unavailable));
        let destination = self.destination.clone();
        let (shared, proceeding) = (Arc::clone(&received), Arc::clone(&progress));
        let work = async move {
            shared.told(destination.receive(provider, &shared.delivery, &proceeding).await)
        };
        let trouble = Trouble::default();
        let work = TROUBLE.scope(Arc::clone(&trouble), TRACE.scope(trace.clone(), work));
        let mut work = self.tasks.spawn(Box::pin(work) as Work);
        let done = timeout_at(progress.deadline(), &mut work).await;
        let early = Outcome { standing: progress.standing(), ..early };
        match done {
            Ok(Ok(outcome)) => return outcome,
            Ok(Err(panicked)) => return early.because(panicked.to_string()),
            Err(_elapsed) => {}
        }
        let step = self.destination.waits_for(&progress);
        if progress.ends_at_deadline() || progress.abandon() {
            work.abort();
        } else {
            let in_progress = !progress.is_troubled();
            let (service, trace) = (self.clone(), trace.clone());
            let otherwise = early.clone();
            self.tasks.spawn(async move {
                let mut outcome =
                    work.await.unwrap_or_else(|panicked| otherwise.because(panicked.to_string()));
                // Its sender was told that it goes on.
                if in_progress && outcome.kind == Kind::Unavailable {
                    let (at, until) = (progress.received(), Instant::now() + HAND_OVER_TIME);
                    let delivery = &received.delivery;
                    outcome = service.hand_over(outcome, delivery, at, &trace, until).await;
                }
                log::finished(&service.metrics, &outcome, in_progress);
            });
            if in_progress {
                return Outcome { kind: Kind::InProgress, ..early };
            }
        }
        let trouble = trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
        let said: Vec<_> = step.into_iter().chain(trouble).collect();
        early.because(match said.is_empty() {
            true => "too slow".to_owned(),
            false => format!("too slow: {}", said.join("; ")),
        })
    }

    /// Hands an unavailable delivery to the retry queue, if there is one and it takes it.
    async fn hand_over(
        &self,
        outcome: Outcome,
        delivery: &Delivery,
        received: Timestamp,
        trace: &TraceContext,
        until: Instant,
    ) -> Outcome {
        let Some(queue) = &self.retry else { return outcome };
        match queue.hand_over(delivery, received, trace, until).await {
            Ok(()) => Outcome { kind: Kind::Queued, ..outcome },
            Err(error) => {
                log::not_queued(&self.metrics, &outcome, &error);
                outcome
            }
        }
    }
}
