//! Forwards verified deliveries to queues, for clusters that nobody can reach; `adapter/pull` takes them there.

use futures::future::join_all;
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use crate::{
    aws::sqs::Queue,
    config::UnsignedDeliveries,
    delivery::Delivery,
    event::Event,
    outcome::{Kind, Outcome, Subject},
    receiver::Progress,
    retry::{MESSAGE_LIMIT, pack_within},
    secret::store::SecretStore,
    verdict::{Judge, Sender},
};

/// Verifies deliveries with the global secret, and hands each to every queue.
#[derive(Debug)]
pub struct Forwarder {
    secrets: SecretStore,
    queues: Vec<Queue>,
}

impl Forwarder {
    /// Will send to `queues` what the global secret of `secrets` verifies.
    pub const fn new(secrets: SecretStore, queues: Vec<Queue>) -> Self {
        Self { secrets, queues }
    }

    /// The secrets.
    pub const fn secrets(&self) -> &SecretStore {
        &self.secrets
    }

    /// Takes what a sender claims: a push goes to the queues if the global secret verifies it, and nowhere otherwise.
    /// Which GitRepos follow it, and whether anything does, the clusters know.
    pub async fn receive(&self, event: &Event, sender: Sender<'_>, progress: &Progress) -> Outcome {
        let outcome = match event {
            Event::Ignored(why) => Outcome::new(Kind::Ignored).because(*why),
            Event::Ping(_) if !sender.carries_proof() => {
                Outcome::new(Kind::Pong).because("without a proof")
            }
            Event::Ping(_) | Event::Push(_) => self.verify(event, sender, progress).await,
        };
        Outcome { subject: Subject::of(event), ..outcome }
    }

    async fn verify(&self, event: &Event, sender: Sender<'_>, progress: &Progress) -> Outcome {
        let Sender::Signed { delivery, now, .. } = sender else {
            return Outcome::new(Kind::Unavailable)
                .because("CodeCommit's events are not forwarded");
        };
        let judge = Judge::new(&self.secrets, sender, UnsignedDeliveries::Reject).await;
        let outcome = if judge.global_unavailable() {
            Outcome::new(Kind::Unavailable).because("the global secret cannot be read")
        } else if !judge.globally_verified() {
            Outcome::new(Kind::Unauthorized)
        } else if let Event::Push(_) = event {
            self.send(delivery, now, progress.deadline()).await
        } else {
            Outcome::new(Kind::Pong)
        };
        Outcome { standing: judge.standing(), ..outcome }
    }

    /// Sends a verified delivery to every queue; where one does not take it, the others get it twice, which does no harm.
    /// The clusters judge its proof as of when it was `received`, so that is a time at which it was verified.
    async fn send(&self, delivery: &Delivery, received: Timestamp, until: Instant) -> Outcome {
        let Some(message) = pack_within(MESSAGE_LIMIT, true, delivery, received) else {
            return Outcome::new(Kind::TooLarge)
                .because("the delivery does not fit into a message of 1 MiB, compressed neither");
        };
        let send = |queue: &Queue| {
            let (queue, message) = (queue.clone(), message.clone());
            async move {
                let sent = timeout_at(until, queue.send(message)).await;
                let sent = sent.unwrap_or_else(|_elapsed| Err("no answer in time".to_owned()));
                sent.map_err(|error| {
                    tracing::warn!(queue = queue.url(), error, "the queue did not take a delivery");
                })
            }
        };
        let sent = join_all(self.queues.iter().map(send)).await;
        match sent.iter().all(Result::is_ok) {
            true => Outcome::new(Kind::Forwarded),
            false => Outcome::new(Kind::Unavailable).because("a queue did not take it"),
        }
    }
}
