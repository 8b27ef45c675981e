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
    /// A form carries it in `payload`; JSON that calls itself a form is taken as JSON. What has no type is what it looks
    /// like, and one that a proxy repeated counts once.
    ///
    /// # Errors
    /// [`UnsupportedMediaType`] for any content type but `application/json` and `application/x-www-form-urlencoded`.
    pub fn new(headers: HeaderMap, raw: Bytes) -> Result<Self, UnsupportedMediaType> {
        let media_type = media_type(&headers)?;
        let is = |expected| media_type.is_some_and(|it| it.eq_ignore_ascii_case(expected));
        let is_form = match media_type {
            None => raw.starts_with(b"payload="),
            Some(_) if is("application/json") => false,
            Some(_) if is("application/x-www-form-urlencoded") => !looks_like_json(&raw),
            Some(_) => return Err(UnsupportedMediaType),
        };
        let json = if is_form { form_payload(&raw) } else { Some(raw.clone()) };
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

/// The media type, without its parameters. Proxies repeat the header, in lines of its own or joined by commas; if not
/// all say the same, it is none that is known.
fn media_type(headers: &HeaderMap) -> Result<Option<&str>, UnsupportedMediaType> {
    let mut found: Option<&str> = None;
    for line in headers.get_all(CONTENT_TYPE) {
        let line = line.to_str().map_err(|_| UnsupportedMediaType)?;
        let values = line.split(',').map(|value| value.split(';').next().unwrap_or_default());
        for value in values.map(str::trim).filter(|value| !value.is_empty()) {
            if found.is_some_and(|found| !found.eq_ignore_ascii_case(value)) {
                return Err(UnsupportedMediaType);
            }
            found = Some(value);
        }
    }
    Ok(found)
}

/// Whether a body that calls itself a form is an object of JSON, perhaps behind the byte order mark of a relay.
fn looks_like_json(raw: &[u8]) -> bool {
    let raw = raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw);
    raw.trim_ascii_start().starts_with(b"{")
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
        for other in
            ["text/plain", "multipart/form-data; boundary=x", "application/json, text/plain"]
        {
            assert!(delivery(other, "{}").is_err(), "{other}");
        }
    }

    #[test]
    fn a_content_type_that_a_proxy_repeated_counts_once() {
        let json = delivery("application/json; charset=utf-8, Application/JSON", "{}");
        assert_eq!(json.expect("is taken").json(), Some(&b"{}"[..]));
        let mut headers = HeaderMap::new();
        for line in ["application/json", "application/json"] {
            headers.append(CONTENT_TYPE, line.parse().expect("a header value"));
        }
        assert!(Delivery::new(headers.clone(), Bytes::new()).is_ok());
        headers.append(CONTENT_TYPE, "text/plain".parse().expect("a header value"));
        assert!(Delivery::new(headers, Bytes::new()).is_err());
    }

    #[test]
    fn a_body_without_a_content_type_is_what_it_looks_like() {
        for (body, json) in [("{}", "{}"), ("payload=%7B%7D&a=b", "{}"), ("x", "x")] {
            let raw = Bytes::from_static(body.as_bytes());
            let bare = Delivery::new(HeaderMap::new(), raw).expect("is taken");
            assert_eq!(bare.json(), Some(json.as_bytes()), "{body}");
            let empty = delivery("", body).expect("is taken");
            assert_eq!(empty.json(), Some(json.as_bytes()), "{body}");
        }
    }

    #[test]
    fn json_behind_a_byte_order_mark_that_calls_itself_a_form_is_json() {
        let body = "\u{feff}{\"x\":1}";
        let delivery = delivery("application/x-www-form-urlencoded", body).expect("is taken");
        assert_eq!(delivery.json(), Some(body.as_bytes()));
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
