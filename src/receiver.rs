//! The straight line: one delivery, from its headers to the patches and the outcome.

mod orders;

use std::{
    sync::atomic::{AtomicU8, AtomicUsize, Ordering},
    time::Instant,
};

use jiff::Timestamp;

use self::orders::Order;

use crate::{
    cluster::{
        Cluster,
        lookup::{Found, Lookup, Source, Trust},
        patch::Patcher,
    },
    config::UnsignedDeliveries,
    delivery::Delivery,
    event::{Claim, Event, Push, Repository},
    gitrepo::{Follows, GitRepo},
    outcome::{Kind, Outcome, Reason, Report, Subject},
    provider,
    secret::store::SecretStore,
    signature,
    verdict::{Judge, Sender, Verdict},
};

/// Takes deliveries. Holds what outlives one: connections, and what was read a moment ago.
#[derive(Debug)]
pub struct Receiver {
    cluster: Cluster,
    secrets: SecretStore,
    lookup: Lookup,
    patcher: Patcher,
    unsigned: UnsignedDeliveries,
}

/// The stages of a delivery: whether it may still be stopped without a trace.
const LOOKING: u8 = 0;
const PATCHING: u8 = 1;
const ABANDONED: u8 = 2;

/// A delivery's times, and how far it got, for whoever has to answer before it is done.
#[derive(Debug)]
pub struct Progress {
    deadline: Instant,
    received: Timestamp,
    judged_at: Timestamp,
    redelivered: bool,
    ends_at_deadline: bool,
    stage: AtomicU8,
    /// How many GitRepos have a patch that failed and may yet succeed, or failed for good.
    troubled: AtomicUsize,
}

impl Receiver {
    /// Puts the parts together.
    pub const fn new(
        cluster: Cluster,
        secrets: SecretStore,
        lookup: Lookup,
        patcher: Patcher,
        unsigned: UnsignedDeliveries,
    ) -> Self {
        Self { cluster, secrets, lookup, patcher, unsigned }
    }

    /// The connection to the API server.
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The secrets.
    pub const fn secrets(&self) -> &SecretStore {
        &self.secrets
    }

    /// Takes one delivery of a provider.
    pub async fn receive(&self, delivery: &Delivery, progress: &Progress) -> Outcome {
        let Some(provider) = provider::detect(delivery.headers()) else {
            return Outcome::new(Kind::UnknownProvider);
        };
        let outcome = match provider::read(provider, delivery) {
            Ok(claim) => {
                let sender = Sender::Signed { provider, delivery, now: progress.judged_at };
                self.receive_claim(&claim, sender, progress).await
            }
            Err(malformed) => Outcome::new(Kind::Malformed).because(malformed.to_string()),
        };
        let delivery = provider.delivery_id(delivery).map(str::to_owned);
        Outcome { provider: Some(provider.name), delivery, ..outcome }
    }

    /// Takes what a sender claims.
    pub async fn receive_claim(
        &self,
        claim: &Claim<Event>,
        sender: Sender<'_>,
        progress: &Progress,
    ) -> Outcome {
        match claim.unverified() {
            Event::Ignored(why) => Outcome::new(Kind::Ignored).because(*why),
            Event::Ping(None) => Outcome::new(Kind::Pong),
            Event::Ping(Some(repository)) => {
                let outcome = self.ping(repository, sender).await;
                Outcome { subject: Subject::new(repository, None), ..outcome }
            }
            Event::Push(push) => {
                let outcome = self.push(push, sender, progress).await;
                Outcome { subject: Subject::new(&push.repository, Some(&push.refs)), ..outcome }
            }
        }
    }

    /// Answers a ping: it fails only if it carries a proof and there are secrets of which none takes it.
    async fn ping(&self, repository: &Repository, sender: Sender<'_>) -> Outcome {
        if let Sender::Signed { provider, delivery, .. } = sender
            && !signature::carries_proof(provider, delivery.headers())
        {
            return Outcome::new(Kind::Pong).because("without a proof");
        }
        let mut judge = Judge::new(&self.secrets, sender, self.unsigned).await;
        if judge.globally_verified() {
            return Outcome::new(Kind::Pong);
        }
        let found = match self.lookup.find(repository, Trust::Unverified, |_| true).await {
            Ok(found) => found,
            Err(error) => return Outcome::new(Kind::Unavailable).because(error.to_string()),
        };
        judge.ask_own_secrets(&found.gitrepos).await;
        if judge.any_verified() {
            return Outcome::new(Kind::Pong);
        }
        if let Some(error) = found.incomplete {
            return Outcome::new(Kind::Unavailable).because(error.to_string());
        }
        if judge.any_unavailable() {
            return Outcome::new(Kind::Unavailable).because("a secret cannot be read");
        }
        if judge.any_refused() {
            return Outcome::new(Kind::Unauthorized);
        }
        Outcome::new(Kind::Pong).because("no secret is configured")
    }

    async fn push(&self, push: &Push, sender: Sender<'_>, progress: &Progress) -> Outcome {
        let mut judge = Judge::new(&self.secrets, sender, self.unsigned).await;
        let trust = if judge.globally_verified() {
            Trust::Verified(progress.deadline)
        } else {
            Trust::Unverified
        };
        let follows = |gitrepo: &GitRepo| matches!(gitrepo.spec.follows(push), Follows::Commit(_));
        let mut found = self.lookup.find(&push.repository, trust, follows).await;
        loop {
            let (from_index, pursuit) = match found {
                Ok(found) => {
                    let from_index = found.source == Source::Index;
                    (from_index, self.pursue(found, push, &mut judge, progress).await)
                }
                Err(error) => return Outcome::new(Kind::Unavailable).because(error.to_string()),
            };
            if from_index && pursuit.is_in_vain() {
                // Another GitRepo may have taken the place of one that is gone, and the index not know it yet.
                found = self.lookup.confirm(&push.repository, trust).await;
                continue;
            }
            return pursuit.outcome(&judge);
        }
    }

    /// Judges the GitRepos of a pushed repository, and patches those that follow and whose secret verifies.
    async fn pursue(
        &self,
        found: Found,
        push: &Push,
        judge: &mut Judge<'_>,
        progress: &Progress,
    ) -> Pursuit {
        judge.ask_own_secrets(&found.gitrepos).await;
        let mut pursuit = Pursuit {
            unavailable: found.incomplete.map(|error| error.to_string()),
            ..Pursuit::default()
        };
        let mut orders = Vec::new();
        for gitrepo in found.gitrepos {
            orders.extend(pursuit.weigh(judge, gitrepo, push));
        }
        if judge.global_unavailable() && !judge.any_verified() {
            pursuit.unavailable = Some("the global secret cannot be read".to_owned());
        }
        // A push that waited may be older than what is announced by now.
        if found.source == Source::Earlier || progress.redelivered {
            let (fresh, failure) = self.refresh(orders, push, &mut pursuit.report, progress).await;
            orders = fresh;
            pursuit.unavailable = failure.map(|error| error.to_string()).or(pursuit.unavailable);
        }
        if let Some(error) = self.patch_all(orders, &mut pursuit.report, progress).await {
            pursuit.unavailable = Some(error.to_string());
        }
        pursuit
    }
}

/// What has come of a push so far.
#[derive(Default)]
struct Pursuit {
    report: Report,
    /// Whether a GitRepo follows whose own secret refuses the delivery.
    guarded: bool,
    /// Why it has to be tried again.
    unavailable: Option<String>,
}

impl Pursuit {
    /// Judges one GitRepo; gives the order to patch it, or reports why there is none.
    fn weigh(&mut self, judge: &Judge<'_>, gitrepo: GitRepo, push: &Push) -> Option<Order> {
        match (judge.verdict(&gitrepo), gitrepo.spec.follows(push)) {
            (Verdict::Authorized(authorization), Follows::Commit(commit)) => {
                return Some(Order { gitrepo, commit, authorization });
            }
            (Verdict::Authorized(authorization), otherwise) => {
                self.report.skipped(&gitrepo, otherwise.into(), authorization.is_verified());
            }
            (Verdict::Refused(why), follows) => {
                self.guarded |=
                    matches!(follows, Follows::Commit(_)) && gitrepo.spec.own_secret().is_some();
                self.report.skipped(&gitrepo, why.into(), false);
            }
            (Verdict::Unavailable, Follows::Commit(_)) => {
                self.unavailable = Some("a secret cannot be read".to_owned());
                self.report.skipped(&gitrepo, Reason::Failed, false);
            }
            (Verdict::Unavailable, otherwise) => {
                self.report.skipped(&gitrepo, otherwise.into(), false);
            }
        }
        None
    }

    /// Whether no GitRepo has the commit, and none will have it if the delivery is sent again.
    fn is_in_vain(&self) -> bool {
        self.unavailable.is_none() && !self.is_accepted()
    }

    fn is_accepted(&self) -> bool {
        self.report.patched_count() > 0 || self.report.has(Reason::Unchanged)
    }

    fn outcome(self, judge: &Judge<'_>) -> Outcome {
        let refused = self.report.patched_count() == 0
            && !judge.any_verified()
            && (judge.refuses_unverified() || self.guarded);
        let kind = match &self.unavailable {
            Some(_) => Kind::Unavailable,
            None if refused => Kind::Unauthorized,
            None if self.is_accepted() => Kind::Accepted,
            None => Kind::Ignored,
        };
        Outcome { detail: self.unavailable, report: self.report, ..Outcome::new(kind) }
    }
}

impl Progress {
    /// Received now; it has to be answered by `deadline`.
    pub fn new(deadline: Instant) -> Self {
        let now = Timestamp::now();
        Self {
            deadline,
            received: now,
            judged_at: now,
            redelivered: false,
            ends_at_deadline: false,
            stage: AtomicU8::new(LOOKING),
            troubled: AtomicUsize::new(0),
        }
    }

    /// `received` a while ago, and waited since; the time of its proof is judged as of `judged_at`.
    pub fn redelivery(deadline: Instant, received: Timestamp, judged_at: Timestamp) -> Self {
        let now = Self::new(deadline);
        Self { received: received.min(now.received), judged_at, redelivered: true, ..now }
    }

    /// Nothing goes on after the deadline, patches neither.
    #[must_use]
    pub fn ending_at_deadline(self) -> Self {
        Self { ends_at_deadline: true, ..self }
    }

    /// When it was received first.
    pub const fn received(&self) -> Timestamp {
        self.received
    }

    /// By when it has to be answered.
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether nothing goes on after the deadline.
    pub const fn ends_at_deadline(&self) -> bool {
        self.ends_at_deadline
    }

    /// Gives the delivery up, unless patches are under way; tells whether it is given up.
    pub fn abandon(&self) -> bool {
        self.enter(ABANDONED)
    }

    /// Tells whether patches may begin: not once the delivery was given up.
    fn begin_patching(&self) -> bool {
        self.enter(PATCHING)
    }

    fn enter(&self, stage: u8) -> bool {
        let entered =
            self.stage.compare_exchange(LOOKING, stage, Ordering::AcqRel, Ordering::Acquire);
        entered.is_ok() || entered == Err(stage)
    }

    /// Whether a patch has failed so far.
    pub fn is_troubled(&self) -> bool {
        self.troubled.load(Ordering::Relaxed) > 0
    }
}

impl From<Follows> for Reason {
    fn from(follows: Follows) -> Self {
        match follows {
            Follows::OtherRevision => Self::Revision,
            Follows::RefsUnknown => Self::RefsUnknown,
            Follows::OtherBranch | Follows::Commit(_) => Self::Branch,
        }
    }
}
