//! Gogs: [webhooks](https://gogs.io/docs/features/webhook), and the
//! [code that sends them](https://github.com/gogs/gogs/blob/main/internal/database/webhook.go).
//!
//! A tag comes only as `create`, a deletion only as `delete`, and a mirror that was synchronised pushes short names
//! of branches. A form is signed over its JSON.

use serde::Deserialize;

use super::{Hosts, IdIn, Malformed, Provider};
use crate::{
    event::{After, Event, GitRef, Push, RefUpdate},
    payload::{self, HostedRepository, Object, RefPush, Text, missing},
    signature::{Scheme, Signed},
};

pub(super) static PROVIDER: Provider = Provider {
    name: "gogs",
    markers: &["x-gogs-event", "x-gogs-delivery", "x-gogs-signature"],
    known_unmarked: None,
    event_header: Some("x-gogs-event"),
    delivery_id: IdIn::Headers(&["x-gogs-delivery"]),
    schemes: &[Scheme::HmacSha256 {
        key: "gogs",
        header: "x-gogs-signature",
        prefix: "",
        over: Signed::Json,
    }],
    hosts: Hosts::SelfHosted,
    parse,
};

#[derive(Deserialize)]
struct Create {
    #[serde(rename = "ref")]
    short_ref: Option<Text>,
    ref_type: Option<Text>,
    sha: Option<Text>,
    repository: Option<Object<HostedRepository>>,
}

fn parse(kind: Option<&str>, json: &[u8]) -> Result<Event, Malformed> {
    match kind {
        Some("push") => payload::object::<RefPush>(json)?.event_of_full_or_short_ref(),
        Some("create") => create(&payload::object(json)?),
        Some("delete") => payload::ignored(json, "a branch or tag was deleted"),
        _ => payload::ignored(json, "not a push"),
    }
}

fn create(create: &Create) -> Result<Event, Malformed> {
    if create.ref_type.as_deref() != Some("tag") {
        return Ok(Event::Ignored("a push says the same"));
    }
    let tag = create.short_ref.as_deref().and_then(GitRef::tag).ok_or_else(|| missing("ref"))?;
    let repository = create.repository.as_ref().and_then(|repository| repository.named());
    let after = create.sha.as_deref().map_or(After::Unusable, After::id);
    Ok(Event::Push(Push {
        repository: repository.ok_or_else(|| missing("repository.clone_url"))?,
        refs: vec![RefUpdate::new(tag, None, after)].into(),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::provider::testing::{COMMIT, said};

    fn repository() -> Value {
        json!({
            "html_url": "http://gogs.acme.example:3000/acme/shop",
            "ssh_url": "ssh://git@gogs.acme.example:2222/acme/shop.git",
            "clone_url": "http://gogs.acme.example:3000/acme/shop.git",
        })
    }

    const PLACES: &str = "gogs.acme.example:3000/acme/shop and gogs.acme.example:2222/acme/shop";

    fn push(git_ref: &str) -> String {
        let payload =
            json!({ "ref": git_ref, "after": COMMIT, "commits": null, "repository": repository() });
        said(&PROVIDER, "push", &payload)
    }

    #[test]
    fn a_branch_comes_as_push() {
        assert_eq!(
            push("refs/heads/main"),
            format!("push of {PLACES}: refs/heads/main at 1f0c3a1")
        );
    }

    #[test]
    fn a_mirror_pushes_short_names_of_branches() {
        assert_eq!(push("main"), format!("push of {PLACES}: refs/heads/main at 1f0c3a1"));
        assert_eq!(push("refs/pull/1/head"), format!("push of {PLACES}: "));
        assert_eq!(push(""), format!("push of {PLACES}: "));
    }

    #[test]
    fn a_tag_comes_only_as_create() {
        let tag =
            json!({ "ref": "v1", "ref_type": "tag", "sha": COMMIT, "repository": repository() });
        let event = said(&PROVIDER, "create", &tag);
        assert_eq!(event, format!("push of {PLACES}: refs/tags/v1 at 1f0c3a1"));
    }

    #[test]
    fn everything_else_is_ignored() {
        let branch = json!({ "ref": "x", "ref_type": "branch", "repository": repository() });
        for (kind, payload) in
            [("create", &branch), ("delete", &branch), ("issues", &json!({})), ("", &json!({}))]
        {
            assert!(said(&PROVIDER, kind, payload).starts_with("ignored"), "{kind}");
        }
    }

    #[test]
    fn what_gogs_does_not_send_is_malformed() {
        for (kind, payload) in [
            ("push", json!({ "ref": "refs/heads/main", "after": COMMIT, "repository": null })),
            ("push", json!({ "after": COMMIT, "repository": repository() })),
            ("push", json!([])),
            ("create", json!({ "ref_type": "tag", "sha": COMMIT, "repository": repository() })),
            ("create", json!({ "ref": "v1", "ref_type": "tag", "sha": COMMIT })),
            ("create", json!([])),
            ("delete", json!([])),
            ("issues", json!("x")),
        ] {
            assert!(said(&PROVIDER, kind, &payload).starts_with("payload: "), "{kind} {payload}");
        }
    }
}
