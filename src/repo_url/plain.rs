//! The short way to a repository's identity, for texts that can be read in one way only. Most are such, each delivery has
//! several, and so has each GitRepo that is looked at: the long way takes fifteen times as long.

use super::{RepoUrl, without_ending};

/// What stands before the host, and whether it is of the web.
const BEGINNINGS: [(&str, bool); 5] = [
    ("https://", true),
    ("http://", true),
    ("ssh://git@", false),
    ("git://", false),
    ("ssh://", false),
];

/// The ports that one of these schemes has of its own: the long way knows which.
pub(super) const OWN_PORTS: [u16; 4] = [22, 80, 443, 9418];

/// Names of hosts with these in them may belong to a service that calls one repository by several names.
const PERHAPS_SPECIAL: [&str; 6] = ["azure", "visualstudio", "amazonaws", "ssh", "www", "xn--"];

/// Reads what the long way reads to the same; `None` for everything else.
pub(super) fn parse(text: &str) -> Option<RepoUrl> {
    let beginning = BEGINNINGS.iter().find_map(|(beginning, web)| {
        text.strip_prefix(beginning).map(|rest| (rest.split_once('/'), *web))
    });
    let (split, web) = beginning.unwrap_or_else(|| {
        (text.strip_prefix("git@").and_then(|rest| rest.split_once(':')), false)
    });
    let (host, path) = split?;
    let (host, port) = match host.split_once(':') {
        Some((host, port)) => (host, Some(plain_port(port)?)),
        None => (host, None),
    };
    if !is_plain_host(host) || !is_plain_path(path) {
        return None;
    }
    let mut path = path.to_ascii_lowercase();
    path.truncate(without_ending(&path).len());
    Some(RepoUrl::at(web, host.to_owned(), port, path))
}

/// A port that is written in one way alone, and is no scheme's own.
fn plain_port(port: &str) -> Option<u16> {
    let is_plain = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    let port = port.parse().ok().filter(|_| is_plain)?;
    (!OWN_PORTS.contains(&port)).then_some(port)
}

/// A name in lower case, of a domain that is not all digits: nothing in it is decoded, and it is no address.
fn is_plain_host(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    last.starts_with(|first: char| first.is_ascii_lowercase())
        && host.split('.').all(is_label)
        && !PERHAPS_SPECIAL.iter().any(|special| host.contains(special))
}

/// Names between single slashes, without escapes, dots alone, or what begins with an underscore, as Azure's markers do.
fn is_plain_path(path: &str) -> bool {
    path.split('/').all(|segment| {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        !matches!(segment, "" | "." | "..")
            && !segment.starts_with('_')
            && segment.bytes().all(is_name)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of what texts are made that are plain or nearly so.
    const STARTS: [&str; 9] = [
        "https://",
        "http://",
        "ssh://",
        "ssh://git@",
        "git://",
        "git@",
        "git+ssh://",
        "HTTPS://",
        "me@",
    ];
    const HOSTS: [&str; 16] = [
        "github.com",
        "git.acme.example",
        "www.github.com",
        "ssh.github.com",
        "dev.azure.com",
        "ssh.dev.azure.com",
        "acme.visualstudio.com",
        "git-codecommit.eu-central-1.amazonaws.com",
        "127.0.0.1",
        "0x7f.1",
        "a.1",
        "xn--bcher-kva.example",
        "Git.Example",
        "git.example.",
        "git..example",
        "localhost",
    ];
    const BETWEEN: [&str; 11] =
        ["/", ":", "//", ":443/", ":22/", ":/", ":7999/", ":07999/", ":+7999/", ":79990/", ":0/"];
    const SEGMENTS: [&str; 19] = [
        "acme",
        "Shop",
        "shop.git",
        "shop.GIT",
        ".git",
        ".",
        "..",
        "",
        "%2e%2e",
        "_git",
        "_ssh",
        "_full",
        "_optimized",
        "v3",
        "scm",
        "a?x",
        "a#x",
        "\u{e9}",
        "443",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn the_short_way_leads_where_the_long_one_leads(
            start in prop::sample::select(&STARTS[..]),
            host in prop::sample::select(&HOSTS[..]),
            between in prop::sample::select(&BETWEEN[..]),
            segments in prop::collection::vec(prop::sample::select(&SEGMENTS[..]), 1..5),
        ) {
            let text = format!("{start}{host}{between}{}", segments.join("/"));
            if let Some(plain) = parse(&text) {
                prop_assert_eq!(Some(plain), RepoUrl::parse_anything(&text), "{}", text);
            }
        }

        #[test]
        fn what_forges_write_is_plain(
            beginning in prop::sample::select(vec!["https://git.acme.example/", "git@git.acme.example:", "ssh://git@github.com/", "ssh://git@git.acme.example:7999/"]),
            path in "[A-Za-z0-9][A-Za-z0-9._-]{0,9}(/[A-Za-z0-9][A-Za-z0-9._-]{0,9}){0,3}(\\.git)?",
        ) {
            let text = format!("{beginning}{path}");
            prop_assert!(parse(&text).is_some(), "{}", text);
            prop_assert_eq!(parse(&text), RepoUrl::parse_anything(&text), "{}", text);
        }
    }
}
