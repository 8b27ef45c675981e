//! Gitee: [payloads](https://help.gitee.com/webhook/gitee-webhook-push-data-format) and
//! [proof](https://gitee.com/help/articles/4290). The body repeats the secret.

use super::{Hosts, IdIn, Malformed, Provider};
use crate::{
    event::Event,
    payload::{self, RefPush},
    repo_url::Service,
    signature::Scheme,
};

pub(super) static PROVIDER: Provider = Provider {
    name: "gitee",
    markers: &["x-gitee-event", "x-gitee-token"],
    known_unmarked: None,
    event_header: Some("x-gitee-event"),
    delivery_id: IdIn::Headers(&[]),
    schemes: &[Scheme::Gitee { key: "gitee" }],
    hosts: Hosts::OwnAnd(Service::Gitee),
    parse,
};

fn parse(kind: Option<&str>, json: &[u8]) -> Result<Event, Malformed> {
    match kind {
        Some("Push Hook" | "Tag Push Hook") => payload::object::<RefPush>(json)?.event(),
        _ => payload::ignored(json, "not a push"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::provider::testing::{COMMIT, ZEROS, said};

    fn push(kind: &str, git_ref: &str, after: &str) -> String {
        let payload = json!({
            "ref": git_ref,
            "after": after,
            "deleted": after == ZEROS,
            "commits": null,
            "head_commit": null,
            "password": "hunter2",
            "repository": repository(),
        });
        said(&PROVIDER, kind, &payload)
    }

    fn repository() -> Value {
        json!({
            "clone_url": "https://gitee.com/acme/shop.git",
            "ssh_url": "git@gitee.com:acme/shop.git",
            "git_url": "git://gitee.com/acme/shop.git",
        })
    }

    #[test]
    fn branches_and_tags_come_as_push() {
        assert_eq!(
            push("Push Hook", "refs/heads/main", COMMIT),
            "push of gitee.com/acme/shop: refs/heads/main at 1f0c3a1"
        );
        assert_eq!(
            push("Tag Push Hook", "refs/tags/v1", COMMIT),
            "push of gitee.com/acme/shop: refs/tags/v1 at 1f0c3a1"
        );
        assert_eq!(
            push("Tag Push Hook", "refs/tags/v1", ZEROS),
            "push of gitee.com/acme/shop: refs/tags/v1 gone"
        );
    }

    #[test]
    fn a_repository_is_known_by_each_of_its_urls() {
        for field in ["clone_url", "ssh_url", "git_url", "html_url", "git_http_url", "git_ssh_url"]
        {
            let repository = json!({ field: "https://gitee.com/acme/shop" });
            let payload =
                json!({ "ref": "refs/heads/main", "after": COMMIT, "repository": repository });
            let event = "push of gitee.com/acme/shop: refs/heads/main at 1f0c3a1";
            assert_eq!(said(&PROVIDER, "Push Hook", &payload), event, "{field}");
        }
    }

    #[test]
    fn everything_else_is_ignored() {
        for kind in ["Merge Request Hook", "Note Hook", ""] {
            assert!(said(&PROVIDER, kind, &json!({})).starts_with("ignored"), "{kind}");
        }
    }

    #[test]
    fn what_gitee_does_not_send_is_malformed() {
        for (kind, payload) in [
            ("Push Hook", json!([])),
            ("Push Hook", json!({ "ref": "refs/heads/main", "after": COMMIT })),
            ("Tag Push Hook", json!({ "after": COMMIT, "repository": repository() })),
            ("Note Hook", json!(null)),
        ] {
            assert!(said(&PROVIDER, kind, &payload).starts_with("payload: "), "{kind} {payload}");
        }
    }
}
