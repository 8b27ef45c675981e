//! A queue in SQS, as its HTTP API shows it: messages are hidden from others while somebody works on them, come again
//! where he does not delete them, sometimes twice, in any order, and end in the dead letters.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    select,
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{chance::Chance, conditions::small, git::told_by, world::World};

/// How often a message is given to somebody at the most.
const TIMES: u32 = 6;

#[derive(Default)]
pub struct Sqs {
    messages: Mutex<Vec<Message>>,
    stirred: Notify,
}

struct Message {
    id: u64,
    body: String,
    chance: Chance,
    /// It is no line: who comes first is drawn each time.
    order: u64,
    sent: u64,
    received: u64,
    times: u32,
    hidden_until: Instant,
    /// What was given with it last: only who has that may delete it.
    receipt: String,
    /// What was noted of that.
    noted: Option<usize>,
}

/// A message that is given to somebody.
pub struct Given {
    pub id: String,
    pub receipt: String,
    pub body: String,
    /// When its delivery was received, in milliseconds of the true time.
    pub received: u64,
    times: u32,
    sent: u64,
}

impl Sqs {
    pub fn holds_something(&self) -> bool {
        !self.messages().is_empty()
    }

    /// Does what a process asks for.
    pub async fn answer(
        &self,
        world: &Arc<World>,
        place: usize,
        life: usize,
        action: &str,
        asked: &Value,
    ) -> Result<Value, u16> {
        let receipt = asked["ReceiptHandle"].as_str().unwrap_or_default();
        let seconds = |name: &str| Duration::from_secs(asked[name].as_u64().unwrap_or_default());
        match action {
            "SendMessage" => {
                self.send(world, place, asked["MessageBody"].as_str().unwrap_or_default());
                Ok(json!({ "MessageId": "1" }))
            }
            "ReceiveMessage" => {
                let most = small(asked["MaxNumberOfMessages"].as_u64().unwrap_or(1));
                let (hidden, wait) = (seconds("VisibilityTimeout"), seconds("WaitTimeSeconds"));
                let given = self.receive(world, most, hidden, wait).await;
                world.hand_out(&given, place, life);
                Ok(json!({ "Messages": given.iter().map(Given::json).collect::<Vec<_>>() }))
            }
            "DeleteMessage" => {
                self.delete(world, receipt);
                Ok(json!({}))
            }
            "ChangeMessageVisibility" => {
                let comes_again = self.hide(receipt, seconds("VisibilityTimeout"));
                world.log(format!("r{place} lets a message come again: {comes_again}"));
                if comes_again { Ok(json!({})) } else { Err(400) }
            }
            _ => Err(400),
        }
    }

    fn send(&self, world: &World, place: usize, body: &str) {
        let mut chance = world.chance_of_message();
        world.log(format!("{:?} is queued", told_by(body.as_bytes())));
        let mut messages = self.messages();
        // Two that come at once draw the same numbers.
        let mut id = chance.below(u64::MAX);
        while messages.iter().any(|message| message.id == id) {
            id += 1;
        }
        messages.push(Message {
            id,
            body: body.to_owned(),
            chance,
            order: 0,
            sent: world.millis(),
            received: world.received(body, place),
            times: 0,
            hidden_until: Instant::now(),
            receipt: String::new(),
            noted: None,
        });
        drop(messages);
        self.stirred.notify_waiters();
    }

    /// Gives up to `most` messages, as soon as there is one, or none once `wait` is over.
    pub async fn receive(
        &self,
        world: &World,
        most: usize,
        hidden: Duration,
        wait: Duration,
    ) -> Vec<Given> {
        let end = Instant::now() + wait;
        loop {
            let stirred = self.stirred.notified();
            let given = self.give(world, most, hidden);
            if !given.is_empty() || Instant::now() >= end {
                return given;
            }
            let next = self.messages().iter().map(|it| it.hidden_until).min();
            select! {
                biased;
                () = stirred => {}
                () = sleep_until(next.map_or(end, |next| next.min(end))) => {}
            }
        }
    }

    fn give(&self, world: &World, most: usize, hidden: Duration) -> Vec<Given> {
        let (mut given, mut dead, now) = (Vec::new(), Vec::new(), Instant::now());
        let mut messages = self.messages();
        messages.retain(|message| {
            let is_dead = message.times >= TIMES && message.hidden_until <= now;
            if is_dead {
                dead.push(told_by(message.body.as_bytes()));
            }
            !is_dead
        });
        for message in messages.iter_mut() {
            message.order = message.chance.below(u64::MAX);
        }
        let mut there: Vec<_> = messages.iter_mut().filter(|it| it.hidden_until <= now).collect();
        there.sort_by_cached_key(|message| message.order);
        for message in there.into_iter().take(most) {
            message.times += 1;
            message.receipt = format!("{}-{}", message.id, message.times);
            // Sometimes somebody else gets it too.
            if !world.conditions.unreliable || !message.chance.percent(5) {
                message.hidden_until = now + hidden;
            }
            given.push(Given {
                id: message.id.to_string(),
                receipt: message.receipt.clone(),
                body: message.body.clone(),
                received: message.received,
                times: message.times,
                sent: message.sent,
            });
        }
        drop(messages);
        dead.into_iter().for_each(|told| world.gives_up(told));
        given
    }

    /// Remembers what was noted of a message that was given.
    pub fn note(&self, receipt: &str, number: usize) {
        if let Some(message) = self.messages().iter_mut().find(|it| it.receipt == receipt) {
            message.noted = Some(number);
        }
    }

    /// Takes a message out for good. It comes again where somebody else got it since.
    pub fn delete(&self, world: &World, receipt: &str) {
        let mut messages = self.messages();
        let Some(at) = messages.iter().position(|it| it.receipt == receipt) else { return };
        let message = messages.remove(at);
        drop(messages);
        if let Some(number) = message.noted {
            world.seen().receipts[number].taken = true;
        }
    }

    /// Hides a message from all for as long; tells whether who asks had it last.
    fn hide(&self, receipt: &str, time: Duration) -> bool {
        let mut messages = self.messages();
        let Some(message) = messages.iter_mut().find(|it| it.receipt == receipt) else {
            return false;
        };
        message.hidden_until = Instant::now() + time;
        true
    }

    fn messages(&self) -> MutexGuard<'_, Vec<Message>> {
        self.messages.lock().unwrap()
    }
}

impl Given {
    fn json(&self) -> Value {
        json!({
            "MessageId": self.id, "ReceiptHandle": self.receipt, "Body": self.body,
            "Attributes": {
                "ApproximateReceiveCount": self.times.to_string(),
                "SentTimestamp": self.sent.to_string(),
            },
        })
    }
}
