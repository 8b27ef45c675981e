//! The straight line: one delivery, from its headers to the patches and the outcome.

mod orders;
mod progress;
mod pursuit;

pub use self::progress::Progress;
use self::pursuit::Pursuit;
use crate::{
    cluster::{
        Cluster,
        lookup::{Found, Lookup, Source, Trust},
        patch::Patcher,
    },
    config::UnsignedDeliveries,
    delivery::Delivery,
    event::{Event, Push, Repository},
    gitrepo::{Follows, GitRepo},
    outcome::{Kind, Outcome, Subject},
    provider,
    repo_url::HostAliases,
    secret::store::SecretStore,
    signature,
    verdict::{Judge, Sender},
};

/// Takes deliveries. Holds what outlives one: connections, and what was read a moment ago.
#[derive(Debug)]
pub struct Receiver {
    cluster: Cluster,
    secrets: SecretStore,
    lookup: Lookup,
    patcher: Patcher,
    unsigned: UnsignedDeliveries,
    aliases: HostAliases,
}

impl Receiver {
    /// Puts the parts together.
    pub const fn new(
        cluster: Cluster,
        secrets: SecretStore,
        lookup: Lookup,
        patcher: Patcher,
        unsigned: UnsignedDeliveries,
        aliases: HostAliases,
    ) -> Self {
        Self { cluster, secrets, lookup, patcher, unsigned, aliases }
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
        let Some(provider) = provider::sender_of(delivery) else {
            return Outcome::new(Kind::UnknownProvider);
        };
        let outcome = match provider::read(provider, delivery, &self.aliases) {
            Ok(event) => {
                let sender = Sender::Signed { provider, delivery, now: progress.judged_at };
                self.receive_event(&event, sender, progress).await
            }
            Err(malformed) => Outcome::new(Kind::Malformed).because(malformed.to_string()),
        };
        let delivery = provider.delivery_id(delivery).map(str::to_owned);
        Outcome { provider: Some(provider.name), delivery, ..outcome }
    }

    /// Takes what a sender claims.
    pub async fn receive_event(
        &self,
        event: &Event,
        sender: Sender<'_>,
        progress: &Progress,
    ) -> Outcome {
        match event {
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
            && !signature::carries_proof(provider.schemes, delivery.headers())
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
        let mut pursuit = Pursuit::new(found.incomplete);
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
