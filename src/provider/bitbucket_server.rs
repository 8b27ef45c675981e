//! Bitbucket Server and Data Center:
//! [payloads](https://confluence.atlassian.com/bitbucketserver/event-payload-938025882.html) and
//! [signature](https://confluence.atlassian.com/bitbucketserver/manage-webhooks-938025878.html).

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use serde::Deserialize;

use super::{Hosts, IdIn, Malformed, Provider};
use crate::{
    delivery::Delivery,
    event::{After, CommitId, Event, GitRef, Push, RefUpdate, Refs, Repository},
    payload::{self, CloneLinks, Object, RefUpdates, Text, Update, missing},
    repo_url::RepoUrl,
    signature::{Scheme, Signed},
};

pub(super) static PROVIDER: Provider = Provider {
    name: "bitbucket-server",
    markers: &["x-event-key"],
    known_unmarked: Some(is_signed_as_bitbucket_does),
    event_header: Some("x-event-key"),
    delivery_id: IdIn::Headers(&["x-request-id"]),
    schemes: &[Scheme::HmacSha256 {
        key: "bitbucket-server",
        header: "x-hub-signature",
        prefix: "sha256=",
        over: Signed::RawBody,
    }],
    hosts: Hosts::SelfHosted,
    parse,
};

/// A proxy that drops the header which names the event leaves the signature: others have SHA-1 under that name.
fn is_signed_as_bitbucket_does(delivery: &Delivery) -> bool {
    delivery.header("x-hub-signature").is_some_and(|signature| signature.starts_with("sha256="))
}

#[derive(Deserialize)]
struct Payload {
    repository: Option<Object<NamedRepository>>,
    changes: Option<RefUpdates<Change>>,
    #[serde(rename = "toCommit")]
    to_commit: Option<Object<ToCommit>>,
    /// More refs than the mirror tells of; `changes` is empty then, as it is documented.
    #[serde(rename = "refLimitExceeded")]
    ref_limit_exceeded: Option<bool>,
}

/// Before version 7 there are no `links`.
#[derive(Deserialize)]
struct NamedRepository {
    slug: Option<Text>,
    project: Option<Object<Project>>,
    links: Option<Object<Links>>,
}

#[derive(Deserialize)]
struct Project {
    key: Option<Text>,
}

#[derive(Deserialize)]
struct Links {
    clone: Option<CloneLinks<Link>>,
}

#[derive(Deserialize)]
struct Link {
    href: Option<Text>,
}

#[derive(Deserialize)]
struct CloudPush {
    repository: Option<Object<CloudRepository>>,
}

#[derive(Deserialize)]
struct CloudRepository {
    links: Option<Object<CloudLinks>>,
}

#[derive(Deserialize)]
struct CloudLinks {
    html: Option<Object<Link>>,
}

#[derive(Deserialize)]
struct Change {
    r#ref: Option<Object<Ref>>,
    #[serde(rename = "fromHash")]
    from_hash: Option<Text>,
    #[serde(rename = "toHash")]
    to_hash: Option<Text>,
    r#type: Option<Text>,
}

#[derive(Deserialize)]
struct Ref {
    id: Option<Text>,
}

#[derive(Deserialize)]
struct ToCommit {
    id: Option<Text>,
}

fn parse(kind: Option<&str>, json: &[u8]) -> Result<Event, Malformed> {
    match kind {
        Some("repo:refs_changed" | "mirror:repo_synchronized") => push(payload::object(json)?),
        Some("diagnostics:ping") => {
            payload::object::<payload::Anything>(json).map(|_| Event::Ping(None))
        }
        Some("repo:push") => shaped_as_the_clouds(&payload::object(json)?),
        _ => payload::ignored(json, "not a push"),
    }
}

/// The "Post Webhooks" plugin sends bodies in the shape of Bitbucket Cloud's, and signs none; a push of Bitbucket Cloud
/// itself is here only if a proxy drops the header by which it is known.
fn shaped_as_the_clouds(push: &CloudPush) -> Result<Event, Malformed> {
    let links = push.repository.as_ref().and_then(|repository| repository.links.as_ref());
    let html = links.and_then(|links| links.html.as_ref()).and_then(|html| html.href.as_deref());
    let is_of_the_cloud = html.and_then(RepoUrl::parse).is_some_and(|url| url.service().is_some());
    if is_of_the_cloud {
        return Err(Malformed(
            "header x-hook-uuid: missing, and Bitbucket Cloud sends it".to_owned(),
        ));
    }
    Ok(Event::Ignored("a plugin's webhook; add one of Bitbucket's own instead"))
}

fn push(payload: Payload) -> Result<Event, Malformed> {
    let named = payload.repository.as_ref().ok_or_else(|| missing("repository"))?;
    let repository = by_links(named).or_else(|| by_key_and_slug(named));
    Ok(Event::Push(Push {
        repository: repository.ok_or_else(|| missing("repository.links.clone"))?,
        refs: refs(payload)?,
    }))
}

fn refs(payload: Payload) -> Result<Refs, Malformed> {
    let are_more = payload.ref_limit_exceeded == Some(true);
    let changes = match payload.changes {
        Some(changes) => changes,
        None if are_more => RefUpdates::default(),
        None => return Err(missing("changes")),
    };
    let is_alone = changes.count() == 1 && !are_more;
    let (mut named, and_more) = changes.read()?;
    // `toHash` of an annotated tag is the tag object. Where more than one ref moved, it is not said whose commit
    // `toCommit` is.
    if let ([tag], true) = (named.as_mut_slice(), is_alone)
        && let (GitRef::Tag(_), After::Commit(_)) = (&tag.git_ref, &tag.after)
        && let Some(commit) =
            payload.to_commit.and_then(|commit| CommitId::parse(commit.id.as_deref()?))
    {
        tag.after = After::Commit(commit);
    }
    Ok(Refs::new(named, and_more || are_more))
}

impl Update for Change {
    fn update(self) -> Result<Option<RefUpdate>, Malformed> {
        let full_ref = self.r#ref.as_ref().and_then(|moved| moved.id.as_deref());
        let full_ref = full_ref.ok_or_else(|| missing("changes[].ref.id"))?;
        let to_hash = self.to_hash.ok_or_else(|| missing("changes[].toHash"))?;
        let after = match self.r#type.as_deref() {
            Some("DELETE") => After::Deleted,
            _ => After::id(&to_hash),
        };
        Ok(RefUpdate::of(full_ref, self.from_hash.as_deref(), after))
    }
}

fn by_links(named: &NamedRepository) -> Option<Repository> {
    let links = named.links.as_ref()?.clone.as_ref()?;
    let hrefs = links.iter().filter_map(|link| link.href.as_deref());
    let Repository::Urls(mut urls) = Repository::from_urls(hrefs)? else { return None };
    let others: Vec<_> = urls.iter().filter_map(|url| other_transport(url, &urls)).collect();
    urls.extend(others);
    Some(Repository::Urls(urls))
}

/// The URL over the transport that no link has on the host of this one: an administrator has switched it off or put it
/// elsewhere, and GitRepos may have it nevertheless, or reach the same server through a proxy that still serves it.
///
/// `…/scm/KEY/slug` over HTTP is `/KEY/slug` over SSH; the port is not known, nor what is before `scm`.
fn other_transport(url: &RepoUrl, links: &[RepoUrl]) -> Option<RepoUrl> {
    let host = url.host();
    if links.iter().any(|link| link.is_web() != url.is_web() && link.host() == host) {
        return None;
    }
    if url.is_web() {
        let segments: Vec<&str> = url.path().split('/').collect();
        let [.., "scm", key, slug] = segments.as_slice() else { return None };
        return RepoUrl::parse(&format!("ssh://{host}/{key}/{slug}"));
    }
    let url = RepoUrl::parse(&format!("https://{host}/scm/{}", url.path()))?;
    Some(url.behind_any_context())
}

fn by_key_and_slug(named: &NamedRepository) -> Option<Repository> {
    let is_name = |name: &&str| !name.is_empty() && !name.contains('/');
    let project = named.project.as_ref()?.key.as_deref().filter(is_name)?.to_owned();
    let slug = named.slug.as_deref().filter(is_name)?.to_owned();
    Some(Repository::Hostless { project, slug })
}
