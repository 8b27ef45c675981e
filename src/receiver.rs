//! The straight line: one delivery, from what it claims to the patches and the outcome.

mod announce;
#[cfg(feature = "knative")]
mod leftover;
#[cfg(feature = "knative")]
pub mod notices;
mod order;
pub mod patch;
mod plan;
mod progress;

use tokio::time::Instant;

pub use self::progress::{Progress, Step};
use self::{order::History, patch::Patcher, plan::Plan};
use crate::{
    aside::aside,
    cluster::{
        ApiError, Cluster, DEADLINE,
        found::{Found, Source},
        lookup::{Freshness, Lookup},
    },
    config::UnsignedDeliveries,
    event::{Event, Push, Repository},
    gitrepo::GitRepo,
    outcome::{Kind, Outcome, Standing, Subject},
    repo_url::HostAliases,
    secret::store::SecretStore,
    verdict::{Judge, Sender},
};

/// Takes deliveries. Holds what outlives one: connections, and what was read a moment ago.
#[derive(Debug)]
pub struct Receiver {
    cluster: Cluster,
    secrets: SecretStore,
    lookup: Lookup,
    patcher: Patcher,
    history: History,
    unsigned: UnsignedDeliveries,
    aliases: HostAliases,
    #[cfg(feature = "knative")]
    notices: Option<notices::Notices>,
}

impl Receiver {
    /// Puts the parts together.
    pub fn new(
        cluster: Cluster,
        secrets: SecretStore,
        lookup: Lookup,
        patcher: Patcher,
        unsigned: UnsignedDeliveries,
        aliases: HostAliases,
    ) -> Self {
        let history = History::default();
        Self {
            cluster,
            secrets,
            lookup,
            patcher,
            history,
            unsigned,
            aliases,
            #[cfg(feature = "knative")]
            notices: None,
        }
    }

    /// Says on GitRepos what only their owners can mend.
    #[cfg(feature = "knative")]
    #[must_use]
    pub fn telling_owners(self, notices: notices::Notices) -> Self {
        Self { notices: Some(notices), ..self }
    }

    /// The connection to the API server.
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The secrets.
    pub const fn secrets(&self) -> &SecretStore {
        &self.secrets
    }

    /// The way to find GitRepos.
    pub const fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    /// What becomes of deliveries where no secret is configured.
    pub const fn unsigned(&self) -> UnsignedDeliveries {
        self.unsigned
    }

    /// The other names of Git servers.
    pub const fn aliases(&self) -> &HostAliases {
        &self.aliases
    }

    /// Says what a delivery waits for and of whom, for whoever answers before it is done.
    pub fn waits_for(&self, step: Step) -> String {
        let (what, whom) = match step {
            Step::Secret => ("reading the global secret from", self.secrets.place()),
            Step::LookUp => ("looking GitRepos up in", self.cluster.whom()),
            Step::OwnSecrets => ("reading GitRepos' own secrets from", self.cluster.whom()),
            Step::Patching => ("patching GitRepos in", self.cluster.whom()),
        };
        format!("{what} {whom}")
    }

    /// Takes what a sender claims.
    pub async fn receive(&self, event: &Event, sender: Sender<'_>, progress: &Progress) -> Outcome {
        DEADLINE.scope(progress.deadline, self.take(event, sender, progress)).await
    }

    async fn take(&self, event: &Event, sender: Sender<'_>, progress: &Progress) -> Outcome {
        let outcome = match event {
            Event::Ignored(why) => Outcome::new(Kind::Ignored).because(*why),
            Event::Ping(repository) => self.ping(repository.as_ref(), sender).await,
            Event::Push(push) => self.push(push, sender, progress).await,
        };
        Outcome { subject: Subject::of(event), ..outcome }.explained()
    }

    /// Answers a ping (contract §6): whoever mistyped a secret sees it at once, and a stranger does not learn what is
    /// followed.
    async fn ping(&self, repository: Option<&Repository>, sender: Sender<'_>) -> Outcome {
        if !sender.carries_proof() {
            return Outcome::new(Kind::Pong).because("without a proof");
        }
        let mut judge = Judge::new(&self.secrets, sender, self.unsigned).await;
        let mut unavailable = None;
        if let Some(repository) = repository.filter(|_| !judge.globally_verified()) {
            // Confirmed in any case, so that it costs the same whatever is followed.
            match self.lookup.find(repository, Freshness::Earlier, Instant::now(), |_| false).await
            {
                Ok(found) => {
                    judge.ask_own_secrets(&found.gitrepos).await;
                    unavailable = found.incomplete;
                }
                Err(error) => unavailable = Some(error),
            }
        }
        if judge.any_verified() {
            return Outcome::new(Kind::Pong);
        }
        if let Some(error) = unavailable {
            return not_looked_up(&judge, &error);
        }
        let (is_unknown, is_refused) = match repository {
            Some(_) => (
                judge.any_unavailable(),
                judge.refuses_unverified() || judge.refused_by_own_secret(),
            ),
            None => (
                judge.global_unavailable() && judge.rejects_unsigned(),
                judge.refused_by_global_key() || judge.rejects_unsigned(),
            ),
        };
        if is_unknown {
            return Outcome::new(Kind::Unavailable).because("a secret cannot be read");
        }
        if is_refused {
            return Outcome::new(Kind::Unauthorized).because(judge.why_unverified());
        }
        Outcome::new(Kind::Pong).because("no secret is configured for it")
    }

    async fn push(&self, push: &Push, sender: Sender<'_>, progress: &Progress) -> Outcome {
        let since = Instant::now();
        let judged = async {
            progress.note_step(Step::Secret);
            let judge = Judge::new(&self.secrets, sender, self.unsigned);
            let judge = progress.reading(judge).await;
            progress.note_standing(judge.standing());
            progress.note_step(Step::LookUp);
            judge
        };
        let mut judge = match self.secrets.global_is_in_hand() {
            true => judged.await,
            // The first delivery of a process waits for the longer of the two, and not for both.
            false => {
                let ahead = progress.reading(self.lookup.look_ahead(&push.repository));
                tokio::join!(judged, ahead).0
            }
        };
        match self.look_up_and_patch(push, &mut judge, since, progress).await {
            Ok(plan) => plan.outcome(&judge),
            Err(error) => not_looked_up(&judge, &error),
        }
    }

    /// Finds the GitRepos of a pushed repository, and patches them; once more where it came to nothing in the index, which
    /// may not know yet what has followed for a moment.
    async fn look_up_and_patch(
        &self,
        push: &Push,
        judge: &mut Judge<'_>,
        since: Instant,
        progress: &Progress,
    ) -> Result<Plan, ApiError> {
        let freshness = if judge.globally_verified() { Freshness::Now } else { Freshness::Earlier };
        let follows = |gitrepo: &GitRepo| gitrepo.spec.follows(push).is_ok();
        let find = self.lookup.find(&push.repository, freshness, since, follows);
        let mut found = progress.reading(find).await?;
        self.ask_own_secrets(&found, judge, progress).await;
        if found.source == Source::Index && judge.standing() == Standing::Unverified {
            // For a stranger it is looked for in any case, so that it costs the same whatever is followed.
            let confirm = self.lookup.confirm_earlier(&push.repository, Some(found));
            found = progress.reading(confirm).await?;
        }
        let source = found.source;
        let plan = self.plan_and_patch(found, push, judge, progress).await?;
        if source != Source::Index || !plan.came_to_nothing() {
            return Ok(plan);
        }
        let freshness = if judge.any_verified() { Freshness::Now } else { freshness };
        let found = progress.reading(self.lookup.confirm(&push.repository, freshness)).await?;
        self.plan_and_patch(found, push, judge, progress).await
    }

    /// Judges the GitRepos of a pushed repository, and patches those that follow and whose secret verifies. They are
    /// looked up again first where one's own secret verifies what looked like a stranger's: what was read for an earlier
    /// delivery may miss another.
    async fn plan_and_patch(
        &self,
        mut found: Found,
        push: &Push,
        judge: &mut Judge<'_>,
        progress: &Progress,
    ) -> Result<Plan, ApiError> {
        self.ask_own_secrets(&found, judge, progress).await;
        let mut earlier = Vec::new();
        if found.source == Source::Earlier && judge.any_verified() {
            progress.note_step(Step::LookUp);
            let confirm = self.lookup.confirm(&push.repository, Freshness::Now);
            let now = progress.reading(confirm).await?;
            earlier = std::mem::replace(&mut found, now).gitrepos;
            self.ask_own_secrets(&found, judge, progress).await;
        }
        let Found { mut gitrepos, incomplete, .. } = found;
        // In one order, whatever the look-up's: pushes that come one after the other stay so at each of them.
        gitrepos.sort_unstable_by(|a, b| name(a).cmp(&name(b)));
        let comparisons = push.refs.named().len().saturating_mul(gitrepos.len());
        let mut plan = aside(comparisons, || {
            Plan::new(judge, &gitrepos, incomplete.as_ref(), push, &self.aliases)
        });
        progress.note_step(Step::Patching);
        Box::pin(self.carry_out(&mut plan, &earlier, judge, push, progress)).await;
        #[cfg(feature = "knative")]
        if let Some(notices) = &self.notices {
            notices.tell(judge, &gitrepos, push);
        }
        Ok(plan)
    }

    async fn ask_own_secrets(&self, found: &Found, judge: &mut Judge<'_>, progress: &Progress) {
        progress.note_step(Step::OwnSecrets);
        progress.reading(judge.ask_own_secrets(&found.gitrepos)).await;
        progress.note_standing(judge.standing());
    }
}

/// The outcome where it is not known which GitRepos there are; whom a secret verifies is told why.
fn not_looked_up(judge: &Judge<'_>, error: &ApiError) -> Outcome {
    let outcome = Outcome::new(Kind::Unavailable);
    let outcome = outcome.because(format!("GitRepos cannot be looked up: {error}"));
    Outcome { standing: judge.standing(), ..outcome }
}

fn name(gitrepo: &GitRepo) -> (Option<&str>, Option<&str>) {
    (gitrepo.metadata.namespace.as_deref(), gitrepo.metadata.name.as_deref())
}
