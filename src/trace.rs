//! [W3C trace context](https://www.w3.org/TR/trace-context/): taken from the caller, carried into the log and to the API server.

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// [AWS's own](https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-request-tracing.html).
const AWS_TRACE: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// How long AWS's may be to be repeated in the log; anybody may send one.
const AWS_TRACE_LIMIT: usize = 256;

/// How long a `tracestate` may be to be carried on; longer ones are dropped whole.
const TRACESTATE_LIMIT: usize = 512;

/// The trace that a caller's request belongs to; empty where the caller sent none or a malformed one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext(Option<Trace>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Trace {
    parent: HeaderValue,
    state: Option<HeaderValue>,
}

impl TraceContext {
    /// Reads `traceparent` and `tracestate`; what is malformed or sent twice is dropped.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let only = |name: &HeaderName| {
            let mut values = headers.get_all(name).iter();
            values.next().filter(|_| values.next().is_none()).cloned()
        };
        let parent = only(&TRACEPARENT).filter(|parent| trace_id(parent).is_some());
        Self(parent.map(|parent| {
            Trace {
                parent,
                state: only(&TRACESTATE)
                    .filter(|state| state.len() <= TRACESTATE_LIMIT && state.to_str().is_ok()),
            }
        }))
    }

    /// The trace id, 32 hex digits in lower case.
    pub fn id(&self) -> Option<&str> {
        trace_id(&self.0.as_ref()?.parent)
    }

    /// Adds the headers to a request of ours.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        let Some(trace) = &self.0 else { return };
        headers.insert(TRACEPARENT, trace.parent.clone());
        if let Some(state) = &trace.state {
            headers.insert(TRACESTATE, state.clone());
        }
    }
}

/// The trace that AWS's load balancers and gateways name, for the log: `Root=1-…;Parent=…`.
pub(crate) fn of_aws(headers: &HeaderMap) -> Option<&str> {
    let trace = headers.get(AWS_TRACE)?.to_str().ok()?;
    (trace.len() <= AWS_TRACE_LIMIT).then_some(trace)
}

/// The trace id of a `traceparent`: `VERSION-TRACEID-PARENTID-FLAGS` in lower-case hex, ids not all zeros, version not `ff`.
fn trace_id(traceparent: &HeaderValue) -> Option<&str> {
    let mut fields = traceparent.to_str().ok()?.split('-');
    let mut field = |length: usize| {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        fields.next().filter(|field| field.len() == length && field.bytes().all(hex))
    };
    let (version, trace, parent, _flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    let some = |id: &str| id.bytes().any(|byte| byte != b'0');
    let well_formed = version != "ff"
        && some(trace)
        && some(parent)
        && (version != "00" || fields.next().is_none());
    well_formed.then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn context(values: &[(&'static str, &str)]) -> TraceContext {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(*name, value.parse().expect("a header value"));
        }
        TraceContext::from_headers(&headers)
    }

    #[test]
    fn a_trace_is_carried_on_with_its_state() {
        let context = context(&[("traceparent", PARENT), ("tracestate", "vendor=1")]);
        assert_eq!(context.id(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        let mut headers = HeaderMap::new();
        context.apply(&mut headers);
        assert_eq!(headers.get("traceparent").expect("is set"), PARENT);
        assert_eq!(headers.get("tracestate").expect("is set"), "vendor=1");
    }

    #[test]
    fn a_malformed_or_repeated_trace_is_dropped() {
        let zeros = PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
        for parent in [
            "",
            "00",
            &PARENT.to_uppercase(),
            &format!("{PARENT}-00"),
            &zeros,
            &PARENT.replacen("00", "ff", 1),
        ] {
            assert_eq!(context(&[("traceparent", parent)]), TraceContext::default(), "{parent}");
        }
        assert_eq!(
            context(&[("traceparent", PARENT), ("traceparent", PARENT)]),
            TraceContext::default()
        );
    }
}
