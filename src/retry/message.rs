//! A delivery as it waits in a queue: its headers, its raw body, and when it was received.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::MESSAGE_LIMIT;
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
#[error("the message holds no delivery")]
pub struct NoDelivery;

#[derive(Deserialize, Serialize)]
struct Packed {
    received: String,
    /// Names and values, each byte of a value as the character of that number.
    headers: Vec<(String, String)>,
    body: String,
}

/// Packs a delivery; gives JSON.
pub(super) fn pack(delivery: &Delivery, received: Timestamp) -> String {
    let kept = delivery.headers().iter().filter(|(name, _)| !LEFT_OUT.contains(name));
    let packed = Packed {
        received: received.to_string(),
        headers: kept
            .map(|(name, value)| {
                (name.to_string(), value.as_bytes().iter().copied().map(char::from).collect())
            })
            .collect(),
        body: BASE64_STANDARD.encode(delivery.raw()),
    };
    serde_json::to_string(&packed).expect("strings are JSON")
}

impl Message {
    /// Unpacks a message.
    ///
    /// # Errors
    /// [`NoDelivery`]
    pub fn unpack(json: &[u8]) -> Result<Self, NoDelivery> {
        // None is larger, and a header takes two bytes of it and fifty in memory.
        if json.len() > MESSAGE_LIMIT {
            return Err(NoDelivery);
        }
        let packed: Packed = serde_json::from_slice(json).map_err(|_| NoDelivery)?;
        let mut headers = HeaderMap::new();
        for (name, value) in packed.headers {
            let bytes: Result<Vec<u8>, _> = value.chars().map(u8::try_from).collect();
            let value = HeaderValue::from_bytes(&bytes.map_err(|_| NoDelivery)?);
            let name = HeaderName::try_from(name).map_err(|_| NoDelivery)?;
            headers.try_append(name, value.map_err(|_| NoDelivery)?).map_err(|_| NoDelivery)?;
        }
        let body = BASE64_STANDARD.decode(packed.body).map_err(|_| NoDelivery)?;
        let received = packed.received.parse().map_err(|_| NoDelivery)?;
        let delivery = Delivery::new(headers, Bytes::from(body)).map_err(|_| NoDelivery)?;
        Ok(Self { delivery, received })
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

        let message = Message::unpack(pack(&delivery, received).as_bytes()).expect("is one");

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
            r#"{"received":"2026-11-23T21:00:00Z","headers":[],"body":""}"#,
            r#"{"received":"yesterday","headers":[["content-type","application/json"]],"body":""}"#,
            r#"{"received":"2026-11-23T21:00:00Z","headers":[["content-type","application/json"]],"body":"?"}"#,
            r#"{"received":"2026-11-23T21:00:00Z","headers":[["a b","c"],["content-type","application/json"]],"body":""}"#,
            r#"{"received":"2026-11-23T21:00:00Z","headers":[["x","\n"],["content-type","application/json"]],"body":""}"#,
        ] {
            assert!(Message::unpack(json.as_bytes()).is_err(), "{json}");
        }
    }
}
