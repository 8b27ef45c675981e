//! Bitbucket Server and Data Center:
//! [payloads](https://confluence.atlassian.com/bitbucketserver/event-payload-938025882.html) and
//! [signature](https://confluence.atlassian.com/bitbucketserver/manage-webhooks-938025878.html).

#[cfg(test)]
mod properties;

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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::provider::testing::{COMMIT, TAG_OBJECT, ZEROS, said};

    const HTTP: &str = "https://bitbucket.acme.example/scm/acme/shop.git";
    const SSH: &str = "ssh://git@bitbucket.acme.example:7999/acme/shop.git";
    const PLACES: &str =
        "bitbucket.acme.example/scm/acme/shop and bitbucket.acme.example:7999/acme/shop";

    fn repository(links: &[&str]) -> Value {
        let clone: Vec<_> = links.iter().map(|href| json!({ "href": href })).collect();
        json!({ "slug": "shop", "project": { "key": "ACME" }, "links": { "clone": clone } })
    }

    fn change(kind: &str, git_ref: &str, to: &str) -> Value {
        json!({ "ref": { "id": git_ref, "type": "BRANCH" }, "toHash": to, "type": kind })
    }

    fn pushed(repository: &Value, changes: &[Value]) -> String {
        let payload = json!({ "repository": repository, "changes": changes });
        said(&PROVIDER, "repo:refs_changed", &payload)
    }

    #[test]
    fn every_change_counts() {
        let changes = [
            change("UPDATE", "refs/heads/main", COMMIT),
            change("ADD", "refs/tags/v1", COMMIT),
            change("DELETE", "refs/heads/x", ZEROS),
            change("ADD", "refs/notes/x", COMMIT),
        ];
        assert_eq!(
            pushed(&repository(&[HTTP, SSH]), &changes),
            format!(
                "push of {PLACES}: \
                 refs/heads/main at 1f0c3a1, refs/tags/v1 at 1f0c3a1, refs/heads/x gone"
            )
        );
        assert_eq!(pushed(&repository(&[HTTP, SSH]), &[]), format!("push of {PLACES}: "));
    }

    #[test]
    fn an_annotated_tag_that_came_alone_moves_to_its_commit() {
        let pushed = |changes: &[Value]| {
            let repository = repository(&[HTTP, SSH]);
            let to_commit = json!({ "id": COMMIT });
            let payload =
                json!({ "repository": repository, "changes": changes, "toCommit": to_commit });
            said(&PROVIDER, "repo:refs_changed", &payload)
        };
        let tag = change("ADD", "refs/tags/v1", TAG_OBJECT);
        let event = pushed(std::slice::from_ref(&tag));
        assert_eq!(event, format!("push of {PLACES}: refs/tags/v1 at 1f0c3a1"));
        let event = pushed(&[tag, change("UPDATE", "refs/heads/main", COMMIT)]);
        let both = "refs/tags/v1 at 3d6a8c1, refs/heads/main at 1f0c3a1";
        assert_eq!(event, format!("push of {PLACES}: {both}"));
    }

    #[test]
    fn a_commit_of_the_tag_that_is_none_does_not_count() {
        for to_commit in [json!(null), json!({}), json!({ "id": "x" }), json!({ "id": ZEROS })] {
            let payload = json!({
                "repository": repository(&[HTTP, SSH]),
                "changes": [change("ADD", "refs/tags/v1", COMMIT)],
                "toCommit": to_commit,
            });
            let event = said(&PROVIDER, "repo:refs_changed", &payload);
            assert_eq!(event, format!("push of {PLACES}: refs/tags/v1 at 1f0c3a1"), "{to_commit}");
        }
    }

    #[test]
    fn a_mirror_tells_of_refs_or_that_there_were_too_many() {
        let synchronized = |too_many: bool, changes: &[Value]| {
            let repository = repository(&[HTTP, SSH]);
            let payload = json!({
                "repository": repository, "changes": changes, "refLimitExceeded": too_many,
            });
            said(&PROVIDER, "mirror:repo_synchronized", &payload)
        };
        for (too_many, others) in [(false, ""), (true, ", unknown refs")] {
            let event = synchronized(too_many, &[change("UPDATE", "refs/heads/main", COMMIT)]);
            assert_eq!(event, format!("push of {PLACES}: refs/heads/main at 1f0c3a1{others}"));
        }
        assert_eq!(synchronized(true, &[]), format!("push of {PLACES}: unknown refs"));
    }

    fn linked(links: &[&str]) -> Repository {
        let payload = json!({ "repository": repository(links), "changes": [] });
        let event = (PROVIDER.parse)(Some("repo:refs_changed"), payload.to_string().as_bytes());
        let Ok(Event::Push(push)) = event else { panic!("{links:?} is no push") };
        push.repository
    }

    fn is(links: &[&str], name: &str) -> bool {
        linked(links).is(&RepoUrl::parse(name).expect("names a repository"))
    }

    #[test]
    fn the_url_of_the_other_transport_is_made_up() {
        for (link, names) in [
            (HTTP, ["git@bitbucket.acme.example:acme/shop", HTTP]),
            (
                "https://acme.example/bitbucket/scm/scm/shop",
                [
                    "ssh://git@acme.example:7999/scm/shop",
                    "https://acme.example/bitbucket/scm/scm/shop.git",
                ],
            ),
            (SSH, ["http://bitbucket.acme.example:7990/scm/ACME/shop", SSH]),
        ] {
            for name in names {
                assert!(is(&[link], name), "{link} is not {name}");
            }
        }
    }

    #[test]
    fn it_is_made_up_for_each_host_of_the_links() {
        let links = [HTTP, "ssh://git@ssh.acme.example:7999/acme/shop.git"];
        for name in [
            HTTP,
            "ssh://git@bitbucket.acme.example:7999/acme/shop.git",
            "ssh://git@ssh.acme.example/acme/shop.git",
            "https://ssh.acme.example/scm/acme/shop.git",
        ] {
            assert!(is(&links, name), "{name}");
        }
        assert!(is(&links, "https://ssh.acme.example:8443/scm/acme/shop.git"));
        assert!(!is(&links, "https://other.acme.example/scm/acme/shop.git"));
    }

    #[test]
    fn what_is_on_another_port_of_the_web_is_another_repository() {
        let links = ["http://bitbucket.acme.example:7990/scm/acme/shop.git", SSH];
        assert!(is(&links, "http://bitbucket.acme.example:7990/scm/acme/shop"));
        assert!(is(&links, HTTP));
        assert!(!is(&links, "https://bitbucket.acme.example:8443/scm/acme/shop"));
    }

    #[test]
    fn what_the_links_do_not_say_of_the_context_path_may_be_anything() {
        for name in ["https://bitbucket.acme.example/stash/scm/acme/shop", HTTP] {
            assert!(is(&[SSH], name), "{name}");
        }
        for other in [
            "https://bitbucket.acme.example/stash/acme/shop",
            "https://bitbucket.acme.example/xscm/acme/shop",
            "https://other.acme.example/stash/scm/acme/shop",
        ] {
            assert!(!is(&[SSH], other), "{other}");
        }
        assert!(!is(&[HTTP, SSH], "https://bitbucket.acme.example/stash/scm/acme/shop"));
    }

    #[test]
    fn without_links_it_is_known_by_key_and_slug() {
        for links in [json!(null), json!({}), json!({ "clone": [] }), json!({ "clone": [{}] })] {
            let repository =
                json!({ "slug": "shop", "project": { "key": "ACME" }, "links": links });
            let event = pushed(&repository, &[change("UPDATE", "refs/heads/main", COMMIT)]);
            assert_eq!(event, "push of ACME/shop somewhere: refs/heads/main at 1f0c3a1");
        }
    }

    #[test]
    fn the_test_of_a_connection_is_a_ping() {
        assert_eq!(said(&PROVIDER, "diagnostics:ping", &json!({ "test": true })), "ping");
    }

    #[test]
    fn a_push_of_bitbucket_cloud_without_its_header_is_not_taken_for_a_plugins() {
        let push = |href: &str| json!({ "repository": { "links": { "html": { "href": href } } } });
        let said_of = |href: &str| said(&PROVIDER, "repo:push", &push(href));
        assert!(said_of("https://bitbucket.org/acme/shop").starts_with("header x-hook-uuid"));
        assert!(said_of("https://bitbucket.acme.example/acme/shop").starts_with("ignored"));
    }

    #[test]
    fn every_other_event_is_ignored() {
        for kind in ["repo:push", "repo:modified", "pr:opened", ""] {
            assert!(said(&PROVIDER, kind, &json!({})).starts_with("ignored"), "{kind}");
        }
    }

    #[test]
    fn what_bitbucket_server_does_not_send_is_malformed() {
        let moved = json!([change("UPDATE", "refs/heads/main", COMMIT)]);
        for (kind, payload) in [
            ("repo:refs_changed", json!([])),
            ("repo:refs_changed", json!({ "changes": moved })),
            ("repo:refs_changed", json!({ "changes": moved, "repository": null })),
            ("repo:refs_changed", json!({ "changes": moved, "repository": { "slug": "shop" } })),
            (
                "repo:refs_changed",
                json!({ "changes": moved, "repository": { "slug": "a/b", "project": { "key": "A" } } }),
            ),
            ("repo:refs_changed", json!({ "repository": repository(&[HTTP]) })),
            ("repo:refs_changed", json!({ "changes": {}, "repository": repository(&[HTTP]) })),
            ("repo:refs_changed", json!({ "changes": [{}], "repository": repository(&[HTTP]) })),
            (
                "repo:refs_changed",
                json!({ "changes": [{ "ref": { "id": "refs/heads/main" } }], "repository": repository(&[HTTP]) }),
            ),
            ("diagnostics:ping", json!([])),
            ("pr:opened", json!(true)),
        ] {
            assert!(said(&PROVIDER, kind, &payload).starts_with("payload: "), "{kind} {payload}");
        }
    }
}
