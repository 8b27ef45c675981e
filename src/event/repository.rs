//! The repository that a delivery is about, and which `spec.repo` names it (contract §4).

use std::{
    collections::BTreeSet,
    fmt,
    hash::{BuildHasher, RandomState},
};

use crate::repo_url::{HostAliases, RepoUrl, lower_case};

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
