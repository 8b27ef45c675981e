//! What happens between a Git server and Fleet under one seed: pushes, deliveries, strangers, operators, faults, ends of
//! processes; and what was seen of it.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, header};
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tower::ServiceExt as _;

use crate::{
    api_server::{ADMIN_TOKEN, ApiServer},
    chance::Chance,
    git::{BRANCHES, Push, REPOSITORY, commit, forged, told_by},
    oracle::{Receipt, Verdict, judge},
    replica::{Answer, Brought, Replica},
};

pub const FLEET: &str = "cattle-fleet-system";
pub const APPS: &str = "fleet-default";

/// A namespace of `GITREPO_NAMESPACES` that is closed to us one day.
pub const CLOSED: &str = "fleet-closed";

/// The secrets of the two hooks: the global one, and the one that GitRepos may name as their own.
pub const SECRETS: [&str; 2] = ["of all", "of some"];

/// For how long pushes are made.
const BUSY: u64 = 12_000;

/// What a seed decides once.
#[derive(Debug)]
pub struct Conditions {
    replicas: usize,
    /// How many of them are functions; the last ones.
    pub functions: usize,
    pub says_before: bool,
    pub clocks_differ: bool,
    /// How many requests of a hundred meet a fault.
    faults: u64,
    /// How long a request takes at the most, one way, in milliseconds.
    slowest: u64,
    pub has_queue: bool,
    pub kills: bool,
    outages: bool,
    operators: bool,
    /// Whether deliveries come late, twice, or not at all.
    unreliable: bool,
    two_hooks: bool,
    /// Whether pushes come in bursts.
    hurried: bool,
    /// Whether two namespaces are looked in, of which one is closed to us by then, in milliseconds.
    closed_at: Option<u64>,
}

/// A GitRepo as it was made or last changed.
#[derive(Clone, Debug)]
pub struct Made {
    pub branch: usize,
    pub own_secret: bool,
    /// Since when it is so, in milliseconds.
    pub since: u64,
    /// Whether somebody has set its interval.
    pub interval: bool,
    /// Whether a commit was announced to it when it was made.
    pub begun: bool,
}

#[derive(Default)]
struct Seen {
    log: Vec<String>,
    violations: Vec<String>,
    requests: BTreeMap<String, u64>,
    receipts: Vec<Receipt>,
    outages: BTreeMap<usize, u64>,
    /// What was announced to a GitRepo first of all.
    first_announced: BTreeMap<String, String>,
    lives: usize,
    /// How many messages are in the queue.
    queued: usize,
}

pub struct World {
    seed: u64,
    began: Instant,
    pub server: ApiServer,
    pub conditions: Conditions,
    replicas: Mutex<Vec<Vec<Arc<Replica>>>>,
    gitrepos: Mutex<BTreeMap<String, Made>>,
    seen: Mutex<Seen>,
}

impl Conditions {
    fn of(seed: u64) -> Self {
        let chance = &mut Chance::of(seed, "conditions");
        Self {
            replicas: 1 + usize::try_from(chance.below(3)).expect("is small"),
            functions: [0, 0, 0, 1, 3][usize::try_from(chance.below(5)).expect("is small")],
            says_before: chance.percent(75),
            clocks_differ: chance.percent(25),
            faults: [0, 3, 10, 25][usize::try_from(chance.below(4)).expect("is small")],
            slowest: [3, 20, 150, 1500][usize::try_from(chance.below(4)).expect("is small")],
            has_queue: chance.percent(50),
            kills: chance.percent(30),
            outages: chance.percent(30),
            operators: chance.percent(40),
            unreliable: chance.percent(50),
            two_hooks: chance.percent(40),
            hurried: chance.percent(50),
            closed_at: chance.percent(25).then(|| chance.below(BUSY)),
        }
    }
}

impl World {
    pub async fn run(seed: u64) -> Verdict {
        let conditions = Conditions::of(seed);
        let world = Arc::new(Self {
            seed,
            began: Instant::now(),
            server: ApiServer::default(),
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
        sleep(Duration::from_secs(1)).await;
        let mut happening = JoinSet::new();
        world.happen(&mut happening);
        while let Some(done) = happening.join_next().await {
            if let Err(panicked) = done {
                world.violation(format!("{panicked}"));
            }
        }
        while world.seen().queued > 0 {
            sleep(Duration::from_secs(1)).await;
        }
        sleep(Duration::from_secs(20)).await;
        world.settle().await
    }

    async fn settle(self: &Arc<Self>) -> Verdict {
        let mut held = BTreeMap::new();
        let names: Vec<_> = self.gitrepos().keys().cloned().collect();
        for name in names {
            held.insert(name.clone(), self.read(&name).await);
        }
        let receipts = self.seen().receipts.clone();
        self.push_at_rest().await;
        for replica in self.replicas.lock().unwrap().drain(..).flatten() {
            replica.killed.cancel();
        }
        let seen = std::mem::take(&mut *self.seen());
        let (violations, log) = (seen.violations, seen.log);
        let mut verdict = Verdict { violations, log, judged: 0, exempt: 0 };
        let first = seen.first_announced;
        judge(&self.conditions, &self.gitrepos(), &held, &receipts, &first, &mut verdict);
        verdict
    }

    /// Once everything is quiet, a push is announced at once, whoever receives it.
    async fn push_at_rest(self: &Arc<Self>) {
        for place in 0..self.conditions.replicas {
            let push = Push { branch: 0, number: 1000 + u64::try_from(place).expect("is small") };
            let Some(replica) = self.process(place) else {
                self.violation(format!("r{place} does not run"));
                continue;
            };
            let (life, at) = (replica.life, self.millis());
            self.note(Receipt { push, hook: 0, life, place, at, queued: false, taken: false });
            let answer = replica.receive(push.delivery(0, false)).await;
            self.log(format!("r{place} answers at rest: {answer:?}"));
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
            // A few slow requests may take all the time that there is.
            let is_too_slow = self.conditions.slowest > 1000 && answer.is("unavailable");
            let is_done = answer.is("accepted") || answer.is("ignored") || is_too_slow;
            if !self.may_be_closed_to(push.branch, 0) && !is_done {
                self.violation(format!("what is pushed at rest is answered {answer:?}"));
            }
            sleep(Duration::from_secs(2)).await;
        }
    }

    async fn prepare(&self) {
        for (namespace, name, secret) in
            [(FLEET, "gitjob-webhook", SECRETS[0]), (APPS, "own", SECRETS[1])]
        {
            let secret =
                json!({ "metadata": { "name": name }, "stringData": { "github": secret } });
            let path = format!("/api/v1/namespaces/{namespace}/secrets");
            self.admin(Method::POST, &path, &secret).await;
        }
        let mut chance = Chance::of(self.seed, "gitrepos");
        for number in 0..=chance.below(4) {
            let made = Made {
                branch: usize::from(chance.percent(25)),
                own_secret: self.conditions.two_hooks && chance.percent(30),
                since: 0,
                interval: chance.percent(50),
                begun: chance.percent(70),
            };
            self.make(&format!("shop-{number}"), made).await;
        }
    }

    async fn make(&self, name: &str, made: Made) {
        self.seen().first_announced.remove(name);
        let mut spec = json!({ "repo": REPOSITORY, "branch": BRANCHES[made.branch] });
        if made.own_secret {
            spec["webhookSecret"] = json!("own");
        }
        if made.interval {
            spec["pollingInterval"] = json!("5m");
        }
        let gitrepo = json!({ "metadata": { "name": name }, "spec": spec });
        self.admin(Method::POST, &gitrepos(""), &gitrepo).await;
        if made.begun {
            let status = json!({ "webhookCommit": commit(made.branch, 0), "lastWebhookTime": "2023-01-01T00:00:00Z" });
            let path = gitrepos(&format!("/{name}/status"));
            self.admin(Method::PATCH, &path, &json!({ "status": status })).await;
        }
        self.log(format!("{name} is made: {made:?}"));
        self.gitrepos().insert(name.to_owned(), made);
    }

    fn is_function(&self, place: usize) -> bool {
        place + self.conditions.functions >= self.conditions.replicas
    }

    /// The process in a place that takes what comes: of a function one that has nothing to do, or a new one.
    fn process(self: &Arc<Self>, place: usize) -> Option<Arc<Replica>> {
        let found = self.replicas.lock().unwrap()[place].iter().find(|it| it.reserve()).cloned();
        if found.is_some() || !self.is_function(place) {
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
        let mut chance = Chance::of(self.seed, ("clock", place));
        let wrong = i64::try_from(chance.below(800)).expect("is small") - 400;
        let wrong = if self.conditions.clocks_differ { wrong } else { 0 };
        let clock = SignedDuration::from_millis(wrong);
        let replica = Replica::start(self, place, life, self.is_function(place), clock);
        self.log(format!("r{place} starts, life {life}"));
        self.replicas.lock().unwrap()[place].push(Arc::new(replica));
    }

    /// Ends a process at once; another one takes its place.
    pub fn kill(self: &Arc<Self>, place: usize, life: usize) {
        let replica = {
            let mut replicas = self.replicas.lock().unwrap();
            let Some(in_place) = replicas.get_mut(place) else { return };
            let Some(at) = in_place.iter().position(|it| it.life == life) else { return };
            in_place.remove(at)
        };
        self.log(format!("r{place} is killed, life {life}"));
        replica.killed.cancel();
        if self.is_function(place) {
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

    /// Lets everything happen that the seed has in store.
    fn happen(self: &Arc<Self>, happening: &mut JoinSet<()>) {
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
        let place = usize::try_from(chance.below(self.conditions.replicas as u64)).expect("small");
        match what {
            0 => {
                let Some(replica) = self.process(place) else { return };
                let answer = replica.receive(forged()).await;
                let answers = ["unauthorized", "unavailable", "queued"];
                if answer != Answer::None && !answers.iter().any(|it| answer.is(it)) {
                    self.violation(format!("a forged delivery is answered {answer:?}"));
                }
            }
            1 => {
                let life = self.replicas.lock().unwrap()[place].first().map(|it| it.life);
                if let Some(life) = life {
                    self.kill(place, life);
                }
            }
            2 => {
                let until = self.millis() + 500 + chance.below(6000);
                self.log(format!("r{place} cannot reach the API server until {until}"));
                self.seen().outages.insert(place, until);
            }
            _ => self.operate(chance).await,
        }
    }

    /// Somebody changes a GitRepo.
    async fn operate(&self, mut chance: Chance) {
        let names: Vec<_> = self.gitrepos().keys().cloned().collect();
        let name = &names[usize::try_from(chance.below(names.len() as u64)).expect("small")];
        let mut made = self.gitrepos()[name].clone();
        let path = gitrepos(&format!("/{name}"));
        made.since = self.millis();
        match chance.below(3) {
            0 => {
                made.branch = 1 - made.branch;
                let change = json!({ "spec": { "branch": BRANCHES[made.branch] } });
                self.admin(Method::PATCH, &path, &change).await;
            }
            1 if self.conditions.two_hooks => {
                made.own_secret = !made.own_secret;
                let own = if made.own_secret { json!("own") } else { Value::Null };
                let change = json!({ "spec": { "webhookSecret": own } });
                self.admin(Method::PATCH, &path, &change).await;
            }
            _ => {
                self.admin(Method::DELETE, &path, &Value::Null).await;
                made.branch = usize::from(chance.percent(50));
                made.begun = false;
                self.make(name, made.clone()).await;
            }
        }
        self.log(format!("{name} is changed: {made:?}"));
        self.gitrepos().insert(name.clone(), made);
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
        let patience = chance.below(4);
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

    /// The queue keeps a message, and brings it until it is taken.
    pub fn keep(self: &Arc<Self>, headers: HeaderMap, body: Bytes) {
        let (told, world) = (told_by(&body), Arc::clone(self));
        let number = self.seen().requests.values().sum::<u64>();
        self.log(format!("{told:?} is queued"));
        self.seen().queued += 1;
        let mut chance = Chance::of(self.seed, ("message", number));
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
            let may_stay = |(push, hook): (Push, usize)| world.may_be_closed_to(push.branch, hook);
            if !answer.is_taken() && !told.is_some_and(may_stay) {
                world.violation(format!("{told:?} stays in the queue"));
            }
            world.seen().queued -= 1;
        });
    }

    /// Brings something that tells of a push to one of the receivers.
    async fn bring(
        self: &Arc<Self>,
        brought: Brought,
        told: Option<(Push, usize)>,
        chance: &mut Chance,
    ) -> Answer {
        let places = self.conditions.replicas as u64;
        let place = usize::try_from(chance.below(places)).expect("is small");
        let Some(replica) = self.process(place) else { return Answer::None };
        let (at, life, queued) = (self.millis(), replica.life, brought.queued);
        let what = match told {
            Some((push, hook)) => format!("{} {} of hook {hook}", push.branch(), push.number),
            None => "what was made up".to_owned(),
        };
        let from = if queued { " from the queue" } else { "" };
        self.log(format!("r{place} receives {what}{from}, life {life}"));
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
    fn note(&self, receipt: Receipt) -> usize {
        let mut seen = self.seen();
        seen.receipts.push(receipt);
        seen.receipts.len() - 1
    }

    /// A replica has announced a commit: it has to be one that the GitRepo follows, told of by who knows its secret.
    pub async fn patched(&self, replica: usize, uri: &str, commit: &str) {
        let name = uri.split('/').rev().nth(1).unwrap_or_default().to_owned();
        let gitrepo = self.read(&name).await;
        self.log(format!("r{replica} announces {commit:.8} {} to {name}", &commit[24..]));
        self.seen().first_announced.entry(name.clone()).or_insert_with(|| commit.to_owned());
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
            // Whatever happens ends.
            _ if now > 2 * BUSY => 0,
            _ => self.conditions.faults,
        }
    }

    /// The namespaces that are looked in; all of them where there are none.
    pub fn namespaces(&self) -> Vec<String> {
        match self.conditions.closed_at {
            Some(_) => vec![APPS.to_owned(), CLOSED.to_owned()],
            None => Vec::new(),
        }
    }

    /// Whether what follows a push may be where we may not look, since nothing else does.
    fn may_be_closed_to(&self, branch: usize, hook: usize) -> bool {
        let follows = |made: &Made| made.branch == branch && usize::from(made.own_secret) == hook;
        self.conditions.closed_at.is_some() && !self.gitrepos().values().any(follows)
    }

    /// Whether a request is for what may not be read any more.
    pub fn is_closed(&self, uri: &str) -> bool {
        uri.contains(CLOSED) && self.conditions.closed_at.is_some_and(|at| at <= self.millis())
    }

    /// How many of a hundred messages meet a fault on their way to the queue.
    pub fn faults_of_queue(&self) -> u64 {
        if self.millis() > 2 * BUSY { 0 } else { self.conditions.faults }
    }

    /// Whether a process is killed where it is.
    pub fn kills_now(&self, chance: &mut Chance) -> bool {
        self.conditions.kills && self.millis() < BUSY && chance.below(200) == 0
    }

    pub fn kills_between(&self, chance: &mut Chance) -> bool {
        self.conditions.kills && self.millis() < BUSY && chance.percent(40)
    }

    pub fn chance_of_request(&self, replica: usize, method: &Method, uri: &str) -> Chance {
        let key = format!("{replica} {method} {uri}");
        let mut seen = self.seen();
        let number = seen.requests.entry(key.clone()).or_default();
        *number += 1;
        Chance::of(self.seed, (key, *number))
    }

    pub fn true_time(&self) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000).expect("is one") + self.began.elapsed()
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).expect("is short")
    }

    pub fn log(&self, what: impl Display) {
        let at = self.millis();
        self.seen().log.push(format!("{at:>6} {what}"));
    }

    fn violation(&self, what: String) {
        self.log(&what);
        self.seen().violations.push(what);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    fn gitrepos(&self) -> MutexGuard<'_, BTreeMap<String, Made>> {
        self.gitrepos.lock().unwrap()
    }

    async fn read(&self, name: &str) -> Value {
        self.admin(Method::GET, &gitrepos(&format!("/{name}")), &Value::Null).await
    }

    /// What somebody asks of the API server whom nothing keeps from it.
    async fn admin(&self, method: Method, path: &str, body: &Value) -> Value {
        let media = if method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {ADMIN_TOKEN}"))
            .header(header::CONTENT_TYPE, media)
            .body(Body::from(body.to_string()))
            .expect("a request");
        let Ok(response) = self.server.service().oneshot(request).await;
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        serde_json::from_slice(&body).unwrap_or_default()
    }
}

fn gitrepos(rest: &str) -> String {
    format!("/apis/fleet.cattle.io/v1alpha1/namespaces/{APPS}/gitrepos{rest}")
}
