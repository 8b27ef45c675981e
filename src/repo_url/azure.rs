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
        return Some(without_project(&[organization, project], repository, 1));
    }
    let (organization, rest) = match (host, segments.as_slice()) {
        ("dev.azure.com", [organization, rest @ ..]) => (*organization, rest),
        ("vs-ssh.visualstudio.com", rest) => (user, rest),
        (_, rest) => (host.strip_suffix(".visualstudio.com")?, rest),
    };
    let rest = match rest {
        ["defaultcollection", rest @ ..] => rest,
        _ => rest,
    };
    if organization.is_empty() || organization.contains('.') {
        return None;
    }
    match rest {
        [marker, repository] if is_marker(marker, web) => {
            Some(without_project(&[organization], repository, 1))
        }
        [project, marker, repository] if is_marker(marker, web) => {
            Some(without_project(&[organization, project], repository, 1))
        }
        _ => None,
    }
}

/// The path of a repository on an Azure DevOps Server, `[tfs/]COLLECTION/[PROJECT/]_git/REPOSITORY`; `None` for
/// what is none.
pub(super) fn server_path(path: &str, web: bool) -> Option<String> {
    match segments(path).as_slice() {
        [before @ .., marker, repository] if is_marker(marker, web) => {
            let collection = if before.first() == Some(&"tfs") { 2 } else { 1 };
            Some(without_project(before, repository, collection))
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

/// Joins the parts; the last of `before` is a project if there are more than `collection`.
fn without_project(before: &[&str], repository: &str, collection: usize) -> String {
    let kept = match before {
        [kept @ .., project] if kept.len() >= collection && *project == repository => kept,
        _ => before,
    };
    let mut parts = kept.to_vec();
    parts.extend(["_git", repository]);
    parts.join("/")
}
