//! Any other Git server, by a hook of its own that signs as
//! [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md) has
//! it. `examples/post-receive` is one; it sends one such body for each ref:
//!
//! ```json
//! {"repository": "https://git.acme.example/acme/shop.git", "ref": "refs/heads/main", "before": "…", "after": "…"}
//! ```
//!
//! `repository` is a URL of any form, `ref` is whole, `after` is the commit (also that of an annotated tag) and all
//! zeros where the ref was deleted; `before`, if it is there, is where the ref was.

use serde::Deserialize;

use super::{Hosts, IdIn, Malformed, Provider};
use crate::{
    event::{After, Event, Push, RefUpdate, Repository},
    payload::{self, Text, missing},
    signature::Scheme,
};

pub(super) static PROVIDER: Provider = Provider {
    name: "generic",
    markers: &["webhook-id", "webhook-signature"],
    known_unmarked: None,
    event_header: None,
    delivery_id: IdIn::Headers(&["webhook-id"]),
    schemes: &[Scheme::StandardWebhooks { key: "generic" }],
    hosts: Hosts::Any,
    parse,
};

#[derive(Deserialize)]
struct Payload {
    repository: Option<Text>,
    #[serde(rename = "ref")]
    git_ref: Option<Text>,
    before: Option<Text>,
    after: Option<Text>,
}

fn parse(_kind: Option<&str>, json: &[u8]) -> Result<Event, Malformed> {
    let payload: Payload = payload::object(json)?;
    let repository = payload.repository.as_deref().and_then(|url| Repository::from_urls([url]));
    let git_ref = payload.git_ref.as_deref().ok_or_else(|| missing("ref"))?;
    let after = payload.after.as_deref().ok_or_else(|| missing("after"))?;
    let update = RefUpdate::of(git_ref, payload.before.as_deref(), After::id(after));
    Ok(Event::Push(Push {
        repository: repository.ok_or_else(|| missing("repository"))?,
        refs: Vec::from_iter(update).into(),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::provider::testing::{COMMIT, ZEROS, said};

    fn push(git_ref: &str, after: &str) -> Value {
        json!({
            "repository": "https://git.acme.example/acme/shop.git",
            "ref": git_ref,
            "before": ZEROS,
            "after": after,
        })
    }

    #[test]
    fn one_ref_comes_at_a_time() {
        for (git_ref, after, event) in [
            ("refs/heads/main", COMMIT, "refs/heads/main at 1f0c3a1"),
            ("refs/tags/v1", COMMIT, "refs/tags/v1 at 1f0c3a1"),
            ("refs/heads/main", ZEROS, "refs/heads/main gone"),
            ("refs/notes/commits", COMMIT, ""),
        ] {
            let event = format!("push of git.acme.example/acme/shop: {event}");
            assert_eq!(said(&PROVIDER, "", &push(git_ref, after)), event);
        }
    }

    #[test]
    fn what_the_readme_does_not_promise_is_malformed() {
        for payload in [
            json!([]),
            json!({}),
            json!({ "repository": "nowhere", "ref": "refs/heads/main", "after": COMMIT }),
            json!({ "repository": {}, "ref": "refs/heads/main", "after": COMMIT }),
            json!({ "repository": "https://git.acme.example/acme/shop", "after": COMMIT }),
            json!({ "repository": "https://git.acme.example/acme/shop", "ref": "refs/heads/main" }),
        ] {
            assert!(said(&PROVIDER, "", &payload).starts_with("payload: "), "{payload}");
        }
    }
}
