//! A delivery as it waits in a queue: its headers, its raw body, and when it was received.

use std::{
    borrow::Cow,
    io::{Read as _, Write as _},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{EVENT_TYPE, MESSAGE_LIMIT};
use crate::delivery::Delivery;

/// What concerns one connection or one hop alone. `Authorization` stays: it is Azure DevOps' proof.
const LEFT_OUT: [HeaderName; 10] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::COOKIE,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// How many headers a message may have, and how many bytes in all. No server of ours takes more, and a header takes
/// four bytes of a message and a hundred in memory.
const HEADERS: usize = 128;
const HEADER_BYTES: usize = 64 * 1024;

/// A delivery that waited, as untrusted as when it came: it carries its proof with it.
#[derive(Debug)]
pub struct Message {
    /// The delivery.
    pub delivery: Delivery,
    /// When it was received first, as the message says.
    pub received: Timestamp,
}

/// The message holds no delivery.
#[derive(Debug, thiserror::Error)]
#[error("it holds no delivery")]
pub struct NoDelivery;

#[derive(Serialize)]
struct Packed {
    received: String,
    /// Names and values, each byte of a value as the character of that number.
    headers: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    body: String,
}

/// The encoding of a body that was too large as it is.
const GZIP: &str = "gzip";

#[derive(Deserialize)]
struct Unpacked<'j> {
    #[serde(borrow)]
    received: Cow<'j, str>,
    headers: Headers,
    #[serde(borrow)]
    encoding: Option<Cow<'j, str>>,
    #[serde(borrow)]
    body: Cow<'j, str>,
}

/// Headers, no more than are taken.
struct Headers(HeaderMap);

/// A CloudEvent [in structured mode](https://github.com/cloudevents/spec/blob/main/cloudevents/formats/json-format.md):
/// the message is its data, as JSON, as a text, or as bytes in base64.
#[derive(Deserialize)]
struct Structured<'j> {
    #[serde(borrow, rename = "type")]
    event_type: Cow<'j, str>,
    #[serde(borrow)]
    data: Option<&'j RawValue>,
    #[serde(borrow)]
    data_base64: Option<Cow<'j, str>>,
}

/// Packs a delivery into JSON of at most `limit` bytes; its body is compressed where it would not fit otherwise and
/// `may_compress` allows it. `None` where it does not fit.
pub(crate) fn pack_within(
    limit: usize,
    may_compress: bool,
    delivery: &Delivery,
    received: Timestamp,
) -> Option<String> {
    let raw = delivery.raw();
    // Packed it is a third larger; so that what cannot fit is not packed at all.
    if raw.len() <= limit {
        let plain = pack(delivery, received, None, raw);
        if plain.len() <= limit {
            return Some(plain);
        }
    }
    let compressed = may_compress.then(|| gzip(raw)).filter(|body| body.len() <= limit)?;
    let packed = pack(delivery, received, Some(GZIP), &compressed);
    (packed.len() <= limit).then_some(packed)
}

fn gzip(raw: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(raw).and_then(|()| encoder.finish());
    written.expect("memory takes all that is written")
}

fn pack(
    delivery: &Delivery,
    received: Timestamp,
    encoding: Option<&'static str>,
    body: &[u8],
) -> String {
    let kept = delivery.headers().iter().filter(|(name, _)| !LEFT_OUT.contains(name));
    let packed = Packed {
        received: received.to_string(),
        headers: kept
            .map(|(name, value)| {
                (name.to_string(), value.as_bytes().iter().copied().map(char::from).collect())
            })
            .collect(),
        encoding,
        body: BASE64_STANDARD.encode(body),
    };
    serde_json::to_string(&packed).expect("strings are JSON")
}

impl Message {
    /// The message in a request that brings back what a sink was given: a CloudEvent of our type, in binary or in
    /// structured mode. `None` where the request is none.
    pub fn of_event(headers: &HeaderMap, body: &[u8]) -> Option<Result<Self, NoDelivery>> {
        if headers.get("ce-type").is_some_and(|event_type| event_type == EVENT_TYPE) {
            return Some(Self::unpack(body));
        }
        let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let media_type = content_type.split(';').next()?.trim();
        if !media_type.eq_ignore_ascii_case("application/cloudevents+json")
            || body.len() > 2 * MESSAGE_LIMIT
        {
            return None;
        }
        let event: Structured<'_> = serde_json::from_slice(body).ok()?;
        (event.event_type == EVENT_TYPE).then(|| event.message())
    }

    /// Unpacks a message that anybody may have sent; none of them is compressed.
    ///
    /// # Errors
    /// [`NoDelivery`]
    fn unpack(json: &[u8]) -> Result<Self, NoDelivery> {
        Self::unpack_within(0, json)
    }

    /// Unpacks a message, with a compressed body of at most `limit` bytes.
    ///
    /// # Errors
    /// [`NoDelivery`]
    pub fn unpack_within(limit: usize, json: &[u8]) -> Result<Self, NoDelivery> {
        // None is larger.
        if json.len() > MESSAGE_LIMIT {
            return Err(NoDelivery);
        }
        let unpacked: Unpacked<'_> = serde_json::from_slice(json).map_err(|_| NoDelivery)?;
        let Unpacked { received, headers: Headers(headers), encoding, body } = unpacked;
        let received = received.parse().map_err(|_| NoDelivery)?;
        let body = BASE64_STANDARD.decode(&*body).map_err(|_| NoDelivery)?;
        let body = match encoding.as_deref() {
            None => body,
            Some(GZIP) => gunzip(limit, &body)?,
            Some(_) => return Err(NoDelivery),
        };
        let delivery = Delivery::new(headers, Bytes::from(body)).map_err(|_| NoDelivery)?;
        Ok(Self { delivery, received })
    }
}

fn gunzip(limit: usize, compressed: &[u8]) -> Result<Vec<u8>, NoDelivery> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX);
    let mut body = Vec::new();
    let mut decoder = GzDecoder::new(compressed).take(most.saturating_add(1));
    decoder.read_to_end(&mut body).map_err(|_| NoDelivery)?;
    if body.len() > limit {
        return Err(NoDelivery);
    }
    Ok(body)
}

impl Structured<'_> {
    fn message(&self) -> Result<Message, NoDelivery> {
        match (self.data, &self.data_base64) {
            (None, Some(bytes)) => {
                let bytes = BASE64_STANDARD.decode(&**bytes).map_err(|_| NoDelivery)?;
                Message::unpack(&bytes)
            }
            (Some(data), None) => match serde_json::from_str::<String>(data.get()) {
                Ok(text) => Message::unpack(text.as_bytes()),
                Err(_) => Message::unpack(data.get().as_bytes()),
            },
            _ => Err(NoDelivery),
        }
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfPairs;

        impl<'de> Visitor<'de> for OfPairs {
            type Value = Headers;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "at most {HEADERS} headers of {HEADER_BYTES} bytes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<Headers, A::Error> {
                let (mut headers, mut bytes) = (HeaderMap::new(), 0);
                while let Some((name, value)) = pairs.next_element::<(String, String)>()? {
                    bytes += name.len() + value.len();
                    if headers.len() == HEADERS || bytes > HEADER_BYTES {
                        return Err(A::Error::custom("too many headers"));
                    }
                    let value: Result<Vec<u8>, _> = value.chars().map(u8::try_from).collect();
                    let value = HeaderValue::from_bytes(&value.map_err(A::Error::custom)?);
                    let name = HeaderName::try_from(name).map_err(A::Error::custom)?;
                    headers.append(name, value.map_err(A::Error::custom)?);
                }
                Ok(Headers(headers))
            }
        }

        deserializer.deserialize_seq(OfPairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_comes_out_as_it_went_in_but_for_what_concerns_one_hop() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", &b"application/json"[..]),
            ("authorization", b"Basic eA=="),
            ("x-proof", b"one"),
            ("x-proof", b"two"),
            ("x-bytes", b"\xfft\xe9"),
            ("host", b"example.com"),
            ("connection", b"close"),
            ("proxy-authorization", b"Basic eA=="),
        ] {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_bytes(value).expect("a header value"));
        }
        let body = Bytes::from_static(b"{\"x\": \"\xff\"}");
        let received = "2026-11-23T21:00:00.123456789Z".parse().expect("a time");
        let delivery = Delivery::new(headers.clone(), body.clone()).expect("is taken");

        let message = Message::unpack(pack(&delivery, received, None, delivery.raw()).as_bytes())
            .expect("is one");

        for left_out in ["host", "connection", "proxy-authorization"] {
            headers.remove(left_out);
        }
        assert_eq!(message.delivery.headers(), &headers);
        assert_eq!(message.delivery.raw(), body);
        assert_eq!(message.received, received);
    }

    #[test]
    fn anything_else_is_no_delivery() {
        for json in [
            "",
            "{}",
            r#"{"received":"2026-11-23T21:00:00Z","headers":{},"body":""}"#,
            r#"{"received":"2026-11-23T21:00:00Z","headers":[["content-type","text/plain"]],"body":""}"#,
            r#"{"received":"yesterday","headers":[["content-type","application/json"]],"body":""}"#,
            r#"{"received":"2026-11-23T21:00:00Z","headers":[["content-type","application/json"]],"body":"?"}"#,
            r#"{"received":"2026-11-23T21:00:00Z","headers":[["a b","c"],["content-type","application/json"]],"body":""}"#,
            r#"{"received":"2026-11-23T21:00:00Z","headers":[["x","\n"],["content-type","application/json"]],"body":""}"#,
        ] {
            assert!(Message::unpack(json.as_bytes()).is_err(), "{json}");
        }
    }

    fn headers(values: &[(&'static str, &'static str)]) -> HeaderMap {
        let value = |value: &'static str| HeaderValue::from_static(value);
        values.iter().map(|(name, v)| (HeaderName::from_static(name), value(v))).collect()
    }

    #[test]
    fn an_event_brings_its_message_in_either_mode() {
        let delivery = Delivery::new(
            headers(&[("content-type", "application/json"), ("x-proof", "one")]),
            Bytes::from_static(b"{}"),
        );
        let delivery = delivery.expect("is taken");
        let packed = pack(&delivery, Timestamp::UNIX_EPOCH, None, delivery.raw());
        let structured = |data: String| format!(r#"{{"type":"{EVENT_TYPE}","id":"1",{data}}}"#);
        let text = serde_json::to_string(&packed).expect("a text");
        let in_base64 = BASE64_STANDARD.encode(&packed);
        let cloud_event = [("content-type", "application/cloudevents+json; charset=utf-8")];
        for (event, body) in [
            (&[("ce-type", EVENT_TYPE)], packed.clone()),
            (&cloud_event, structured(format!(r#""data":{packed}"#))),
            (&cloud_event, structured(format!(r#""data":{text}"#))),
            (&cloud_event, structured(format!(r#""data_base64":"{in_base64}""#))),
        ] {
            let message = Message::of_event(&headers(event), body.as_bytes());
            let message = message.expect("is an event").expect("holds a delivery");
            assert_eq!(message.delivery.header("x-proof"), Some("one"), "{body}");
        }
        let nothing = structured(r#""subject":"x""#.to_owned());
        assert!(
            Message::of_event(&headers(&cloud_event), nothing.as_bytes())
                .is_some_and(|m| m.is_err())
        );
    }

    #[test]
    fn anything_else_is_no_event_of_ours() {
        let cloud_event = headers(&[("content-type", "application/cloudevents+json")]);
        for body in ["", "{}", r#"{"type":"dev.knative.kafka.event","data":{}}"#, "[]"] {
            assert!(Message::of_event(&cloud_event, body.as_bytes()).is_none(), "{body}");
        }
        let push = headers(&[("content-type", "application/json"), ("ce-type", "other")]);
        assert!(Message::of_event(&push, b"{}").is_none());
    }

    #[test]
    fn a_message_has_no_more_headers_than_a_request() {
        let message = |number: usize, value: &str| {
            let more = format!(r#",["x","{value}"]"#).repeat(number);
            format!(
                r#"{{"received":"2026-11-23T21:00:00Z","headers":[["content-type","application/json"]{more}],"body":"e30="}}"#
            )
        };
        assert!(Message::unpack(message(HEADERS - 1, "").as_bytes()).is_ok());
        assert!(Message::unpack(message(HEADERS, "").as_bytes()).is_err());
        assert!(Message::unpack(message(1, &"x".repeat(HEADER_BYTES)).as_bytes()).is_err());
    }
}
