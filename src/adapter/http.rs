//! The service: method, size, content type, deadline, the answer and one log line a delivery. Drivers: `knative`, `lambda`;
//! `redelivery` takes what waited in a retry queue.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::json;
use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;

use crate::{
    adapter::{body, readiness::Readiness, redelivery::HAND_OVER_TIME},
    cluster::TRACE,
    delivery::Delivery,
    outcome::{Kind, Outcome},
    provider,
    receiver::{Progress, Receiver},
    retry::{self, RetryQueue},
    telemetry::Metrics,
    trace::TraceContext,
};

/// What a sender is asked to wait before it tries again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// What the service needs for every request; cheap to clone.
#[derive(Clone, Debug)]
pub struct Service {
    /// Takes deliveries.
    pub receiver: Arc<Receiver>,
    /// Counts them.
    pub metrics: Arc<Metrics>,
    /// Whether deliveries are wanted.
    pub readiness: Arc<Readiness>,
    /// Takes what the cluster cannot take now.
    pub retry: Option<Arc<RetryQueue>>,
    /// What is still under way; a driver that stops waits for it.
    pub tasks: TaskTracker,
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

/// When and how a delivery came.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) started: Instant,
    /// By when it has to be answered.
    pub(super) deadline: Instant,
    pub(super) trace: TraceContext,
    /// The driver's own id of the request; only of one that runs nothing after the answer.
    pub(super) request_id: Option<String>,
}

/// Makes the router that every driver serves.
pub fn router(service: Service) -> Router {
    Router::new().fallback(answer).with_state(service)
}

async fn answer(State(service): State<Service>, request: Request) -> Response {
    match (request.method(), request.uri().path()) {
        (&Method::POST, _) => service.take(request).await,
        (&Method::GET, "/healthz") => plain(StatusCode::OK, "ok"),
        (&Method::GET, "/readyz") => {
            match service.readiness.check(service.receiver.cluster()).await {
                true => plain(StatusCode::OK, "ok"),
                false => plain(StatusCode::SERVICE_UNAVAILABLE, "not ready"),
            }
        }
        (_, "/healthz" | "/readyz") => method_not_allowed("GET, POST"),
        _ => method_not_allowed("POST"),
    }
}

impl Service {
    /// Takes a delivery, answers it in time, and logs it.
    async fn take(&self, request: Request) -> Response {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let invocation = parts.extensions.get::<Invocation>();
        let arrival = Arrival {
            started,
            deadline: invocation.map_or(started + self.deadline, |invocation| invocation.deadline),
            trace: TraceContext::from_headers(&parts.headers),
            request_id: invocation.map(|invocation| invocation.request_id.clone()),
        };
        let provider = provider::detect(&parts.headers).map(|provider| provider.name);
        match body::read(parts, body, self.max_body_bytes, arrival.deadline).await {
            Ok(delivery) => {
                // In a task of its own, so that a sender that hangs up stops nothing and is logged.
                let service = self.clone();
                let work = self.tasks.spawn(async move {
                    match retry::is_redelivery(delivery.headers()) {
                        true => service.take_event(&delivery, &arrival).await,
                        false => service.take_delivery(delivery, &arrival).await,
                    }
                });
                work.await
                    .unwrap_or_else(|_panicked| respond_with(&Outcome::new(Kind::Unavailable)))
            }
            Err(kind) => {
                let outcome = Outcome { provider, ..Outcome::new(kind) };
                self.log(&outcome, &arrival);
                respond_with(&outcome)
            }
        }
    }

    async fn take_delivery(&self, delivery: Delivery, arrival: &Arrival) -> Response {
        let outcome = self.receive_or_queue(delivery, arrival).await;
        self.log(&outcome, arrival);
        respond_with(&outcome)
    }

    /// Receives in a task of its own, and gives what can be said by the deadline.
    pub(super) async fn receive(
        &self,
        delivery: Arc<Delivery>,
        progress: Arc<Progress>,
        trace: &TraceContext,
    ) -> Outcome {
        let early = early_outcome(&delivery);
        let receiver = Arc::clone(&self.receiver);
        let (shared, proceeding) = (Arc::clone(&delivery), Arc::clone(&progress));
        let work = async move { receiver.receive(&shared, &proceeding).await };
        let mut work = self.tasks.spawn(TRACE.scope(trace.clone(), work));
        match timeout_at(progress.deadline().into(), &mut work).await {
            Ok(Ok(outcome)) => return outcome,
            Ok(Err(panicked)) => {
                let outcome = Outcome { kind: Kind::Unavailable, ..early };
                return outcome.because(panicked.to_string());
            }
            Err(_elapsed) if progress.ends_at_deadline() || progress.abandon() => work.abort(),
            Err(_elapsed) => {
                let in_progress = !progress.is_troubled();
                let (service, trace) = (self.clone(), trace.clone());
                self.tasks.spawn(async move {
                    let mut outcome = work.await.unwrap_or_else(|panicked| {
                        Outcome::new(Kind::Unavailable).because(panicked.to_string())
                    });
                    // Its sender was told that it goes on.
                    if in_progress && outcome.kind == Kind::Unavailable {
                        let until = Instant::now() + HAND_OVER_TIME;
                        outcome = service
                            .hand_over(outcome, &delivery, progress.received(), &trace, until)
                            .await;
                    }
                    service.log_finished(&outcome, in_progress);
                });
                if in_progress {
                    return Outcome { kind: Kind::InProgress, ..early };
                }
            }
        }
        Outcome { kind: Kind::Unavailable, ..early }.because("too slow")
    }

    /// Logs what became of patches that went on after the answer, and counts it too where a push was lost: one whose
    /// sender was told that it goes on.
    fn log_finished(&self, outcome: &Outcome, in_progress: bool) {
        let patched = outcome.report.patched_count();
        self.metrics.patched_after_answer(u64::try_from(patched).unwrap_or(u64::MAX));
        if in_progress && outcome.kind == Kind::Unavailable {
            self.metrics.lost_after_answer(outcome.provider.unwrap_or("unknown"));
            tracing::warn!(
                delivery.id = outcome.delivery,
                detail = outcome.detail,
                gitrepos.skipped = some(&outcome.report.skipped_summary()),
                "a patch failed after the answer, and nobody will send it again"
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
        tracing::info!(
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
            duration_ms = duration.as_secs_f64() * 1000.0,
            trace.id = arrival.trace.id(),
            aws.request_id = arrival.request_id,
            "delivery"
        );
    }
}

/// What can be said of a delivery before anything is done.
fn early_outcome(delivery: &Delivery) -> Outcome {
    let provider = provider::sender_of(delivery);
    let id = provider.and_then(|provider| provider.delivery_id(delivery));
    Outcome {
        provider: provider.map(|provider| provider.name),
        delivery: id.map(str::to_owned),
        ..Outcome::new(Kind::Unavailable)
    }
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn method_not_allowed(allow: &'static str) -> Response {
    let mut response =
        json_response(StatusCode::METHOD_NOT_ALLOWED, &json!({ "outcome": "method_not_allowed" }));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

pub(super) fn respond_with(outcome: &Outcome) -> Response {
    let mut response = json_response(outcome.kind.status(), &outcome.json());
    if outcome.kind == Kind::Unavailable {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    response
}

fn json_response(status: StatusCode, body: &impl ToString) -> Response {
    respond(status, "application/json", body.to_string())
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    respond(status, "text/plain; charset=utf-8", text.to_owned())
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
