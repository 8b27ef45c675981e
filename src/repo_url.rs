//! A repository's identity, whatever form of URL names it; `repo_url/service` knows the public services and what
//! they are also called, `event` compares a payload's URLs with a GitRepo's.

mod azure;
#[cfg(test)]
mod properties;
mod service;

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
};

use percent_encoding::percent_decode_str;
use url::{Host, Url};

pub use service::Service;

/// A repository, by where it is: host and path, read from a URL or from `user@host:path`.
///
/// Two texts that name the same repository read as the same host and path: scheme, user, default port, trailing
/// slashes and one trailing `.git` are dropped, percent-escapes are decoded, letters are lower-case, and the names
/// that a public service has beside its first one are replaced by that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoUrl {
    web: bool,
    host: String,
    port: Option<u16>,
    path: String,
}

impl RepoUrl {
    /// Reads a URL (`https`, `http`, `ssh`, `git`), `[user@]host:path` or `codecommit::region://name`.
    ///
    /// `None` for what names no repository on a host: no host or path, a query or a fragment, another scheme,
    /// escapes that are not UTF-8, control characters, `.` and `..`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        // What lenient readers of URLs read into these, Git does not.
        if text.contains(|c: char| c.is_control() || c == '\\') || text.contains(":///") {
            return None;
        }
        // Git asks for them as they are, but `Url` goes up: `x/../acme/shop` would read as `acme/shop`.
        if text.split('/').any(is_dots) {
            return None;
        }
        if let Some(rest) = text.strip_prefix("codecommit::") {
            return Self::parse(&service::codecommit_url(rest)?);
        }
        let location =
            if text.contains("://") { Location::from_url(text) } else { Location::from_scp(text) };
        let Location { web, user, host, port, path } = location?;
        let (host, path) = service::canonical(&host, &user, &path, web);
        Some(Self { web, host, port, path })
    }

    /// The host in lower case, an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The public service that the host belongs to; `None` for a host that belongs to nobody known.
    pub fn service(&self) -> Option<Service> {
        Service::of(&self.host)
    }

    /// Says whether it is an `http` or `https` URL.
    pub(crate) const fn is_web(&self) -> bool {
        self.web
    }

    /// The port, where it is not the scheme's own.
    pub(crate) const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The canonical path, without leading slash.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// A hash of the path alone, equal for all URLs that may name the same repository.
    ///
    /// It is keyed by `state`, so that nobody can make many repositories share one.
    pub fn key(&self, state: &RandomState) -> u64 {
        state.hash_one(&*self.path)
    }
}

/// `host[:port]/path`, as it is compared; the user of the URL is not there.
impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "/{}", self.path)
    }
}

/// The parts of a text that names a repository, before aliases are replaced.
struct Location {
    web: bool,
    user: String,
    host: String,
    port: Option<u16>,
    path: String,
}

impl Location {
    fn from_url(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        // `Url::port` leaves out the default ports of http and https itself.
        let (web, default_port) = match url.scheme() {
            "http" | "https" => (true, None),
            "ssh" | "git+ssh" | "ssh+git" => (false, Some(22)),
            "git" => (false, Some(9418)),
            _ => return None,
        };
        if url.query().is_some() || url.fragment().is_some() {
            return None;
        }
        Some(Self {
            web,
            user: url.username().to_lowercase(),
            host: canonical_host(url.host_str()?)?,
            port: url.port().filter(|port| Some(*port) != default_port),
            path: canonical_path(url.path())?,
        })
    }

    /// Reads what Git takes for `scp`'s form: a colon, and no slash before it.
    fn from_scp(text: &str) -> Option<Self> {
        // Paths may hold them here, but no forge has such, and in every other form they name nothing.
        if text.contains(['?', '#']) {
            return None;
        }
        let (user, rest) = match text.split_once('@') {
            Some((user, rest)) if !user.contains([':', '/']) => (user, rest),
            // Git has no `user:password@host:path`: read as host and path, it would show the password in logs.
            Some(_) => return None,
            None => ("", text),
        };
        let (host, path) = if rest.starts_with('[') {
            let (address, path) = rest.split_once("]:")?;
            (format!("{address}]"), path)
        } else {
            let (host, path) = rest.split_once(':')?;
            (host.to_owned(), path)
        };
        let (port, path) = scp_port(path);
        let host = canonical_host(&host)?;
        let path = canonical_path(service::without_scp_port(&host, path))?;
        Some(Self { web: false, user: user.to_lowercase(), host, port, path })
    }
}

/// Splits off the port of `host:port:path`, which go-git takes, and with it Fleet.
fn scp_port(path: &str) -> (Option<u16>, &str) {
    let Some((digits, rest)) = path.split_once(':') else { return (None, path) };
    match digits.parse() {
        Ok(port) => (Some(port).filter(|port| *port != 22), rest),
        Err(_) => (None, path),
    }
}

fn is_dots(segment: &str) -> bool {
    [&b"."[..], b".."].iter().any(|dots| percent_decode_str(segment).eq(dots.iter().copied()))
}

fn canonical_host(text: &str) -> Option<String> {
    let host = Host::parse(text).ok()?.to_string();
    let name = host.strip_suffix('.').unwrap_or(&host);
    (!name.split('.').any(str::is_empty)).then(|| name.to_owned())
}

fn canonical_path(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    if decoded.chars().any(char::is_control) {
        return None;
    }
    let path = lower_case(decoded.trim_matches('/'));
    // A last segment that is nothing but `.git` is a name, not an ending.
    let path = match path.strip_suffix(".git") {
        Some(named) if !named.is_empty() && !named.ends_with('/') => named,
        _ => &path,
    };
    // Escaped slashes make segments that were none.
    let names_something =
        !path.is_empty() && !path.split('/').any(|part| matches!(part, "." | ".."));
    names_something.then(|| path.to_owned())
}

/// Lower case, letter by letter: what `str::to_lowercase` does to a letter depends on its neighbours.
pub(crate) fn lower_case(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::Repository;

    fn url(text: &str) -> RepoUrl {
        RepoUrl::parse(text).unwrap_or_else(|| panic!("{text} names a repository"))
    }

    /// Every pair of `texts`, the first as a GitRepo has it and the second as a payload has it, is one repository.
    #[track_caller]
    fn all_are_one(texts: &[&str]) {
        for spec in texts {
            for payload in texts {
                let repository = Repository::Urls(vec![url(payload)]);
                assert!(repository.is(&url(spec)), "{payload} is not {spec}");
            }
        }
    }

    #[track_caller]
    fn differ(payload: &str, spec: &str) {
        let repository = Repository::Urls(vec![url(payload)]);
        assert!(!repository.is(&url(spec)), "{payload} is {spec}");
    }

    #[test]
    fn one_repository_has_many_urls() {
        all_are_one(&[
            "https://github.com/acme/shop",
            "https://github.com/acme/shop.git",
            "https://github.com/acme/shop/",
            "https://github.com/acme/shop.git/",
            "https://GitHub.com:443/Acme/Shop.git",
            "https://github.com./acme/shop",
            "http://github.com:80/acme/shop",
            "https://user:token@github.com/acme/shop",
            "https://www.github.com/acme/shop",
            "https://github.com/acme/%73hop%2Egit",
            "git://github.com/acme/shop.git",
            "ssh://git@github.com/acme/shop.git",
            "ssh://git@github.com:22/acme/shop.git",
            "ssh://git@ssh.github.com:443/acme/shop.git",
            "git+ssh://git@github.com/acme/shop",
            "git@github.com:acme/shop.git",
            "github.com:acme/shop",
            "git@github.com:/acme/shop.git",
            "git@GITHUB.COM.:Acme/Shop",
            "git@github.com:22:acme/shop.git",
            "git@ssh.github.com:443/acme/shop.git",
            "  https://github.com/acme/shop ",
        ]);
    }

    #[test]
    fn the_public_hosts_have_aliases() {
        all_are_one(&[
            "https://gitlab.com/acme/group/shop",
            "ssh://git@altssh.gitlab.com:443/acme/group/shop.git",
            "https://www.gitlab.com/acme/group/shop",
        ]);
        all_are_one(&[
            "https://bitbucket.org/acme/shop",
            "ssh://git@altssh.bitbucket.org:443/acme/shop.git",
            "git@altssh.bitbucket.org:443/acme/shop.git",
            "https://www.bitbucket.org/acme/shop",
        ]);
        all_are_one(&["https://gitee.com/acme/shop", "https://www.gitee.com/acme/shop.git"]);
    }

    #[test]
    fn azure_has_more_urls_than_anybody() {
        all_are_one(&[
            "https://dev.azure.com/acme/web%20site/_git/shop",
            "https://acme@dev.azure.com/acme/web%20site/_git/shop",
            "https://acme.visualstudio.com/web%20site/_git/shop",
            "https://ACME.visualstudio.com/DefaultCollection/Web%20Site/_git/Shop",
            "git@ssh.dev.azure.com:v3/acme/web%20site/shop",
            "ssh://git@ssh.dev.azure.com/v3/acme/web%20site/shop",
            "ssh://git@ssh.dev.azure.com:22/v3/acme/web%20site/shop",
            "acme@vs-ssh.visualstudio.com:v3/acme/web%20site/shop",
            "ssh://acme@vs-ssh.visualstudio.com:22/web%20site/_ssh/shop",
            "ssh://acme@vs-ssh.visualstudio.com:22/DefaultCollection/web%20site/_ssh/shop",
            "ssh://acme@acme.visualstudio.com:22/web%20site/_git/shop",
            "https://dev.azure.com/acme/web%20site/_git/_full/shop",
            "https://dev.azure.com/acme/web%20site/_git/_optimized/shop",
            "https://acme.visualstudio.com/DefaultCollection/web%20site/_git/_full/shop",
            "git@ssh.dev.azure.com:v3/acme/web%20site/_full/shop",
            "ssh://acme@vs-ssh.visualstudio.com:22/web%20site/_ssh/_optimized/shop",
        ]);
    }

    #[test]
    fn azure_leaves_out_a_project_with_the_name_of_the_repository() {
        all_are_one(&[
            "https://dev.azure.com/acme/shop/_git/shop",
            "https://dev.azure.com/acme/_git/shop",
            "https://dev.azure.com/acme/Shop/_git/shop",
            "https://acme.visualstudio.com/_git/shop",
            "https://acme.visualstudio.com/shop/_git/shop",
            "https://acme.visualstudio.com/DefaultCollection/_git/shop",
            "https://acme.visualstudio.com/DefaultCollection/_git/_full/shop",
            "https://acme.visualstudio.com/DefaultCollection/shop/_git/shop",
            "git@ssh.dev.azure.com:v3/acme/shop/shop",
            "acme@vs-ssh.visualstudio.com:v3/acme/shop/shop",
            "ssh://acme@vs-ssh.visualstudio.com/_ssh/shop",
            "ssh://acme@vs-ssh.visualstudio.com/DefaultCollection/_ssh/shop",
        ]);
        differ("https://dev.azure.com/acme/_git/acme", "https://dev.azure.com/other/_git/acme");
        differ("https://dev.azure.com/acme/web/_git/shop", "https://dev.azure.com/acme/_git/shop");
    }

    #[test]
    fn an_azure_devops_server_leaves_the_project_out_as_well() {
        all_are_one(&[
            "https://azure.acme.example/tfs/Sales/shop/_git/shop",
            "https://azure.acme.example/tfs/Sales/_git/shop",
            "https://azure.acme.example/tfs/Sales/shop/_git/_optimized/shop",
            "ssh://azure.acme.example:22/tfs/Sales/shop/_ssh/shop",
        ]);
        all_are_one(&[
            "https://azure.acme.example/Sales/shop/_git/shop",
            "https://azure.acme.example/Sales/_git/shop",
        ]);
        all_are_one(&[
            "https://azure.acme.example/tfs/shop/_git/shop",
            "https://azure.acme.example/tfs/shop/shop/_git/shop",
        ]);
        differ(
            "https://azure.acme.example/tfs/Sales/web/_git/shop",
            "https://azure.acme.example/tfs/Sales/_git/shop",
        );
    }

    #[test]
    fn codecommit_has_three_forms() {
        all_are_one(&[
            "https://git-codecommit.eu-central-1.amazonaws.com/v1/repos/shop",
            "ssh://APKAEXAMPLE@git-codecommit.eu-central-1.amazonaws.com/v1/repos/shop",
            "codecommit::eu-central-1://shop",
            "codecommit::eu-central-1://profile@shop",
            "https://git-codecommit-fips.eu-central-1.amazonaws.com/v1/repos/shop",
        ]);
        all_are_one(&[
            "https://git-codecommit.cn-north-1.amazonaws.com.cn/v1/repos/shop",
            "codecommit::cn-north-1://shop",
        ]);
        differ("codecommit::eu-central-1://shop", "codecommit::eu-west-1://shop");
        for text in ["codecommit://shop", "codecommit::eu-west-1://", "codecommit::x.example/://a"]
        {
            assert_eq!(RepoUrl::parse(text), None, "{text}");
        }
    }

    #[test]
    fn ipv6_addresses_are_hosts() {
        all_are_one(&["https://[2001:DB8::1]/acme/shop", "git@[2001:db8::1]:acme/shop.git"]);
        assert_eq!(url("ssh://git@[::1]:2222/acme/shop").to_string(), "[::1]:2222/acme/shop");
    }

    #[test]
    fn hosts_of_other_alphabets_are_compared_as_dns_has_them() {
        all_are_one(&["https://bücher.example/acme/shop", "git@xn--bcher-kva.example:acme/shop"]);
    }

    #[test]
    fn only_the_same_host_and_path_are_the_same() {
        let ours = "https://github.com/acme/shop";
        for other in [
            "https://evilgithub.com/acme/shop",
            "https://github.com.evil.example/acme/shop",
            "https://x.github.com/acme/shop",
            "https://evil.example/github.com/acme/shop",
            "https://evil.example/https://github.com/acme/shop",
            "https://github.com@evil.example/acme/shop",
            "git@evil.example:github.com/acme/shop",
            "https://github.com/acme/shop2",
            "https://github.com/acme/sho",
            "https://github.com/acme/shop/.git",
            "https://github.com/acme/shop.git.git",
            "https://github.com/acme/x/shop",
            "https://github.com/acme",
            "https://github.com/xacme/shop",
            "https://github.com/acme/sh%256fp",
            "https:github.com/acme/shop",
            "https://github.com/acme/_full/shop",
        ] {
            differ(other, ours);
            differ(ours, other);
        }
    }

    #[test]
    fn what_names_no_repository_on_a_host_is_none() {
        for text in [
            "",
            " ",
            "/",
            ":",
            "@",
            "acme/shop",
            "/srv/git/shop.git",
            "./a:b",
            "file:///srv/git/shop.git",
            "ftp://github.com/acme/shop",
            "https://",
            "https://github.com",
            "https://github.com/",
            "https:///acme/shop",
            "ssh://github.com",
            "git@github.com:",
            "git@github.com:/",
            ":acme/shop",
            "git@:acme/shop",
            "git@[::1:acme/shop",
            "user:password@github.com:acme/shop",
            "https://github.com/acme/shop?x=1",
            "https://github.com/acme/shop#x",
            "git@github.com:acme/shop?x",
            "git@github.com:acme/../shop",
            "https://github.com/evil/../acme/shop",
            "https://github.com/acme/./shop",
            "https://github.com/acme/shop/.",
            "https://github.com/acme/shop/x/..",
            "https://github.com/../acme/shop",
            "https://github.com/evil/%2e%2e/acme/shop",
            "https://github.com/evil/.%2E/acme/shop",
            "https://github.com/%2E/acme/shop",
            "https://github.com/evil%2f..%2facme/shop",
            "https://github.com/evil/..%2facme/shop",
            "ssh://git@github.com/evil/../acme/shop",
            "git://github.com/evil/../acme/shop",
            "git@github.com:../acme/shop",
            "git@github.com:evil/%2e%2e/acme/shop",
            "https://dev.azure.com/acme/evil/../_git/shop",
            "codecommit::eu-west-1://..",
            "https://github.com/acme/%ff",
            "https://github.com/acme/%0ashop",
            "https://github.com/ac\nme/shop",
            "https://github..com/acme/shop",
        ] {
            assert_eq!(RepoUrl::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn it_prints_without_the_user() {
        assert_eq!(
            url("https://user:hunter2@Git.Acme.Example:8443/a/b.git").to_string(),
            "git.acme.example:8443/a/b"
        );
        assert_eq!(url("git@git.acme.example:a/b").to_string(), "git.acme.example/a/b");
    }

    #[test]
    fn the_public_hosts_belong_to_their_service() {
        for (text, service) in [
            ("git@ssh.github.com:a/b", Some(Service::GitHub)),
            ("https://x.github.com/a/b", Some(Service::GitHub)),
            ("https://acme.ghe.com/a/b", Some(Service::GitHub)),
            ("https://gitlab.com/a/b", Some(Service::GitLab)),
            ("https://bitbucket.org/a/b", Some(Service::BitbucketCloud)),
            ("https://gitee.com/a/b", Some(Service::Gitee)),
            ("https://dev.azure.com/a/b", Some(Service::AzureDevOps)),
            ("https://acme.visualstudio.com/a", Some(Service::AzureDevOps)),
            ("git@vs-ssh.visualstudio.com:v3/a/b/c", Some(Service::AzureDevOps)),
            ("codecommit::eu-west-1://a", Some(Service::CodeCommit)),
            ("https://evilgithub.com/a/b", None),
            ("https://github.com.evil.example/a/b", None),
            ("https://vm.westeurope.cloudapp.azure.com/a/b", None),
            ("https://ec2-1-2-3-4.compute.amazonaws.com/a/b", None),
        ] {
            assert_eq!(url(text).service(), service, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".*") {
            let _ = RepoUrl::parse(&text);
        }

        #[test]
        fn anything_that_looks_like_a_url_is_read_without_panic(
            text in "(https?|ssh|git|codecommit:)?(://|:)?[a-z@:.%/\\[\\]?#_ äΣ0-9]{0,40}",
        ) {
            if let Some(url) = RepoUrl::parse(&text) {
                prop_assert!(!url.host.is_empty() && !url.path.is_empty());
                prop_assert_eq!(lower_case(&url.path), url.path.as_str());
            }
        }
    }
}
