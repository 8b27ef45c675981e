//! GitLab.com and self-managed GitLab: [webhooks](https://docs.gitlab.com/user/project/integrations/webhook_events/)
//! of projects and groups, [system hooks](https://docs.gitlab.com/administration/system_hooks/), and
//! [signing tokens](https://docs.gitlab.com/user/project/integrations/webhooks/).

use serde::{Deserialize, Deserializer};

use super::{Hosts, IdIn, Malformed, Provider};
use crate::{
    event::{After, Event, GitRef, Push, RefUpdate, Refs, Repository},
    payload::{self, Object, RefUpdates, Text, Update, missing},
    repo_url::Service,
    signature::Scheme,
};

pub(super) static PROVIDER: Provider = Provider {
    name: "gitlab",
    markers: &["x-gitlab-event", "x-gitlab-token", "x-gitlab-webhook-uuid"],
    known_unmarked: None,
    event_header: Some("x-gitlab-event"),
    delivery_id: IdIn::Headers(&["idempotency-key", "webhook-id", "x-gitlab-event-uuid"]),
    schemes: &[
        Scheme::StandardWebhooks { key: "gitlab-signing-token" },
        Scheme::Token { key: "gitlab", header: "x-gitlab-token" },
    ],
    hosts: Hosts::OwnAnd(Service::GitLab),
    parse,
};

/// What a system hook is about; events of which there is a project's webhook too may have the second name alone.
#[derive(Deserialize)]
struct EventName {
    event_name: Option<Text>,
    object_kind: Option<Text>,
}

/// A push of a branch or a tag; in a `repository_update` the refs are in `changes`.
#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "ref")]
    git_ref: Option<Text>,
    before: Option<Text>,
    after: Option<Text>,
    /// The outer one is `None` where it is not there at all, the inner one where it is null.
    #[serde(default, deserialize_with = "present")]
    checkout_sha: Option<Option<Text>>,
    changes: Option<RefUpdates<Change>>,
    project: Option<Object<Urls>>,
    /// What old versions have in place of `project`.
    repository: Option<Object<Urls>>,
}

#[derive(Deserialize)]
struct Change {
    #[serde(rename = "ref")]
    git_ref: Option<Text>,
    before: Option<Text>,
    after: Option<Text>,
}

/// Fleet's own receiver goes by `web_url` alone, which may be on another host than the others.
#[derive(Deserialize)]
struct Urls {
    git_http_url: Option<Text>,
    git_ssh_url: Option<Text>,
    web_url: Option<Text>,
    /// The names that old versions have for them.
    homepage: Option<Text>,
    url: Option<Text>,
    http_url: Option<Text>,
    ssh_url: Option<Text>,
}

impl Urls {
    fn all(&self) -> impl Iterator<Item = &str> {
        let new = [&self.git_http_url, &self.git_ssh_url, &self.web_url];
        let old = [&self.homepage, &self.url, &self.http_url, &self.ssh_url];
        new.into_iter().chain(old).flatten().map(Text::as_str)
    }
}

fn present<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Option<Text>>, D::Error> {
    Option::deserialize(field).map(Some)
}

fn parse(kind: Option<&str>, json: &[u8]) -> Result<Event, Malformed> {
    match kind {
        Some("Push Hook" | "Tag Push Hook") => push(&payload::object(json)?),
        Some("System Hook") => {
            // Alone first: in other events the same fields have other types, such as `changes` of a merge request.
            let EventName { event_name, object_kind } = payload::object(json)?;
            match event_name.or(object_kind).as_deref() {
                Some("push" | "tag_push") => push(&payload::object(json)?),
                Some("repository_update") => repository_update(payload::object(json)?),
                _ => Ok(Event::Ignored("not a push")),
            }
        }
        _ => payload::ignored(json, "not a push"),
    }
}

fn push(payload: &Payload) -> Result<Event, Malformed> {
    let full_ref = payload.git_ref.as_deref().ok_or_else(|| missing("ref"))?;
    let after = payload.after.as_deref().ok_or_else(|| missing("after"))?;
    // `after` of an annotated tag is the tag object. `checkout_sha` is the commit, and null once the tag is gone.
    let after = match (GitRef::parse(full_ref), &payload.checkout_sha) {
        (Some(GitRef::Tag(_)), Some(checkout_sha)) => {
            checkout_sha.as_deref().map_or(After::Deleted, After::id)
        }
        _ => After::id(after),
    };
    let update = RefUpdate::of(full_ref, payload.before.as_deref(), after);
    event(payload, Vec::from_iter(update).into())
}

fn repository_update(mut payload: Payload) -> Result<Event, Malformed> {
    let changes = payload.changes.take().ok_or_else(|| missing("changes"))?;
    event(&payload, changes.refs()?)
}

impl Update for Change {
    fn update(self) -> Result<Option<RefUpdate>, Malformed> {
        let full_ref = self.git_ref.ok_or_else(|| missing("changes[].ref"))?;
        let after = self.after.ok_or_else(|| missing("changes[].after"))?;
        Ok(RefUpdate::of(&full_ref, self.before.as_deref(), After::id(&after)))
    }
}

fn event(payload: &Payload, refs: Refs) -> Result<Event, Malformed> {
    let places = [&payload.project, &payload.repository].into_iter().flatten();
    let repository = Repository::from_urls(places.flat_map(|urls| urls.all()));
    Ok(Event::Push(Push {
        repository: repository.ok_or_else(|| missing("project.git_http_url"))?,
        refs,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::provider::testing::{COMMIT, OTHER, TAG_OBJECT, ZEROS, said};

    fn project() -> Value {
        json!({
            "git_ssh_url": "git@gitlab.com:acme/group/shop.git",
            "git_http_url": "https://gitlab.com/acme/group/shop.git",
        })
    }

    fn push(git_ref: &str, after: &str, checkout_sha: Option<&str>) -> Value {
        json!({
            "event_name": "push",
            "ref": git_ref,
            "after": after,
            "checkout_sha": checkout_sha,
            "project": project(),
        })
    }

    #[test]
    fn a_branch_moves_to_after() {
        let payload = push("refs/heads/main", COMMIT, Some(COMMIT));
        let event = "push of gitlab.com/acme/group/shop: refs/heads/main at 1f0c3a1";
        assert_eq!(said(&PROVIDER, "Push Hook", &payload), event);
        assert_eq!(said(&PROVIDER, "System Hook", &payload), event);
    }

    #[test]
    fn a_deleted_ref_is_gone() {
        for (kind, git_ref) in [("Push Hook", "refs/heads/x"), ("Tag Push Hook", "refs/tags/v1")] {
            let event = said(&PROVIDER, kind, &push(git_ref, ZEROS, None));
            assert_eq!(event, format!("push of gitlab.com/acme/group/shop: {git_ref} gone"));
        }
    }

    #[test]
    fn an_annotated_tag_moves_to_the_commit_that_it_points_to() {
        let payload = push("refs/tags/v1", TAG_OBJECT, Some(COMMIT));
        let event = "push of gitlab.com/acme/group/shop: refs/tags/v1 at 1f0c3a1";
        assert_eq!(said(&PROVIDER, "Tag Push Hook", &payload), event);
    }

    #[test]
    fn a_tag_that_has_vanished_is_gone() {
        let payload = push("refs/tags/v1", TAG_OBJECT, None);
        let event = "push of gitlab.com/acme/group/shop: refs/tags/v1 gone";
        assert_eq!(said(&PROVIDER, "Tag Push Hook", &payload), event);
    }

    #[test]
    fn a_version_without_checkout_sha_tells_of_tags_too() {
        for (after, moved) in [(COMMIT, "at 1f0c3a1"), (ZEROS, "gone")] {
            let payload = json!({ "ref": "refs/tags/v1", "after": after, "project": project() });
            let event = format!("push of gitlab.com/acme/group/shop: refs/tags/v1 {moved}");
            assert_eq!(said(&PROVIDER, "Tag Push Hook", &payload), event);
        }
    }

    #[test]
    fn a_system_hook_tells_of_every_ref() {
        let payload = json!({
            "event_name": "repository_update",
            "project": project(),
            "changes": [
                { "ref": "refs/heads/main", "before": OTHER, "after": COMMIT },
                { "ref": "refs/tags/v1", "before": ZEROS, "after": COMMIT },
                { "ref": "refs/heads/x", "before": OTHER, "after": ZEROS },
                { "ref": "refs/keep-around/x", "before": ZEROS, "after": COMMIT },
            ],
            "refs": ["refs/heads/main"],
        });
        assert_eq!(
            said(&PROVIDER, "System Hook", &payload),
            "push of gitlab.com/acme/group/shop: \
             refs/heads/main at 1f0c3a1 from 2e7b9d0, refs/tags/v1 at 1f0c3a1, refs/heads/x gone from 2e7b9d0"
        );
    }

    #[test]
    fn an_old_version_has_its_urls_in_repository() {
        let payload = json!({
            "ref": "refs/heads/main",
            "after": COMMIT,
            "project": { "git_http_url": null },
            "repository": project(),
        });
        let event = "push of gitlab.com/acme/group/shop: refs/heads/main at 1f0c3a1";
        assert_eq!(said(&PROVIDER, "Push Hook", &payload), event);
    }

    #[test]
    fn a_repository_is_known_by_each_of_its_urls() {
        for (place, field) in [
            ("project", "git_http_url"),
            ("project", "git_ssh_url"),
            ("project", "web_url"),
            ("project", "homepage"),
            ("project", "url"),
            ("project", "http_url"),
            ("project", "ssh_url"),
            ("repository", "homepage"),
        ] {
            let urls = json!({ field: "https://git.acme.example/acme/shop" });
            let payload = json!({ "ref": "refs/heads/main", "after": COMMIT, place: urls });
            let event = "push of git.acme.example/acme/shop: refs/heads/main at 1f0c3a1";
            assert_eq!(said(&PROVIDER, "Push Hook", &payload), event, "{place} {field}");
        }
    }

    #[test]
    fn the_web_url_may_be_on_another_host() {
        let project = json!({
            "git_http_url": "https://gitlab.com/acme/group/shop.git",
            "web_url": "https://gitlab.acme.example/acme/group/shop",
        });
        let payload = json!({ "ref": "refs/heads/main", "after": COMMIT, "project": project });
        let event = "push of gitlab.com/acme/group/shop and gitlab.acme.example/acme/group/shop: \
                     refs/heads/main at 1f0c3a1";
        assert_eq!(said(&PROVIDER, "Push Hook", &payload), event);
    }

    #[test]
    fn every_other_event_is_ignored() {
        for (kind, name) in [
            ("System Hook", "project_rename"),
            ("System Hook", "group_create"),
            ("Merge Request Hook", "x"),
            ("", "push"),
        ] {
            let event = said(&PROVIDER, kind, &json!({ "event_name": name }));
            assert!(event.starts_with("ignored"), "{kind} {name}");
        }
    }

    #[test]
    fn another_event_may_have_the_fields_of_a_push_with_other_types() {
        for payload in [
            json!({
                "object_kind": "merge_request",
                "event_type": "merge_request",
                "project": project(),
                "changes": { "updated_at": { "previous": null, "current": "2026-01-01" } },
            }),
            json!({ "event_name": "user_create", "project": 1, "ref": [], "after": {} }),
        ] {
            assert_eq!(said(&PROVIDER, "System Hook", &payload), "ignored, not a push");
        }
    }

    #[test]
    fn a_system_hook_may_have_the_name_of_a_projects_webhook() {
        let payload = json!({
            "object_kind": "tag_push",
            "ref": "refs/tags/v1",
            "after": TAG_OBJECT,
            "checkout_sha": COMMIT,
            "project": project(),
        });
        let event = "push of gitlab.com/acme/group/shop: refs/tags/v1 at 1f0c3a1";
        assert_eq!(said(&PROVIDER, "System Hook", &payload), event);
    }

    #[test]
    fn what_gitlab_does_not_send_is_malformed() {
        for (kind, payload) in [
            ("Push Hook", json!({ "text": "a template of somebody" })),
            ("Push Hook", json!([])),
            ("Push Hook", json!({ "ref": "refs/heads/main", "after": COMMIT, "project": null })),
            ("Push Hook", json!({ "ref": "refs/heads/main", "after": COMMIT, "project": [] })),
            ("Push Hook", json!({ "ref": "refs/heads/main", "project": project() })),
            ("Push Hook", json!({ "after": COMMIT, "project": project() })),
            ("System Hook", json!({ "event_name": "repository_update", "project": project() })),
            ("System Hook", json!({ "event_name": "repository_update", "changes": [[]] })),
            ("System Hook", json!({ "event_name": "repository_update", "changes": {} })),
            ("System Hook", json!(1)),
            ("Note Hook", json!("x")),
        ] {
            assert!(said(&PROVIDER, kind, &payload).starts_with("payload: "), "{kind} {payload}");
        }
    }
}
