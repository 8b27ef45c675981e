//! GitHub, GitHub Enterprise Server and GHE.com:
//! [payloads](https://docs.github.com/en/webhooks/webhook-events-and-payloads#push) and
//! [signature](https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries).

use serde::Deserialize;

use super::{Hosts, IdIn, Malformed, Provider};
use crate::{
    event::Event,
    payload::{self, HostedRepository, Object, RefPush},
    repo_url::Service,
    signature::{Scheme, Signed},
};

pub(super) static PROVIDER: Provider = Provider {
    name: "github",
    markers: &["x-github-event", "x-github-delivery", "x-hub-signature-256"],
    known_unmarked: None,
    event_header: Some("x-github-event"),
    delivery_id: IdIn::Headers(&["x-github-delivery"]),
    schemes: &[Scheme::HmacSha256 {
        key: "github",
        header: "x-hub-signature-256",
        prefix: "sha256=",
        over: Signed::RawBody,
    }],
    hosts: Hosts::OwnAnd(Service::GitHub),
    parse,
};

/// The webhook of an organisation names no repository.
#[derive(Deserialize)]
struct Ping {
    repository: Option<Object<HostedRepository>>,
}

fn parse(kind: Option<&str>, json: &[u8]) -> Result<Event, Malformed> {
    match kind {
        Some("push") => payload::object::<RefPush>(json)?.event(),
        Some("ping") => {
            let ping: Ping = payload::object(json)?;
            Ok(Event::Ping(ping.repository.and_then(|repository| repository.named())))
        }
        // A push comes beside them, and that has the commit.
        Some("create" | "delete") => payload::ignored(json, "a push says the same"),
        _ => payload::ignored(json, "not a push"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::provider::testing::{COMMIT, OTHER, TAG_OBJECT, ZEROS, said};

    fn repository() -> Value {
        json!({
            "html_url": "https://github.com/acme/shop",
            "git_url": "git://github.com/acme/shop.git",
            "ssh_url": "git@github.com:acme/shop.git",
            "clone_url": "https://github.com/acme/shop.git",
        })
    }

    fn push(git_ref: &str, after: &str, head: Option<&str>) -> String {
        let payload = json!({
            "ref": git_ref,
            "after": after,
            "deleted": after == ZEROS,
            "head_commit": head.map(|id| json!({ "id": id })),
            "commits": [{ "id": OTHER }],
            "repository": repository(),
        });
        said(&PROVIDER, "push", &payload)
    }

    #[test]
    fn a_branch_moves_to_after() {
        assert_eq!(
            push("refs/heads/feature/x", COMMIT, Some(OTHER)),
            "push of github.com/acme/shop: refs/heads/feature/x at 1f0c3a1"
        );
    }

    #[test]
    fn an_annotated_tag_moves_to_the_commit_that_it_points_to() {
        assert_eq!(
            push("refs/tags/v1", TAG_OBJECT, Some(COMMIT)),
            "push of github.com/acme/shop: refs/tags/v1 at 1f0c3a1"
        );
        assert_eq!(
            push("refs/tags/v1", COMMIT, None),
            "push of github.com/acme/shop: refs/tags/v1 at 1f0c3a1"
        );
    }

    #[test]
    fn a_deleted_ref_is_gone() {
        for git_ref in ["refs/heads/x", "refs/tags/v1"] {
            let gone = format!("push of github.com/acme/shop: {git_ref} gone");
            assert_eq!(push(git_ref, ZEROS, None), gone);
        }
    }

    #[test]
    fn a_ref_that_is_neither_branch_nor_tag_is_left_out() {
        assert_eq!(push("refs/pull/1/head", COMMIT, None), "push of github.com/acme/shop: ");
    }

    #[test]
    fn a_ping_names_the_repository_unless_the_hook_is_an_organisations() {
        let of_repository = json!({ "zen": "…", "repository": repository() });
        assert_eq!(said(&PROVIDER, "ping", &of_repository), "ping of github.com/acme/shop");
        assert_eq!(said(&PROVIDER, "ping", &json!({ "zen": "…" })), "ping");
    }

    #[test]
    fn every_other_event_is_ignored() {
        for kind in ["create", "delete", "repository", "package", "check_run", ""] {
            assert!(said(&PROVIDER, kind, &json!({ "action": "x" })).starts_with("ignored"));
        }
    }

    #[test]
    fn what_is_no_push_of_github_is_malformed() {
        for payload in [
            json!([]),
            json!(null),
            json!({}),
            json!({ "ref": "refs/heads/main", "after": COMMIT }),
            json!({ "ref": "refs/heads/main", "after": COMMIT, "repository": null }),
            json!({ "ref": "refs/heads/main", "after": COMMIT, "repository": [] }),
            json!({ "ref": "refs/heads/main", "after": COMMIT, "repository": {} }),
            json!({ "ref": "refs/heads/main", "after": null, "repository": repository() }),
            json!({ "after": COMMIT, "repository": repository() }),
            json!({ "ref": ["refs/heads/main"], "after": COMMIT, "repository": repository() }),
            json!({ "ref": "refs/heads/main", "after": COMMIT,
                    "repository": { "clone_url": "https://github.com/" } }),
        ] {
            assert!(said(&PROVIDER, "push", &payload).starts_with("payload: "), "{payload}");
        }
    }
}
