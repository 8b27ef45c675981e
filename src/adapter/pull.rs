//! Takes deliveries out of an SQS queue, for clusters that nobody can reach; `service` does the work, `forward` and
//! `retry` filled the queue.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    select,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep},
};

use super::{arrival::Arrival, service::Service};
use crate::{
    aws::sqs::{Queue, Received},
    outcome::Kind,
    retry::Message,
};

/// How many messages are worked on at once.
const AT_ONCE: usize = 16;

/// How long one message may take.
const HANDLING: Duration = Duration::from_secs(25);

/// How long nobody else gets it: for as long, and to tell SQS what became of it.
const HIDDEN: Duration = Duration::from_secs(35);

/// After how long a message comes again that could not be taken, at first and at most; doubled each time between.
const FIRST_DELAY: Duration = Duration::from_secs(5);
const LONGEST_DELAY: Duration = Duration::from_secs(15 * 60);

/// How long to wait before a queue is read again that could not be read, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// What a forwarding function verified (`DELIVERY_QUEUE_URL`). What our secrets refuse comes again, and ends in the
    /// queue's dead letters: a secret may have been rotated at the function first.
    Deliveries,
    /// What this cluster could not take before (`RETRY_QUEUE_URL`): anybody may have sent it.
    Retries,
}

/// Empties one queue.
#[derive(Clone, Debug)]
pub struct Pull {
    queue: Queue,
    holds: Holds,
    room: Arc<Semaphore>,
}

impl Holds {
    const fn name(self) -> &'static str {
        match self {
            Self::Deliveries => "deliveries",
            Self::Retries => "retries",
        }
    }

    /// Whether nothing is left to do.
    const fn is_done(self, kind: Kind) -> bool {
        match self {
            Self::Deliveries => kind.status().as_u16() < 300,
            Self::Retries => !matches!(kind, Kind::Unavailable),
        }
    }
}

impl Pull {
    /// Will take what `queue` holds; nothing is asked of the network yet.
    pub fn new(queue: Queue, holds: Holds) -> Self {
        Self { queue, holds, room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Takes messages until the process is told to stop; what is under way then is finished by the service's tasks.
    pub async fn run(self, service: Service) {
        let mut stopped = pin!(service.readiness.stopped());
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(places) = self.places().await else { return };
            let received = select! {
                () = &mut stopped => return,
                received = self.queue.receive(places.num_permits(), HIDDEN) => received,
            };
            let error = match received {
                Ok(messages) => {
                    pause = FIRST_PAUSE;
                    self.note(&service, true);
                    self.handle_all(messages, places, &service);
                    continue;
                }
                Err(error) => error,
            };
            drop(places);
            self.note(&service, false);
            service.metrics.queue_failed(self.holds.name());
            tracing::warn!(
                queue = self.queue.url(),
                %error,
                pause_s = pause.as_secs(),
                "the queue cannot be read; it takes sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility"
            );
            select! {
                () = &mut stopped => return,
                () = sleep(pause) => pause = LONGEST_PAUSE.min(pause * 2),
            }
        }
    }

    /// Notes whether the queue could be read; that of retries keeps nobody from being ready.
    fn note(&self, service: &Service, read: bool) {
        if self.holds == Holds::Deliveries {
            service.readiness.queue_is_read(read);
        }
    }

    /// The places that are free, as soon as there is one.
    async fn places(&self) -> Option<OwnedSemaphorePermit> {
        let mut places = Arc::clone(&self.room).acquire_owned().await.ok()?;
        while let Ok(more) = Arc::clone(&self.room).try_acquire_owned() {
            places.merge(more);
        }
        Some(places)
    }

    fn handle_all(
        &self,
        messages: Vec<Received>,
        mut places: OwnedSemaphorePermit,
        service: &Service,
    ) {
        let oldest = messages.iter().filter_map(|message| message.sent).min();
        let age = oldest.map(|sent| service.clock.now().duration_since(sent).unsigned_abs());
        service.metrics.queue_received(self.holds.name(), messages.len(), age);
        for message in messages {
            let place = places.split(1);
            let (pull, handled) = (self.clone(), service.clone());
            service.tasks.spawn(async move {
                pull.handle(&message, &handled).await;
                drop(place);
            });
        }
    }

    /// Handles one message, and tells SQS what became of it.
    async fn handle(&self, message: &Received, service: &Service) {
        let told = match self.is_done(message, service).await {
            true => self.queue.delete(message).await,
            false => self.queue.postpone(message, delay(message.times)).await,
        };
        if let Err(error) = told {
            service.metrics.queue_failed(self.holds.name());
            tracing::warn!(
                queue = self.queue.url(),
                sqs.message_id = message.id,
                %error,
                "the queue was not told what became of a message: it comes again"
            );
        }
    }

    async fn is_done(&self, message: &Received, service: &Service) -> bool {
        let limit = service.max_body_bytes;
        let Ok(delivery) = Message::unpack_within(limit, message.body.as_bytes()) else {
            service.metrics.queue_failed(self.holds.name());
            tracing::error!(
                queue = self.queue.url(),
                sqs.message_id = message.id,
                sqs.receive_count = message.times,
                "the message holds no delivery: it is left to the queue's dead letters"
            );
            return false;
        };
        // Who may send to the queue is IAM's to say, so the message is right about its time.
        let judged_at = delivery.received;
        let mut room = service.memory.room();
        room.take(message.body.len().max(delivery.delivery.raw().len())).await;
        let room = room.work().await;
        let deadline = Instant::now() + HANDLING;
        let arrival = Arrival::of_queued(deadline, Some(message.id.clone()));
        let outcome = service.take_again(delivery, Some(room), judged_at, arrival).await;
        let done = self.holds.is_done(outcome.kind);
        if !done {
            service.metrics.queue_failed(self.holds.name());
            tracing::warn!(
                queue = self.queue.url(),
                sqs.message_id = message.id,
                sqs.receive_count = message.times,
                outcome = outcome.kind.name(),
                detail = outcome.detail,
                again_in_s = delay(message.times).as_secs(),
                "the delivery stays in the queue"
            );
        }
        done
    }
}

/// After how long a message comes again that was received so many times.
fn delay(times: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(times.saturating_sub(1));
    LONGEST_DELAY.min(FIRST_DELAY.saturating_mul(doubled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_again_later_each_time_and_within_a_quarter_of_an_hour() {
        let seconds = [(0, 5), (1, 5), (2, 10), (3, 20), (8, 640), (9, 900), (u32::MAX, 900)];
        for (times, expected) in seconds {
            assert_eq!(delay(times), Duration::from_secs(expected), "{times}");
        }
    }

    #[test]
    fn what_a_function_verified_and_we_refuse_comes_again_and_what_anybody_sent_does_not() {
        for (kind, delivery, retry) in [
            (Kind::Accepted, true, true),
            (Kind::Ignored, true, true),
            (Kind::Unauthorized, false, true),
            (Kind::Malformed, false, true),
            (Kind::Unavailable, false, false),
        ] {
            assert_eq!(Holds::Deliveries.is_done(kind), delivery, "{kind:?}");
            assert_eq!(Holds::Retries.is_done(kind), retry, "{kind:?}");
        }
    }
}
