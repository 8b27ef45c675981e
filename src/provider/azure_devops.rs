//! Azure DevOps Services and Server:
//! [payload](https://learn.microsoft.com/en-us/azure/devops/service-hooks/events#code-pushed) and
//! [authentication](https://learn.microsoft.com/en-us/azure/devops/service-hooks/services/webhooks).
//!
//! Nothing is signed. The headers by which a delivery is known are not documented; Fleet and Argo CD go by them,
//! and some instances send none: then it is HTTP Basic and `publisherId` by which it is known.

use serde::Deserialize;

use super::{Hosts, IdIn, Malformed, Provider};
use crate::{
    delivery::Delivery,
    event::{After, Event, Push, RefUpdate, Repository},
    payload::{self, Object, RefUpdates, Text, Update, missing},
    repo_url::Service,
    signature::{self, Scheme},
};

pub(super) static PROVIDER: Provider = Provider {
    name: "azure-devops",
    markers: &["x-vss-activityid", "x-vss-subscriptionid"],
    known_unmarked: Some(is_authenticated_azure),
    event_header: None,
    delivery_id: IdIn::Body,
    schemes: &[Scheme::Basic { username: "azure-username", password: "azure-password" }],
    hosts: Hosts::OwnAnd(Service::AzureDevOps),
    parse,
};

/// What every service hook of Azure DevOps sends.
#[derive(Deserialize)]
struct EventType {
    #[serde(rename = "eventType")]
    event_type: Option<Text>,
    #[serde(rename = "publisherId")]
    publisher_id: Option<Text>,
}

/// Some instances send none of the headers, and some proxies drop them.
fn is_authenticated_azure(delivery: &Delivery) -> bool {
    let kind = |json| payload::object::<EventType>(json).ok();
    signature::is_basic(delivery)
        && delivery.json().and_then(kind).is_some_and(|kind| kind.publisher_id.is_some())
}

#[derive(Deserialize)]
struct Payload {
    resource: Option<Object<Resource>>,
}

/// Less of it is there, down to nothing, where "Resource details to send" is not "All".
#[derive(Deserialize)]
struct Resource {
    #[serde(rename = "refUpdates")]
    ref_updates: Option<RefUpdates<Moved>>,
    repository: Option<Object<NamedRepository>>,
}

/// A webhook has the first one alone, as far as is known.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamedRepository {
    remote_url: Option<Text>,
    ssh_url: Option<Text>,
    web_url: Option<Text>,
}

impl NamedRepository {
    fn urls(&self) -> impl Iterator<Item = &str> {
        [&self.remote_url, &self.ssh_url, &self.web_url].into_iter().flatten().map(Text::as_str)
    }
}

#[derive(Deserialize)]
struct Moved {
    /// The whole ref.
    name: Option<Text>,
    /// Zeros where it is new.
    #[serde(rename = "oldObjectId")]
    old_object_id: Option<Text>,
    /// Zeros where it was deleted.
    #[serde(rename = "newObjectId")]
    new_object_id: Option<Text>,
}

fn parse(_kind: Option<&str>, json: &[u8]) -> Result<Event, Malformed> {
    // Alone first: the `resource` of other events has other fields and types.
    let EventType { event_type, .. } = payload::object(json)?;
    match event_type.as_deref() {
        Some("git.push") => {
            let Payload { resource } = payload::object(json)?;
            push(resource.map(|Object(resource)| resource))
        }
        Some(_) => Ok(Event::Ignored("not a push")),
        None => Err(missing("eventType")),
    }
}

fn push(resource: Option<Resource>) -> Result<Event, Malformed> {
    let (updates, repository) = resource.map_or((None, None), |it| (it.ref_updates, it.repository));
    let repository = repository.filter(|repository| repository.urls().next().is_some());
    let (Some(updates), Some(repository)) = (updates, repository) else {
        return Ok(Event::Ignored(
            "it does not say what was pushed: set \"Resource details to send\" of the service hook to \"All\"",
        ));
    };
    let repository = Repository::from_urls(repository.urls());
    Ok(Event::Push(Push {
        repository: repository.ok_or_else(|| missing("resource.repository.remoteUrl"))?,
        refs: updates.refs()?,
    }))
}

impl Update for Moved {
    fn update(self) -> Result<Option<RefUpdate>, Malformed> {
        let name = self.name.ok_or_else(|| missing("refUpdates[].name"))?;
        let id = self.new_object_id.ok_or_else(|| missing("refUpdates[].newObjectId"))?;
        Ok(RefUpdate::of(&name, self.old_object_id.as_deref(), After::id(&id)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::provider::testing::{COMMIT, ZEROS, said};

    fn push(resource: &Value) -> String {
        let payload =
            json!({ "eventType": "git.push", "publisherId": "tfs", "resource": resource });
        said(&PROVIDER, "", &payload)
    }

    fn update(name: &str, id: &str) -> Value {
        json!({ "name": name, "oldObjectId": ZEROS, "newObjectId": id })
    }

    #[test]
    fn every_ref_update_counts() {
        let resource = json!({
            "refUpdates": [
                update("refs/heads/main", COMMIT),
                update("refs/tags/v1", COMMIT),
                update("refs/heads/x", ZEROS),
                update("refs/pull/1/merge", COMMIT),
            ],
            "repository": { "remoteUrl": "https://acme.visualstudio.com/DefaultCollection/_git/shop" },
        });
        assert_eq!(
            push(&resource),
            "push of dev.azure.com/acme/_git/shop: \
             refs/heads/main at 1f0c3a1, refs/tags/v1 at 1f0c3a1, refs/heads/x gone"
        );
    }

    #[test]
    fn a_repository_is_known_by_each_of_its_urls() {
        for field in ["remoteUrl", "sshUrl", "webUrl"] {
            let repository = json!({ field: "https://dev.azure.com/acme/web/_git/shop" });
            let resource = json!({ "refUpdates": [], "repository": repository });
            assert_eq!(push(&resource), "push of dev.azure.com/acme/web/_git/shop: ", "{field}");
        }
    }

    #[test]
    fn a_payload_without_details_is_ignored_with_the_way_to_get_them() {
        for resource in [
            json!(null),
            json!({}),
            json!({ "pushId": 4, "url": "https://dev.azure.com/acme/_apis/git/x" }),
            json!({ "refUpdates": null, "repository": { "remoteUrl": "https://dev.azure.com/acme/_git/shop" } }),
            json!({ "refUpdates": [], "repository": { "id": "x" } }),
        ] {
            assert!(push(&resource).starts_with("ignored, it does not say what"), "{resource}");
        }
        let none = said(&PROVIDER, "", &json!({ "eventType": "git.push" }));
        assert!(none.contains("\"Resource details to send\""), "{none}");
    }

    #[test]
    fn every_other_event_is_ignored() {
        for kind in ["git.pullrequest.created", "build.complete", "workitem.created"] {
            let event = said(&PROVIDER, "", &json!({ "eventType": kind, "resource": {} }));
            assert_eq!(event, "ignored, not a push");
        }
        let resource = json!({ "repository": "shop", "refUpdates": {} });
        let build = json!({ "eventType": "build.complete", "resource": resource });
        assert_eq!(said(&PROVIDER, "", &build), "ignored, not a push");
    }

    #[test]
    fn what_azure_does_not_send_is_malformed() {
        let repository = json!({ "remoteUrl": "https://dev.azure.com/acme/_git/shop" });
        for payload in [
            json!([]),
            json!({}),
            json!({ "eventType": null }),
            json!({ "eventType": "git.push", "resource": [] }),
            json!({ "eventType": "git.push", "resource": { "refUpdates": [[]], "repository": repository } }),
            json!({ "eventType": "git.push", "resource": { "refUpdates": [{}], "repository": repository } }),
            json!({ "eventType": "git.push", "resource": { "refUpdates": [],
                    "repository": { "remoteUrl": "nowhere" } } }),
        ] {
            assert!(said(&PROVIDER, "", &payload).starts_with("payload: "), "{payload}");
        }
    }
}
