//! The straight line: one delivery, from its headers to the patches and the outcome.

mod orders;

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Instant,
};

use jiff::Timestamp;

use self::orders::Order;

use crate::{
    cluster::{
        Cluster,
        lookup::{Lookup, Trust},
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

/// A delivery's times, and how far it got, for whoever has to answer before it is done.
#[derive(Debug)]
pub struct Progress {
    deadline: Instant,
    received: Timestamp,
    judged_at: Timestamp,
    redelivered: bool,
    patching: AtomicBool,
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
        if judge.any_refused() {
            return Outcome::new(Kind::Unauthorized);
        }
        if judge.global_unavailable() {
            return Outcome::new(Kind::Unavailable).because("the global secret cannot be read");
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
        let found = match self.lookup.find(&push.repository, trust, follows).await {
            Ok(found) => found,
            Err(error) => return Outcome::new(Kind::Unavailable).because(error.to_string()),
        };
        judge.ask_own_secrets(&found.gitrepos).await;

        let mut report = Report::default();
        let mut orders = Vec::new();
        let mut guarded = false;
        let mut unavailable = found.incomplete.map(|error| error.to_string());
        for gitrepo in found.gitrepos {
            match (judge.verdict(&gitrepo), gitrepo.spec.follows(push)) {
                (Verdict::Authorized(authorization), Follows::Commit(commit)) => {
                    orders.push(Order { gitrepo, commit, authorization });
                }
                (Verdict::Authorized(authorization), otherwise) => {
                    report.skipped(&gitrepo, otherwise.into(), authorization.is_verified());
                }
                (Verdict::Refused(why), follows) => {
                    guarded |= matches!(follows, Follows::Commit(_))
                        && gitrepo.spec.own_secret().is_some();
                    report.skipped(&gitrepo, why.into(), false);
                }
                (Verdict::Unavailable, Follows::Commit(_)) => {
                    unavailable = Some("a secret cannot be read".to_owned());
                    report.skipped(&gitrepo, Reason::Failed, false);
                }
                (Verdict::Unavailable, otherwise) => {
                    report.skipped(&gitrepo, otherwise.into(), false)
                }
            }
        }
        if judge.global_unavailable() && !judge.any_verified() {
            unavailable = Some("the global secret cannot be read".to_owned());
        }
        // A push that waited may be older than what is announced by now.
        if found.cached || progress.redelivered {
            let (fresh, failure) = self.refresh(orders, push, &mut report, progress).await;
            orders = fresh;
            unavailable = failure.map(|error| error.to_string()).or(unavailable);
        }
        if let Some(error) = self.patch_all(orders, &mut report, progress).await {
            unavailable = Some(error.to_string());
        }

        let verified = judge.any_verified();
        let refused =
            report.patched_count() == 0 && !verified && (judge.refuses_unverified() || guarded);
        let kind = match unavailable {
            Some(_) => Kind::Unavailable,
            None if refused => Kind::Unauthorized,
            None if report.patched_count() > 0 || report.has(Reason::Unchanged) => Kind::Accepted,
            None => Kind::Ignored,
        };
        Outcome { detail: unavailable, report, ..Outcome::new(kind) }
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
            patching: AtomicBool::new(false),
            troubled: AtomicUsize::new(0),
        }
    }

    /// `received` a while ago, and waited since; the time of its proof is judged as of `judged_at`.
    pub fn redelivery(deadline: Instant, received: Timestamp, judged_at: Timestamp) -> Self {
        let now = Self::new(deadline);
        Self { received: received.min(now.received), judged_at, redelivered: true, ..now }
    }

    /// When it was received first.
    pub const fn received(&self) -> Timestamp {
        self.received
    }

    /// By when it has to be answered.
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether patches are under way.
    pub fn is_patching(&self) -> bool {
        self.patching.load(Ordering::Relaxed)
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
