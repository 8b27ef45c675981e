//! AWS CodeCommit, by [EventBridge](https://docs.aws.amazon.com/codecommit/latest/userguide/monitoring-events.html) or by
//! a [trigger of a repository](https://docs.aws.amazon.com/codecommit/latest/userguide/how-to-notify-lambda.html).
//!
//! Its events are no HTTP requests and nothing in them is signed: they count only as the outer event of a Lambda
//! invocation, which IAM allows or not. Therefore it is in no table of headers, and no key of a secret is its own.

use jiff::Timestamp;
use serde::Deserialize;

use super::Malformed;
use crate::{
    event::{After, Event, Push, RefUpdate, Repository},
    payload::{self, Object, RefUpdates, Text, TriggerRecords, Update, missing},
};

/// Its name in answers, logs and metrics.
pub const NAME: &str = "codecommit";

/// What EventBridge or a trigger hands over.
#[derive(Debug)]
pub struct StateChange {
    /// The AWS account that the repository is in: a URL does not say that, so another account's may have the same one.
    pub account: String,
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
    account: Option<Text>,
    region: Option<Text>,
    detail: Option<Object<Detail>>,
    /// Those of a trigger, which has nothing else.
    #[serde(rename = "Records")]
    records: Option<TriggerRecords<Record>>,
}

/// What the trigger of a repository hands over; large pushes come in several parts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_id: Option<Text>,
    event_time: Option<Text>,
    event_name: Option<Text>,
    event_source: Option<Text>,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: Option<Text>,
    codecommit: Option<Object<References>>,
}

#[derive(Deserialize)]
struct References {
    references: Option<RefUpdates<Reference>>,
}

/// Where it was before is not said.
#[derive(Deserialize)]
struct Reference {
    #[serde(rename = "ref")]
    full_ref: Option<Text>,
    commit: Option<Text>,
    deleted: Option<bool>,
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

/// Whether the records of an event are those of a repository's trigger.
pub fn is_trigger(json: &[u8]) -> bool {
    let payload = payload::object::<Payload>(json).ok();
    let record = payload.and_then(|payload| payload.records?.only());
    record.is_some_and(|record| record.event_source.as_deref() == Some("aws:codecommit"))
}

/// Reads an event of EventBridge or of a trigger; one of another source, such as a schedule, is ignored.
///
/// # Errors
/// [`Malformed`] where it is not what EventBridge and CodeCommit promise.
pub fn parse(json: &[u8]) -> Result<StateChange, Malformed> {
    let payload: Payload = payload::object(json)?;
    if let Some(records) = payload.records {
        return triggered(records.only().ok_or_else(|| missing("Records[0]"))?);
    }
    let time = payload.time.as_deref().and_then(|time| time.parse().ok());
    Ok(StateChange {
        event: event(&payload)?,
        account: payload.account.ok_or_else(|| missing("account"))?.as_str().to_owned(),
        time: time.ok_or_else(|| missing("time"))?,
        id: payload.id.ok_or_else(|| missing("id"))?.as_str().to_owned(),
    })
}

fn triggered(record: Record) -> Result<StateChange, Malformed> {
    let arn = record.event_source_arn.as_deref().unwrap_or_default();
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, _, _, region, account, name] = parts.as_slice() else {
        return Err(missing("Records[0].eventSourceARN"));
    };
    let event = if record.event_name.as_deref() == Some("TriggerEventTest") {
        Event::Ping(None)
    } else {
        let references = record.codecommit.and_then(|Object(moved)| moved.references);
        Event::Push(Push {
            repository: named(region, name).ok_or_else(|| missing("Records[0].eventSourceARN"))?,
            refs: references.ok_or_else(|| missing("Records[0].codecommit.references"))?.refs()?,
        })
    };
    let time = record.event_time.as_deref().and_then(|time| time.parse().ok());
    Ok(StateChange {
        account: (*account).to_owned(),
        event,
        time: time.ok_or_else(|| missing("Records[0].eventTime"))?,
        id: record.event_id.ok_or_else(|| missing("Records[0].eventId"))?.as_str().to_owned(),
    })
}

impl Update for Reference {
    fn update(self) -> Result<Option<RefUpdate>, Malformed> {
        let full_ref = self.full_ref.ok_or_else(|| missing("references[].ref"))?;
        let after = match (self.deleted, self.commit) {
            (Some(true), _) => After::Deleted,
            (_, Some(commit)) => After::id(&commit),
            (_, None) => return Err(missing("references[].commit")),
        };
        Ok(RefUpdate::of(&full_ref, None, after))
    }
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

fn repository(payload: &Payload) -> Option<Repository> {
    named(payload.region.as_deref()?, payload.detail.as_ref()?.repository_name.as_deref()?)
}

/// No URL is in an event; the form of AWS's remote helper holds what is.
fn named(region: &str, name: &str) -> Option<Repository> {
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
            "account": "123456789012",
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

    fn trigger(name: &str, references: &Value) -> Value {
        json!({ "Records": [{
            "eventId": "5a824061-17ca-46a9-bbf9-114edeadbeef",
            "eventTime": "2026-11-23T21:00:00.475+0000",
            "eventName": name,
            "eventSource": "aws:codecommit",
            "eventSourceARN": "arn:aws:codecommit:eu-central-1:123456789012:shop",
            "awsRegion": "eu-central-1",
            "codecommit": { "references": references },
        }] })
    }

    #[test]
    fn the_trigger_of_a_repository_tells_of_all_refs() {
        let references = json!([
            { "ref": "refs/heads/main", "commit": COMMIT },
            { "ref": "refs/tags/v1", "commit": COMMIT, "created": true },
            { "ref": "refs/heads/x", "commit": COMMIT, "deleted": true },
        ]);
        let event = trigger("ReferenceChanges", &references);
        assert_eq!(
            said(&event),
            "push of git-codecommit.eu-central-1.amazonaws.com/v1/repos/shop: \
             refs/heads/main at 1f0c3a1, refs/tags/v1 at 1f0c3a1, refs/heads/x gone"
        );
        let change = parse(event.to_string().as_bytes()).expect("is an event");
        assert_eq!(change.account, "123456789012");
        assert_eq!(change.id, "5a824061-17ca-46a9-bbf9-114edeadbeef");
        assert_eq!(change.time.to_string(), "2026-11-23T21:00:00.475Z");
        assert!(is_trigger(event.to_string().as_bytes()));
        assert_eq!(said(&trigger("TriggerEventTest", &references)), "ping");
    }

    #[test]
    fn the_records_of_others_are_no_trigger() {
        for other in [
            json!({ "Records": [] }),
            json!({ "Records": [{ "eventSource": "aws:sqs", "body": "{}" }] }),
            json!({ "Records": [{ "eventSource": "aws:codecommit" }, { "eventSource": "aws:codecommit" }] }),
            json!({}),
        ] {
            assert!(!is_trigger(other.to_string().as_bytes()), "{other}");
        }
        for wrong in [json!(null), json!([{}]), json!([{ "ref": "refs/heads/main" }])] {
            assert!(said(&trigger("x", &wrong)).starts_with("payload: "), "{wrong}");
        }
    }

    #[test]
    fn every_other_event_is_ignored() {
        let merge = change("unreferencedMergeCommitCreated", "eu-central-1", Some(COMMIT));
        let other = |source: &str, kind: &str| json!({ "id": "x", "account": "1", "time": "2026-11-23T21:00:00Z", "source": source, "detail-type": kind });
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
        let StateChange { account, id, time, .. } = parse(event.as_bytes()).expect("is an event");
        assert_eq!(account, "123456789012");
        assert_eq!(id, "0c3a1f2b-1111-4222-8333-444455556666");
        assert_eq!(time.to_string(), "2026-11-23T21:00:00Z");
        for (field, instead) in
            [("\"id\"", "\"di\""), ("\"time\"", "\"emit\""), ("\"account\"", "\"tnuocca\"")]
        {
            assert!(parse(event.replace(field, instead).as_bytes()).is_err(), "{field}");
        }
    }
}
