//! The way into the retry queue and back: a delivery that comes from it is received like the first time, and never
//! handed over again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{body::Body, response::Response};
use http::StatusCode;
use jiff::Timestamp;

use super::http::{Arrival, Service, respond_with};
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
    /// Receives in time, with some left to hand over what the cluster cannot take.
    pub(super) async fn receive_or_queue(&self, delivery: Delivery, arrival: &Arrival) -> Outcome {
        let left = arrival.deadline.saturating_duration_since(Instant::now());
        let kept = self.retry.as_ref().map_or(Duration::ZERO, |_| HAND_OVER_TIME.min(left / 4));
        let mut progress = Progress::new(arrival.deadline - kept);
        if arrival.request_id.is_some() {
            progress = progress.ending_at_deadline();
        }
        let (delivery, progress) = (Arc::new(delivery), Arc::new(progress));
        let outcome =
            self.receive(Arc::clone(&delivery), Arc::clone(&progress), &arrival.trace).await;
        if outcome.kind != Kind::Unavailable {
            return outcome;
        }
        let received = progress.received();
        self.hand_over(outcome, &delivery, received, &arrival.trace, arrival.deadline).await
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
    pub(super) async fn take_event(&self, event: &Delivery, arrival: &Arrival) -> Response {
        let Ok(message) = Message::unpack(event.raw()) else {
            let outcome = Outcome::new(Kind::Malformed).because("a CloudEvent without a delivery");
            self.log(&outcome, arrival);
            return respond_with(&outcome);
        };
        // The event is nobody's word: what it says of its time proves nothing.
        let request_id = arrival.request_id.clone();
        let outcome =
            self.receive_again(message, Timestamp::now(), arrival.deadline, request_id).await;
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
        request_id: Option<String>,
    ) -> Outcome {
        let Message { delivery, received } = message;
        let trace = TraceContext::from_headers(delivery.headers());
        let arrival = Arrival { started: Instant::now(), deadline, trace, request_id };
        // What is not done in time is stopped: it comes again.
        let progress = Progress::redelivery(deadline, received, judged_at).ending_at_deadline();
        let outcome = self.receive(Arc::new(delivery), Arc::new(progress), &arrival.trace).await;
        let outcome = Outcome { waited_since: Some(received), ..outcome };
        self.log(&outcome, &arrival);
        outcome
    }
}
