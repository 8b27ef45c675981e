//! A repository's identity, whatever form of URL names it; `repo_url/plain` has the short way to it, `repo_url/service`
//! knows the public services and what they are also called, `repo_url/aliases` what an operator says so, `event` compares
//! a payload's URLs with a GitRepo's.

mod aliases;
mod azure;
mod plain;
#[cfg(test)]
mod properties;
mod service;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
};

use percent_encoding::percent_decode_str;
use url::{Host, Url};

pub use self::{
    aliases::{HostAliases, NotAliases},
    service::Service,
};

/// A repository, by where it is: host and path, read from a URL or from `user@host:path`.
///
/// Two texts that name the same repository read as the same host and path: scheme, user, default port, slashes that
/// separate nothing and one trailing `.git` are dropped (but on Azure DevOps, where it is part of the name),
/// percent-escapes are decoded, letters are lower-case, and the names that a public service has beside its first one
/// are replaced by that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoUrl {
    web: bool,
    host: String,
    port: Option<u16>,
    path: String,
    /// Whether the path may go on to the left: Bitbucket Server may be behind any context path, which is not always known.
    behind_any_context: bool,
    /// Whether each port of the host is a server of its own, as an operator says who gives names to some of them.
    each_port_is_a_server: bool,
}

impl RepoUrl {
    /// Reads a URL (`https`, `http`, `ssh`, `git`), `[user@]host:path` or `codecommit::region://name`.
    ///
    /// `None` for what names no repository on a host: no host or path, a query or a fragment, another scheme,
    /// escapes that are not UTF-8, control characters, `.` and `..`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        plain::parse(text).or_else(|| Self::parse_anything(text))
    }

    /// The same for texts of every form; `plain` knows those that most are of.
    fn parse_anything(text: &str) -> Option<Self> {
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
        Some(Self::at(web, host, port, path))
    }

    /// The one at `path`, which is canonical as `host` is, and of which nothing more is known.
    const fn at(web: bool, host: String, port: Option<u16>, path: String) -> Self {
        let (behind_any_context, each_port_is_a_server) = (false, false);
        Self { web, host, port, path, behind_any_context, each_port_is_a_server }
    }

    /// The same web URL, `…/scm/KEY/slug`, behind any context path.
    #[must_use]
    pub(crate) fn behind_any_context(self) -> Self {
        Self { behind_any_context: true, ..self }
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

    /// Says whether a GitRepo at `spec_repo` is at this URL of a payload, if it is at one of them at all. Ports tell
    /// servers apart only where both URLs are of the web and both name one: behind a load balancer or a proxy the same
    /// server has another port, and SSH is on another one in any case.
    pub(crate) fn is_where(&self, spec_repo: &Self) -> bool {
        let is_server = match (self.port, spec_repo.port) {
            (one, other) if self.each_port_is_a_server => one == other,
            (Some(one), Some(other)) if self.web && spec_repo.web => one == other,
            _ => true,
        };
        let same_path = self.path == spec_repo.path
            || (self.behind_any_context && spec_repo.context_before(&self.path).is_some());
        is_server && self.host == spec_repo.host && same_path
    }

    /// What is before `path`, with its slash, where this web URL ends with that; nothing where it is all.
    pub(crate) fn context_before(&self, path: &str) -> Option<&str> {
        let context = self.path.strip_suffix(path).filter(|_| self.web)?;
        (context.is_empty() || context.ends_with('/')).then_some(context)
    }

    /// A hash of the path alone, equal for all URLs that may name the same repository: of Bitbucket Server's
    /// `…/scm/KEY/slug` it is that of `KEY/slug`, as over SSH.
    ///
    /// It is keyed by `state`, so that nobody can make many repositories share one.
    pub fn key(&self, state: &RandomState) -> u64 {
        let segments: Vec<&str> = self.path.split('/').collect();
        match segments.as_slice() {
            [.., "scm", key, slug] => state.hash_one(&*format!("{key}/{slug}")),
            _ => state.hash_one(&*self.path),
        }
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
    // A base URL that ends with a slash makes two of them, which separate no more than one.
    let segments: Vec<&str> = decoded.split('/').filter(|segment| !segment.is_empty()).collect();
    // Escaped slashes make segments that were none.
    let names_something =
        !segments.is_empty() && !segments.iter().any(|segment| matches!(*segment, "." | ".."));
    names_something.then(|| lower_case(&segments.join("/")))
}

/// Drops the ending that is not part of the name. A last segment that is nothing but `.git` is a name.
fn without_ending(path: &str) -> &str {
    match path.strip_suffix(".git") {
        Some(named) if !named.is_empty() && !named.ends_with('/') => named,
        _ => path,
    }
}

/// Lower case, letter by letter: what `str::to_lowercase` does to a letter depends on its neighbours.
pub(crate) fn lower_case(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}
