//! Other names of a server that only its operator knows (`HOST_ALIASES`, contract §4): a name within the cluster, a
//! mirror, an SSH host of its own. What a public service is also called, `service` knows.

use std::{collections::BTreeMap, str::FromStr};

use super::{RepoUrl, canonical_host, plain::OWN_PORTS, service};

/// Names that stand for other hosts, as `alias=host,…`. A name may have a port, and then it is that port alone, on a host
/// of which each port is a server of its own. The port that a scheme has of its own is none, as in a URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostAliases(BTreeMap<Authority, Authority>);

/// A host in its canonical form, and the port where one is named.
type Authority = (String, Option<u16>);

/// It is not `alias=host,…`, or an alias stands for itself.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not host names as alias=host, separated by commas, each alias once")]
pub struct NotAliases;

impl FromStr for HostAliases {
    type Err = NotAliases;

    fn from_str(text: &str) -> Result<Self, NotAliases> {
        let mut aliases = BTreeMap::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (alias, host) = pair.split_once('=').ok_or(NotAliases)?;
            let [Some(alias), Some(host)] = [alias, host].map(authority) else {
                return Err(NotAliases);
            };
            if alias == host {
                return Err(NotAliases);
            }
            // One that a public service has beside its first name is known.
            let [alias, host] = [alias, host].map(first_name);
            if alias != host && aliases.insert(alias, host).is_some() {
                return Err(NotAliases);
            }
        }
        let aliases = Self(aliases);
        let all_end = aliases.0.values().all(|host| aliases.end_of(host).is_some());
        if all_end { Ok(aliases) } else { Err(NotAliases) }
    }
}

impl HostAliases {
    /// A repository under the name of the server that its host stands for, which is the one that counts, and then under
    /// every other name of that server.
    ///
    /// Whoever comes by another name comes by another port: an alias without a port is compared without one.
    pub(crate) fn names_of(&self, url: &RepoUrl) -> Vec<RepoUrl> {
        let own = (url.host.clone(), url.port);
        let server = self.end_of(&own).unwrap_or(&own);
        let others = self.0.iter().filter(|(_, host)| {
            self.end_of(host).is_some_and(|end| end.0 == server.0 && fits(end.1, server.1))
        });
        let names = std::iter::once(server).chain(others.map(|(alias, _)| alias));
        let mut urls: Vec<RepoUrl> = Vec::new();
        for (host, port) in names.chain([&own]) {
            let each_port_is_a_server = self.are_ports_servers_of(host);
            let (host, port) = (host.clone(), *port);
            let named = RepoUrl { host, port, each_port_is_a_server, ..url.clone() };
            if !urls.contains(&named) {
                urls.push(named);
            }
        }
        urls
    }

    /// A repository under the name of the server that its host stands for.
    pub(crate) fn server_of(&self, url: &RepoUrl) -> RepoUrl {
        let own = (url.host.clone(), url.port);
        let (host, port) = self.end_of(&own).unwrap_or(&own).clone();
        RepoUrl { host, port, ..url.clone() }
    }

    /// Whether a port of the host has a name of its own, so that no other may be taken for it.
    fn are_ports_servers_of(&self, host: &str) -> bool {
        self.0.keys().any(|(alias, port)| alias == host && port.is_some())
    }

    fn standing_for(&self, (host, port): &Authority) -> Option<&Authority> {
        self.0.get(&(host.clone(), *port)).or_else(|| self.0.get(&(host.clone(), None)))
    }

    /// The host at the end of a chain of aliases; `None` where it has no end.
    fn end_of<'a>(&'a self, host: &'a Authority) -> Option<&'a Authority> {
        let mut end = host;
        for _ in 0..=self.0.len() {
            match self.standing_for(end) {
                Some(next) => end = next,
                None => return Some(end),
            }
        }
        None
    }
}

const fn fits(one: Option<u16>, other: Option<u16>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

fn authority(text: &str) -> Option<Authority> {
    let text = text.trim();
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, Some(port.parse().ok()?))
        }
        _ => (text, None),
    };
    if host.contains(['/', '@']) {
        return None;
    }
    Some((canonical_host(host)?, port.filter(|port| !OWN_PORTS.contains(port))))
}

fn first_name((host, port): Authority) -> Authority {
    (service::first_name(&host).to_owned(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(aliases: &str, url: &str) -> Vec<String> {
        let aliases: HostAliases = aliases.parse().expect("are aliases");
        let url = RepoUrl::parse(url).expect("names a repository");
        aliases.names_of(&url).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_server_is_known_by_each_of_its_names_and_by_its_own_first() {
        let aliases = "Git.svc=git.example, ssh.git.example=git.example,other.svc=other.example";
        for (url, expected) in [
            (
                "https://git.example/a/b",
                &["git.example/a/b", "git.svc/a/b", "ssh.git.example/a/b"][..],
            ),
            (
                "https://git.example:8443/a/b",
                &["git.example:8443/a/b", "git.svc/a/b", "ssh.git.example/a/b"],
            ),
            (
                "http://git.svc:3000/a/b",
                &["git.example/a/b", "git.svc/a/b", "ssh.git.example/a/b", "git.svc:3000/a/b"],
            ),
            ("https://nobody.example/a/b", &["nobody.example/a/b"]),
            ("https://x.git.example/a/b", &["x.git.example/a/b"]),
        ] {
            assert_eq!(names(aliases, url), expected, "{url}");
        }
    }

    #[test]
    fn an_alias_with_a_port_is_that_port_alone() {
        let aliases = "proxy.example:8001=one.example,proxy.example:8002=two.example:3000";
        assert_eq!(
            names(aliases, "http://proxy.example:8001/a/b"),
            ["one.example/a/b", "proxy.example:8001/a/b"]
        );
        assert_eq!(
            names(aliases, "http://two.example:3000/a/b"),
            ["two.example:3000/a/b", "proxy.example:8002/a/b"]
        );
        assert_eq!(names(aliases, "http://two.example:4000/a/b"), ["two.example:4000/a/b"]);
        assert_eq!(names(aliases, "http://proxy.example/a/b"), ["proxy.example/a/b"]);
    }

    #[test]
    fn an_alias_of_an_alias_is_the_same_server() {
        assert_eq!(
            names("a.example=b.example,b.example=c.example", "https://a.example/x/y"),
            ["c.example/x/y", "a.example/x/y", "b.example/x/y"]
        );
    }

    #[test]
    fn an_alias_may_stand_for_any_name_of_a_public_service() {
        let github = ["github.com/a/b", "proxy.svc/a/b"];
        for aliases in
            ["proxy.svc=github.com", "proxy.svc=ssh.github.com", "proxy.svc=www.github.com"]
        {
            assert_eq!(names(aliases, "https://github.com/a/b"), github, "{aliases}");
        }
        let known = names("ssh.github.com=github.com", "https://github.com/a/b");
        assert_eq!(known, ["github.com/a/b"]);
    }

    #[test]
    fn a_port_of_its_scheme_is_none() {
        let aliases = "proxy.example:80=one.example,proxy.example:8002=two.example:443";
        for url in ["http://proxy.example/a/b", "https://proxy.example:443/a/b"] {
            assert_eq!(names(aliases, url), ["one.example/a/b", "proxy.example/a/b"], "{url}");
        }
        assert_eq!(
            names(aliases, "https://two.example/a/b"),
            ["two.example/a/b", "proxy.example:8002/a/b"]
        );
    }

    #[test]
    fn where_ports_have_names_each_port_is_a_server_of_its_own() {
        let aliases: HostAliases =
            "proxy.example:8001=one.example,proxy.example:8002=two.example".parse().expect("are");
        let is = |payload: &str, spec: &str| {
            let [payload, spec] =
                [payload, spec].map(|url| RepoUrl::parse(url).expect("names a repository"));
            aliases.names_of(&payload).iter().any(|name| name.is_where(&spec))
        };
        for spec in ["http://proxy.example:8001/a/b", "ssh://git@proxy.example:8001/a/b"] {
            assert!(is("https://one.example/a/b", spec), "{spec}");
            assert!(is("https://proxy.example:8001/a/b", spec), "{spec}");
            for other in [
                "https://two.example/a/b",
                "http://proxy.example/a/b",
                "git@proxy.example:a/b",
                "ssh://git@proxy.example:2222/a/b",
                "ssh://git@proxy.example:8002/a/b",
            ] {
                assert!(!is(other, spec), "{other} is {spec}");
            }
        }
    }

    #[test]
    fn nothing_is_no_alias_and_anything_else_is_refused() {
        for empty in ["", " , "] {
            assert_eq!(empty.parse(), Ok(HostAliases::default()), "{empty:?}");
        }
        for text in [
            "a.example",
            "a.example=",
            "=b.example",
            "a.example=b.example/x",
            "https://a.example=b.example",
            "a.example=b.example:x",
            "a.example=a.example",
            "a.example=b.example,b.example=a.example",
            "a.example=b.example,A.example=c.example",
        ] {
            assert_eq!(text.parse::<HostAliases>(), Err(NotAliases), "{text}");
        }
    }
}
