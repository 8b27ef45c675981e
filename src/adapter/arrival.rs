//! When and how a delivery came: its deadline, its trace, and who sent it; the drivers know, `service` and `log` ask.

use std::{net::IpAddr, time::Duration};

use http::{HeaderMap, request::Parts};
use tokio::time::Instant;

use crate::trace::{self, TraceContext};

/// What a driver knows of a request beyond HTTP, as a request extension.
#[derive(Clone, Debug)]
pub(super) struct Invocation {
    /// The driver's own id of the request, for the log.
    pub(super) request_id: String,
    /// By when the request has to be answered; nothing runs on afterwards.
    pub(super) deadline: Instant,
}

/// The address that a request came from, as a request extension.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// When and how a delivery came.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) started: Instant,
    /// By when it has to be answered.
    pub(super) deadline: Instant,
    pub(super) trace: TraceContext,
    /// The driver's own id of the request; only of one that runs nothing after the answer.
    pub(super) request_id: Option<String>,
    pub(super) client: Client,
}

/// Who sent a request, for the log.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) address: Option<IpAddr>,
    /// The last address of `X-Forwarded-For`: what the proxy before us says, or anybody who speaks to us without one.
    pub(super) forwarded_for: Option<IpAddr>,
    /// [What AWS's load balancers and gateways add](https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-request-tracing.html).
    pub(super) aws_trace: Option<String>,
}

impl Arrival {
    /// A request that arrived now, to be answered within `limit` unless its driver knows better.
    pub(super) fn of(request: &Parts, limit: Duration) -> Self {
        let started = Instant::now();
        let invocation = request.extensions.get::<Invocation>();
        let headers = &request.headers;
        Self {
            started,
            deadline: invocation.map_or(started + limit, |invocation| invocation.deadline),
            trace: TraceContext::from_headers(headers),
            request_id: invocation.map(|invocation| invocation.request_id.clone()),
            client: Client {
                address: request.extensions.get::<Peer>().map(|peer| peer.0),
                forwarded_for: forwarded_for(headers),
                aws_trace: trace::of_aws(headers).map(str::to_owned),
            },
        }
    }

    /// An event that is no request, which arrived now.
    #[cfg(feature = "lambda")]
    pub(super) fn of_event(invocation: &Invocation) -> Self {
        Self::of_queued(invocation.deadline, Some(invocation.request_id.clone()))
    }

    /// A message of a queue, which arrived now.
    #[cfg(any(feature = "lambda", all(feature = "aws", feature = "knative")))]
    pub(super) fn of_queued(deadline: Instant, request_id: Option<String>) -> Self {
        let (trace, client) = (TraceContext::default(), Client::default());
        Self { started: Instant::now(), deadline, trace, request_id, client }
    }
}

fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    last.rsplit(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn of_those_who_forwarded_a_request_the_last_is_named() {
        let last = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", HeaderValue::from_static(line));
            }
            forwarded_for(&headers).map(|address| address.to_string())
        };
        assert_eq!(last(&["203.0.113.7"]).as_deref(), Some("203.0.113.7"));
        assert_eq!(last(&["10.0.0.1, 2001:db8::7"]).as_deref(), Some("2001:db8::7"));
        assert_eq!(last(&["10.0.0.1", "203.0.113.7"]).as_deref(), Some("203.0.113.7"));
        for none in [&[][..], &[""], &["203.0.113.7, "], &["203.0.113.7, {\"a\":1}"]] {
            assert_eq!(last(none), None, "{none:?}");
        }
    }
}
