//! The way into the retry queue and back: a delivery that comes from it is received like the first time, and never
//! handed over again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{body::Body, response::Response};
use http::StatusCode;
use jiff::Timestamp;

use super::http::{Service, respond_with};
use crate::{
    delivery::Delivery,
    outcome::{Kind, Outcome},
    receiver::Progress,
    retry::Message,
    trace::TraceContext,
};

/// How much of a delivery's time is kept for handing it over, but at most a quarter of what there is.
pub(super) const HAND_OVER_TIME: Duration = Duration::from_secs(2);

impl Service {
    /// Receives by `deadline`, with time left to hand over what the cluster cannot take.
    pub(super) async fn receive_or_queue(
        &self,
        delivery: Delivery,
        deadline: Instant,
        trace: TraceContext,
        frozen_after: bool,
    ) -> Outcome {
        let left = deadline.saturating_duration_since(Instant::now());
        let kept = self.retry.as_ref().map_or(Duration::ZERO, |_| HAND_OVER_TIME.min(left / 4));
        let progress = Arc::new(Progress::new(deadline - kept));
        let delivery = Arc::new(delivery);
        let outcome = self
            .receive(Arc::clone(&delivery), Arc::clone(&progress), trace.clone(), frozen_after)
            .await;
        match outcome.kind {
            Kind::Unavailable => {
                self.hand_over(outcome, &delivery, progress.received(), &trace, deadline).await
            }
            _ => outcome,
        }
    }

    /// Hands an unavailable delivery to the retry queue, if there is one and it takes it.
    pub(super) async fn hand_over(
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
                tracing::warn!(delivery.id = outcome.delivery, %error, "could not be queued");
                outcome
            }
        }
    }

    /// Takes a CloudEvent that holds a delivery. Whoever posts one could as well post the delivery.
    ///
    /// A broker takes any body for another event, so there is none where there is nothing left to do.
    pub(super) async fn take_event(
        &self,
        event: &Delivery,
        deadline: Instant,
        request_id: Option<&str>,
    ) -> Response {
        let started = Instant::now();
        let Ok(message) = Message::unpack(event.raw()) else {
            let outcome = Outcome::new(Kind::Malformed).because("a CloudEvent without a delivery");
            let trace = TraceContext::from_headers(event.headers());
            self.log(&outcome, started.elapsed(), &trace, request_id);
            return respond_with(&outcome);
        };
        // The event is nobody's word: what it says of its time proves nothing.
        let outcome = self.receive_again(message, Timestamp::now(), deadline, request_id).await;
        if outcome.kind == Kind::Unavailable {
            return respond_with(&outcome);
        }
        let mut done = Response::new(Body::empty());
        *done.status_mut() = StatusCode::NO_CONTENT;
        done
    }

    /// Receives a delivery that waited; it has to come again if the outcome is `unavailable`.
    ///
    /// The time of its proof is judged as of `judged_at`.
    pub(super) async fn receive_again(
        &self,
        message: Message,
        judged_at: Timestamp,
        deadline: Instant,
        request_id: Option<&str>,
    ) -> Outcome {
        let started = Instant::now();
        let Message { delivery, received } = message;
        let trace = TraceContext::from_headers(delivery.headers());
        let progress = Arc::new(Progress::redelivery(deadline, received, judged_at));
        // What is not done in time is stopped: it comes again.
        let outcome = self.receive(Arc::new(delivery), progress, trace.clone(), true).await;
        let outcome = Outcome { waited_since: Some(received), ..outcome };
        self.log(&outcome, started.elapsed(), &trace, request_id);
        outcome
    }
}
