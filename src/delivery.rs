//! A delivery as it came in, headers and raw body, untrusted; `signature` proves it, `provider/*` read it.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};

/// One HTTP request of a Git provider. Nothing in it is to be believed before it is verified.
pub struct Delivery {
    headers: HeaderMap,
    raw: Bytes,
    json: Option<Bytes>,
}

/// The content type is neither JSON nor a form.
#[derive(Debug, thiserror::Error)]
#[error("content type is neither application/json nor application/x-www-form-urlencoded")]
pub struct UnsupportedMediaType;

impl Delivery {
    /// Takes headers and raw body; finds the JSON in it.
    ///
    /// A form carries it in `payload`; JSON that calls itself a form is taken as JSON, and so is what has no type.
    ///
    /// # Errors
    /// [`UnsupportedMediaType`] for any content type but `application/json` and `application/x-www-form-urlencoded`.
    pub fn new(headers: HeaderMap, raw: Bytes) -> Result<Self, UnsupportedMediaType> {
        let content_type = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
        let media_type =
            content_type.map(|value| value.split(';').next().unwrap_or_default().trim());
        let is = |expected| {
            media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case(expected))
        };
        let json = if media_type.is_none() || is("application/json") {
            Some(raw.clone())
        } else if is("application/x-www-form-urlencoded") {
            if raw.trim_ascii_start().starts_with(b"{") {
                Some(raw.clone())
            } else {
                form_payload(&raw)
            }
        } else {
            return Err(UnsupportedMediaType);
        };
        Ok(Self { headers, raw, json })
    }

    /// All headers.
    pub const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The value of a header that came once; `None` if it is missing or repeated.
    pub fn header_value(&self, name: &str) -> Option<&HeaderValue> {
        let mut values = self.headers.get_all(name).iter();
        let only = values.next()?;
        values.next().is_none().then_some(only)
    }

    /// The value of a header that came once, as visible ASCII; `None` if it is missing, repeated or anything else.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_value(name)?.to_str().ok()
    }

    /// The body as it was sent.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The JSON text in the body; `None` for a form without a `payload`.
    pub fn json(&self) -> Option<&[u8]> {
        self.json.as_deref()
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery").field("bytes", &self.raw.len()).finish_non_exhaustive()
    }
}

fn form_payload(form: &[u8]) -> Option<Bytes> {
    let (_, value) = form_urlencoded::parse(form).find(|(name, _)| name == "payload")?;
    Some(Bytes::from(value.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(
        content_type: &'static str,
        body: &'static str,
    ) -> Result<Delivery, UnsupportedMediaType> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().expect("a header value"));
        Delivery::new(headers, Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn json_with_a_charset_is_json() {
        let delivery = delivery("Application/JSON; charset=utf-8", "{}").expect("is taken");
        assert_eq!(delivery.json(), Some(&b"{}"[..]));
    }

    #[test]
    fn a_form_carries_its_json_in_payload() {
        let delivery =
            delivery("application/x-www-form-urlencoded", "a=b&payload=%7B%22x%22%3A+1%7D")
                .expect("is taken");
        assert_eq!(delivery.json(), Some(&b"{\"x\": 1}"[..]));
        assert_eq!(delivery.raw(), b"a=b&payload=%7B%22x%22%3A+1%7D");
    }

    #[test]
    fn json_that_calls_itself_a_form_is_json() {
        let delivery = delivery("application/x-www-form-urlencoded", " {\"x\":\"a&payload=b\"}")
            .expect("is taken");
        assert_eq!(delivery.json(), Some(&b" {\"x\":\"a&payload=b\"}"[..]));
    }

    #[test]
    fn a_form_without_payload_has_no_json() {
        let delivery = delivery("application/x-www-form-urlencoded", "a=b").expect("is taken");
        assert_eq!(delivery.json(), None);
    }

    #[test]
    fn any_other_content_type_is_refused() {
        assert!(delivery("text/plain", "{}").is_err());
        assert!(delivery("", "{}").is_err());
    }

    #[test]
    fn a_body_without_a_content_type_is_json() {
        let delivery = Delivery::new(HeaderMap::new(), Bytes::from_static(b"{}"));
        assert_eq!(delivery.expect("is taken").json(), Some(&b"{}"[..]));
    }

    #[test]
    fn a_header_sent_twice_has_no_value() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/json".parse().expect("a header value"));
        headers.append("x-proof", "a".parse().expect("a header value"));
        headers.append("x-proof", "a".parse().expect("a header value"));
        let delivery = Delivery::new(headers, Bytes::new()).expect("is taken");
        assert_eq!(delivery.header("x-proof"), None);
    }

    #[test]
    fn debug_output_holds_no_body() {
        let delivery = delivery("application/json", "{\"secret\":\"hunter2\"}").expect("is taken");
        assert!(!format!("{delivery:?}").contains("hunter2"));
    }
}
