//! Gitea: [webhooks](https://docs.gitea.com/usage/webhooks), and the
//! [code that sends them](https://github.com/go-gitea/gitea/blob/main/services/webhook/deliver.go).
//!
//! A form is signed over its JSON. Fleet takes Gitea for Gogs, so its users have the secret under that key.

use super::{Hosts, IdIn, Malformed, Provider};
use crate::{
    event::Event,
    payload::{self, RefPush},
    signature::{Scheme, Signed},
};

pub(super) static PROVIDER: Provider = Provider {
    name: "gitea",
    markers: &["x-gitea-event", "x-gitea-delivery", "x-gitea-signature"],
    known_unmarked: None,
    event_header: Some("x-gitea-event"),
    delivery_id: IdIn::Headers(&["x-gitea-delivery"]),
    schemes: &[signed_with("gitea"), signed_with("gogs")],
    hosts: Hosts::SelfHosted,
    parse,
};

const fn signed_with(key: &'static str) -> Scheme {
    Scheme::HmacSha256 { key, header: "x-gitea-signature", prefix: "", over: Signed::Json }
}

/// Reads Gitea's payloads, and those of whoever sends the same.
pub(super) fn parse(kind: Option<&str>, json: &[u8]) -> Result<Event, Malformed> {
    match kind {
        Some("push") => payload::object::<RefPush>(json)?.event_of_full_or_short_ref(),
        // Beside `create` comes a push; a deleted branch comes as `delete` alone.
        Some("create") => payload::ignored(json, "a push says the same"),
        Some("delete") => payload::ignored(json, "a branch or tag was deleted"),
        _ => payload::ignored(json, "not a push"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::provider::testing::{COMMIT, TAG_OBJECT, ZEROS, said};

    fn push(git_ref: &str, after: &str, head: Option<&str>) -> String {
        let payload = json!({
            "ref": git_ref,
            "after": after,
            "commits": [],
            "head_commit": head.map(|id| json!({ "id": id })),
            "repository": repository(),
        });
        said(&PROVIDER, "push", &payload)
    }

    fn repository() -> Value {
        json!({
            "html_url": "https://gitea.acme.example/acme/shop",
            "ssh_url": "git@gitea.acme.example:acme/shop.git",
            "clone_url": "https://gitea.acme.example/acme/shop.git",
        })
    }

    #[test]
    fn branches_and_tags_come_as_push() {
        assert_eq!(
            push("refs/heads/main", COMMIT, None),
            "push of gitea.acme.example/acme/shop: refs/heads/main at 1f0c3a1"
        );
        assert_eq!(
            push("refs/tags/v1", TAG_OBJECT, Some(COMMIT)),
            "push of gitea.acme.example/acme/shop: refs/tags/v1 at 1f0c3a1"
        );
        assert_eq!(
            push("refs/tags/v1", ZEROS, None),
            "push of gitea.acme.example/acme/shop: refs/tags/v1 gone"
        );
    }

    #[test]
    fn a_mirror_of_an_old_version_pushes_short_names_of_branches() {
        let pushed = "push of gitea.acme.example/acme/shop: refs/heads/main at 1f0c3a1";
        assert_eq!(push("main", COMMIT, None), pushed);
    }

    #[test]
    fn everything_else_is_ignored() {
        for kind in ["create", "delete", "repository", ""] {
            assert!(
                said(&PROVIDER, kind, &json!({ "ref": "v1" })).starts_with("ignored"),
                "{kind}"
            );
        }
    }

    #[test]
    fn what_gitea_does_not_send_is_malformed() {
        for (kind, payload) in [
            ("push", json!([])),
            ("push", json!({ "ref": "refs/heads/main", "after": COMMIT, "repository": null })),
            ("push", json!({ "ref": "refs/heads/main", "repository": repository() })),
            ("create", json!([])),
        ] {
            assert!(said(&PROVIDER, kind, &payload).starts_with("payload: "), "{kind} {payload}");
        }
    }
}
