//! Says what a delivery would do and why, step by step, for people who ask why nothing happened (contract §9). It reads
//! and judges with the same code as `receiver`, and writes nothing.

mod asked;

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use self::asked::SOME_COMMIT;
pub use self::asked::{Asked, Unusable};
use crate::{
    cluster::{ApiError, found::Listed, lookup::Freshness},
    event::{Event, Push},
    gitrepo::GitRepo,
    outcome::printable,
    provider::{self, Provider},
    reason::Reason,
    receiver::Receiver,
    repo_url::RepoUrl,
    signature::Verified,
    verdict::{Judge, Sender, Verdict},
};

/// How many near misses are named.
const NEAR_MISSES: usize = 10;

/// How many refs are named.
const REFS: usize = 10;

/// What a delivery would do.
#[derive(Debug, Default, Serialize)]
pub struct Explanation {
    /// Who sent it, and by what that is known.
    pub sender: String,
    /// What it claims.
    pub claim: String,
    /// Which secret governs, and whether it verifies.
    pub secret: String,
    /// The GitRepos of that repository.
    pub gitrepos: Vec<Explained>,
    /// GitRepos that somebody may have meant.
    pub near_misses: Vec<String>,
    /// Why it cannot be told what would happen.
    pub unknown: Option<String>,
    /// Whether a GitRepo would be patched.
    pub would_patch: bool,
}

/// What would become of one GitRepo.
#[derive(Debug, Serialize)]
pub struct Explained {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why it would not be patched; `None` if it would be. The words of contract §6.
    pub reason: Option<&'static str>,
    /// The same for people.
    pub says: String,
}

impl Explanation {
    /// Asks what would happen; `global_secret` names the global secret.
    pub async fn new(receiver: &Receiver, asked: &Asked, global_secret: &str) -> Self {
        let mut explanation = Self::default();
        match asked {
            Asked::Supposed(push) => {
                "nobody: the push is only supposed".clone_into(&mut explanation.sender);
                let words = "no proof is checked: each GitRepo that follows would be patched if its secret verified the push";
                words.clone_into(&mut explanation.secret);
                explanation.push(receiver, push, None).await;
            }
            Asked::Trusted(name, event) => {
                explanation.sender = format!("{name}, which AWS itself vouches for");
                "IAM counts as the global secret".clone_into(&mut explanation.secret);
                let sender = Sender::Iam(Verified::by_iam());
                explanation.event(receiver, event, sender, global_secret).await;
            }
            Asked::Delivery(delivery) => {
                let Some(provider) = provider::sender_of(delivery) else {
                    "unknown: no header of a provider is there".clone_into(&mut explanation.sender);
                    return explanation;
                };
                explanation.sender = named(provider, delivery.headers());
                match provider::read(provider, delivery, receiver.aliases()) {
                    Ok(event) => {
                        let sender = Sender::Signed { provider, delivery, now: Timestamp::now() };
                        explanation.event(receiver, &event, sender, global_secret).await;
                    }
                    Err(malformed) => explanation.claim = format!("nothing: {malformed}"),
                }
            }
        }
        explanation
    }

    /// What a program returns that says it: 0 if a GitRepo would be patched, 1 if none, 2 if that cannot be told.
    pub const fn exit_code(&self) -> u8 {
        match (self.would_patch, &self.unknown) {
            (true, _) => 0,
            (false, None) => 1,
            (false, Some(_)) => 2,
        }
    }

    async fn event(
        &mut self,
        receiver: &Receiver,
        event: &Event,
        sender: Sender<'_>,
        global_secret: &str,
    ) {
        let push = match event {
            Event::Ignored(why) => {
                self.claim = format!("nothing that moves a GitRepo: {why}");
                return;
            }
            Event::Ping(_) => {
                "it is a ping, and moves no GitRepo".clone_into(&mut self.claim);
                return;
            }
            Event::Push(push) => push,
        };
        let judge = Judge::new(receiver.secrets(), sender, receiver.unsigned()).await;
        self.push(receiver, push, Some((judge, global_secret))).await;
    }

    async fn push(&mut self, receiver: &Receiver, push: &Push, judge: Option<(Judge<'_>, &str)>) {
        self.claim = claim(push);
        let found = match receiver
            .lookup()
            .find(&push.repository, Freshness::Now, Instant::now(), |_| true)
            .await
        {
            Ok(found) => found,
            Err(error) => {
                self.unknown = Some(unknown(&error));
                return;
            }
        };
        self.unknown = found.incomplete.as_ref().map(unknown);
        match judge {
            None => {
                for gitrepo in &found.gitrepos {
                    self.add(gitrepo, gitrepo.spec.follows(push).err(), push);
                }
            }
            Some((mut judge, name)) => {
                judge.ask_own_secrets(&found.gitrepos).await;
                self.secret = said_by(&judge, name);
                for gitrepo in &found.gitrepos {
                    match judge.judge(gitrepo, push) {
                        Verdict::Planned(_) => self.add(gitrepo, None, push),
                        Verdict::Skipped { reason, .. } => self.add(gitrepo, Some(reason), push),
                        Verdict::Unavailable => {
                            self.unknown = Some("a secret cannot be read".to_owned());
                            self.add(gitrepo, Some(Reason::Failed), push);
                        }
                    }
                }
            }
        }
        self.gitrepos.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        if !self.would_patch {
            match receiver.lookup().listed().await {
                Ok(listed) => self.near_misses = near_misses(push, &listed),
                Err(error) => self.unknown = Some(unknown(&error)),
            }
        }
    }

    fn add(&mut self, gitrepo: &GitRepo, reason: Option<Reason>, push: &Push) {
        let follows = gitrepo.spec.follows(push).ok();
        let is_there = follows.as_ref().is_some_and(|moved| gitrepo.announces(&moved.after));
        let reason = reason.or_else(|| is_there.then_some(Reason::Unchanged));
        self.would_patch |= reason.is_none();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        self.gitrepos.push(Explained {
            namespace: text(&gitrepo.metadata.namespace),
            name: text(&gitrepo.metadata.name),
            reason: reason.map(Reason::name),
            says: says(gitrepo, reason, push),
        });
    }
}

/// Text for people: a line a step, and one for each GitRepo.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut step = |name: &str, says: &str| match says {
            "" => Ok(()),
            says => writeln!(f, "{name:<10} {says}"),
        };
        step("sender", &self.sender)?;
        step("claims", &self.claim)?;
        step("secret", &self.secret)?;
        for gitrepo in &self.gitrepos {
            let Explained { namespace, name, says, .. } = gitrepo;
            step("GitRepo", &format!("{namespace}/{name} {says}"))?;
        }
        for near in &self.near_misses {
            step("near miss", near)?;
        }
        match (&self.unknown, self.would_patch) {
            (_, true) => step("so", "a GitRepo would be patched"),
            (Some(why), false) => {
                step("so", &format!("it cannot be told what would happen: {why}"))
            }
            (None, false) => step("so", "no GitRepo would be patched"),
        }
    }
}

fn named(provider: &Provider, headers: &http::HeaderMap) -> String {
    let marker = provider.markers.iter().find(|marker| headers.contains_key(**marker));
    match marker {
        Some(marker) => format!("{}, by its header {marker}", provider.name),
        None => format!("{}, by its body", provider.name),
    }
}

fn claim(push: &Push) -> String {
    let (named, and_more) = (push.refs.named(), push.refs.and_more());
    let mut claim = printable(&push.repository.to_string());
    for update in named.iter().take(REFS) {
        let after = match update.after.commit() {
            Some(commit) if commit.as_str() == SOME_COMMIT => "moved".to_owned(),
            Some(commit) => format!("moved to {commit}"),
            None => "has no commit: it was deleted, or what it moved to is none".to_owned(),
        };
        let _ = write!(claim, ", {} {after}", printable(&update.git_ref.to_string()));
    }
    if and_more || named.len() > REFS {
        claim.push_str(", and more refs");
    }
    if named.is_empty() && !and_more {
        claim.push_str(": no branch and no tag moved");
    }
    claim
}

fn said_by(judge: &Judge<'_>, global_secret: &str) -> String {
    if judge.globally_verified() {
        format!("the global one, {global_secret}, verifies it")
    } else if judge.global_unavailable() {
        format!("the global one, {global_secret}, cannot be read")
    } else if judge.any_verified() {
        "a GitRepo's own one verifies it, and the global one does not".to_owned()
    } else {
        format!("none verifies it: {} (the global one is {global_secret})", judge.why_unverified())
    }
}

/// What would become of a GitRepo, in words.
fn says(gitrepo: &GitRepo, reason: Option<Reason>, push: &Push) -> String {
    let follows = gitrepo.spec.followed_ref().map(|followed| followed.to_string());
    let follows = follows.unwrap_or_else(|| "one commit".to_owned());
    let secret = gitrepo.spec.own_secret().unwrap_or("the global secret");
    match reason {
        None => format!("would be patched: it follows {follows}"),
        Some(reason) => {
            let why = match reason {
                Reason::Branch | Reason::Revision => match differing_in_case(&follows, push) {
                    Some(moved) => format!(
                        "it follows {follows}, and {moved} moved: names of refs differ in case"
                    ),
                    None => format!("it follows {follows}, which did not move"),
                },
                Reason::Deleted => format!("it follows {follows}, which was deleted"),
                Reason::UnusableCommit => {
                    format!("it follows {follows}, which moved to what is no commit id")
                }
                Reason::Unchanged => "it has that commit already".to_owned(),
                Reason::RefsUnknown => "the provider does not say which refs moved".to_owned(),
                Reason::Superseded => "a later push was announced to it".to_owned(),
                Reason::Gone => "it was deleted".to_owned(),
                Reason::Failed => format!("{secret} cannot be read now"),
                Reason::Unverified => format!("{secret} does not verify the delivery"),
                Reason::SecretMissing => format!("its secret {secret} does not exist"),
                Reason::SecretKeyMissing => format!("{secret} has no key for this provider"),
                Reason::SecretForbidden => format!("its secret {secret} may not be read"),
            };
            format!("{}: {why}", reason.name())
        }
    }
}

fn differing_in_case(followed: &str, push: &Push) -> Option<String> {
    let moved = push.refs.named().iter().map(|update| update.git_ref.to_string());
    moved
        .into_iter()
        .find(|moved| moved.eq_ignore_ascii_case(followed))
        .map(|moved| printable(&moved))
}

/// GitRepos of which host or path is that of the push, and not both.
fn near_misses(push: &Push, listed: &[Listed]) -> Vec<String> {
    let pushed = push.repository.urls();
    let mut near: Vec<_> = listed.iter().filter_map(|gitrepo| near_miss(pushed, gitrepo)).collect();
    near.sort_unstable();
    near.truncate(NEAR_MISSES);
    near
}

fn near_miss(pushed: &[RepoUrl], gitrepo: &Listed) -> Option<String> {
    let url = RepoUrl::parse(&gitrepo.repo)?;
    let how = pushed.iter().find_map(|pushed| {
        let (host, path) = (pushed.host() == url.host(), pushed.path() == url.path());
        let last = |path: &str| path.rsplit('/').next().map(str::to_owned);
        match (host, path) {
            (false, true) => Some("has the same path on another host"),
            (true, false) if last(pushed.path()) == last(url.path()) => {
                Some("has another path on the same host")
            }
            _ => None,
        }
    })?;
    let Listed { namespace, name, repo } = gitrepo;
    Some(format!("{namespace}/{name} {how}: {}", printable(repo)))
}

fn unknown(error: &ApiError) -> String {
    error.to_string()
}
