//! What `explain` is asked about: a delivery out of a file, or a push that somebody only thinks of.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    delivery::Delivery,
    event::{After, Event, Push, RefUpdate, Refs, Repository},
    provider::codecommit,
};

/// What `explain` is asked about.
#[derive(Debug)]
pub enum Asked {
    /// A delivery as it came.
    Delivery(Delivery),
    /// An event that IAM verified, with its provider's name.
    Trusted(&'static str, Event),
    /// A push that nobody made.
    Supposed(Push),
}

/// What was asked makes no sense; says why, never what the file held.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Unusable(pub(super) String);

/// An [event of Lambda's front doors](https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads), as in `events/`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FrontDoorEvent {
    #[serde(default)]
    headers: serde_json::Map<String, Value>,
    #[serde(default)]
    multi_value_headers: serde_json::Map<String, Value>,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// The commit of a supposed push for which none was named.
pub(super) const SOME_COMMIT: &str = "ffffffffffffffffffffffffffffffffffffffff";

impl Asked {
    /// Reads a Lambda event: of an HTTP request, or CodeCommit's by way of EventBridge.
    ///
    /// # Errors
    /// [`Unusable`] where the text is none.
    pub fn event(text: &str) -> Result<Self, Unusable> {
        let no_event = || {
            Unusable(
                "the file holds no event of Lambda: JSON with headers and body, as in events/"
                    .to_owned(),
            )
        };
        let json: Value = serde_json::from_str(text).map_err(|_| no_event())?;
        if json.get("detail-type").is_some() {
            let change = codecommit::parse(text.as_bytes());
            let change = change.map_err(|malformed| Unusable(malformed.to_string()))?;
            return Ok(Self::Trusted(codecommit::NAME, change.event));
        }
        let event: FrontDoorEvent = serde_json::from_value(json).map_err(|_| no_event())?;
        let body = event.body.as_deref().ok_or_else(no_event)?;
        let body = match event.is_base64_encoded {
            true => BASE64_STANDARD.decode(body).map_err(|_| no_event())?,
            false => body.as_bytes().to_vec(),
        };
        let headers = event.all_headers().ok_or_else(no_event)??;
        let delivery = Delivery::new(headers, Bytes::from(body));
        let delivery = delivery.map_err(|unsupported| Unusable(unsupported.to_string()))?;
        Ok(Self::Delivery(delivery))
    }

    /// Supposes that a push moved `full_ref` (`refs/heads/…`, `refs/tags/…`, or the name of a branch) of the repository.
    ///
    /// # Errors
    /// [`Unusable`] where the URL names no repository, or a name no ref or commit.
    pub fn supposed(url: &str, full_ref: &str, commit: Option<&str>) -> Result<Self, Unusable> {
        let unusable = |what: &str| Unusable(what.to_owned());
        let repository = Repository::from_urls([url])
            .ok_or_else(|| unusable("--repo takes the URL of a repository"))?;
        let full_ref = match full_ref.starts_with("refs/") {
            true => full_ref.to_owned(),
            false => format!("refs/heads/{full_ref}"),
        };
        let after = After::id(commit.unwrap_or(SOME_COMMIT));
        if after.commit().is_none() {
            return Err(unusable("--commit takes a whole commit id, of 40 or 64 hex digits"));
        }
        let update = RefUpdate::of(&full_ref, None, after)
            .ok_or_else(|| unusable("--ref takes a branch or a tag"))?;
        let refs = Refs::from(vec![update]);
        Ok(Self::Supposed(Push { repository, refs }))
    }
}

impl FrontDoorEvent {
    /// `None` where they are not headers; [`Unusable`] where they are more than any request has.
    fn all_headers(&self) -> Option<Result<HeaderMap, Unusable>> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers.iter().chain(&self.multi_value_headers) {
            let name = HeaderName::try_from(name).ok()?;
            let values = match value {
                Value::Array(values) => {
                    // Where a front door gives both forms, this one has all of them.
                    headers.remove(&name);
                    values.as_slice()
                }
                value => std::slice::from_ref(value),
            };
            for value in values {
                let value = HeaderValue::try_from(value.as_str()?).ok()?;
                if headers.try_append(&name, value).is_err() {
                    return Some(Err(Unusable("the event has too many headers".to_owned())));
                }
            }
        }
        Some(Ok(headers))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    #[test]
    fn a_file_that_is_no_event_is_said_to_be_none_and_not_shown() {
        for text in ["", "hunter2", "{}", r#"{"body":"hunter2","isBase64Encoded":true}"#, "[1]"] {
            let error = Asked::event(text).expect_err("is none").to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn more_headers_than_a_request_has_are_refused_in_words() {
        let headers: Map<String, Value> =
            (0..40_000).map(|number| (format!("x-{number}"), "x".into())).collect();
        let event = json!({ "headers": headers, "body": "{}" }).to_string();
        let error = Asked::event(&event).expect_err("is refused");
        assert_eq!(error.to_string(), "the event has too many headers");
        let lines = json!({ "multiValueHeaders": { "x": vec!["x"; 40_000] }, "body": "{}" });
        let _ = Asked::event(&lines.to_string());
    }

    #[test]
    fn a_branch_may_be_named_short_and_a_tag_in_full() {
        for (named, full) in [("main", "refs/heads/main"), ("refs/tags/v1", "refs/tags/v1")] {
            let Ok(Asked::Supposed(push)) = Asked::supposed("https://git.example/a", named, None)
            else {
                panic!("{named}")
            };
            assert_eq!(
                push.refs.named().first().map(|update| update.git_ref.to_string()),
                Some(full.to_owned())
            );
        }
        assert!(Asked::supposed("no url", "main", None).is_err());
        assert!(Asked::supposed("https://git.example/a", "main", Some("abc")).is_err());
    }
}
