//! The rule (contract §3): a GitRepo is patched if and only if it follows the push and the secret that governs it
//! verifies the delivery. Only this file makes what `receiver` patches.

mod own_secrets;
mod sender;

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};

use self::own_secrets::{Named, id, in_turn, own_secret, version};
pub use self::sender::Sender;
use crate::{
    cluster::CONCURRENT_REQUESTS,
    config::UnsignedDeliveries,
    event::Push,
    gitrepo::{GitRepo, Move},
    outcome::Standing,
    reason::Reason,
    secret::{check::Check, source::SecretOf, store::SecretStore},
    signature::{Refusal, Verified},
};

/// On whose word a GitRepo may be patched.
#[derive(Clone, Copy, Debug)]
enum Witness {
    /// Its governing secret verifies the delivery.
    Secret(Verified),
    /// None is configured, and unsigned deliveries are accepted.
    Nobody,
}

/// A GitRepo, the push that it follows, and on whose word: what is patched. Only [`Judge::judge`] makes one.
#[derive(Debug)]
pub struct Planned {
    gitrepo: GitRepo,
    follows: Move,
    witness: Witness,
}

impl Planned {
    /// The GitRepo as it was judged.
    pub const fn gitrepo(&self) -> &GitRepo {
        &self.gitrepo
    }

    /// The push that it follows.
    pub const fn follows(&self) -> &Move {
        &self.follows
    }

    /// Whether a secret verified the delivery, so that its sender may know of the GitRepo.
    pub const fn is_verified(&self) -> bool {
        matches!(self.witness, Witness::Secret(_))
    }
}

/// What the rule says of a GitRepo.
#[derive(Debug)]
pub enum Verdict {
    /// It is to be patched.
    Planned(Box<Planned>),
    /// It is not.
    Skipped {
        /// Why not.
        reason: Reason,
        /// Whether its governing secret verified the delivery, so that its sender may know of it.
        shown: bool,
        /// Whether it follows the push all the same.
        follows: bool,
    },
    /// It follows the push, and its governing secret cannot be read now.
    Unavailable,
}

impl Verdict {
    /// Whether the delivery may come from the server that the GitRepo is on, as far as its governing secret says.
    pub(crate) const fn may_be_meant(&self) -> bool {
        !matches!(self, Self::Skipped { shown: false, .. })
    }
}

/// Judges one delivery.
#[derive(Debug)]
pub struct Judge<'a> {
    store: &'a SecretStore,
    sender: Sender<'a>,
    unsigned: UnsignedDeliveries,
    global: Check,
    own: BTreeMap<(String, String), Check>,
}

impl<'a> Judge<'a> {
    /// Asks the global secret.
    pub async fn new(
        store: &'a SecretStore,
        sender: Sender<'a>,
        unsigned: UnsignedDeliveries,
    ) -> Self {
        let global = match sender {
            Sender::Iam(verified) => Check::Verified(verified),
            Sender::Signed { .. } => {
                let asker = sender.asker(false, &[]);
                store.check(SecretOf::Global, asker, |secret| sender.verify(secret)).await
            }
        };
        Self { store, sender, unsigned, global, own: BTreeMap::new() }
    }

    /// Asks the GitRepos' own secrets, each once; those that were left out because nothing verified the delivery once
    /// more where something does by now.
    pub async fn ask_own_secrets(&mut self, gitrepos: &[GitRepo]) {
        let named = in_turn(gitrepos);
        self.ask_all(&named, |asked| asked.is_none()).await;
        if self.any_verified() && !self.globally_verified() {
            let left_out =
                |asked: Option<&Check>| matches!(asked, Some(Check::Missing | Check::Unasked));
            self.ask_all(&named, left_out).await;
        }
    }

    async fn ask_all(&mut self, named: &[Named<'_>], asks: impl Fn(Option<&Check>) -> bool) {
        let asked: Vec<_> = named
            .iter()
            .filter(|named| asks(self.own.get(&id(named.namespace, named.name))))
            .map(|named| self.ask_own_secret(named))
            .collect();
        let checks: Vec<_> =
            stream::iter(asked).buffer_unordered(CONCURRENT_REQUESTS).collect().await;
        self.own.extend(checks);
    }

    async fn ask_own_secret(&self, named: &Named<'_>) -> ((String, String), Check) {
        let &Named { namespace, name, .. } = named;
        let asker = self.sender.asker(self.any_verified(), &named.by);
        let check = match self.sender {
            // No GitRepo's own secret can verify it, whatever it holds.
            Sender::Iam(_) => Check::Refused(Refusal::Unverified),
            Sender::Signed { .. } => {
                let of = SecretOf::GitRepo { namespace, name };
                self.store.check(of, asker, |secret| self.sender.verify(secret)).await
            }
        };
        (id(namespace, name), check)
    }

    /// Judges a GitRepo of the pushed repository, whose own secret was asked.
    pub fn judge(&self, gitrepo: &GitRepo, push: &Push) -> Verdict {
        let check = match own_secret(gitrepo) {
            None => return self.apply(self.global_word(), gitrepo, push),
            Some((namespace, name)) => self.own.get(&id(namespace, name)),
        };
        self.apply(check.map_or(Word::Unknown, word), gitrepo, push)
    }

    /// Judges a GitRepo that was read again: the secret that governs it by now may be one that was not asked.
    pub async fn judge_again(&self, gitrepo: &GitRepo, push: &Push) -> Verdict {
        match own_secret(gitrepo) {
            Some((namespace, name)) if !self.own.contains_key(&id(namespace, name)) => {
                let by = vec![version(gitrepo)];
                let (_, check) = self.ask_own_secret(&Named { namespace, name, by }).await;
                self.apply(word(&check), gitrepo, push)
            }
            _ => self.judge(gitrepo, push),
        }
    }

    /// Puts together what the governing secret says and what the push means for a GitRepo.
    fn apply(&self, word: Word, gitrepo: &GitRepo, push: &Push) -> Verdict {
        let follows = gitrepo.spec.follows(push);
        match (word, follows) {
            (Word::Given(witness), Ok(follows)) => {
                let gitrepo = gitrepo.clone();
                Verdict::Planned(Box::new(Planned { gitrepo, follows, witness }))
            }
            (Word::Given(witness), Err(reason)) => {
                let shown = matches!(witness, Witness::Secret(_));
                Verdict::Skipped { reason, shown, follows: false }
            }
            (Word::Refused(reason), follows) => {
                Verdict::Skipped { reason, shown: false, follows: follows.is_ok() }
            }
            (Word::Unknown, Ok(_)) => Verdict::Unavailable,
            (Word::Unknown, Err(reason)) => {
                Verdict::Skipped { reason, shown: false, follows: false }
            }
        }
    }

    const fn global_word(&self) -> Word {
        match (&self.global, self.unsigned) {
            (Check::Verified(verified), _) => Word::Given(Witness::Secret(*verified)),
            (Check::Refused(refusal), _) => Word::Refused(reason(*refusal)),
            (Check::Missing, UnsignedDeliveries::Accept) => Word::Given(Witness::Nobody),
            (Check::Missing, UnsignedDeliveries::Reject) => Word::Refused(Reason::Unverified),
            (Check::Forbidden | Check::Unavailable | Check::Unasked, _) => Word::Unknown,
        }
    }

    /// Whether the global secret verifies the delivery.
    pub const fn globally_verified(&self) -> bool {
        matches!(self.global, Check::Verified(_))
    }

    /// Whether any secret that was asked verifies the delivery.
    pub fn any_verified(&self) -> bool {
        self.checks().any(|check| matches!(check, Check::Verified(_)))
    }

    /// Whether the own secret of a GitRepo is there and refuses the delivery.
    pub fn refused_by_own_secret(&self) -> bool {
        self.own.values().any(|check| matches!(check, Check::Refused(_)))
    }

    /// Whether the global secret refuses the delivery though it has a key for the provider.
    pub const fn refused_by_global_key(&self) -> bool {
        matches!(self.global, Check::Refused(Refusal::Unverified | Refusal::KeyUnusable(_)))
    }

    /// Whether unsigned deliveries are rejected.
    pub fn rejects_unsigned(&self) -> bool {
        self.unsigned == UnsignedDeliveries::Reject
    }

    /// What the delivery proves, as far as its sender may be told what became of it.
    pub fn standing(&self) -> Standing {
        match (&self.global, self.unsigned) {
            _ if self.any_verified() => Standing::Verified,
            (Check::Missing, UnsignedDeliveries::Accept) => Standing::Unsigned,
            _ => Standing::Unverified,
        }
    }

    /// The keys of a secret that verify deliveries of this sender, in words.
    #[cfg(feature = "knative")]
    pub(crate) fn keys_of_sender(&self) -> String {
        match self.sender {
            Sender::Signed { provider, .. } => Refusal::KeyMissing(provider.schemes).to_string(),
            Sender::Iam(_) => "IAM verifies it, and no secret of a GitRepo can".to_owned(),
        }
    }

    /// Why no secret verifies the delivery, for the log.
    pub fn why_unverified(&self) -> String {
        if !self.sender.carries_proof() {
            return "the delivery carries no proof".to_owned();
        }
        let global = match &self.global {
            Check::Refused(Refusal::Unverified) => "the proof is wrong".to_owned(),
            Check::Refused(refusal) => format!("the global secret verifies nothing: {refusal}"),
            _ => "there is no global secret".to_owned(),
        };
        let own = self.own.values();
        let refused = own.clone().filter(|check| matches!(check, Check::Refused(_))).count();
        match (own.len(), refused) {
            (0, _) => global,
            (asked, refused) => {
                format!("{global}; of {asked} own secrets of GitRepos {refused} are there")
            }
        }
    }

    /// Whether any secret that was asked could not be read now, or the global one may not be.
    pub fn any_unavailable(&self) -> bool {
        self.global_unavailable() || self.checks().any(|check| matches!(check, Check::Unavailable))
    }

    /// Whether the global secret cannot be read.
    pub const fn global_unavailable(&self) -> bool {
        matches!(self.global, Check::Forbidden | Check::Unavailable)
    }

    /// Whether a delivery that no secret verifies is refused even if nothing follows it.
    pub fn refuses_unverified(&self) -> bool {
        matches!(self.global, Check::Refused(_)) || self.rejects_unsigned()
    }

    /// What keeps the global secret from being read, for the log.
    pub fn why_global_unavailable(&self) -> String {
        let why = self.store.global_trouble().map(|why| format!(": {why}")).unwrap_or_default();
        format!("the global secret cannot be read{why}")
    }

    fn checks(&self) -> impl Iterator<Item = &Check> {
        std::iter::once(&self.global).chain(self.own.values())
    }
}

/// What the governing secret says of the delivery.
enum Word {
    Given(Witness),
    Refused(Reason),
    /// It cannot be read now.
    Unknown,
}

/// What a GitRepo's own secret says.
const fn word(own: &Check) -> Word {
    match own {
        Check::Verified(verified) => Word::Given(Witness::Secret(*verified)),
        Check::Refused(refusal) => Word::Refused(reason(*refusal)),
        Check::Missing => Word::Refused(Reason::SecretMissing),
        Check::Unasked => Word::Refused(Reason::Unverified),
        Check::Forbidden => Word::Refused(Reason::SecretForbidden),
        Check::Unavailable => Word::Unknown,
    }
}

const fn reason(refusal: Refusal) -> Reason {
    match refusal {
        Refusal::KeyMissing(_) | Refusal::KeyUnusable(_) => Reason::SecretKeyMissing,
        Refusal::Unverified => Reason::Unverified,
    }
}
