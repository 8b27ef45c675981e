//! What a watch says: changes of GitRepos, one a line, as they arrive.
//!
//! Not [`kube::Client::request_events`]: it passes over an answer that breaks off and then ends as if the API server had
//! ended the watch (kube-client 5, where it maps `LinesCodecError::Io`). `watch` takes a good end for the proof that
//! nothing was missed, so it has to know the two apart; a test below shows both.

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::listed::Listed;
use crate::cluster::{ApiError, unreachable_server, unreadable};

/// One line of a watch.
pub(super) enum Change {
    /// A GitRepo was created or changed.
    Applied(Listed),
    /// A GitRepo was deleted.
    Deleted(Listed),
    /// Everything up to this version was said.
    Bookmark(String),
    /// The watch is over, for this reason.
    Failed(StatusCode),
}

/// The body of a watch.
pub(super) struct Changes {
    body: Body,
    buffer: BytesMut,
}

#[derive(Deserialize)]
struct Line<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: BookmarkMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkMetadata {
    resource_version: String,
}

#[derive(Deserialize)]
struct Status {
    code: u16,
}

impl Changes {
    /// Reads `body`.
    pub(super) fn new(body: Body) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// The next change; `None` once the API server has ended the watch. May be dropped while it waits, and called again.
    pub(super) async fn next(&mut self) -> Option<Result<Change, ApiError>> {
        Some(self.line().await?.and_then(|line| Change::read(&line)))
    }

    async fn line(&mut self) -> Option<Result<Bytes, ApiError>> {
        let mut searched = 0;
        loop {
            let unsearched = self.buffer.get(searched..).unwrap_or_default();
            if let Some(length) = unsearched.iter().position(|byte| *byte == b'\n') {
                return Some(Ok(self.buffer.split_to(searched + length + 1).freeze()));
            }
            searched = self.buffer.len();
            match self.body.frame().await? {
                Ok(frame) => {
                    self.buffer.extend_from_slice(frame.data_ref().map_or(&[], |data| data))
                }
                Err(error) => return Some(Err(unreachable_server(&error))),
            }
        }
    }
}

impl Change {
    fn read(line: &[u8]) -> Result<Self, ApiError> {
        let Line { r#type, object } = json(line)?;
        let object = object.get().as_bytes();
        Ok(match r#type {
            "ADDED" | "MODIFIED" => Self::Applied(json(object)?),
            "DELETED" => Self::Deleted(json(object)?),
            "BOOKMARK" => Self::Bookmark(json::<Bookmark>(object)?.metadata.resource_version),
            _ => Self::Failed(
                StatusCode::from_u16(json::<Status>(object)?.code)
                    .map_err(|_| ApiError::Unreadable("an error without a status".to_owned()))?,
            ),
        })
    }
}

fn json<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(text).map_err(|error| unreadable(&error))
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures::{StreamExt as _, stream};
    use http::{Request, Response};
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use kube::{Client, core::WatchEvent};
    use serde_json::Value;
    use tower::service_fn;

    use super::*;

    fn read(line: &str) -> Result<Change, ApiError> {
        Change::read(line.as_bytes())
    }

    #[test]
    fn every_kind_of_line_is_understood() {
        let object = r#"{"metadata":{"namespace":"a","name":"b","resourceVersion":"5"},"spec":{}}"#;
        for kind in ["ADDED", "MODIFIED"] {
            let line = format!(r#"{{"type":"{kind}","object":{object}}}"#);
            let Ok(Change::Applied(listed)) = read(&line) else { panic!("{line}") };
            assert_eq!(listed.resource_version(), "5");
        }
        assert!(matches!(
            read(&format!(r#"{{"object":{object},"type":"DELETED"}}"#)),
            Ok(Change::Deleted(_))
        ));
        let bookmark =
            r#"{"type":"BOOKMARK","object":{"kind":"GitRepo","metadata":{"resourceVersion":"9"}}}"#;
        assert!(matches!(read(bookmark), Ok(Change::Bookmark(version)) if version == "9"));
        let gone = r#"{"type":"ERROR","object":{"kind":"Status","code":410}}"#;
        assert!(matches!(read(gone), Ok(Change::Failed(StatusCode::GONE))));
    }

    #[test]
    fn a_line_of_another_shape_is_an_error() {
        for line in [
            "",
            "null",
            "[]",
            r#"{"type":"ADDED","object":{}}"#,
            r#"{"type":"ERROR","object":{"code":7}}"#,
        ] {
            assert!(matches!(read(line), Err(ApiError::Unreadable(_))), "{line}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_an_error_and_for_kube_a_good_end() {
        let answer = async |_: Request<Body>| {
            let line = r#"{"type":"ADDED","object":{"metadata":{"namespace":"a","name":"b"}}}"#;
            let line = Ok(Frame::data(Bytes::from(format!("{line}\n"))));
            let cut = Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            Ok::<_, io::Error>(Response::new(StreamBody::new(stream::iter([line, cut]))))
        };
        let client = Client::new(service_fn(answer), "default");

        let answer = client.send(Request::new(Body::empty())).await.expect("is answered");
        let mut changes = Changes::new(answer.into_body());
        assert!(matches!(changes.next().await, Some(Ok(Change::Applied(_)))));
        assert!(matches!(changes.next().await, Some(Err(ApiError::Unreachable(_)))));

        let events = client.request_events::<Value>(Request::new(Vec::new())).await;
        let events: Vec<kube::Result<_>> = events.expect("is answered").collect().await;
        assert!(
            matches!(events.as_slice(), [Ok(WatchEvent::Added(_))]),
            "if kube tells of the break by now, its own stream will do: {events:?}"
        );
    }

    #[tokio::test]
    async fn each_line_of_a_chunk_is_a_change_and_an_unfinished_one_is_none() {
        let text = "{\"type\":\"ERROR\",\"object\":{\"code\":500}}\n".repeat(3) + "{\"type\":";
        let mut changes = Changes::new(Body::from(text.into_bytes()));
        for _ in 0..3 {
            assert!(
                matches!(changes.next().await, Some(Ok(Change::Failed(status))) if status == 500)
            );
        }
        assert!(changes.next().await.is_none());
    }
}
