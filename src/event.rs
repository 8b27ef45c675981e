//! What a delivery says has happened, in the same words for every provider; `provider/*` make it, `gitrepo` reads it.

mod repository;

use std::fmt;

pub use self::repository::Repository;

/// What a delivery is about, as its sender claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Refs of a repository moved.
    Push(Push),
    /// The provider tests the connection; a repository only where the ping names one.
    Ping(Option<Repository>),
    /// Anything else; the phrase says why, for the log.
    Ignored(&'static str),
}

/// Refs of one repository that moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Where it was pushed to.
    pub repository: Repository,
    /// What moved.
    pub refs: Refs,
}

/// The refs that a push moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refs {
    named: Vec<RefUpdate>,
    and_more: bool,
    /// The places of `named` by ref, those of one ref in its order: each of many GitRepos looks for its own.
    by_ref: Vec<u32>,
}

impl Refs {
    /// Those that are named, and whether more moved.
    pub fn new(named: Vec<RefUpdate>, and_more: bool) -> Self {
        let mut by_ref: Vec<_> = (0..).zip(&named).map(|(place, _)| place).collect();
        by_ref.sort_by_key(|&place| at(&named, place));
        Self { named, and_more, by_ref }
    }

    /// Every branch and tag that the delivery names, in its order; other refs are left out.
    pub fn named(&self) -> &[RefUpdate] {
        &self.named
    }

    /// Whether more moved than it names (Bitbucket's `refLimitExceeded`), so that nothing is known of the others.
    pub const fn and_more(&self) -> bool {
        self.and_more
    }

    /// What is known of a ref: its last update, if it is named.
    pub fn last_of(&self, git_ref: &GitRef) -> Option<&RefUpdate> {
        let end = self.by_ref.partition_point(|&place| at(&self.named, place) <= Some(git_ref));
        let last = *self.by_ref.get(end.checked_sub(1)?)?;
        let update = self.named.get(usize::try_from(last).ok()?)?;
        (update.git_ref == *git_ref).then_some(update)
    }
}

fn at(named: &[RefUpdate], place: u32) -> Option<&GitRef> {
    Some(&named.get(usize::try_from(place).ok()?)?.git_ref)
}

/// All refs that moved.
impl From<Vec<RefUpdate>> for Refs {
    fn from(named: Vec<RefUpdate>) -> Self {
        Self::new(named, false)
    }
}

/// One ref that moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefUpdate {
    /// The ref.
    pub git_ref: GitRef,
    /// Where it points now.
    pub after: After,
    /// Where it pointed before; `None` where that is not said, and for a new ref. Of an annotated tag it may be the
    /// tag object.
    pub before: Option<CommitId>,
}

impl RefUpdate {
    /// An update of `git_ref`. A `before` that is no commit id, or the same as `after`, as in the test of a hook, says
    /// nothing of what came first.
    pub fn new(git_ref: GitRef, before: Option<&str>, after: After) -> Self {
        let before = before.and_then(CommitId::parse);
        let before = before.filter(|before| after.commit() != Some(before));
        Self { git_ref, after, before }
    }

    /// An update of a full ref (`refs/heads/…`, `refs/tags/…`); `None` for any other ref.
    pub fn of(full_ref: &str, before: Option<&str>, after: After) -> Option<Self> {
        Some(Self::new(GitRef::parse(full_ref)?, before, after))
    }
}

/// Where a ref points after an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// At this commit, an annotated tag followed to its commit where the payload has it.
    Commit(CommitId),
    /// Nowhere: it is gone.
    Deleted,
    /// At something that is no whole commit id.
    Unusable,
}

impl After {
    /// Reads an id: Git's zero id stands for a deletion.
    pub fn id(id: &str) -> Self {
        match CommitId::parse(id) {
            Some(commit) => Self::Commit(commit),
            None if !id.is_empty() && id.bytes().all(|byte| byte == b'0') => Self::Deleted,
            None => Self::Unusable,
        }
    }

    /// The commit, if it is at one.
    pub const fn commit(&self) -> Option<&CommitId> {
        match self {
            Self::Commit(commit) => Some(commit),
            Self::Deleted | Self::Unusable => None,
        }
    }
}

/// A branch or a tag, by its short name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GitRef {
    /// `refs/heads/…`
    Branch(String),
    /// `refs/tags/…`
    Tag(String),
}

impl GitRef {
    /// Reads a full ref; `None` for what is neither branch nor tag, and for an empty name.
    pub fn parse(full_ref: &str) -> Option<Self> {
        if let Some(name) = full_ref.strip_prefix("refs/heads/") {
            return Self::branch(name);
        }
        full_ref.strip_prefix("refs/tags/").and_then(Self::tag)
    }

    /// A branch by its short name, unless that is empty.
    pub fn branch(name: &str) -> Option<Self> {
        (!name.is_empty()).then(|| Self::Branch(name.to_owned()))
    }

    /// A tag by its short name, unless that is empty.
    pub fn tag(name: &str) -> Option<Self> {
        (!name.is_empty()).then(|| Self::Tag(name.to_owned()))
    }
}

impl fmt::Display for GitRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Branch(name) => write!(f, "refs/heads/{name}"),
            Self::Tag(name) => write!(f, "refs/tags/{name}"),
        }
    }
}

/// A whole commit id: 40 (SHA-1) or 64 (SHA-256) hex digits in lower case, not all zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitId(String);

impl CommitId {
    /// Reads a commit id; `None` for anything else, Git's zero id included.
    pub fn parse(id: &str) -> Option<Self> {
        let whole = matches!(id.len(), 40 | 64) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        (whole && id.bytes().any(|byte| byte != b'0')).then(|| Self(id.to_ascii_lowercase()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_and_tags_are_told_apart() {
        assert_eq!(GitRef::parse("refs/heads/a/b"), Some(GitRef::Branch("a/b".to_owned())));
        assert_eq!(GitRef::parse("refs/tags/v1"), Some(GitRef::Tag("v1".to_owned())));
        for other in ["refs/pull/1/head", "refs/heads/", "refs/tags/", "main", ""] {
            assert_eq!(GitRef::parse(other), None, "{other}");
        }
    }

    #[test]
    fn of_each_ref_the_last_update_is_found_and_of_no_other() {
        let id = |number: usize| After::id(&format!("{:040x}", number + 1));
        let named = |number: usize| format!("refs/heads/{}", number * 7919 % 100_003);
        let mut updates: Vec<_> = (0..1000)
            .filter_map(|number| RefUpdate::of(&named(number), None, id(number)))
            .collect();
        updates.extend((500..600).filter_map(|it| RefUpdate::of(&named(it), None, id(it + 5000))));
        updates.extend(RefUpdate::of("refs/tags/0", None, After::Deleted));
        let refs = Refs::from(updates);
        for number in 0..1000 {
            let last = if (500..600).contains(&number) { number + 5000 } else { number };
            let git_ref = GitRef::parse(&named(number)).expect("a ref");
            assert_eq!(refs.last_of(&git_ref).map(|it| &it.after), Some(&id(last)), "{number}");
        }
        let tag = GitRef::tag("0").and_then(|tag| refs.last_of(&tag).map(|it| it.after.clone()));
        assert_eq!(tag, Some(After::Deleted));
        for absent in ["refs/heads/", "refs/heads/x", "refs/tags/1", "refs/tags/7919"] {
            let found = GitRef::parse(absent).and_then(|absent| refs.last_of(&absent).cloned());
            assert_eq!(found, None, "{absent}");
        }
        assert_eq!(Refs::default().last_of(&GitRef::Branch("main".to_owned())), None);
    }

    #[test]
    fn an_id_of_zeros_is_a_deletion_and_what_is_no_id_is_unusable() {
        let commit = "ab".repeat(20);
        assert_eq!(After::id(&commit).commit().map(CommitId::as_str), Some(&*commit));
        for (id, after) in [
            ("0".repeat(40), After::Deleted),
            ("0".repeat(64), After::Deleted),
            (String::new(), After::Unusable),
            ("0123456".to_owned(), After::Unusable),
        ] {
            assert_eq!(After::id(&id), after, "{id}");
        }
    }

    #[test]
    fn what_an_update_says_of_before_is_a_commit_that_it_left() {
        let (old, new) = ("1".repeat(40), "2".repeat(40));
        let before = |before: Option<&str>| {
            let update = RefUpdate::of("refs/heads/main", before, After::id(&new));
            update.expect("is a branch").before.map(|commit| commit.to_string())
        };
        assert_eq!(before(Some(&old)), Some(old));
        for nothing in [None, Some(""), Some("0000000"), Some(&*"0".repeat(40)), Some(&*new)] {
            assert_eq!(before(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn a_commit_id_is_whole_and_not_zero() {
        let sha1 = "0123456789ABCDEF0123456789abcdef01234567";
        assert_eq!(CommitId::parse(sha1).expect("is one").as_str(), sha1.to_ascii_lowercase());
        assert!(CommitId::parse(&"ab".repeat(32)).is_some());
        for other in
            ["", "0123456", &"0".repeat(40), &"0".repeat(64), &"g".repeat(40), &"a".repeat(41)]
        {
            assert_eq!(CommitId::parse(other), None, "{other}");
        }
    }
}
