//! What only a GitRepo's owner can mend is said where he looks: as a Kubernetes Event on the GitRepo (contract §5).
//!
//! Strangers cause none: of a GitRepo whose own secret is at fault only a delivery that the global secret verifies, and
//! otherwise one that its own governing secret does. A delivery waits for none of it, and none of it fails a delivery.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::{
    cluster::{Cluster, notice::Notice},
    event::Push,
    gitrepo::GitRepo,
    outcome::printable,
    reason::Reason,
    seldom::{May, Seldom},
    verdict::{Judge, Verdict},
};

/// How often the same is said of a GitRepo.
const INTERVAL: Duration = Duration::from_secs(10 * 60);

/// How many Events there are in [`INTERVAL`], of all GitRepos together.
const MOST: usize = 256;

/// How many wait to be created; what comes on top of that is not said.
const WAITING: usize = 64;

/// How often the log says that none can be created.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Says on GitRepos what their owners can mend.
#[derive(Debug)]
pub struct Notices {
    queue: Sender<Notice>,
    /// By the GitRepo's uid; [`MOST`] bounds it.
    said: Mutex<HashMap<(String, Reason), SystemTime>>,
    all: Seldom,
}

impl Notices {
    /// Starts to create, one at a time, what is told.
    pub fn start(cluster: Cluster) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        tokio::spawn(create(cluster, waiting));
        Self { queue, said: Mutex::default(), all: Seldom::new() }
    }

    /// Tells the owners of GitRepos that a push was meant for why it was not announced to them.
    pub(super) fn tell(&self, judge: &Judge<'_>, gitrepos: &[GitRepo], push: &Push) {
        for gitrepo in gitrepos {
            let may_concern = gitrepo.spec.own_secret().is_some() || push.refs.and_more();
            if !may_concern {
                continue;
            }
            let Verdict::Skipped { reason, shown, follows } = judge.judge(gitrepo, push) else {
                continue;
            };
            let is_proven = match reason {
                Reason::RefsUnknown => shown,
                _ => follows && judge.globally_verified(),
            };
            if let Some(notice) = notice(judge, gitrepo, reason).filter(|_| is_proven)
                && self.may_say(gitrepo, reason)
            {
                // Where too many wait, this one is not said.
                let _ = self.queue.try_send(notice);
            }
        }
    }

    /// Whether it may be said now; notes that it is.
    fn may_say(&self, gitrepo: &GitRepo, reason: Reason) -> bool {
        let Some(uid) = &gitrepo.metadata.uid else { return false };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        // Where the clock was set back meanwhile, it is said again.
        said.retain(|_, at| at.elapsed().is_ok_and(|age| age < INTERVAL));
        let what = (uid.clone(), reason);
        if said.contains_key(&what) || self.all.may_happen(MOST, INTERVAL) == May::Not {
            return false;
        }
        said.insert(what, SystemTime::now());
        true
    }
}

/// The Event of a reason that the owner can mend.
fn notice(judge: &Judge<'_>, gitrepo: &GitRepo, reason: Reason) -> Option<Notice> {
    let secret = printable(gitrepo.spec.own_secret().unwrap_or_default());
    let (reason, why) = match reason {
        Reason::SecretMissing => (
            "WebhookSecretMissing",
            format!(
                "the secret {secret}, which spec.webhookSecret names, is not in this namespace: create it, or take the field out"
            ),
        ),
        Reason::SecretForbidden => (
            "WebhookSecretForbidden",
            format!(
                "fleet-webhook may not read the secret {secret}, which spec.webhookSecret names: it needs a RoleBinding in this \
                 namespace (knative/components/gitrepo-secrets)"
            ),
        ),
        Reason::SecretKeyMissing if !secret.is_empty() => (
            "WebhookSecretKeyMissing",
            format!(
                "the secret {secret}, which spec.webhookSecret names, has no usable key of this Git server: {}",
                judge.keys_of_sender()
            ),
        ),
        Reason::RefsUnknown => (
            "WebhookRefsUnknown",
            "the Git server says that refs moved and not which: push the branch again, or wait for the next poll".to_owned(),
        ),
        _ => return None,
    };
    let note = format!("A verified push was not announced: {why}");
    let metadata = &gitrepo.metadata;
    let regarding = (metadata.namespace.clone()?, metadata.name.clone()?, metadata.uid.clone()?);
    Some(Notice { regarding, reason, note })
}

async fn create(cluster: Cluster, mut waiting: Receiver<Notice>) {
    let said = Seldom::new();
    while let Some(notice) = waiting.recv().await {
        if let Err(error) = cluster.create_notice(&notice).await
            && said.may(WARNING_INTERVAL)
        {
            tracing::warn!(
                %error,
                advice = "the right to create events in events.k8s.io: knative/components/events",
                "cannot create an Event on a GitRepo"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notices() -> (Notices, Receiver<Notice>) {
        let (queue, waiting) = mpsc::channel(WAITING);
        (Notices { queue, said: Mutex::default(), all: Seldom::new() }, waiting)
    }

    fn gitrepo(uid: String) -> GitRepo {
        let mut gitrepo = GitRepo::new("shop", Default::default());
        gitrepo.metadata.uid = Some(uid);
        gitrepo
    }

    #[test]
    fn the_same_is_said_of_a_gitrepo_once_in_ten_minutes() {
        let (notices, _waiting) = notices();
        let gitrepo = gitrepo("1".to_owned());
        let may = |reason| notices.may_say(&gitrepo, reason);
        assert!(may(Reason::SecretMissing) && may(Reason::RefsUnknown));
        assert!(!may(Reason::SecretMissing) && !may(Reason::RefsUnknown));
        for at in notices.said.lock().expect("is whole").values_mut() {
            *at -= INTERVAL;
        }
        assert!(may(Reason::SecretMissing));
    }

    #[test]
    fn of_all_gitrepos_together_so_much_is_said_and_kept() {
        let (notices, _waiting) = notices();
        let said = (0..10 * MOST)
            .filter(|uid| notices.may_say(&gitrepo(uid.to_string()), Reason::SecretMissing));
        assert_eq!(said.count(), MOST);
        assert_eq!(notices.said.lock().expect("is whole").len(), MOST);
    }
}
