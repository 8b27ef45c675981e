//! Bitbucket Cloud: [payloads](https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/#Push) and
//! [signature](https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/).

use serde::Deserialize;

use super::{Hosts, IdIn, Malformed, Provider};
use crate::{
    event::{After, Event, GitRef, Push, RefUpdate, Repository},
    payload::{self, Object, RefUpdates, Text, Update, missing},
    repo_url::Service,
    signature::{Scheme, Signed},
};

pub(super) static PROVIDER: Provider = Provider {
    name: "bitbucket-cloud",
    markers: &["x-hook-uuid"],
    known_unmarked: None,
    event_header: Some("x-event-key"),
    delivery_id: IdIn::Headers(&["x-request-uuid"]),
    schemes: &[
        Scheme::HmacSha256 {
            key: "bitbucket-hmac",
            header: "x-hub-signature",
            prefix: "sha256=",
            over: Signed::RawBody,
        },
        Scheme::Uuid { key: "bitbucket", header: "x-hook-uuid" },
    ],
    hosts: Hosts::Only(Service::BitbucketCloud),
    parse,
};

#[derive(Deserialize)]
struct Payload {
    repository: Option<Object<NamedRepository>>,
    push: Option<Object<Changes>>,
}

/// No clone URL is in it.
#[derive(Deserialize)]
struct NamedRepository {
    full_name: Option<Text>,
}

#[derive(Deserialize)]
struct Changes {
    changes: Option<RefUpdates<Change>>,
}

/// `new` is null when the ref was deleted, `old` when it was made.
#[derive(Deserialize)]
struct Change {
    new: Option<Object<Ref>>,
    old: Option<Object<Ref>>,
}

#[derive(Deserialize)]
struct Ref {
    r#type: Option<Text>,
    name: Option<Text>,
    target: Option<Object<Target>>,
}

impl Ref {
    fn hash(&self) -> Option<&str> {
        self.target.as_ref()?.hash.as_deref()
    }
}

/// Of an annotated tag this is the commit that it points to.
#[derive(Deserialize)]
struct Target {
    hash: Option<Text>,
}

fn parse(kind: Option<&str>, json: &[u8]) -> Result<Event, Malformed> {
    if kind != Some("repo:push") {
        return payload::ignored(json, "not a push");
    }
    let payload: Payload = payload::object(json)?;
    let full_name = payload.repository.as_ref().and_then(|named| named.full_name.as_deref());
    let url = full_name.map(|name| format!("https://bitbucket.org/{name}"));
    let repository = url.and_then(|url| Repository::from_urls([url.as_str()]));
    let changes = payload.push.and_then(|Object(push)| push.changes);
    Ok(Event::Push(Push {
        repository: repository.ok_or_else(|| missing("repository.full_name"))?,
        refs: changes.ok_or_else(|| missing("push.changes"))?.refs()?,
    }))
}

impl Update for Change {
    fn update(self) -> Result<Option<RefUpdate>, Malformed> {
        Ok(update(&self))
    }
}

/// `None` for what is neither branch nor tag, such as a bookmark of Mercurial.
fn update(change: &Change) -> Option<RefUpdate> {
    let moved = change.new.as_ref().or(change.old.as_ref())?;
    let name = moved.name.as_deref()?;
    let git_ref = match moved.r#type.as_deref()? {
        "branch" | "named_branch" => GitRef::branch(name),
        "tag" | "annotated_tag" => GitRef::tag(name),
        _ => None,
    }?;
    let after = match &change.new {
        Some(new) => new.hash().map_or(After::Unusable, After::id),
        None => After::Deleted,
    };
    Some(RefUpdate::new(git_ref, change.old.as_ref().and_then(|old| old.hash()), after))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::provider::testing::{COMMIT, said};

    fn push(changes: &Value) -> String {
        let payload =
            json!({ "repository": { "full_name": "acme/shop" }, "push": { "changes": changes } });
        said(&PROVIDER, "repo:push", &payload)
    }

    fn at(kind: &str, name: &str) -> Value {
        json!({ "type": kind, "name": name, "target": { "type": "commit", "hash": COMMIT } })
    }

    #[test]
    fn every_change_counts() {
        let event = push(&json!([
            { "old": at("branch", "main"), "new": at("branch", "main"), "forced": true },
            { "old": null, "new": at("tag", "v1"), "created": true },
            { "old": at("branch", "x"), "new": null, "closed": true },
            { "old": at("tag", "v0"), "new": null, "closed": true },
            { "old": null, "new": at("bookmark", "x") },
            { "old": null, "new": null },
        ]));
        assert_eq!(
            event,
            "push of bitbucket.org/acme/shop: refs/heads/main at 1f0c3a1, refs/tags/v1 at 1f0c3a1, \
             refs/heads/x gone from 1f0c3a1, refs/tags/v0 gone from 1f0c3a1"
        );
    }

    #[test]
    fn a_push_without_changes_moves_nothing() {
        assert_eq!(push(&json!([])), "push of bitbucket.org/acme/shop: ");
    }

    #[test]
    fn every_other_event_is_ignored() {
        for kind in ["repo:updated", "pullrequest:created", ""] {
            assert!(said(&PROVIDER, kind, &json!({})).starts_with("ignored"), "{kind}");
        }
    }

    #[test]
    fn what_bitbucket_cloud_does_not_send_is_malformed() {
        let changes = json!({ "changes": [] });
        for (kind, payload) in [
            ("repo:push", json!({ "push": changes })),
            ("repo:push", json!({ "push": changes, "repository": null })),
            ("repo:push", json!({ "push": changes, "repository": { "full_name": "" } })),
            ("repo:push", json!({ "push": changes, "repository": { "full_name": "a/b?c" } })),
            ("repo:push", json!({ "push": [], "repository": { "full_name": "acme/shop" } })),
            ("repo:push", json!({ "push": {}, "repository": { "full_name": "acme/shop" } })),
            (
                "repo:push",
                json!({ "push": { "changes": [[]] }, "repository": { "full_name": "acme/shop" } }),
            ),
            ("repo:updated", json!([])),
        ] {
            assert!(said(&PROVIDER, kind, &payload).starts_with("payload: "), "{kind} {payload}");
        }
    }
}
