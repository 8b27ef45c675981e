//! The plan for the GitRepos of a pushed repository: which are patched, why the others are not, and what is answered.
//! `announce` carries it out.

use crate::{
    cluster::ApiError,
    event::Push,
    gitrepo::GitRepo,
    outcome::{Fate, Kind, Outcome, Report},
    reason::Reason,
    repo_url::HostAliases,
    verdict::{Judge, Planned, Verdict},
};

/// What is to be done for a push, and what has come of it so far.
#[derive(Default)]
pub(super) struct Plan {
    /// What is to be patched.
    pub(super) planned: Vec<Planned>,
    pub(super) report: Report,
    /// Why the delivery has to come again.
    pub(super) unavailable: Option<String>,
    /// Which namespace may not be read: it stops no other, and counts where nothing is patched (contract §5).
    denied: Option<String>,
    /// Whether a GitRepo follows whose own secret refuses the delivery.
    refused_by_own_secret: bool,
}

impl Plan {
    /// Judges the GitRepos of the repository, whose own secrets were asked; `incomplete` says why there may be more.
    pub(super) fn new(
        judge: &Judge<'_>,
        gitrepos: &[GitRepo],
        incomplete: Option<&ApiError>,
        push: &Push,
        aliases: &HostAliases,
    ) -> Self {
        let why = incomplete.map(ToString::to_string);
        let mut plan = match incomplete {
            Some(error) if error.is_denied() => Self { denied: why, ..Self::default() },
            _ => Self { unavailable: why, ..Self::default() },
        };
        let mut possible = Vec::new();
        for gitrepo in gitrepos {
            let verdict = judge.judge(gitrepo, push);
            if verdict.may_be_meant() {
                possible.extend(gitrepo.spec.repo_url());
            }
            plan.add(verdict, gitrepo);
        }
        // Those that could not be read may be on another server; of a namespace that is closed to us none counts.
        let is_certain =
            incomplete.is_none_or(ApiError::is_denied) || !push.repository.is_hostless();
        if !is_certain || push.repository.is_one_of_several(possible.iter(), aliases) {
            plan.patch_none_of_several();
        }
        if judge.global_unavailable() && !judge.any_verified() {
            plan.unavailable = Some(judge.why_global_unavailable());
        }
        plan
    }

    fn patch_none_of_several(&mut self) {
        tracing::warn!(
            "the payload names no host, and it is not certain that all GitRepos that match it are on one server, so none \
             is patched: update Bitbucket Server, or set its base URL"
        );
        self.planned.clear();
    }

    fn add(&mut self, verdict: Verdict, gitrepo: &GitRepo) {
        match verdict {
            Verdict::Planned(planned) => self.planned.push(*planned),
            Verdict::Skipped { reason, shown, follows } => {
                self.refused_by_own_secret |= follows && gitrepo.spec.own_secret().is_some();
                self.report.add(gitrepo, Fate::Skipped(reason), shown);
            }
            Verdict::Unavailable => {
                self.unavailable = Some("a secret cannot be read".to_owned());
                self.report.add(gitrepo, Fate::Skipped(Reason::Failed), false);
            }
        }
    }

    /// Whether nothing came of it, and nothing will if the delivery is sent again.
    pub(super) fn came_to_nothing(&self) -> bool {
        self.unavailable.is_none() && !self.found_its_gitrepo()
    }

    /// Whether a GitRepo follows that has the commit by now, or a later one.
    fn found_its_gitrepo(&self) -> bool {
        self.is_accepted() || self.report.has(Reason::Superseded)
    }

    fn is_accepted(&self) -> bool {
        self.report.patched_count() > 0 || self.report.has(Reason::Unchanged)
    }

    /// What is answered, once it is carried out.
    pub(super) fn outcome(self, judge: &Judge<'_>) -> Outcome {
        let refused = self.report.patched_count() == 0
            && !judge.any_verified()
            && (judge.refuses_unverified() || self.refused_by_own_secret);
        let kind = match &self.unavailable {
            Some(_) => Kind::Unavailable,
            None if refused => Kind::Unauthorized,
            None if self.is_accepted() => Kind::Accepted,
            // Its GitRepo may be where we may not look.
            None if self.denied.is_some() && !self.found_its_gitrepo() => Kind::Unavailable,
            None => Kind::Ignored,
        };
        let denied = self.denied.filter(|_| kind == Kind::Unavailable);
        let why_refused = (kind == Kind::Unauthorized).then(|| judge.why_unverified());
        Outcome {
            detail: self.unavailable.or(why_refused).or(denied),
            report: self.report,
            standing: judge.standing(),
            ..Outcome::new(kind)
        }
    }
}
