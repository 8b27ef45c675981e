//! What is to be patched: read again where the look-up is old, then patched, all at once and each for itself.

use std::time::Instant;

use futures::{StreamExt as _, stream};

use super::{Progress, Receiver};
use crate::{
    cluster::{ApiError, CONCURRENT_REQUESTS, patch::Patched},
    event::{CommitId, Push},
    gitrepo::{Follows, GitRepo},
    outcome::{Reason, Report},
    verdict::Authorization,
};

/// A GitRepo that is to be patched.
pub(super) struct Order {
    pub(super) gitrepo: GitRepo,
    pub(super) commit: CommitId,
    pub(super) authorization: Authorization,
}

impl Receiver {
    /// Reads GitRepos again that were looked up a while ago; drops those that changed in what the verdict stands on,
    /// and those to which a later push was announced. Gives the last failure too.
    pub(super) async fn refresh(
        &self,
        orders: Vec<Order>,
        push: &Push,
        report: &mut Report,
        progress: &Progress,
    ) -> (Vec<Order>, Option<ApiError>) {
        let reads: Vec<_> = orders.into_iter().map(|order| self.read_again(order)).collect();
        let mut reads = stream::iter(reads).buffer_unordered(CONCURRENT_REQUESTS);
        let (mut fresh, mut failure) = (Vec::new(), None);
        while let Some((order, now)) = reads.next().await {
            let shown = order.authorization.is_verified();
            let (before, now) = match now {
                Ok(Some(gitrepo)) => (&order.gitrepo.spec, gitrepo),
                Ok(None) => {
                    report.skipped(&order.gitrepo, Reason::Gone, shown);
                    continue;
                }
                Err(error) => {
                    report.skipped(&order.gitrepo, Reason::Failed, shown);
                    failure = Some(error);
                    continue;
                }
            };
            if (&before.webhook_secret, &before.repo) != (&now.spec.webhook_secret, &now.spec.repo)
            {
                report.skipped(&now, Reason::Unverified, false);
                continue;
            }
            match now.spec.follows(push) {
                Follows::Commit(_)
                    if progress.redelivered && now.announced_after(progress.received) =>
                {
                    report.skipped(&now, Reason::Superseded, shown);
                }
                Follows::Commit(commit) => fresh.push(Order { gitrepo: now, commit, ..order }),
                otherwise => report.skipped(&now, otherwise.into(), shown),
            }
        }
        (fresh, failure)
    }

    /// Patches GitRepos concurrently; one that fails stops no other. Gives the last failure.
    pub(super) async fn patch_all(
        &self,
        orders: Vec<Order>,
        report: &mut Report,
        progress: &Progress,
    ) -> Option<ApiError> {
        if !orders.is_empty() && !progress.begin_patching() {
            return Some(ApiError::TooLate);
        }
        let patches: Vec<_> =
            orders.into_iter().map(|order| self.carry_out(order, progress)).collect();
        let mut patches = stream::iter(patches).buffer_unordered(CONCURRENT_REQUESTS);
        let mut failure = None;
        while let Some((order, patched)) = patches.next().await {
            let shown = order.authorization.is_verified();
            match patched {
                Ok(Patched::Patched) => report.patched(&order.gitrepo, order.commit, shown),
                Ok(Patched::Unchanged) => report.skipped(&order.gitrepo, Reason::Unchanged, shown),
                Ok(Patched::Gone) => report.skipped(&order.gitrepo, Reason::Gone, shown),
                Ok(Patched::Superseded) => {
                    report.skipped(&order.gitrepo, Reason::Superseded, shown);
                }
                Err(error) => {
                    report.skipped(&order.gitrepo, Reason::Failed, shown);
                    failure = Some(error);
                }
            }
        }
        failure
    }

    async fn read_again(&self, order: Order) -> (Order, Result<Option<GitRepo>, ApiError>) {
        let metadata = &order.gitrepo.metadata;
        let now = match (&metadata.namespace, &metadata.name) {
            (Some(namespace), Some(name)) => self.cluster.gitrepo_now(namespace, name).await,
            _ => Ok(None),
        };
        (order, now)
    }

    async fn carry_out(
        &self,
        order: Order,
        progress: &Progress,
    ) -> (Order, Result<Patched, ApiError>) {
        let limits = progress.patch_limits();
        if limits.end <= Instant::now() {
            return (order, Err(ApiError::TooLate));
        }
        let Order { gitrepo, commit, authorization } = &order;
        let (received, trouble) = (progress.received, &progress.troubled);
        let patched =
            self.patcher.patch(gitrepo, commit, received, authorization, limits, trouble).await;
        (order, patched)
    }
}
