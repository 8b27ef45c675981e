//! What comes of the GitRepos of a pushed repository: judged one by one, summed up to an outcome.

use super::orders::Order;
use crate::{
    cluster::ApiError,
    event::Push,
    gitrepo::{Follows, GitRepo},
    outcome::{Kind, Outcome, Reason, Report},
    verdict::{Judge, Verdict},
};

/// What has come of a push so far.
#[derive(Default)]
pub(super) struct Pursuit {
    pub(super) report: Report,
    /// Whether a GitRepo follows whose own secret refuses the delivery.
    guarded: bool,
    /// Why it has to be tried again.
    pub(super) unavailable: Option<String>,
}

impl Pursuit {
    /// Nothing yet, of GitRepos that may not be all there are.
    pub(super) fn new(incomplete: Option<ApiError>) -> Self {
        Self { unavailable: incomplete.map(|error| error.to_string()), ..Self::default() }
    }

    /// Judges one GitRepo; gives the order to patch it, or reports why there is none.
    pub(super) fn weigh(
        &mut self,
        judge: &Judge<'_>,
        gitrepo: GitRepo,
        push: &Push,
    ) -> Option<Order> {
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
    pub(super) fn is_in_vain(&self) -> bool {
        self.unavailable.is_none() && !self.is_accepted()
    }

    fn is_accepted(&self) -> bool {
        self.report.patched_count() > 0 || self.report.has(Reason::Unchanged)
    }

    pub(super) fn outcome(self, judge: &Judge<'_>) -> Outcome {
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

impl From<Follows> for Reason {
    fn from(follows: Follows) -> Self {
        match follows {
            Follows::OtherRevision => Self::Revision,
            Follows::RefsUnknown => Self::RefsUnknown,
            Follows::OtherBranch | Follows::Commit(_) => Self::Branch,
        }
    }
}
