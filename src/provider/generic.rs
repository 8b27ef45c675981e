//! Any other Git server, by a hook of its own that signs as
//! [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md) has
//! it, such as `examples/post-receive`. One body tells of all refs of a push:
//!
//! ```json
//! {"repository": "https://git.acme.example/acme/shop.git",
//!  "updates": [{"ref": "refs/heads/main", "before": "…", "after": "…"}]}
//! ```
//!
//! `repository` is a URL of any form, `ref` is whole, `after` is the commit (also that of an annotated tag) and all
//! zeros where the ref was deleted; `before`, which may be missing, is where it was. Of a single ref, `ref`, `before` and
//! `after` may stand beside `repository`.

use serde::Deserialize;

use super::{Hosts, IdIn, Malformed, Provider};
use crate::{
    event::{After, Event, Push, RefUpdate, Repository},
    payload::{self, RefUpdates, Text, Update, missing},
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

/// One update beside the repository, or a list of them.
#[derive(Deserialize)]
struct Payload {
    repository: Option<Text>,
    updates: Option<RefUpdates<Moved>>,
    #[serde(rename = "ref")]
    git_ref: Option<Text>,
    before: Option<Text>,
    after: Option<Text>,
}

#[derive(Deserialize)]
struct Moved {
    #[serde(rename = "ref")]
    git_ref: Option<Text>,
    before: Option<Text>,
    after: Option<Text>,
}

fn parse(_kind: Option<&str>, json: &[u8]) -> Result<Event, Malformed> {
    let Payload { repository, updates, git_ref, before, after } = payload::object(json)?;
    let repository = repository.as_deref().and_then(|url| Repository::from_urls([url]));
    Ok(Event::Push(Push {
        repository: repository.ok_or_else(|| missing("repository"))?,
        refs: match updates {
            Some(updates) => updates.refs()?,
            None => Vec::from_iter(Moved { git_ref, before, after }.update()?).into(),
        },
    }))
}

impl Update for Moved {
    fn update(self) -> Result<Option<RefUpdate>, Malformed> {
        let git_ref = self.git_ref.ok_or_else(|| missing("ref"))?;
        let after = self.after.ok_or_else(|| missing("after"))?;
        Ok(RefUpdate::of(&git_ref, self.before.as_deref(), After::id(&after)))
    }
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
    fn one_ref_may_come_alone() {
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
    fn all_refs_of_a_push_come_in_one_body() {
        let update =
            |git_ref: &str, after: &str| json!({ "ref": git_ref, "before": ZEROS, "after": after });
        let payload = json!({
            "repository": "https://git.acme.example/acme/shop.git",
            "updates": [
                update("refs/heads/main", COMMIT),
                update("refs/notes/commits", COMMIT),
                update("refs/tags/v1", ZEROS),
            ],
        });
        assert_eq!(
            said(&PROVIDER, "", &payload),
            "push of git.acme.example/acme/shop: refs/heads/main at 1f0c3a1, refs/tags/v1 gone"
        );
    }

    #[test]
    fn what_the_readme_does_not_promise_is_malformed() {
        for payload in [
            json!([]),
            json!({}),
            json!({ "repository": "nowhere", "ref": "refs/heads/main", "after": COMMIT }),
            json!({ "repository": {}, "ref": "refs/heads/main", "after": COMMIT }),
            json!({ "repository": "https://git.acme.example/acme/shop", "updates": [{}] }),
            json!({ "repository": "https://git.acme.example/acme/shop", "updates": {} }),
            json!({ "repository": "https://git.acme.example/acme/shop", "after": COMMIT }),
            json!({ "repository": "https://git.acme.example/acme/shop", "ref": "refs/heads/main" }),
        ] {
            assert!(said(&PROVIDER, "", &payload).starts_with("payload: "), "{payload}");
        }
    }
}
