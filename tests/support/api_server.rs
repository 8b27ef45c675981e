//! The few verbs of the API server that the function uses, in memory and with the real one's quirks, over plain HTTP.
//!
//! `objects` is what it holds; here are the routes, the Table, and the faults that a test can order.

#[path = "objects.rs"]
mod objects;
#[path = "watch.rs"]
mod watch;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use self::objects::{Objects, Place, Refused};
pub use self::watch::Faults;
use self::watch::{Change, Watched};

/// The token of whoever prepares and looks; any other is the function's.
pub const ADMIN_TOKEN: &str = "admin";

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub by_admin: bool,
    pub method: Method,
    pub uri: String,
    pub user_agent: String,
    pub trace_parent: String,
    pub status: u16,
}

/// What the function's next matching requests get in place of an answer.
#[derive(Clone, Debug)]
pub struct Fault {
    pub method: Method,
    /// A part of path and query.
    pub uri: String,
    pub status: u16,
    /// How often.
    pub times: usize,
    /// How long the answer takes.
    pub delay: Duration,
}

/// The server; stops with its runtime.
#[derive(Clone, Default)]
pub struct ApiServer(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    objects: Objects,
    seen: Vec<Seen>,
    faults: Vec<Fault>,
    watch_faults: Faults,
}

impl ApiServer {
    /// Listens on a free port of the loopback address.
    pub async fn start() -> (Self, SocketAddr) {
        let server = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("is bound");
        let router = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (server, address)
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.inner().seen.clone()
    }

    /// Orders a fault.
    pub fn fail(&self, fault: Fault) {
        self.inner().faults.push(fault);
    }

    /// Ends all faults.
    pub fn mend(&self) {
        self.inner().faults.clear();
    }

    /// Does something to all watches.
    pub fn disturb_watches(&self, disturb: impl FnOnce(&mut Faults, u64)) {
        let mut inner = self.inner();
        let version = inner.objects.version();
        disturb(&mut inner.watch_faults, version);
    }

    pub fn watch_faults(&self) -> Faults {
        self.inner().watch_faults
    }

    pub fn change_after(&self, since: u64, watched: &Watched) -> Option<Change> {
        self.inner().objects.change_after(since, watched)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, method: &Method, uri: &str) -> Option<Fault> {
        let mut inner = self.inner();
        let fault = inner
            .faults
            .iter_mut()
            .find(|fault| fault.times > 0 && fault.method == *method && uri.contains(&fault.uri))?;
        fault.times -= 1;
        Some(fault.clone())
    }
}

async fn answer(
    State(server): State<ApiServer>,
    method: Method,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |name: header::HeaderName| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let by_admin = text(header::AUTHORIZATION) == format!("Bearer {ADMIN_TOKEN}");
    let fault = if by_admin { None } else { server.fault(&method, &uri.to_string()) };
    let response = if let Some(fault) = fault {
        tokio::time::sleep(fault.delay).await;
        status(StatusCode::from_u16(fault.status).expect("a status"))
    } else if let Some(changes) = watch(&server, uri.path(), &query) {
        changes
    } else {
        let request = Request {
            query,
            accept: text(header::ACCEPT),
            content_type: text(header::CONTENT_TYPE),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        };
        let mut inner = server.inner();
        match route(&mut inner.objects, &method, uri.path(), &request) {
            // A Table is text already, since the order of its fields matters.
            Ok(Value::String(table)) => table.into_response(),
            Ok(value) => (StatusCode::OK, axum::Json(value)).into_response(),
            Err(refused) => status(refused.0),
        }
    };
    server.inner().seen.push(Seen {
        by_admin,
        method,
        uri: uri.to_string(),
        user_agent: text(header::USER_AGENT),
        trace_parent: text(header::HeaderName::from_static("traceparent")),
        status: response.status().as_u16(),
    });
    response
}

fn status(code: StatusCode) -> Response {
    (code, axum::Json(json!({ "kind": "Status", "code": code.as_u16() }))).into_response()
}

struct Request {
    query: HashMap<String, String>,
    accept: String,
    content_type: String,
    body: Value,
}

fn route(
    objects: &mut Objects,
    method: &Method,
    path: &str,
    request: &Request,
) -> Result<Value, Refused> {
    match path {
        "/version" => return Ok(json!({ "major": "1", "minor": "33" })),
        "/api/v1/namespaces" => return Ok(request.body.clone()),
        _ => {}
    }
    let place = place(path).ok_or(Refused(StatusCode::NOT_FOUND))?;
    match (method, &place.name) {
        (&Method::POST, None) => objects.create(&place, request.body.clone()),
        (&Method::GET, Some(_)) => objects.read(&place),
        (&Method::GET, None) => {
            Ok(list(&objects.list(&place, &request.query), objects.version(), request))
        }
        (&Method::PATCH, Some(_)) => objects.patch(&place, &request.content_type, &request.body),
        (&Method::DELETE, Some(_)) => objects.delete(&place),
        _ => Err(Refused(StatusCode::METHOD_NOT_ALLOWED)),
    }
}

/// Which object or list a path means.
fn place(path: &str) -> Option<Place> {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned();
    let segments: Vec<&str> = decoded.trim_matches('/').split('/').collect();
    match segments.as_slice() {
        ["api", "v1", "namespaces", namespace, rest @ ..]
        | ["apis", _, _, "namespaces", namespace, rest @ ..] => Place::new(Some(namespace), rest),
        ["apis", _, _, rest @ ..] => Place::new(None, rest),
        _ => None,
    }
}

/// Starts the watch that a request asks for; `None` if it asks for something else.
fn watch(server: &ApiServer, path: &str, query: &HashMap<String, String>) -> Option<Response> {
    query.get("watch").filter(|watch| *watch == "true")?;
    let Place { resource, namespace, .. } = place(path)?;
    let number = |name: &str| query.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
    let (since, time) = (number("resourceVersion"), Duration::from_secs(number("timeoutSeconds")));
    Some(watch::answer(server.clone(), Watched { resource, namespace }, since, time))
}

/// A page of a list: whole with `resourceVersion=0`, which makes the real server ignore `limit`.
fn list(items: &[Value], version: u64, request: &Request) -> Value {
    let number = |name: &str| request.query.get(name).and_then(|text| text.parse::<usize>().ok());
    let from_cache = request.query.get("resourceVersion").is_some_and(|version| version == "0");
    let start = number("continue").unwrap_or(0);
    let limit = number("limit").filter(|_| !from_cache).unwrap_or(usize::MAX);
    let page: Vec<_> = items.iter().skip(start).take(limit).cloned().collect();
    let next = start + page.len();
    let next = if next < items.len() { next.to_string() } else { String::new() };
    let metadata = json!({ "resourceVersion": version.to_string(), "continue": next });
    if !request.accept.contains("as=Table") {
        return json!({ "kind": "List", "items": page, "metadata": metadata });
    }
    let with_metadata =
        request.query.get("includeObject").is_some_and(|object| object == "Metadata");
    let row = |item: &Value| {
        let object = with_metadata.then(|| json!({ "metadata": item["metadata"] }));
        json!({ "cells": [item["metadata"]["name"], item["spec"]["repo"], item["status"]["commit"]], "object": object })
    };
    let columns: Vec<_> = ["Name", "Repo", "Commit"].map(|name| json!({ "name": name })).into();
    // serde_json sorts keys and the real server does not: rows come last there.
    let (metadata, columns, rows) = (
        metadata.to_string(),
        json!(columns).to_string(),
        json!(page.iter().map(row).collect::<Vec<_>>()).to_string(),
    );
    let table = format!(
        r#"{{"kind":"Table","metadata":{metadata},"columnDefinitions":{columns},"rows":{rows}}}"#
    );
    Value::String(table)
}
