//! What happens between a Git server and Fleet: pushes and their deliveries, strangers, kills, outages.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};

use crate::{
    chance::Chance,
    conditions::{BUSY, small},
    git::{BRANCHES, Push, forged},
    oracle::Receipt,
    replica::{Answer, Brought},
    world::World,
};

impl World {
    /// Lets everything happen that the seed has in store.
    pub fn happen(self: &Arc<Self>, happening: &mut JoinSet<()>) {
        for branch in 0..BRANCHES.len() {
            let mut chance = Chance::of(self.seed, ("pushes", branch));
            let pushes = 1 + chance.below(if branch == 0 { 6 } else { 3 });
            let mut at = chance.below(3000);
            for number in 1..=pushes {
                let world = Arc::clone(self);
                let push = Push { branch, number };
                happening.spawn(async move { world.push(push, at).await });
                at += match self.conditions.hurried && chance.percent(60) {
                    true => 5 + chance.below(900),
                    false => 1500 + chance.below(BUSY / 4),
                };
            }
        }
        let chance = &mut Chance::of(self.seed, "rest");
        let mut at = |happening: &mut JoinSet<()>, what: u8| {
            let (world, chance) =
                (Arc::clone(self), Chance::of(self.seed, (what, chance.below(u64::MAX))));
            happening.spawn(async move { world.trouble(what, chance).await });
        };
        at(happening, 0);
        if self.conditions.kills {
            at(happening, 1);
            at(happening, 1);
        }
        if self.conditions.outages {
            at(happening, 2);
        }
        if self.conditions.operators {
            at(happening, 3);
            at(happening, 3);
        }
    }

    async fn trouble(self: Arc<Self>, what: u8, mut chance: Chance) {
        sleep(chance.millis(0, BUSY)).await;
        match what {
            0 => {
                let place = self.door(&mut chance);
                let Some(replica) = self.replica(place) else { return };
                let answer = replica.receive(forged()).await;
                let answers = ["unauthorized", "unavailable", "queued"];
                if answer != Answer::None && !answers.iter().any(|it| answer.is(it)) {
                    self.violation(format!("a forged delivery is answered {answer:?}"));
                }
            }
            1 => {
                let place = small(chance.below(self.conditions.replicas as u64));
                self.kill_first(place);
            }
            2 => {
                let place = small(chance.below(self.conditions.replicas as u64));
                let until = self.millis() + 500 + chance.below(6000);
                self.log(format!("r{place} cannot reach the API server until {until}"));
                self.seen().outages.insert(place, until);
            }
            _ => self.operate(chance).await,
        }
    }

    /// A push, and its deliveries.
    async fn push(self: Arc<Self>, push: Push, at: u64) {
        sleep_until(self.began + Duration::from_millis(1000 + at)).await;
        self.log(format!("{} moves to {}", push.branch(), push.number));
        let mut deliveries = JoinSet::new();
        let hooks = if self.conditions.two_hooks { 2 } else { 1 };
        for hook in 0..hooks {
            let mut chance = Chance::of(self.seed, ("deliveries", push.branch, push.number, hook));
            let times = match self.conditions.unreliable {
                true if chance.percent(10) => 0,
                true if chance.percent(15) => 2,
                _ => 1,
            };
            for time in 0..times {
                let late = match self.conditions.unreliable {
                    true if chance.percent(25) => chance.millis(50, 4000),
                    _ => chance.millis(2, 40),
                };
                let (world, chance) =
                    (Arc::clone(&self), Chance::of(self.seed, (push, hook, time)));
                deliveries.spawn(async move {
                    sleep(late).await;
                    world.deliver(push, hook, chance).await;
                });
            }
        }
        while let Some(done) = deliveries.join_next().await {
            done.expect("a delivery does not panic");
        }
    }

    /// A delivery, until it is taken or its provider gives up.
    async fn deliver(self: Arc<Self>, push: Push, hook: usize, mut chance: Chance) {
        let patience = if self.conditions.patient { chance.below(4) } else { 0 };
        for _ in 0..=patience {
            let delivery = push.delivery(hook, self.conditions.says_before);
            let patient = match self.conditions.unreliable && chance.percent(5) {
                true => chance.millis(1, 200),
                false => Duration::from_secs(60),
            };
            // Who hangs up does not know what becomes of it.
            let answer = timeout(patient, self.bring(delivery, Some((push, hook)), &mut chance));
            match answer.await {
                Ok(answer) if answer.is_taken() || answer.is("unauthorized") => return,
                Ok(_) => {}
                Err(_elapsed) => self.log("its sender hangs up"),
            }
            sleep(chance.millis(1000, 12_000)).await;
        }
    }

    /// Where a delivery comes in.
    fn door(&self, chance: &mut Chance) -> usize {
        let last = self.conditions.replicas - 1;
        let place = small(chance.below(self.conditions.replicas as u64));
        if self.conditions.unreachable { last } else { place }
    }

    /// Brings something that tells of a push to one of the receivers.
    pub async fn bring(
        self: &Arc<Self>,
        brought: Brought,
        told: Option<(Push, usize)>,
        chance: &mut Chance,
    ) -> Answer {
        let place = self.door(chance);
        let Some(replica) = self.replica(place) else { return Answer::None };
        let (at, life, queued) = (self.millis(), replica.process.life, brought.queued);
        let what = named(told);
        let from = if queued { " from the queue" } else { "" };
        self.log(format!("r{place} receives {what}{from}, life {life}"));
        // What is forwarded is judged by who takes it out of the queue.
        let told = told.filter(|_| !self.conditions.forwards(place));
        let index = told.map(|(push, hook)| {
            self.note(Receipt { push, hook, life, place, at, queued, taken: false })
        });
        let answer = replica.receive(brought).await;
        self.log(format!("r{place} answers {what}: {answer:?}"));
        if let Some(index) = index {
            self.seen().receipts[index].taken = answer.is_taken();
        }
        answer
    }

    /// Notes a receipt; gives its number.
    pub fn note(&self, receipt: Receipt) -> usize {
        let mut seen = self.seen();
        seen.receipts.push(receipt);
        seen.receipts.len() - 1
    }
}

/// What tells of a push, for the log.
pub fn named(told: Option<(Push, usize)>) -> String {
    match told {
        Some((push, hook)) => format!("{} {} of hook {hook}", push.branch(), push.number),
        None => "what was made up".to_owned(),
    }
}
