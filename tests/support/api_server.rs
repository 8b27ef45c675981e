//! The few verbs of the API server that the function uses, in memory and with the real one's quirks, over plain HTTP.
//!
//! `objects` is what it holds, `lists` how it lists them, `watch` how it tells of changes, `faults` what a test can order;
//! here are the routes.

#[path = "faults.rs"]
mod faults;
#[path = "lists.rs"]
mod lists;
#[path = "objects.rs"]
mod objects;
#[path = "watch.rs"]
mod watch;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};

use self::{
    faults::Behaviour,
    lists::{Request, list},
    objects::{Objects, Place, Refused},
    watch::{Change, Watched},
};
pub use self::{faults::Fault, watch::Faults};

/// The token of whoever prepares and looks; any other is the function's.
pub const ADMIN_TOKEN: &str = "admin";

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    pub by_admin: bool,
    pub method: Method,
    pub uri: String,
    pub user_agent: String,
    pub trace_parent: String,
    /// 0 until it is answered; for good if its sender went away before.
    pub status: u16,
}

/// The server; stops with its runtime.
#[derive(Clone, Default)]
pub struct ApiServer(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    objects: Objects,
    seen: Vec<Seen>,
    behaviour: Behaviour,
    watch_faults: Faults,
    patches: Patches,
    stirred: Arc<Notify>,
}

/// How many patches of the function are under way, and were at the most.
#[derive(Default)]
struct Patches {
    now: usize,
    most: usize,
}

/// A patch under way, until it is answered or its sender goes away.
struct UnderWay(ApiServer);

impl ApiServer {
    /// Listens on a free port of the loopback address.
    pub async fn start() -> (Self, SocketAddr) {
        let server = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("is bound");
        let router = server.service();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (server, address)
    }

    /// As a service in the process, without a socket.
    pub fn service(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }

    /// Is notified whenever a watch may have something to say.
    pub fn stirred(&self) -> Arc<Notify> {
        Arc::clone(&self.inner().stirred)
    }

    /// All requests so far, in the order in which they came in.
    pub fn seen(&self) -> Vec<Seen> {
        self.inner().seen.clone()
    }

    /// How many patches of the function were under way at once, at the most.
    pub fn most_patches_at_once(&self) -> usize {
        self.inner().patches.most
    }

    /// Orders a fault.
    pub fn fail(&self, fault: Fault) {
        self.inner().behaviour.fail(fault);
    }

    /// Does what the function's matching requests ask for at once, and answers late.
    pub fn delay(&self, method: Method, uri: &str, delay: Duration) {
        self.inner().behaviour.delay(method, uri, delay);
    }

    /// Asks to wait, whenever it refuses a request by a fault.
    pub fn ask_to_wait(&self, seconds: u64) {
        self.inner().behaviour.retry_after = Some(seconds);
    }

    /// Prints GitRepos without the column `Repo`, as a CRD may that is not Fleet's.
    pub fn print_no_repo(&self) {
        self.inner().behaviour.prints_no_repo = true;
    }

    /// Behaves as usual again; watches stay as they are.
    pub fn mend(&self) {
        self.inner().behaviour = Behaviour::default();
    }

    /// Does something to all watches.
    pub fn disturb_watches(&self, disturb: impl FnOnce(&mut Faults, u64)) {
        let mut inner = self.inner();
        let version = inner.objects.version();
        disturb(&mut inner.watch_faults, version);
        inner.stirred.notify_waiters();
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

    /// Notes a request; gives its number.
    fn note(&self, seen: Seen) -> usize {
        let mut inner = self.inner();
        inner.seen.push(seen);
        inner.seen.len() - 1
    }

    /// Counts a patch as long as it is under way.
    fn begin(&self, method: &Method) -> Option<UnderWay> {
        (*method == Method::PATCH).then(|| {
            let mut inner = self.inner();
            inner.patches.now += 1;
            inner.patches.most = inner.patches.most.max(inner.patches.now);
            UnderWay(self.clone())
        })
    }

    /// Refuses a request of the function where a test has said so; else says how late it is answered.
    async fn meet(&self, method: &Method, uri: &str) -> Result<Duration, Response> {
        let (fault, lateness, retry_after) = {
            let behaviour = &mut self.inner().behaviour;
            let fault = behaviour.fault(method, uri);
            (fault, behaviour.lateness(method, uri), behaviour.retry_after)
        };
        let Some(fault) = fault else { return Ok(lateness) };
        tokio::time::sleep(fault.delay).await;
        let mut refusal = status(StatusCode::from_u16(fault.status).expect("a status"));
        if let Some(seconds) = retry_after {
            refusal.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        Err(refusal)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.inner().patches.now -= 1;
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
    let number = server.note(Seen {
        at: Instant::now(),
        by_admin,
        method: method.clone(),
        uri: uri.to_string(),
        user_agent: text(header::USER_AGENT),
        trace_parent: text(header::HeaderName::from_static("traceparent")),
        status: 0,
    });
    let (_patch, met) = match by_admin {
        true => (None, Ok(Duration::ZERO)),
        false => (server.begin(&method), server.meet(&method, &uri.to_string()).await),
    };
    let lateness = *met.as_ref().unwrap_or(&Duration::ZERO);
    let response = if let Err(refusal) = met {
        refusal
    } else if let Some(changes) = watch(&server, uri.path(), &query) {
        changes
    } else {
        let request = Request {
            query,
            accept: text(header::ACCEPT),
            content_type: text(header::CONTENT_TYPE),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        };
        let routed = route(&mut server.inner(), &method, uri.path(), &request);
        if method != Method::GET {
            server.stirred().notify_waiters();
        }
        match routed {
            // A Table is text already, since the order of its fields matters.
            Ok(Value::String(table)) => table.into_response(),
            Ok(value) => (StatusCode::OK, axum::Json(value)).into_response(),
            Err(refused) => status(refused.0),
        }
    };
    tokio::time::sleep(lateness).await;
    server.inner().seen[number].status = response.status().as_u16();
    response
}

fn status(code: StatusCode) -> Response {
    (code, axum::Json(json!({ "kind": "Status", "code": code.as_u16() }))).into_response()
}

fn route(
    inner: &mut Inner,
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
    let Inner { objects, behaviour, .. } = inner;
    match (method, &place.name) {
        (&Method::POST, None) => objects.create(&place, request.body.clone()),
        (&Method::GET, Some(_)) => objects.read(&place),
        (&Method::GET, None) => {
            let (items, version) = (objects.list(&place, &request.query), objects.version());
            Ok(list(&items, version, request, behaviour.prints_no_repo))
        }
        (&Method::PATCH, Some(_)) => {
            let manager = request.query.get("fieldManager").map_or("somebody", String::as_str);
            objects.patch(&place, &request.content_type, &request.body, manager)
        }
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
