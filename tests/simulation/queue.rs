//! What waits, and who brings it back: a broker that posts it, or a queue in SQS out of which services take it and with
//! which functions are fed.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{select, time::sleep};

use crate::{
    chance::Chance,
    conditions::small,
    git::{Push, told_by},
    happening::named,
    oracle::Receipt,
    replica::{Answer, Brought},
    sqs::Given,
    world::World,
};

/// How long a function that gets a message has for it, before it comes again.
const HIDDEN: Duration = Duration::from_secs(60);

impl World {
    /// The broker keeps a message, and brings it until it is taken.
    pub fn keep(self: &Arc<Self>, headers: HeaderMap, body: Bytes) {
        let (told, world) = (told_by(&body), Arc::clone(self));
        self.log(format!("{told:?} is queued"));
        let mut chance = self.chance_of_message();
        self.seen().queued += 1;
        tokio::spawn(async move {
            let mut answer = Answer::None;
            for _ in 0..30 {
                sleep(chance.millis(1000, 8000)).await;
                let message =
                    Brought { headers: headers.clone(), body: body.clone(), queued: true };
                answer = world.bring(message, told, &mut chance).await;
                if answer.is_taken() {
                    break;
                }
            }
            if !answer.is_taken() {
                world.gives_up(told);
            }
            world.seen().queued -= 1;
        });
    }

    /// A queue has no patience left with a message.
    pub fn gives_up(&self, told: Option<(Push, usize)>) {
        let may_stay = |(push, hook): (Push, usize)| self.may_be_closed_to(push.branch, hook);
        if !told.is_some_and(may_stay) {
            self.violation(format!("{told:?} stays in the queue"));
        }
    }

    /// Gives the functions what the queue in SQS holds, as an event source mapping does.
    pub async fn feed_functions(self: Arc<Self>) {
        let mut chance = Chance::of(self.seed, "event source mapping");
        loop {
            let most = 1 + small(chance.below(5));
            // It gathers what comes meanwhile.
            sleep(chance.millis(0, 5000)).await;
            let batch = select! {
                biased;
                () = self.ended.cancelled() => return,
                batch = self.sqs.receive(&self, most, HIDDEN, Duration::from_secs(20)) => batch,
            };
            if batch.is_empty() {
                continue;
            }
            let (functions, replicas) = (self.conditions.functions, self.conditions.replicas);
            let functions = functions.min(replicas);
            let place = replicas - 1 - small(chance.below(functions as u64));
            let world = Arc::clone(&self);
            tokio::spawn(async move { world.invoke(place, batch).await });
        }
    }

    /// Gives a function a batch of messages; what it names comes again.
    async fn invoke(self: Arc<Self>, place: usize, batch: Vec<Given>) {
        let Some(replica) = self.replica(place) else { return };
        self.hand_out(&batch, place, replica.process.life);
        let record = |given: &Given| json!({ "messageId": given.id, "eventSource": "aws:sqs", "body": given.body });
        let event = json!({ "Records": batch.iter().map(record).collect::<Vec<_>>() });
        let Some(answer) = replica.invoke(event).await else { return };
        let failures = answer["batchItemFailures"].as_array().cloned().unwrap_or_default();
        self.log(format!(
            "r{place} answers {} messages, of which {} come again",
            batch.len(),
            failures.len()
        ));
        if failures.len() < batch.len() && !failures.is_empty() {
            self.log("of a batch a part comes again");
        }
        for given in batch {
            if !failures.iter().any(|failure| failure["itemIdentifier"] == given.id) {
                self.sqs.delete(&self, &given.receipt);
            }
        }
    }

    /// Notes who gets which messages of the queue in SQS.
    pub fn hand_out(&self, batch: &[Given], place: usize, life: usize) {
        for given in batch {
            let told = told_by(given.body.as_bytes());
            self.log(format!("r{place} receives {} from the queue, life {life}", named(told)));
            let Some((push, hook)) = told else { continue };
            // What was forwarded is received first of all here, and judged as of when it came to the function.
            let queued = !self.conditions.unreachable;
            let at = if queued { self.millis() } else { given.received };
            let receipt = Receipt { push, hook, life, place, at, queued, taken: false };
            let number = self.note(receipt);
            self.sqs.note(&given.receipt, number);
        }
    }

    /// When a message of the function in `place` says that its delivery was received, in milliseconds of the true time.
    pub fn received(&self, message: &str, place: usize) -> u64 {
        let message: Value = serde_json::from_str(message).unwrap_or_default();
        let received = message["received"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        received.map_or_else(|| self.millis(), |at| Self::millis_of(at - self.wrong(place)))
    }
}
