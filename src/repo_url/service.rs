//! The public hosting services: which hosts are theirs, and the other names of one repository there; Azure DevOps
//! has so many that they are in `azure`.

use super::{azure, without_ending};

/// A hosting service on hosts that everybody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `github.com` and `ghe.com`, its tenants' domain.
    GitHub,
    /// `gitlab.com`
    GitLab,
    /// `bitbucket.org`
    BitbucketCloud,
    /// `gitee.com`
    Gitee,
    /// `dev.azure.com` and `visualstudio.com`
    AzureDevOps,
    /// `git-codecommit.REGION.amazonaws.com`
    CodeCommit,
}

/// The domains of the services, which own their subdomains too.
const DOMAINS: [(&str, Service); 7] = [
    ("github.com", Service::GitHub),
    ("ghe.com", Service::GitHub),
    ("gitlab.com", Service::GitLab),
    ("bitbucket.org", Service::BitbucketCloud),
    ("gitee.com", Service::Gitee),
    ("dev.azure.com", Service::AzureDevOps),
    ("visualstudio.com", Service::AzureDevOps),
];

/// Hosts where SSH is served on port 443, for networks that let nothing else out, and the host they stand for.
///
/// <https://docs.github.com/en/authentication/troubleshooting-ssh/using-ssh-over-the-https-port>,
/// <https://support.atlassian.com/bitbucket-cloud/docs/use-the-ssh-protocol-with-bitbucket-cloud/>
const SSH_ON_443: [(&str, &str); 3] = [
    ("ssh.github.com", "github.com"),
    ("altssh.gitlab.com", "gitlab.com"),
    ("altssh.bitbucket.org", "bitbucket.org"),
];

impl Service {
    pub(super) fn of(host: &str) -> Option<Self> {
        let within = |domain: &str| {
            host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if codecommit_host(host).is_some() {
            return Some(Self::CodeCommit);
        }
        DOMAINS.iter().find(|(domain, _)| within(domain)).map(|(_, service)| *service)
    }
}

/// Replaces what a public service calls a repository beside its first name by that one, and drops `.git` where it is an
/// ending: Azure DevOps has it as a part of the name.
pub(super) fn canonical(host: &str, user: &str, path: &str, web: bool) -> (String, String) {
    if let Some(path) = azure::cloud_path(host, user, path, web) {
        return ("dev.azure.com".to_owned(), path);
    }
    if let Some(host) = codecommit_host(host) {
        return (host, without_ending(path).to_owned());
    }
    let path = azure::server_path(path, web).unwrap_or_else(|| without_ending(path).to_owned());
    (first_name(host).to_owned(), path)
}

/// The first name of a host that a public service has under several.
pub(super) fn first_name(host: &str) -> &str {
    if let Some((_, name)) = SSH_ON_443.iter().find(|(alias, _)| *alias == host) {
        return name;
    }
    match host.strip_prefix("www.") {
        Some(name @ ("github.com" | "gitlab.com" | "bitbucket.org" | "gitee.com")) => name,
        _ => host,
    }
}

/// Drops the `443/` of `git@ssh.github.com:443/owner/name`: such a host serves nothing but that port.
pub(super) fn without_scp_port<'p>(host: &str, path: &'p str) -> &'p str {
    if SSH_ON_443.iter().any(|(alias, _)| *alias == host) {
        return path.strip_prefix("443/").unwrap_or(path);
    }
    path
}

/// The host of a region's CodeCommit; its FIPS endpoint has the same repositories.
///
/// <https://docs.aws.amazon.com/codecommit/latest/userguide/regions.html>
fn codecommit_host(host: &str) -> Option<String> {
    let labels: Vec<&str> = host.split('.').collect();
    match labels.as_slice() {
        ["git-codecommit" | "git-codecommit-fips", region, domain @ ..]
            if matches!(domain, ["amazonaws", "com"] | ["amazonaws", "com", "cn"]) =>
        {
            Some(format!("git-codecommit.{region}.{}", domain.join(".")))
        }
        _ => None,
    }
}

/// The URL that `codecommit::region://[profile@]name` of AWS's remote helper stands for.
///
/// <https://docs.aws.amazon.com/codecommit/latest/userguide/setting-up-git-remote-codecommit.html>
pub(super) fn codecommit_url(rest: &str) -> Option<String> {
    let (region, name) = rest.split_once("://")?;
    let name = name.rsplit('@').next().unwrap_or(name);
    let is_region = |region: &str| region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if region.is_empty() || !is_region(region) || name.is_empty() || name.contains('/') {
        return None;
    }
    let country = if region.starts_with("cn-") { ".cn" } else { "" };
    Some(format!("ssh://git-codecommit.{region}.amazonaws.com{country}/v1/repos/{name}"))
}
