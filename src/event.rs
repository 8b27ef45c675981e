//! What a delivery says has happened, in the same words for every provider; `provider/*` make it, `gitrepo` reads it.

use std::{
    collections::BTreeSet,
    fmt,
    hash::{BuildHasher, RandomState},
};

use crate::repo_url::{HostAliases, RepoUrl, lower_case};

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

/// The repository that a delivery is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repository {
    /// Known by its URLs; by none where its provider may speak about none of them.
    Urls(Vec<RepoUrl>),
    /// Bitbucket Server without `links`: known by project key and slug, on a host that the payload does not name.
    Hostless {
        /// The project's key, `~user` for a personal one.
        project: String,
        /// The repository's slug.
        slug: String,
    },
}

/// The port on which Bitbucket Server serves SSH unless it is told otherwise.
const BITBUCKET_SERVER_SSH_PORT: u16 = 7999;

impl Repository {
    /// A repository known by the URLs among `texts`, each once; `None` if there is none.
    pub fn from_urls<'t>(texts: impl IntoIterator<Item = &'t str>) -> Option<Self> {
        let mut urls = Vec::new();
        for url in texts.into_iter().filter_map(RepoUrl::parse) {
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        (!urls.is_empty()).then_some(Self::Urls(urls))
    }

    /// Says whether a GitRepo's `spec.repo` names this repository (contract §4, point 1).
    ///
    /// A [`Hostless`](Self::Hostless) one may be on any host: see [`Self::is_one_of_several`].
    pub fn is(&self, spec_repo: &RepoUrl) -> bool {
        match self {
            Self::Urls(urls) => is_one_of(urls, spec_repo),
            Self::Hostless { project, slug } => {
                let path = bitbucket_server_path(project, slug);
                let fits = if spec_repo.is_web() {
                    spec_repo.context_before(&format!("scm/{path}")).is_some()
                } else {
                    spec_repo.path() == path && spec_repo.port() == Some(BITBUCKET_SERVER_SSH_PORT)
                };
                fits && spec_repo.service().is_none()
            }
        }
    }

    /// Says whether GitRepos that it [is](Self::is) are on several servers, so that it cannot be all of them: where the
    /// payload names no host, on several hosts, or behind several context paths of one.
    pub fn is_one_of_several<'u>(
        &self,
        specs: impl Iterator<Item = &'u RepoUrl>,
        aliases: &HostAliases,
    ) -> bool {
        let Self::Hostless { project, slug } = self else { return false };
        let path = format!("scm/{}", bitbucket_server_path(project, slug));
        let (mut hosts, mut contexts) = (BTreeSet::new(), BTreeSet::new());
        for spec in specs {
            hosts.insert(aliases.server_of(spec).host().to_owned());
            contexts.extend(spec.context_before(&path));
        }
        hosts.len() > 1 || contexts.len() > 1
    }

    /// Whether the payload names no host of it.
    pub const fn is_hostless(&self) -> bool {
        matches!(self, Self::Hostless { .. })
    }

    /// The URLs that it is known by; none where the payload names no host.
    pub fn urls(&self) -> &[RepoUrl] {
        match self {
            Self::Urls(urls) => urls,
            Self::Hostless { .. } => &[],
        }
    }

    /// Whether nothing can be this repository, since it has no URL that counts.
    pub const fn is_nowhere(&self) -> bool {
        matches!(self, Self::Urls(urls) if urls.is_empty())
    }

    /// The [keys](RepoUrl::key) among which is that of every `spec.repo` that names this repository.
    pub fn keys(&self, state: &RandomState) -> Vec<u64> {
        match self {
            Self::Urls(urls) => urls.iter().map(|url| url.key(state)).collect(),
            Self::Hostless { project, slug } => {
                vec![state.hash_one(&*bitbucket_server_path(project, slug))]
            }
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Urls(urls) => urls.first().map_or(Ok(()), |url| url.fmt(f)),
            Self::Hostless { project, slug } => write!(f, "{project}/{slug}"),
        }
    }
}

/// A web URL is compared with those of the web, if there are any: only there do ports tell servers apart.
fn is_one_of(urls: &[RepoUrl], spec_repo: &RepoUrl) -> bool {
    let by_web = spec_repo.is_web() && urls.iter().any(RepoUrl::is_web);
    urls.iter().any(|url| (url.is_web() || !by_web) && url.is_where(spec_repo))
}

/// Where Bitbucket Server has a repository over SSH; over HTTP it is at that behind `scm/`.
fn bitbucket_server_path(project: &str, slug: &str) -> String {
    lower_case(&format!("{project}/{slug}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> RepoUrl {
        RepoUrl::parse(text).expect("names a repository")
    }

    fn urls(texts: &[&str]) -> Repository {
        Repository::from_urls(texts.iter().copied()).expect("names a repository")
    }

    fn hostless() -> Repository {
        Repository::Hostless { project: "ACME".to_owned(), slug: "shop".to_owned() }
    }

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

    #[test]
    fn ports_tell_servers_apart_where_two_web_urls_both_name_one() {
        let repository = urls(&["https://git.example:8443/a/b", "ssh://git@ssh.example:2222/a/b"]);
        assert!(repository.is(&url("https://git.example:8443/a/b.git")));
        assert!(!repository.is(&url("http://git.example:3000/a/b")));
        assert!(!repository.is(&url("https://git.example:80/a/b")));
        assert!(!repository.is(&url("https://ssh.example/a/b")));
    }

    #[test]
    fn behind_a_load_balancer_the_same_server_has_another_port() {
        let inside = urls(&["http://git.example:10080/a/b", "ssh://git@git.example:10022/a/b"]);
        assert!(inside.is(&url("https://git.example/a/b")));
        let outside = urls(&["https://git.example/a/b"]);
        assert!(outside.is(&url("http://git.example:7990/a/b")));
        let after_an_upgrade = urls(&["https://git.example:80/a/b"]);
        assert!(after_an_upgrade.is(&url("https://git.example/a/b")));
        assert!(after_an_upgrade.is(&url("git@git.example:a/b")));
    }

    #[test]
    fn a_web_url_is_compared_without_port_where_the_payload_has_none() {
        let repository = urls(&["ssh://git@git.example:2222/a/b"]);
        assert!(repository.is(&url("https://git.example:8443/a/b")));
        assert!(repository.is(&url("https://git.example/a/b")));
    }

    #[test]
    fn an_ssh_url_is_compared_with_all_of_them_without_port() {
        let repository = urls(&["https://git.example:8443/a/b", "ssh://git@ssh.example:2222/a/b"]);
        for spec in
            ["git@git.example:a/b", "ssh://git@ssh.example/a/b", "git://ssh.example:1/a/b.git"]
        {
            assert!(repository.is(&url(spec)), "{spec}");
        }
        assert!(!repository.is(&url("git@other.example:a/b")));
    }

    #[test]
    fn a_hostless_repository_is_at_bitbucket_servers_paths() {
        for spec in [
            "https://bitbucket.example/scm/acme/shop.git",
            "http://bitbucket.example:7990/scm/ACME/Shop",
            "https://bitbucket.example/bitbucket/scm/acme/shop",
            "https://bitbucket.example/a/b/scm/acme/shop",
            "ssh://git@bitbucket.example:7999/acme/shop.git",
        ] {
            assert!(hostless().is(&url(spec)), "{spec}");
        }
        for spec in [
            "https://bitbucket.example/acme/shop",
            "https://bitbucket.example/xscm/acme/shop",
            "https://bitbucket.example/scm/acme/shop2",
            "ssh://git@bitbucket.example/acme/shop.git",
            "ssh://git@bitbucket.example:7999/scm/acme/shop.git",
            "git@bitbucket.example:acme/shop.git",
            "https://github.com/scm/acme/shop",
            "ssh://git@bitbucket.org:7999/acme/shop",
        ] {
            assert!(!hostless().is(&url(spec)), "{spec}");
        }
    }

    #[test]
    fn a_hostless_repository_is_on_one_server_alone() {
        let several = |aliases: &str, specs: &[&str]| {
            let specs: Vec<_> = specs.iter().map(|spec| url(spec)).collect();
            let aliases = aliases.parse().expect("are aliases");
            hostless().is_one_of_several(specs.iter(), &aliases)
        };
        let (web, ssh) =
            ("https://one.example/scm/acme/shop", "ssh://git@one.example:7999/acme/shop");
        assert!(!several("", &[]));
        assert!(!several("", &[web, ssh, "http://one.example:7990/scm/acme/shop.git"]));
        assert!(!several("", &[ssh, "https://one.example/stash/scm/acme/shop"]));
        assert!(several("", &[web, "https://one.example/stash/scm/acme/shop"]));
        let other = "ssh://git@two.example:7999/acme/shop";
        assert!(several("", &[web, other]));
        assert!(!several("two.example=one.example", &[web, other]));
        let known = urls(&[web, other]);
        assert!(!known.is_one_of_several([url(web), url(other)].iter(), &HostAliases::default()));
    }

    #[test]
    fn a_repository_without_any_url_is_none() {
        assert_eq!(Repository::from_urls(["", "no URL", "https://host.example/"]), None);
    }

    fn any_repository() -> impl Strategy<Value = Repository> {
        let any_url =
            "(https|ssh)://(a|b)\\.example(:7999|:8443)?/([ab]/)?(scm/)?[ab]/[ab](\\.git)?";
        prop_oneof![
            (prop::collection::vec(any_url, 1..3), any::<bool>()).prop_map(|(texts, anywhere)| {
                let urls = texts.iter().map(|text| url(text));
                let wherever = |url: RepoUrl| match url.path().strip_prefix("scm/") {
                    Some(path) if anywhere && path.split('/').count() == 2 => {
                        url.behind_any_context()
                    }
                    _ => url,
                };
                Repository::Urls(urls.map(wherever).collect())
            }),
            ("[abAB]", "[abAB]").prop_map(|(project, slug)| Repository::Hostless { project, slug }),
        ]
    }

    proptest! {
        #[test]
        fn the_keys_of_a_repository_hold_that_of_every_url_that_names_it(
            repository in any_repository(),
            spec in "(https|ssh)://(a|b)\\.example(:7999|:8443)?/([ab]/)?(scm/)?[ab]/[ab]",
        ) {
            let state = RandomState::new();
            let spec = url(&spec);
            if repository.is(&spec) {
                prop_assert!(repository.keys(&state).contains(&spec.key(&state)));
            }
        }
    }
}
