//! A delivery under its deadline: received, handed to the retry queue where the cluster cannot take it, and logged.
//! `http` and `lambda/*` bring it.

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, request::Parts};
use jiff::Timestamp;
use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;

use super::{
    destination::Destination,
    memory::{Memory, Taken},
    readiness::Readiness,
};
use crate::{
    cluster::{TRACE, TROUBLE, Trouble},
    delivery::Delivery,
    outcome::{Kind, Outcome},
    provider::{self, Provider},
    receiver::Progress,
    retry::{Message, RetryQueue},
    telemetry::Metrics,
    trace::{self, TraceContext},
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
}

/// What a driver knows of a request beyond HTTP, as a request extension.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The driver's own id of the request, for the log.
    pub request_id: String,
    /// By when the request has to be answered; nothing runs on afterwards.
    pub deadline: Instant,
}

/// The address that a request came from, as a request extension.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// When and how a delivery came.
#[derive(Debug)]
pub(super) struct Arrival {
    started: Instant,
    /// By when it has to be answered.
    pub(super) deadline: Instant,
    trace: TraceContext,
    /// The driver's own id of the request; only of one that runs nothing after the answer.
    request_id: Option<String>,
    client: Client,
}

/// Who sent a request, for the log.
#[derive(Debug, Default)]
struct Client {
    address: Option<IpAddr>,
    /// The last address of `X-Forwarded-For`: what the proxy before us says, or anybody who speaks to us without one.
    forwarded_for: Option<IpAddr>,
    /// [What AWS's load balancers and gateways add](https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-request-tracing.html).
    aws_trace: Option<String>,
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

impl Arrival {
    /// A request that arrived now, to be answered within `limit` unless its driver knows better.
    pub(super) fn of(request: &Parts, limit: Duration) -> Self {
        let started = Instant::now();
        let invocation = request.extensions.get::<Invocation>();
        let headers = &request.headers;
        Self {
            started,
            deadline: invocation.map_or(started + limit, |invocation| invocation.deadline),
            trace: TraceContext::from_headers(headers),
            request_id: invocation.map(|invocation| invocation.request_id.clone()),
            client: Client {
                address: request.extensions.get::<Peer>().map(|peer| peer.0),
                forwarded_for: forwarded_for(headers),
                aws_trace: trace::of_aws(headers).map(str::to_owned),
            },
        }
    }

    /// An event that is no request, which arrived now.
    #[cfg(feature = "lambda")]
    pub(super) fn of_event(invocation: &Invocation) -> Self {
        Self::of_queued(invocation.deadline, Some(invocation.request_id.clone()))
    }

    /// A message of a queue, which arrived now.
    #[cfg(any(feature = "lambda", all(feature = "aws", feature = "knative")))]
    pub(super) fn of_queued(deadline: Instant, request_id: Option<String>) -> Self {
        let (trace, client) = (TraceContext::default(), Client::default());
        Self { started: Instant::now(), deadline, trace, request_id, client }
    }
}

fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    last.rsplit(',').next()?.trim().parse().ok()
}

impl Received {
    /// A delivery whose headers say who sent it, in the room that it takes.
    pub(super) fn new(delivery: Delivery, room: Option<Taken>) -> Self {
        let provider = provider::sender_of(&delivery);
        let id = provider.and_then(|provider| provider.delivery_id(&delivery));
        Self { id: id.map(str::to_owned), delivery, provider, _room: room }
    }

    /// An outcome with what is known of the delivery.
    fn told(&self, outcome: Outcome) -> Outcome {
        let provider = self.provider.map(|provider| provider.name);
        Outcome { provider, delivery: self.id.clone(), ..outcome }
    }
}

impl Service {
    /// Takes a delivery and logs what became of it, by the deadline.
    pub(super) async fn take(&self, received: Received, arrival: Arrival) -> Outcome {
        let service = self.clone();
        self.in_a_task(async move {
            let outcome = service.receive_or_queue(received, &arrival).await;
            service.log(&outcome, &arrival);
            outcome
        })
        .await
    }

    /// Takes a delivery that waited in a queue, whose proof is judged as of `judged_at`; it has to come again if the
    /// outcome is `unavailable`. It is never handed over again.
    pub(super) async fn take_again(
        &self,
        message: Message,
        room: Option<Taken>,
        judged_at: Timestamp,
        arrival: Arrival,
    ) -> Outcome {
        let service = self.clone();
        self.in_a_task(async move {
            let Message { delivery, received: waited_since } = message;
            let trace = TraceContext::from_headers(delivery.headers());
            let arrival = Arrival { trace, ..arrival };
            // What is not done in time is stopped: it comes again.
            let progress = Progress::redelivery(arrival.deadline, waited_since, judged_at);
            let progress = Arc::new(progress.ending_at_deadline());
            let received = Arc::new(Received::new(delivery, room));
            let outcome = service.receive(received, progress, &arrival.trace).await;
            let outcome = Outcome { waited_since: Some(waited_since), ..outcome };
            service.log(&outcome, &arrival);
            outcome
        })
        .await
    }

    /// A sender that hangs up stops nothing and is logged; a panic stops nobody else.
    async fn in_a_task(&self, work: impl Future<Output = Outcome> + Send + 'static) -> Outcome {
        let done = self.tasks.spawn(work).await;
        done.unwrap_or_else(|_panicked| Outcome::new(Kind::Unavailable))
    }

    /// Receives in time, with some left to hand over what the cluster cannot take.
    async fn receive_or_queue(&self, received: Received, arrival: &Arrival) -> Outcome {
        let left = arrival.deadline.saturating_duration_since(Instant::now());
        let kept = self.retry.as_ref().map_or(Duration::ZERO, |_| HAND_OVER_TIME.min(left / 4));
        let mut progress = Progress::new(arrival.deadline - kept);
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
        let mut work = self.tasks.spawn(work);
        match timeout_at(progress.deadline().into(), &mut work).await {
            Ok(Ok(outcome)) => return outcome,
            Ok(Err(panicked)) => return early.because(panicked.to_string()),
            Err(_elapsed) if progress.ends_at_deadline() || progress.abandon() => work.abort(),
            Err(_elapsed) => {
                let in_progress = !progress.is_troubled();
                let (service, trace) = (self.clone(), trace.clone());
                let otherwise = early.clone();
                self.tasks.spawn(async move {
                    let mut outcome = work
                        .await
                        .unwrap_or_else(|panicked| otherwise.because(panicked.to_string()));
                    // Its sender was told that it goes on.
                    if in_progress && outcome.kind == Kind::Unavailable {
                        let (at, until) = (progress.received(), Instant::now() + HAND_OVER_TIME);
                        let delivery = &received.delivery;
                        outcome = service.hand_over(outcome, delivery, at, &trace, until).await;
                    }
                    service.log_finished(&outcome, in_progress);
                });
                if in_progress {
                    return Outcome { kind: Kind::InProgress, ..early };
                }
            }
        }
        let trouble = trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
        early.because(trouble.map_or("too slow".to_owned(), |why| format!("too slow: {why}")))
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
                self.metrics.not_queued(outcome.provider.unwrap_or("unknown"));
                tracing::error!(
                    provider = outcome.provider,
                    delivery.id = outcome.delivery,
                    repo.url = some(&outcome.subject.repository),
                    git.r#ref = some(&outcome.subject.refs),
                    %error,
                    "could not be queued: lost unless its sender sends it again"
                );
                outcome
            }
        }
    }

    /// Logs what became of patches that went on after the answer, and counts it too where a push was lost: one whose
    /// sender was told that it goes on.
    fn log_finished(&self, outcome: &Outcome, in_progress: bool) {
        let patched = outcome.report.patched_count();
        self.metrics.patched_after_answer(u64::try_from(patched).unwrap_or(u64::MAX));
        if in_progress && outcome.kind == Kind::Unavailable {
            self.metrics.lost_after_answer(outcome.provider.unwrap_or("unknown"));
            tracing::error!(
                provider = outcome.provider,
                delivery.id = outcome.delivery,
                repo.url = some(&outcome.subject.repository),
                git.r#ref = some(&outcome.subject.refs),
                detail = outcome.detail,
                gitrepos.skipped = some(&outcome.report.skipped_summary()),
                "lost: a patch failed after the answer, and nobody will send it again"
            );
        }
        tracing::info!(
            delivery.id = outcome.delivery,
            outcome = outcome.kind.name(),
            patched,
            skipped = outcome.report.skipped_count(),
            "finished after the answer"
        );
    }

    /// Logs and counts a delivery that is about to be answered.
    pub(super) fn log(&self, outcome: &Outcome, arrival: &Arrival) {
        let duration = arrival.started.elapsed();
        let patched = outcome.report.patched_count();
        let provider = outcome.provider.unwrap_or("unknown");
        let counted = u64::try_from(patched).unwrap_or(u64::MAX);
        self.metrics.delivery(provider, outcome.kind.name(), duration, counted);
        if outcome.report.patched_unsigned() {
            tracing::warn!(
                delivery.id = outcome.delivery,
                "patched without a check: no webhook secret is configured, so anybody can do this"
            );
        }
        // A level has to be known where the line stands.
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    provider,
                    delivery.id = outcome.delivery,
                    repo.url = some(&outcome.subject.repository),
                    git.r#ref = some(&outcome.subject.refs),
                    outcome = outcome.kind.name(),
                    status = outcome.kind.status().as_u16(),
                    patched,
                    skipped = outcome.report.skipped_count(),
                    gitrepos.skipped = some(&outcome.report.skipped_summary()),
                    detail = outcome.detail,
                    delivery.received = outcome.waited_since.map(tracing::field::display),
                    duration_ms = tenths(duration),
                    client.address = arrival.client.address.map(tracing::field::display),
                    client.forwarded_for =
                        arrival.client.forwarded_for.map(tracing::field::display),
                    trace.id = arrival.trace.id(),
                    aws.trace_id = arrival.client.aws_trace,
                    aws.request_id = arrival.request_id,
                    "delivery"
                )
            };
        }
        match outcome.kind {
            Kind::Unavailable | Kind::Queued => line!(warn),
            _ => line!(info),
        }
    }
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Milliseconds, to a tenth.
fn tenths(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn of_those_who_forwarded_a_request_the_last_is_named() {
        let last = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", HeaderValue::from_static(line));
            }
            forwarded_for(&headers).map(|address| address.to_string())
        };
        assert_eq!(last(&["203.0.113.7"]).as_deref(), Some("203.0.113.7"));
        assert_eq!(last(&["10.0.0.1, 2001:db8::7"]).as_deref(), Some("2001:db8::7"));
        assert_eq!(last(&["10.0.0.1", "203.0.113.7"]).as_deref(), Some("203.0.113.7"));
        for none in [&[][..], &[""], &["203.0.113.7, "], &["203.0.113.7, {\"a\":1}"]] {
            assert_eq!(last(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_duration_has_one_digit_behind_its_point() {
        assert_eq!(tenths(Duration::from_nanos(7_902_149)).to_string(), "7.9");
    }
}
