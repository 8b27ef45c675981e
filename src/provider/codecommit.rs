//! AWS CodeCommit, by [EventBridge](https://docs.aws.amazon.com/codecommit/latest/userguide/monitoring-events.html).
//!
//! Its events are no HTTP requests and nothing in them is signed: they count only as the outer event of a Lambda
//! invocation, which IAM allows or not. Therefore it is in no table of headers, and no key of a secret is its own.

use jiff::Timestamp;
use serde::Deserialize;

use super::Malformed;
use crate::{
    event::{After, Event, Push, RefUpdate, Repository},
    payload::{self, Object, Text, missing},
};

/// Its name in answers, logs and metrics.
pub const NAME: &str = "codecommit";

/// What EventBridge hands over.
#[derive(Debug)]
pub struct StateChange {
    /// The event's id, the same each time it is delivered.
    pub id: String,
    /// When it happened, whenever it is delivered.
    pub time: Timestamp,
    /// What happened.
    pub event: Event,
}

#[derive(Deserialize)]
struct Payload {
    id: Option<Text>,
    time: Option<Text>,
    source: Option<Text>,
    #[serde(rename = "detail-type")]
    detail_type: Option<Text>,
    region: Option<Text>,
    detail: Option<Object<Detail>>,
}

#[derive(Deserialize)]
struct Detail {
    event: Option<Text>,
    #[serde(rename = "repositoryName")]
    repository_name: Option<Text>,
    #[serde(rename = "referenceFullName")]
    reference_full_name: Option<Text>,
    /// Missing where the ref was deleted.
    #[serde(rename = "commitId")]
    commit_id: Option<Text>,
    /// Missing where the ref is new.
    #[serde(rename = "oldCommitId")]
    old_commit_id: Option<Text>,
}

/// Reads an EventBridge event; one of another source, such as a schedule, is ignored.
///
/// # Errors
/// [`Malformed`] where it is not what EventBridge and CodeCommit promise.
pub fn parse(json: &[u8]) -> Result<StateChange, Malformed> {
    let payload: Payload = payload::object(json)?;
    let time = payload.time.as_deref().and_then(|time| time.parse().ok());
    Ok(StateChange {
        event: event(&payload)?,
        time: time.ok_or_else(|| missing("time"))?,
        id: payload.id.ok_or_else(|| missing("id"))?.as_str().to_owned(),
    })
}

fn event(payload: &Payload) -> Result<Event, Malformed> {
    match payload.source.as_deref() {
        Some("aws.codecommit") => {}
        Some(_) => return Ok(Event::Ignored("not CodeCommit")),
        None => return Err(missing("source")),
    }
    if payload.detail_type.as_deref() != Some("CodeCommit Repository State Change") {
        return Ok(Event::Ignored("not a push"));
    }
    let detail = payload.detail.as_ref().ok_or_else(|| missing("detail"))?;
    let after = match detail.event.as_deref() {
        Some("referenceCreated" | "referenceUpdated") => {
            After::id(detail.commit_id.as_deref().ok_or_else(|| missing("detail.commitId"))?)
        }
        Some("referenceDeleted") => After::Deleted,
        _ => return Ok(Event::Ignored("not a push")),
    };
    let full_ref = detail.reference_full_name.as_deref();
    let full_ref = full_ref.ok_or_else(|| missing("detail.referenceFullName"))?;
    let update = RefUpdate::of(full_ref, detail.old_commit_id.as_deref(), after);
    Ok(Event::Push(Push {
        repository: repository(payload).ok_or_else(|| missing("detail.repositoryName"))?,
        refs: Vec::from_iter(update).into(),
    }))
}

/// No URL is in the event; the form of AWS's remote helper holds what is.
fn repository(payload: &Payload) -> Option<Repository> {
    let region = payload.region.as_deref()?;
    let name = payload.detail.as_ref()?.repository_name.as_deref()?;
    Repository::from_urls([format!("codecommit::{region}://{name}").as_str()])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        provider::testing::{COMMIT, OTHER, in_words},
        repo_url::RepoUrl,
    };

    fn said(event: &Value) -> String {
        in_words(&parse(event.to_string().as_bytes()).map(|change| change.event))
    }

    const STATE_CHANGE: &str = "CodeCommit Repository State Change";

    fn change(kind: &str, region: &str, commit: Option<&str>) -> Value {
        json!({
            "id": "0c3a1f2b-1111-4222-8333-444455556666",
            "time": "2026-11-23T21:00:00Z",
            "source": "aws.codecommit",
            "detail-type": STATE_CHANGE,
            "region": region,
            "detail": {
                "event": kind,
                "repositoryName": "shop",
                "referenceFullName": "refs/heads/main",
                "commitId": commit,
            },
        })
    }

    #[test]
    fn a_reference_is_created_updated_or_deleted() {
        for (kind, commit, moved) in [
            ("referenceCreated", Some(COMMIT), "at 1f0c3a1"),
            ("referenceUpdated", Some(COMMIT), "at 1f0c3a1"),
            ("referenceDeleted", None, "gone"),
        ] {
            let event = said(&change(kind, "eu-central-1", commit));
            let place = "git-codecommit.eu-central-1.amazonaws.com/v1/repos/shop";
            assert_eq!(event, format!("push of {place}: refs/heads/main {moved}"));
        }
    }

    #[test]
    fn an_update_says_what_the_ref_was_before() {
        let event = change("referenceUpdated", "eu-central-1", Some(COMMIT)).to_string();
        let event =
            event.replace("\"detail\":{", &format!("\"detail\":{{\"oldCommitId\":\"{OTHER}\","));
        let said = in_words(&parse(event.as_bytes()).map(|change| change.event));
        assert!(said.ends_with("refs/heads/main at 1f0c3a1 from 2e7b9d0"));
    }

    #[test]
    fn china_has_a_domain_of_its_own() {
        let event = said(&change("referenceDeleted", "cn-north-1", None));
        let place = "git-codecommit.cn-north-1.amazonaws.com.cn/v1/repos/shop";
        assert_eq!(event, format!("push of {place}: refs/heads/main gone"));
    }

    #[test]
    fn every_other_event_is_ignored() {
        let merge = change("unreferencedMergeCommitCreated", "eu-central-1", Some(COMMIT));
        let other = |source: &str, kind: &str| json!({ "id": "x", "time": "2026-11-23T21:00:00Z", "source": source, "detail-type": kind });
        for event in [merge, other("aws.codecommit", "CodeCommit Comment on Commit")] {
            assert_eq!(said(&event), "ignored, not a push");
        }
        for event in [other("aws.events", "Scheduled Event"), other("aws.ec2", STATE_CHANGE)] {
            assert_eq!(said(&event), "ignored, not CodeCommit");
        }
    }

    #[test]
    fn what_eventbridge_does_not_hand_over_is_malformed() {
        for event in [
            json!([]),
            json!({}),
            json!({ "Records": [] }),
            json!({ "source": "aws.codecommit", "detail-type": STATE_CHANGE, "detail": [] }),
            json!({ "source": "aws.codecommit", "detail-type": STATE_CHANGE }),
            change("referenceUpdated", "eu-central-1", None),
            change("referenceUpdated", "evil.example/", Some(COMMIT)),
            change("referenceUpdated", "", Some(COMMIT)),
        ] {
            assert!(said(&event).starts_with("payload: "), "{event}");
        }
    }

    #[test]
    fn a_push_names_the_repository_by_all_its_urls() {
        let event = change("referenceDeleted", "eu-central-1", None).to_string();
        let Ok(StateChange { event: Event::Push(push), .. }) = parse(event.as_bytes()) else {
            panic!("is a push")
        };
        for text in [
            "https://git-codecommit.eu-central-1.amazonaws.com/v1/repos/shop",
            "ssh://APKAEXAMPLE@git-codecommit.eu-central-1.amazonaws.com/v1/repos/shop",
            "codecommit::eu-central-1://profile@shop",
        ] {
            assert!(
                push.repository.is(&RepoUrl::parse(text).expect("names a repository")),
                "{text}"
            );
        }
    }

    #[test]
    fn the_id_and_the_time_of_the_event_are_those_of_the_delivery() {
        let event = change("referenceUpdated", "eu-central-1", Some(COMMIT)).to_string();
        let StateChange { id, time, .. } = parse(event.as_bytes()).expect("is an event");
        assert_eq!(id, "0c3a1f2b-1111-4222-8333-444455556666");
        assert_eq!(time.to_string(), "2026-11-23T21:00:00Z");
        for (field, instead) in [("\"id\"", "\"di\""), ("\"time\"", "\"emit\"")] {
            assert!(parse(event.replace(field, instead).as_bytes()).is_err(), "{field}");
        }
    }
}
