//! The slice of Fleet's `GitRepo` that is read, and what it means to follow a push.

use jiff::Timestamp;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

use crate::{
    event::{After, CommitId, GitRef, Push, RefUpdate},
    reason::Reason,
    repo_url::RepoUrl,
};

/// What Fleet clones where a GitRepo names no branch.
const DEFAULT_BRANCH: &str = "master";

/// Which repository a GitRepo deploys, and how; the fields that matter here
/// ([reference](https://fleet.rancher.io/ref-gitrepo)).
#[derive(Clone, CustomResource, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[kube(
    group = "fleet.cattle.io",
    version = "v1alpha1",
    kind = "GitRepo",
    plural = "gitrepos",
    namespaced,
    status = "GitRepoStatus",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(default, rename_all = "camelCase")]
pub struct GitRepoSpec {
    /// The repository's URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// The branch to follow; empty for `master`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// A tag or a commit to stay on; takes the branch's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The secret in the GitRepo's own namespace that governs it in place of the global one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_secret: Option<String>,
    /// How often Fleet polls, as a Go duration; unset means every 15 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling_interval: Option<String>,
}

/// What has become of a GitRepo; the fields that matter here.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GitRepoStatus {
    /// The commit that is deployed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The commit that a webhook announced last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_commit: Option<String>,
    /// When, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_webhook_time: Option<String>,
}

/// A move of the ref that a GitRepo follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Where the ref was before; `None` where that is unknown, or the ref is new.
    pub before: Option<CommitId>,
    /// Where it is now.
    pub after: CommitId,
}

impl GitRepo {
    /// The commit that was announced last.
    pub fn announced(&self) -> Option<&str> {
        self.status.as_ref()?.webhook_commit.as_deref()
    }

    /// When a push was announced last; Fleet keeps whole seconds, from 0.15.3 on.
    pub fn announced_at(&self) -> Option<Timestamp> {
        self.status.as_ref()?.last_webhook_time.as_deref()?.parse().ok()
    }

    /// Whether it is this commit that was announced last.
    pub fn announces(&self, commit: &CommitId) -> bool {
        self.announced() == Some(commit.as_str())
    }
}

impl GitRepoSpec {
    /// The repository that it deploys; `None` where the URL names none.
    pub fn repo_url(&self) -> Option<RepoUrl> {
        self.repo.as_deref().and_then(RepoUrl::parse)
    }

    /// The name of its own webhook secret, if it has one.
    pub fn own_secret(&self) -> Option<&str> {
        non_empty(self.webhook_secret.as_deref())
    }

    /// Judges a push to its repository (contract §4, points 2 and 3). Several updates of one ref: the last one counts.
    ///
    /// # Errors
    /// The [`Reason`] for which it follows none of them.
    pub fn follows(&self, push: &Push) -> Result<Move, Reason> {
        let followed = self.followed_ref();
        let update = followed.as_ref().and_then(|followed| push.refs.last_of(followed));
        match update {
            Some(RefUpdate { after: After::Commit(after), before, .. }) => {
                Ok(Move { before: before.clone(), after: after.clone() })
            }
            Some(RefUpdate { after: After::Deleted, .. }) => Err(Reason::Deleted),
            Some(RefUpdate { after: After::Unusable, .. }) => Err(Reason::UnusableCommit),
            None if followed.is_some() && push.refs.and_more() => Err(Reason::RefsUnknown),
            None if non_empty(self.revision.as_deref()).is_some() => Err(Reason::Revision),
            None => Err(Reason::Branch),
        }
    }

    /// The ref that it follows; `None` where it stays on one commit.
    pub fn followed_ref(&self) -> Option<GitRef> {
        let Some(revision) = non_empty(self.revision.as_deref()) else {
            let branch = non_empty(self.branch.as_deref()).unwrap_or(DEFAULT_BRANCH);
            return Some(GitRef::Branch(branch.to_owned()));
        };
        let tag = revision.strip_prefix("refs/tags/").unwrap_or(revision);
        CommitId::parse(revision).is_none().then(|| GitRef::Tag(tag.to_owned()))
    }
}

fn non_empty(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "1111111111111111111111111111111111111111";
    const NEW: &str = "2222222222222222222222222222222222222222";

    fn push(updates: &[(&str, &str)]) -> Push {
        let url = RepoUrl::parse("https://github.com/acme/shop").expect("a repository");
        let updates = updates
            .iter()
            .filter_map(|(full_ref, after)| RefUpdate::of(full_ref, None, After::id(after)))
            .collect::<Vec<_>>();
        Push { repository: crate::event::Repository::Urls(vec![url]), refs: updates.into() }
    }

    fn following(branch: &str) -> GitRepoSpec {
        GitRepoSpec { branch: Some(branch.to_owned()), ..GitRepoSpec::default() }
    }

    fn pinned(revision: &str) -> GitRepoSpec {
        GitRepoSpec { revision: Some(revision.to_owned()), ..following("main") }
    }

    fn commit(id: &str) -> Result<Move, Reason> {
        Ok(Move { before: None, after: CommitId::parse(id).expect("a commit id") })
    }

    #[test]
    fn the_branch_is_found_among_all_refs_of_a_push() {
        let push =
            push(&[("refs/heads/dev", OLD), ("refs/tags/main", OLD), ("refs/heads/main", NEW)]);
        assert_eq!(following("main").follows(&push), commit(NEW));
        assert_eq!(following("dev").follows(&push), commit(OLD));
        assert_eq!(following("mai").follows(&push), Err(Reason::Branch));
    }

    #[test]
    fn an_empty_branch_means_master_and_no_other() {
        assert_eq!(
            GitRepoSpec::default().follows(&push(&[("refs/heads/master", NEW)])),
            commit(NEW)
        );
        assert_eq!(following("").follows(&push(&[("refs/heads/main", NEW)])), Err(Reason::Branch));
    }

    #[test]
    fn a_tag_named_like_the_branch_is_not_the_branch() {
        assert_eq!(
            following("main").follows(&push(&[("refs/tags/main", NEW)])),
            Err(Reason::Branch)
        );
    }

    #[test]
    fn a_deletion_and_what_is_no_commit_id_move_nothing_and_are_told_apart() {
        let zeros = "0".repeat(40);
        let moved = |after| following("main").follows(&push(&[("refs/heads/main", after)]));
        assert_eq!(moved(&zeros), Err(Reason::Deleted));
        assert_eq!(moved("abc"), Err(Reason::UnusableCommit));
    }

    #[test]
    fn a_revision_follows_its_tag_in_either_spelling_and_no_branch() {
        let tagged = push(&[("refs/tags/v1", NEW)]);
        assert_eq!(pinned("v1").follows(&tagged), commit(NEW));
        assert_eq!(pinned("refs/tags/v1").follows(&tagged), commit(NEW));
        assert_eq!(pinned("v1").follows(&push(&[("refs/heads/v1", NEW)])), Err(Reason::Revision));
        assert_eq!(pinned("v1").follows(&push(&[("refs/heads/main", NEW)])), Err(Reason::Revision));
    }

    #[test]
    fn a_revision_that_is_a_commit_id_follows_nothing() {
        assert_eq!(pinned(NEW).follows(&push(&[("refs/heads/main", NEW)])), Err(Reason::Revision));
        let tag = format!("refs/tags/{NEW}");
        assert_eq!(pinned(NEW).follows(&push(&[(&tag, NEW)])), Err(Reason::Revision));
    }

    #[test]
    fn the_last_of_several_updates_of_one_ref_counts() {
        let push = push(&[("refs/heads/main", OLD), ("refs/heads/main", NEW)]);
        assert_eq!(following("main").follows(&push), commit(NEW));
    }

    #[test]
    fn unknown_refs_are_said_to_be_unknown() {
        let mut push = push(&[("refs/heads/dev", NEW)]);
        push.refs = crate::event::Refs::new(push.refs.named().to_vec(), true);
        assert_eq!(following("main").follows(&push), Err(Reason::RefsUnknown));
        assert_eq!(pinned("v1").follows(&push), Err(Reason::RefsUnknown));
        assert_eq!(following("dev").follows(&push), commit(NEW));
        assert_eq!(pinned(NEW).follows(&push), Err(Reason::Revision));
    }
}
