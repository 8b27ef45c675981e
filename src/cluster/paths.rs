//! Where what we read and patch is at the API server.

use std::fmt::Display;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a path segment may not hold as it is: all but RFC 3986's unreserved characters.
const PATH_SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The path of one GitRepo.
pub(crate) fn gitrepo_path(namespace: &str, name: &str) -> String {
    format!("{}/{}", gitrepos_path(Some(namespace)), encoded(name))
}

/// The path of a list of the GitRepos of this name, in a namespace or in all.
pub(crate) fn gitrepos_named(namespace: Option<&str>, name: &str) -> String {
    format!("{}?fieldSelector=metadata.name%3D{}", gitrepos_path(namespace), encoded(name))
}

/// The path of the GitRepos of a namespace, or of all.
pub(crate) fn gitrepos_path(namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => {
            format!("/apis/fleet.cattle.io/v1alpha1/namespaces/{}/gitrepos", encoded(namespace))
        }
        None => "/apis/fleet.cattle.io/v1alpha1/gitrepos".to_owned(),
    }
}

/// The path of a Kubernetes secret.
pub(crate) fn secret_path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{}/secrets/{}", encoded(namespace), encoded(name))
}

pub(crate) fn encoded(segment: &str) -> impl Display + '_ {
    utf8_percent_encode(segment, PATH_SEGMENT)
}
