//! The many URLs of one repository on Azure DevOps; `service` asks here.
//!
//! All of them become `ORGANIZATION/PROJECT/_git/REPOSITORY`, the project left out where it has the repository's
//! name, as Azure itself leaves it out.
//! <https://learn.microsoft.com/en-us/azure/devops/extend/develop/work-with-urls>,
//! <https://learn.microsoft.com/en-us/azure/devops/repos/git/use-ssh-keys-to-authenticate>

/// The path on `dev.azure.com` of a repository on Azure DevOps Services; `None` for what is none.
pub(super) fn cloud_path(host: &str, user: &str, path: &str, web: bool) -> Option<String> {
    let segments = segments(path);
    if let (
        "ssh.dev.azure.com" | "vs-ssh.visualstudio.com",
        ["v3", organization, project, repository],
    ) = (host, segments.as_slice())
    {
        return Some(without_project(&[organization, project], repository));
    }
    let (organization, rest) = match (host, segments.as_slice()) {
        ("dev.azure.com", [organization, rest @ ..]) => (*organization, rest),
        ("vs-ssh.visualstudio.com", rest) => (user, rest),
        (_, rest) => (host.strip_suffix(".visualstudio.com")?, rest),
    };
    // Before the project, and in some deliveries of old organizations behind it.
    let rest: Vec<&str> = match rest {
        ["defaultcollection", rest @ ..] => rest.to_vec(),
        [project, "defaultcollection", rest @ ..] => [&[*project], rest].concat(),
        _ => rest.to_vec(),
    };
    if organization.is_empty() || organization.contains('.') {
        return None;
    }
    match rest.as_slice() {
        [marker, repository] if is_marker(marker, web) => {
            Some(without_project(&[organization], repository))
        }
        [project, marker, repository] if is_marker(marker, web) => {
            Some(without_project(&[organization, project], repository))
        }
        _ => None,
    }
}

/// The path of a repository on an Azure DevOps Server, `[DIRECTORY/]COLLECTION/[PROJECT/]_git/REPOSITORY`; `None` for
/// what is none.
///
/// Whether there is a virtual directory, such as `tfs`, is not to be seen. So everything at the end that has the
/// repository's name is left out: the project, and the collection before it. On one server that makes no two
/// repositories one, since either all of its paths begin with its directory or none does.
pub(super) fn server_path(path: &str, web: bool) -> Option<String> {
    match segments(path).as_slice() {
        [before @ .., marker, repository] if is_marker(marker, web) => {
            Some(without_project(before, repository))
        }
        _ => None,
    }
}

/// The segments without the `_full` or `_optimized` before the last one: with "Limited refs", a clone says by them which
/// refs it wants. No project's name begins with an underscore.
fn segments(path: &str) -> Vec<&str> {
    let mut segments: Vec<&str> = path.split('/').collect();
    if let [before @ .., "_full" | "_optimized", _] = segments.as_slice() {
        let at = before.len();
        segments.remove(at);
    }
    segments
}

/// `_git`, which old SSH URLs call `_ssh`.
fn is_marker(segment: &str, web: bool) -> bool {
    segment == "_git" || (!web && segment == "_ssh")
}

/// Joins the parts, without what has the repository's name at the end of `before`; the first part stays.
fn without_project(before: &[&str], repository: &str) -> String {
    let mut parts = before.to_vec();
    while parts.len() > 1 && parts.last() == Some(&repository) {
        parts.pop();
    }
    parts.extend(["_git", repository]);
    parts.join("/")
}
