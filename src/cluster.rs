//! The API server: every request to it goes through here; `cluster/*` look GitRepos up and patch them.

mod attempts;
mod client;
pub mod connect;
mod connection;
mod error;
pub mod found;
#[cfg(feature = "knative")]
pub mod index;
pub(crate) mod intervals;
mod kubeconfig;
pub mod lookup;
#[cfg(feature = "knative")]
pub(crate) mod notice;
pub(crate) mod paths;
#[cfg(feature = "aws")]
mod remote;
mod scan;
mod scanned;
mod shared_scan;
mod streamed;
mod table;
mod trust;

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderValue, Method, Request, Response, header, request::Parts};
use http_body_util::BodyExt as _;
use kube::{client::Body, core::ObjectMeta};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};

pub(crate) use self::attempts::{
    DEADLINE, FIRST_PAUSE, LONGEST_PAUSE, TROUBLE, Trouble, retrying, tell_trouble,
};
pub use self::error::ApiError;
use self::{
    attempts::{REQUEST_TIME_LIMIT, attempt_limit, by, read_until, tenths},
    connection::Connection,
    error::{checked, unreachable_server, unreadable},
    paths::{gitrepo_path, gitrepos_named},
};
use crate::{gitrepo::GitRepo, telemetry::Metrics, trace::TraceContext};

/// How many requests of one delivery are under way at once.
pub(crate) const CONCURRENT_REQUESTS: usize = 16;

/// How many requests of all deliveries are under way at once. More than the API server comes to in an attempt's time would
/// be cut off and made again, and a burst would keep it busy with what nobody waits for any more.
const ALL_CONCURRENT_REQUESTS: usize = 64;

/// The media type of a [table](https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables),
/// which has a few columns of each object; `includeObject=None` leaves the objects themselves out.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// As whom we change what we change.
pub(crate) const FIELD_MANAGER: &str = "fleet-webhook";

tokio::task_local! {
    /// The trace that the requests of the running task belong to.
    pub(crate) static TRACE: TraceContext;
}

/// A connection to the API server; cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    connection: Arc<Connection>,
    metrics: Arc<Metrics>,
    seats: Arc<Semaphore>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Cluster {
    /// Uses `client`, which must not retry by itself, and counts requests in `metrics`.
    pub fn new(client: kube::Client, metrics: Arc<Metrics>) -> Self {
        Self::over(Connection::Given(client), metrics)
    }

    /// An API server that answers every request with `object`.
    #[cfg(test)]
    pub(crate) fn answering(object: &serde_json::Value) -> Self {
        let answer = object.to_string();
        let service = tower::service_fn(move |_: Request<Body>| {
            let answer = Response::new(Body::from(answer.clone().into_bytes()));
            async { Ok::<_, std::io::Error>(answer) }
        });
        Self::new(kube::Client::new(service, "default"), Arc::default())
    }

    fn over(connection: Connection, metrics: Arc<Metrics>) -> Self {
        let seats = Arc::new(Semaphore::new(ALL_CONCURRENT_REQUESTS));
        Self { connection: Arc::new(connection), metrics, seats }
    }

    /// Asks whether the API server answers at all.
    ///
    /// # Errors
    /// Any [`ApiError`] of the request.
    pub async fn reach(&self) -> Result<(), ApiError> {
        self.bytes(get("/version")).await.map(drop)
    }

    /// Reads one object as JSON, again for as long as the delivery has time.
    pub(crate) async fn object<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let until = read_until();
        let read = || {
            by(until, async {
                let _seat = self.seat().await;
                self.within(attempt_limit(until), self.whole(get(path))).await
            })
        };
        let began = Instant::now();
        let answer = retrying(until, read).await.map_err(|error| self.timed(began, error))?;
        serde_json::from_slice(&answer).map_err(|error| unreadable(&error))
    }

    /// Whom it asks, for people.
    pub(crate) fn whom(&self) -> String {
        self.connection.to_string()
    }

    /// Of what came too late, says of whom it was asked and for how long.
    fn timed(&self, began: Instant, error: ApiError) -> ApiError {
        match error {
            ApiError::TooLate => ApiError::TimedOut(self.connection.to_string(), tenths(began)),
            error => error,
        }
    }

    /// Reads one GitRepo; `None` if it is gone. It is a list of one: who may list need not be allowed to get.
    pub(crate) async fn gitrepo(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<GitRepo>, ApiError> {
        let list: List<GitRepo> = self.object(&gitrepos_named(Some(namespace), name)).await?;
        Ok(list.items.into_iter().next().map(lean))
    }

    /// Sends a JSON patch of a GitRepo; gives the version that it made, where the answer says it.
    pub(crate) async fn patch_gitrepo(
        &self,
        metadata: &ObjectMeta,
        resource: Resource,
        patch: &serde_json::Value,
    ) -> Result<Option<String>, ApiError> {
        let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
            return Err(ApiError::NotFound);
        };
        let part = match resource {
            Resource::Itself => "",
            Resource::Status => "/status",
        };
        let gitrepo = gitrepo_path(namespace, name);
        let path = format!("{gitrepo}{part}?fieldManager={FIELD_MANAGER}&includeObject=None");
        let patch = patch.to_string().into_bytes();
        let mut request = request(Method::PATCH, &path, "application/json-patch+json", patch);
        // As a table of one row the answer is a fraction of the object, and has its version all the same.
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(TABLE));
        let answer = self.bytes(request).await?;
        let changed: Option<Changed> = serde_json::from_slice(&answer).ok();
        Ok(changed.and_then(|changed| changed.metadata.resource_version))
    }

    /// Sends a request once and reads the whole answer.
    pub(crate) async fn bytes(&self, request: Request<Vec<u8>>) -> Result<Bytes, ApiError> {
        let _seat = self.seat().await;
        self.within(REQUEST_TIME_LIMIT, self.whole(request)).await
    }

    async fn whole(&self, request: Request<Vec<u8>>) -> Result<Bytes, ApiError> {
        let body = self.send(request).await?.into_body();
        let body = body.collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| unreachable_server(&error))
    }

    /// Sends a request; gives the answer's head and its body yet to be read.
    ///
    /// Credentials that the API server does not know, and a server that is not whom we trust, are looked for again,
    /// once, and a new connection is made.
    pub(crate) async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Body>, ApiError> {
        let (mut parts, body) = request.into_parts();
        let body = Bytes::from(body);
        let _ = TRACE.try_with(|trace| trace.apply(&mut parts.headers));
        // Boxed: the futures of TLS and AWS are large, and a delivery's task has many of these in it.
        let send = || self.send_once(&parts, &body).boxed();
        let began = Instant::now();
        let answer = match send().await {
            Err(ApiError::Unauthorized(_) | ApiError::Misconfigured(_))
                if self.connection.look_again(began) =>
            {
                send().await
            }
            answer => answer,
        };
        if matches!(answer, Err(ApiError::Unreachable(_))) {
            self.connection.look_again(began);
        }
        answer
    }

    async fn send_once(&self, parts: &Parts, body: &Bytes) -> Result<Response<Body>, ApiError> {
        let pool = self.connection.pool().await?;
        let mut counted = Counted { metrics: &self.metrics, verb: verb(parts), code: None };
        let began = Instant::now();
        let response = pool.send(parts.clone(), body.clone()).await.map_err(|error| {
            self.connection.doubt(began);
            error.at(&self.connection)
        })?;
        counted.code = Some(response.status().as_u16());
        checked(response).await
    }

    /// A place among the requests under way, in the order of those who ask; to wait for it counts for no attempt. Whoever
    /// holds one asks for no other.
    async fn seat(&self) -> SemaphorePermit<'_> {
        self.seats.acquire().await.expect("is never closed")
    }

    /// Cuts `work` off after `limit`, and gives up the connections that it may have waited for.
    async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let began = Instant::now();
        timeout(limit, work).await.unwrap_or_else(|_| {
            self.connection.doubt(began);
            Err(ApiError::TimedOut(self.connection.to_string(), limit))
        })
    }
}

/// What of a GitRepo is patched: each drops what the other holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resource {
    /// The GitRepo without its status.
    Itself,
    /// Its status alone.
    Status,
}

/// A list of objects, as the API server gives it.
#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

/// What is read of the answer to a patch.
#[derive(Deserialize)]
struct Changed {
    metadata: ObjectMeta,
}

/// A request under way: counted when it is over, without a code if nobody waited for its answer.
struct Counted<'a> {
    metrics: &'a Metrics,
    verb: &'static str,
    code: Option<u16>,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.metrics.api_request(self.verb, self.code);
    }
}

/// The API verb of a request, as Kubernetes counts them.
fn verb(request: &Parts) -> &'static str {
    match request.method {
        Method::PATCH => "patch",
        Method::POST => "create",
        _ if request.uri.query().is_some_and(|query| query.contains("watch=true")) => "watch",
        _ if request.uri.path().ends_with("/gitrepos") => "list",
        _ => "get",
    }
}

fn get(path: &str) -> Request<Vec<u8>> {
    request(Method::GET, path, "application/json", Vec::new())
}

fn request(
    method: Method,
    path: &str,
    media_type: &'static str,
    body: Vec<u8>,
) -> Request<Vec<u8>> {
    let media = if method == Method::GET { header::ACCEPT } else { header::CONTENT_TYPE };
    Request::builder()
        .method(method)
        .uri(path)
        .header(media, media_type)
        .body(body)
        .expect("paths are percent-encoded and media types are constants")
}

/// Drops what nobody here reads: annotations and managed fields are most of a GitRepo.
fn lean(mut gitrepo: GitRepo) -> GitRepo {
    let ObjectMeta { namespace, name, uid, generation, .. } = gitrepo.metadata;
    gitrepo.metadata = ObjectMeta { namespace, name, uid, generation, ..ObjectMeta::default() };
    gitrepo
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_waits_its_turn_and_no_request_of_it_is_cut_off() {
        /// An API server that comes to half of the requests that are under way at once.
        static SERVED: Semaphore = Semaphore::const_new(ALL_CONCURRENT_REQUESTS / 2);
        static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let service = tower::service_fn(async |_: Request<Body>| {
            MOST.fetch_max(UNDER_WAY.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            let _served = SERVED.acquire().await;
            sleep(Duration::from_millis(400)).await;
            UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
            let table = r#"{"columnDefinitions":[{"name":"Name"},{"name":"Repo"}],"rows":[]}"#;
            Ok::<_, std::io::Error>(Response::new(Body::from(table.as_bytes().to_vec())))
        });
        let cluster = Cluster::new(kube::Client::new(service, "default"), Arc::default());
        let metadata = ObjectMeta {
            namespace: Some("fleet-default".to_owned()),
            name: Some("shop".to_owned()),
            ..ObjectMeta::default()
        };
        let burst = (0..ALL_CONCURRENT_REQUESTS * 3).map(async |number| match number % 3 {
            0 => cluster.object::<serde_json::Value>("/one").await.map(drop),
            1 => {
                let patch = serde_json::json!([]);
                cluster.patch_gitrepo(&metadata, Resource::Status, &patch).await.map(drop)
            }
            _ => cluster.table(None, table::Include::Nothing, (), |(), _| ()).await,
        });
        let outcomes = futures::future::join_all(burst).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(MOST.load(Ordering::Relaxed), ALL_CONCURRENT_REQUESTS);
    }
}
