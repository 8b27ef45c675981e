//! One world under one seed: who is in it, its time, what was seen of it, and what it is judged by in the end.
//! `conditions` is what the seed decides once; `gitrepos`, `happening` and `queue` are what happens.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    mem::take,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use http::Method;
use jiff::{SignedDuration, Timestamp};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api_server::ApiServer,
    chance::Chance,
    conditions::{BUSY, Conditions, Retries},
    git::Push,
    gitrepos::Made,
    oracle::{Receipt, Verdict, judge},
    replica::Replica,
    sqs::Sqs,
};

/// Within which time a push at rest is surely announced.
const SLOW: Duration = Duration::from_secs(4);

#[derive(Default)]
pub struct Seen {
    log: Vec<String>,
    violations: Vec<String>,
    requests: BTreeMap<String, u64>,
    pub receipts: Vec<Receipt>,
    /// Until when a place cannot reach the API server.
    pub outages: BTreeMap<usize, u64>,
    /// What was announced to a GitRepo first of all.
    pub first_announced: BTreeMap<String, String>,
    /// When a commit was announced to a GitRepo for the first time.
    pub announced_at: BTreeMap<(String, String), u64>,
    /// Which process has read which GitRepo itself, or all of them, and when.
    pub looked: Vec<(usize, Option<String>, u64)>,
    /// From which GitRepos a process could not take the interval back at once.
    pub left: BTreeSet<String>,
    lives: usize,
    /// How many messages are with the broker.
    pub queued: usize,
}

pub struct World {
    pub seed: u64,
    pub began: Instant,
    pub server: ApiServer,
    pub sqs: Sqs,
    pub conditions: Conditions,
    /// Who feeds functions ends with it.
    pub ended: CancellationToken,
    replicas: Mutex<Vec<Vec<Arc<Replica>>>>,
    gitrepos: Mutex<BTreeMap<String, Made>>,
    seen: Mutex<Seen>,
}

impl World {
    pub async fn run(seed: u64) -> Verdict {
        let conditions = Conditions::of(seed);
        let world = Arc::new(Self {
            seed,
            began: Instant::now(),
            server: ApiServer::default(),
            sqs: Sqs::default(),
            ended: CancellationToken::new(),
            replicas: Mutex::new(vec![Vec::new(); conditions.replicas]),
            gitrepos: Mutex::default(),
            seen: Mutex::default(),
            conditions,
        });
        world.log(format!("{:?}", world.conditions));
        world.prepare().await;
        for place in 0..world.conditions.replicas {
            world.start(place);
        }
        if world.conditions.retries == Retries::Sqs && world.conditions.functions > 0 {
            tokio::spawn(Arc::clone(&world).feed_functions());
        }
        sleep(Duration::from_secs(1)).await;
        let mut happening = JoinSet::new();
        world.happen(&mut happening);
        while let Some(done) = happening.join_next().await {
            if let Err(panicked) = done {
                world.violation(format!("{panicked}"));
            }
        }
        while world.seen().queued > 0 || world.sqs.holds_something() {
            sleep(Duration::from_secs(1)).await;
        }
        // A list that is silent is given up after a minute; what is left behind is taken back after that.
        let troubled = world.conditions.faults > 0 || world.conditions.outages;
        let ended = world.conditions.kills && troubled;
        sleep(Duration::from_secs(if ended { 90 } else { 20 })).await;
        world.settle().await
    }

    async fn settle(self: &Arc<Self>) -> Verdict {
        let mut held = BTreeMap::new();
        let names: Vec<_> = self.gitrepos().keys().cloned().collect();
        for name in names {
            held.insert(name.clone(), self.read(&name).await);
        }
        let receipts = self.seen().receipts.clone();
        sleep(self.conditions.pause).await;
        for place in 0..self.conditions.replicas {
            if !self.conditions.unreachable || self.conditions.forwards(place) {
                self.push_at_rest(place).await;
            }
        }
        self.ended.cancel();
        for replica in self.replicas.lock().unwrap().drain(..).flatten() {
            replica.process.killed.cancel();
        }
        let mut seen = take(&mut *self.seen());
        let (violations, log) = (take(&mut seen.violations), take(&mut seen.log));
        let mut verdict = Verdict { violations, log, judged: 0, exempt: 0 };
        judge(&self.conditions, &self.gitrepos(), &held, &receipts, &seen, &mut verdict);
        verdict
    }

    /// Once everything is quiet, a push is announced at once, whoever receives it.
    async fn push_at_rest(self: &Arc<Self>, place: usize) {
        let push = Push { branch: 0, number: 1000 + u64::try_from(place).expect("is small") };
        let Some(replica) = self.replica(place) else {
            return self.violation(format!("r{place} does not run"));
        };
        let (life, at) = (replica.process.life, self.millis());
        self.note(Receipt { push, hook: 0, life, place, at, queued: false, taken: false });
        let answer = replica.receive(push.delivery(0, false)).await;
        self.log(format!("r{place} answers at rest: {answer:?}"));
        while self.conditions.unreachable && self.sqs.holds_something() {
            sleep(Duration::from_millis(100)).await;
        }
        // A few slow requests may take all the time that there is.
        let is_slow = self.conditions.slowest > 1000 || self.conditions.deadline < SLOW;
        if is_slow && (answer.is("unavailable") || answer.is("queued")) {
            return sleep(Duration::from_secs(10)).await;
        }
        let follows = |made: &Made| made.branch == push.branch && !made.own_secret;
        let gitrepos = self.gitrepos().clone();
        for (name, made) in gitrepos {
            let announced = self.read(&name).await["status"]["webhookCommit"].clone();
            if follows(&made) && announced != push.commit() {
                self.violation(format!(
                    "{name} is at {announced} and not at what is pushed at rest"
                ));
            }
        }
        let is_done =
            ["accepted", "ignored", "forwarded", "in_progress"].iter().any(|it| answer.is(it));
        if !self.may_be_closed_to(push.branch, 0) && !is_done {
            self.violation(format!("what is pushed at rest is answered {answer:?}"));
        }
        sleep(Duration::from_secs(2)).await;
    }

    /// The process in a place that takes what comes: of a function one that is frozen, or a new one.
    pub fn replica(self: &Arc<Self>, place: usize) -> Option<Arc<Replica>> {
        let found = self.replicas.lock().unwrap()[place].iter().find(|it| it.reserve()).cloned();
        if found.is_some() || !self.conditions.is_function(place) {
            return found;
        }
        self.start(place);
        self.replicas.lock().unwrap()[place].last().filter(|it| it.reserve()).cloned()
    }

    fn start(self: &Arc<Self>, place: usize) {
        let life = {
            let mut seen = self.seen();
            seen.lives += 1;
            seen.lives
        };
        let replica = Replica::start(self, place, life);
        self.log(format!("r{place} starts, life {life}"));
        self.replicas.lock().unwrap()[place].push(Arc::new(replica));
    }

    /// By how much the clock in a place is wrong.
    pub fn wrong(&self, place: usize) -> SignedDuration {
        let mut chance = Chance::of(self.seed, ("clock", place));
        let wrong = i64::try_from(chance.below(800)).expect("is small") - 400;
        SignedDuration::from_millis(if self.conditions.clocks_differ { wrong } else { 0 })
    }

    /// Ends whoever is the first in a place.
    pub fn kill_first(self: &Arc<Self>, place: usize) {
        let life = self.replicas.lock().unwrap()[place].first().map(|it| it.process.life);
        if let Some(life) = life {
            self.kill(place, life);
        }
    }

    /// Ends a process at once; another one takes its place.
    pub fn kill(self: &Arc<Self>, place: usize, life: usize) {
        let replica = {
            let mut replicas = self.replicas.lock().unwrap();
            let Some(in_place) = replicas.get_mut(place) else { return };
            let Some(at) = in_place.iter().position(|it| it.process.life == life) else { return };
            in_place.remove(at)
        };
        self.log(format!("r{place} is killed, life {life}"));
        replica.process.killed.cancel();
        if self.conditions.is_function(place) {
            return;
        }
        let world = Arc::clone(self);
        tokio::spawn(async move {
            sleep(Chance::of(world.seed, ("restart", life)).millis(200, 4000)).await;
            if world.replicas.lock().unwrap().get(place).is_some() {
                world.start(place);
            }
        });
    }

    /// Notes that a GitRepo's interval could not be taken back at once.
    pub fn note_left(&self, uri: &str) {
        let name = uri.rsplit('/').next().and_then(|name| name.split('?').next());
        self.seen().left.insert(name.unwrap_or_default().to_owned());
    }

    /// A replica has announced a commit: it has to be one that the GitRepo follows, told of by who knows its secret.
    pub async fn patched(&self, replica: usize, uri: &str, commit: &str) {
        let name = uri.split('/').rev().nth(1).unwrap_or_default().to_owned();
        let gitrepo = self.read(&name).await;
        self.log(format!("r{replica} announces {commit:.8} {} to {name}", &commit[24..]));
        self.seen().first_announced.entry(name.clone()).or_insert_with(|| commit.to_owned());
        let at = self.millis();
        self.seen().announced_at.entry((name.clone(), commit.to_owned())).or_insert(at);
        let spec = &gitrepo["spec"];
        let hook = usize::from(spec["webhookSecret"].is_string());
        let told = Push::of(commit).filter(|push| spec["branch"] == push.branch());
        let told = told.is_some_and(|push| {
            let told = |it: &Receipt| it.push == push && it.hook == hook && it.place == replica;
            self.seen().receipts.iter().any(told)
        });
        if !told {
            self.violation(format!("{name} is at {commit}, though it is {spec}"));
        }
    }

    /// How long a request is on its way.
    pub fn way(&self, chance: &mut Chance) -> Duration {
        match chance.percent(90) {
            true => chance.millis(1, 3),
            false => chance.millis(1, self.conditions.slowest),
        }
    }

    /// How many of a hundred requests of a replica meet a fault now.
    pub fn faults(&self, replica: usize) -> u64 {
        let now = self.millis();
        match self.seen().outages.get(&replica) {
            Some(until) if now < *until => 100,
            _ => self.faults_of_queue(),
        }
    }

    /// How many of a hundred messages meet a fault on their way to a queue or from it.
    pub fn faults_of_queue(&self) -> u64 {
        // Whatever happens ends.
        if self.millis() > 2 * BUSY { 0 } else { self.conditions.faults }
    }

    /// Whether a process is killed where it is.
    pub fn kills_now(&self, chance: &mut Chance) -> bool {
        self.conditions.kills && self.millis() < BUSY && chance.below(200) == 0
    }

    /// Whether it is killed between the two patches of a GitRepo.
    pub fn kills_between(&self, chance: &mut Chance) -> bool {
        self.conditions.kills && self.millis() < BUSY && chance.percent(60)
    }

    pub fn chance_of_request(&self, replica: usize, method: &Method, uri: &str) -> Chance {
        let key = format!("{replica} {method} {uri}");
        let mut seen = self.seen();
        let number = seen.requests.entry(key.clone()).or_default();
        *number += 1;
        Chance::of(self.seed, (key, *number))
    }

    /// Numbers for a message that comes into a queue now.
    pub fn chance_of_message(&self) -> Chance {
        let number = self.seen().requests.values().sum::<u64>();
        Chance::of(self.seed, ("message", number))
    }

    pub fn true_time(&self) -> Timestamp {
        beginning() + self.began.elapsed()
    }

    /// Of a time of the wall, in milliseconds since the beginning.
    pub fn millis_of(time: Timestamp) -> u64 {
        u64::try_from(time.duration_since(beginning()).as_millis()).unwrap_or_default()
    }

    pub fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).expect("is short")
    }

    pub fn log(&self, what: impl Display) {
        let line = format!("{:>6} {what}", self.millis());
        tracing::info!("{line}");
        self.seen().log.push(line);
    }

    pub fn violation(&self, what: String) {
        self.log(&what);
        self.seen().violations.push(what);
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    pub fn gitrepos(&self) -> MutexGuard<'_, BTreeMap<String, Made>> {
        self.gitrepos.lock().unwrap()
    }
}

fn beginning() -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000).expect("is one")
}
