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
    let provider = provider::detect(&parts.headers).map(|provider| provider.name);
    let awaits_leave = parts.headers.contains_key(header::EXPECT);
    match read(service, &arrival, parts.headers, &mut body).await {
        Ok((Content::Delivery(delivery), room)) => {
            let received = Received::new(delivery, Some(room));
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
