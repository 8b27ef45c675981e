//! HTTP as the drivers serve it: methods and paths, what a body holds, and answers. `service` does the work.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::json;
use tokio::time::timeout_at;

use super::{
    arrival::Arrival,
    body::{self, NO_ROOM, Refused},
    log,
    memory::Taken,
    service::{Received, Service},
};
use crate::{
    aside::aside,
    delivery::Delivery,
    outcome::{Kind, Outcome},
    provider,
    retry::Message,
};

/// What a sender is asked to wait before it tries again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// What is said at `/`, where load balancers look for life.
const GREETING: &str = "fleet-webhook takes the deliveries of Git servers by POST";

/// Makes the router that every driver serves.
pub fn router(service: Service) -> Router {
    Router::new().fallback(answer).with_state(service)
}

async fn answer(State(service): State<Service>, request: Request) -> Response {
    match (request.method(), request.uri().path()) {
        (&Method::POST, _) => take(&service, request).await,
        (&Method::GET | &Method::HEAD, "/") => plain(StatusCode::OK, GREETING),
        (&Method::GET | &Method::HEAD, "/healthz") => plain(StatusCode::OK, "ok"),
        (&Method::GET | &Method::HEAD, "/readyz") => {
            match service.readiness.check(service.destination.cluster()).await {
                true if service.readiness.queue_fails() => {
                    plain(StatusCode::OK, "ok, but the delivery queue cannot be read")
                }
                true => plain(StatusCode::OK, "ok"),
                false => plain(StatusCode::SERVICE_UNAVAILABLE, "not ready"),
            }
        }
        (_, "/" | "/healthz" | "/readyz") => method_not_allowed("GET, HEAD, POST"),
        _ => method_not_allowed("POST"),
    }
}

/// What a body holds.
enum Content {
    Delivery(Delivery),
    /// A CloudEvent that brings a delivery back.
    Redelivery(Message),
}

/// Takes a delivery, or one that a sink brings back.
async fn take(service: &Service, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    let arrival = Arrival::of(&parts, service.deadline);
    let marked = provider::detect(&parts.headers);
    let awaits_leave = parts.headers.contains_key(header::EXPECT);
    match read(service, &arrival, parts.headers, &mut body).await {
        Ok((Content::Delivery(delivery), room)) => {
            let received = Received::marked(marked, delivery, Some(room));
            respond_with(&service.take(received, arrival).await)
        }
        Ok((Content::Redelivery(message), room)) => {
            // The event is nobody's word: what it says of its time proves nothing.
            let now = service.clock.now();
            done_or_again(&service.take_again(message, Some(room), now, arrival).await)
        }
        Err(Refused(kind, why)) => {
            if !awaits_leave && kind != Kind::Incomplete {
                tokio::spawn(body::read_on(body));
            }
            let provider = marked.map(|provider| provider.name);
            let outcome = Outcome { provider, ..Outcome::new(kind).because(why) };
            log::answered(&service.metrics, &outcome, &arrival);
            respond_with(&outcome)
        }
    }
}

/// Reads what a request brings, in the room that it takes.
async fn read(
    service: &Service,
    arrival: &Arrival,
    headers: HeaderMap,
    body: &mut Body,
) -> Result<(Content, Taken), Refused> {
    let (mut room, deadline) = (service.memory.room(), arrival.deadline);
    let for_headers = timeout_at(deadline, room.take_headers(&headers)).await;
    for_headers.map_err(|_elapsed| NO_ROOM)?;
    let raw = body::read(&headers, body, &mut room, service.max_body_bytes, deadline).await?;
    let room = timeout_at(deadline, room.work()).await.map_err(|_elapsed| NO_ROOM)?;
    Ok((aside(raw.len(), || content(headers, raw))?, room))
}

fn content(headers: HeaderMap, raw: Bytes) -> Result<Content, Refused> {
    if let Some(message) = Message::of_event(&headers, &raw) {
        let message =
            message.map_err(|_| Refused(Kind::Malformed, "a CloudEvent without a delivery"));
        return message.map(Content::Redelivery);
    }
    let delivery = Delivery::new(headers, raw)
        .map_err(|_| Refused(Kind::UnsupportedMediaType, "neither application/json nor a form"));
    delivery.map(Content::Delivery)
}

fn method_not_allowed(allow: &'static str) -> Response {
    let mut response =
        json_response(StatusCode::METHOD_NOT_ALLOWED, &json!({ "outcome": "method_not_allowed" }));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

fn respond_with(outcome: &Outcome) -> Response {
    let mut response = json_response(outcome.kind.status(), &outcome.json());
    if outcome.kind == Kind::Unavailable {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    response
}

/// A broker takes any body for another event, so there is none where there is nothing left to do.
fn done_or_again(outcome: &Outcome) -> Response {
    if outcome.kind == Kind::Unavailable {
        return respond_with(outcome);
    }
    let mut done = Response::new(Body::empty());
    *done.status_mut() = StatusCode::NO_CONTENT;
    done
}

fn json_response(status: StatusCode, body: &impl ToString) -> Response {
    respond(status, "application/json", body.to_string())
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    respond(status, "text/plain; charset=utf-8", text.to_owned())
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use tokio_util::task::TaskTracker;
    use tower::ServiceExt as _;

    use super::*;
    use crate::{
        adapter::{destination::Destination, memory::Memory, readiness::Readiness, service::Clock},
        aside::LARGE_ONES,
        cluster::{Cluster, lookup::Lookup},
        config::{GlobalSecret, UnsignedDeliveries},
        receiver::{Receiver, patch::Patcher},
        repo_url::HostAliases,
        secret::{source::SecretSource, store::SecretStore},
        telemetry::Metrics,
    };

    const URL: &str = "https://bitbucket.org/acme/shop";
    const REFS: usize = 400;
    const GITREPOS: usize = 400;

    /// On an API server whose one answer is a secret, a scan and a list.
    fn service() -> Service {
        let gitrepo = |number: usize| {
            json!({
                "metadata": { "namespace": "apps", "name": format!("shop-{number}"), "uid": number.to_string() },
                "spec": { "repo": URL, "branch": "not pushed" },
            })
        };
        let cluster = Cluster::answering(&json!({
            "data": { "bitbucket-hmac": BASE64_STANDARD.encode("key") },
            "columnDefinitions": [{ "name": "Name" }, { "name": "Repo" }],
            "rows": [{ "cells": ["shop", URL] }],
            "metadata": { "resourceVersion": "1" },
            "items": (0..GITREPOS).map(gitrepo).collect::<Vec<_>>(),
        }));
        let (namespace, name) = ("fleet".to_owned(), "webhook".to_owned());
        let global = GlobalSecret::Kubernetes { namespace, name, named: true };
        let (ttl, unsigned) = (Duration::from_secs(10), UnsignedDeliveries::Reject);
        let source = SecretSource::new(Some(cluster.clone()), global, ttl);
        let lookup = Lookup::new(cluster.clone(), Vec::new(), ttl);
        let (secrets, patcher) =
            (SecretStore::new(source, ttl, ttl), Patcher::new(cluster.clone(), None));
        let aliases = HostAliases::default();
        let receiver = Receiver::new(cluster, secrets, lookup, patcher, unsigned, aliases);
        Service {
            destination: Destination::Cluster(Arc::new(receiver)),
            metrics: Arc::new(Metrics::new()),
            readiness: Arc::new(Readiness::new(true)),
            retry: None,
            tasks: TaskTracker::new(),
            memory: Memory::for_bodies_of(1024 * 1024),
            max_body_bytes: 1024 * 1024,
            deadline: Duration::from_secs(60),
            clock: Clock::default(),
        }
    }

    #[tokio::test]
    async fn all_that_is_made_of_a_large_delivery_is_made_aside() {
        let change = |number: usize| {
            let target = json!({ "hash": format!("{number:040x}"), "message": ".".repeat(400) });
            json!({ "new": { "type": "branch", "name": format!("branch-{number}"), "target": target } })
        };
        let body = json!({
            "repository": { "full_name": "acme/shop", "links": { "html": { "href": URL } } },
            "push": { "changes": (0..REFS).map(change).collect::<Vec<_>>() },
        });
        let body = body.to_string();
        let bytes = body.len();
        let request = Request::post("/")
            .header("content-type", "application/json")
            .header("x-hook-uuid", "b17b0c8e")
            .header("x-event-key", "repo:push")
            .header("x-hub-signature", format!("sha256={}", "0".repeat(64)))
            .body(Body::from(body))
            .expect("is a request");

        let answer = router(service()).oneshot(request).await.expect("always answers");

        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        // Taken for what it is, its sender known, read, verified; and its refs compared with those that GitRepos follow.
        let each = [bytes, bytes, bytes, bytes, REFS * GITREPOS];
        assert_eq!(LARGE_ONES.take(), each);
    }
}
