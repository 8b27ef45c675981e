//! The way between a process and the API server or the queues: slow, refused, silent, broken and cut in two, as the seed says.

use std::{fmt, sync::Arc, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use axum::body::Body;
use bytes::Bytes;
use fleet_webhook::{
    aws::{limits, sqs::Queue},
    retry::Carrier,
};
use futures::{StreamExt as _, future::pending};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, ServiceExt as _};

use crate::{chance::Chance, process::Process, world::World};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    Refused(u16),
    /// Nothing is done and nothing answered.
    Silence,
    /// It is done, and the answer is lost.
    Unheard,
    /// It is done, and the connection breaks.
    Broken,
    /// It is done, and half of the answer comes.
    Half,
    /// Nothing is done, and the connection breaks.
    Unsent,
}

/// What comes in the place of an answer.
enum Unanswered {
    Unsent,
    Refused(u16),
}

impl Fate {
    fn draw(chance: &mut Chance, faults: u64) -> Self {
        if !chance.percent(faults) {
            return Self::Answered;
        }
        match chance.below(10) {
            0 => Self::Silence,
            1 => Self::Unheard,
            2 => Self::Broken,
            3 => Self::Half,
            4 => Self::Unsent,
            5 => Self::Refused(409),
            6 => Self::Refused(500),
            7 => Self::Refused(429),
            _ => Self::Refused(503),
        }
    }
}

/// The ways of one process; they end when it is killed.
#[derive(Clone)]
pub struct Ways {
    world: Arc<World>,
    process: Arc<Process>,
}

impl fmt::Debug for Ways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ways").field(&self.process).finish()
    }
}

/// Who was not answered on a connection that something has forgotten takes a new one.
struct Forgotten<'p>(&'p Process);

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        self.0.connect_anew();
    }
}

impl Ways {
    pub fn of(world: &Arc<World>, process: &Arc<Process>) -> Self {
        Self { world: Arc::clone(world), process: Arc::clone(process) }
    }

    /// A client of the API server.
    pub fn client(&self) -> kube::Client {
        let ways = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let ways = ways.clone();
            async move { ways.carry(request).await }
        });
        kube::Client::new(service, "default")
    }

    /// What carries its messages to the broker.
    pub fn carrier(&self) -> Carrier {
        let ways = self.clone();
        Carrier::new(tower::service_fn(move |request: reqwest::Request| {
            let ways = ways.clone();
            async move { ways.hand_over(request).await }
        }))
    }

    /// The queue in SQS.
    pub fn queue(&self) -> Queue {
        let connector = SharedHttpConnector::new(self.clone());
        let keys = Credentials::new("key", "secret", None, None, "simulation");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(SharedCredentialsProvider::new(keys))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            // It waits by chance otherwise, and not by ours.
            .retry_config(RetryConfig::standard().with_use_static_exponential_base(true))
            .timeout_config(limits())
            .build();
        Queue::new(&config, "https://sqs.example/queue".to_owned())
    }

    /// A process that is killed sends nothing and hears nothing any more; here it may be killed, or be frozen for a while.
    async fn stand(&self, chance: &mut Chance) {
        let (world, process) = (&self.world, &self.process);
        if world.kills_now(chance) {
            world.kill(process.place, process.life);
        }
        if process.is_frozen() {
            world.log(format!("r{} is frozen with a request under way", process.place));
            process.is_thawed().await;
        }
        if process.killed.is_cancelled() {
            pending().await
        }
    }

    /// The way there, as far as it goes; an error is what comes in the place of an answer.
    async fn go(&self, chance: &mut Chance, fate: Fate) -> Result<(), Unanswered> {
        self.stand(chance).await;
        // What is on its way arrives, whatever becomes of its sender.
        sleep(self.world.way(chance)).await;
        match fate {
            Fate::Silence => pending().await,
            Fate::Unsent => Err(Unanswered::Unsent),
            Fate::Refused(status) => Err(Unanswered::Refused(status)),
            _ => Ok(()),
        }
    }

    /// The way back.
    async fn come_back(&self, chance: &mut Chance, fate: Fate) {
        self.stand(chance).await;
        sleep(self.world.way(chance)).await;
        self.stand(chance).await;
        if fate == Fate::Unheard {
            pending().await
        }
    }

    /// What becomes of a request.
    fn fate(&self, chance: &mut Chance, faults: u64, what: &str) -> Fate {
        let fate = Fate::draw(chance, faults);
        if fate != Fate::Answered {
            self.world.log(format!("r{} {what} {fate:?}", self.process.place));
        }
        fate
    }

    /// Carries a message to the broker.
    async fn hand_over(self, request: reqwest::Request) -> Result<reqwest::Response, String> {
        let world = &self.world;
        let mut chance = world.chance_of_request(self.process.place, &Method::POST, "queue");
        let fate = self.fate(&mut chance, world.faults_of_queue(), "queue");
        match self.go(&mut chance, fate).await {
            Err(Unanswered::Unsent) => return Err("connection refused".to_owned()),
            Err(Unanswered::Refused(status)) => {
                return Ok(refusal(status, &mut chance).map(|_| "").into());
            }
            Ok(()) => {}
        }
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        world.keep(request.headers().clone(), Bytes::copy_from_slice(body));
        self.come_back(&mut chance, fate).await;
        match fate {
            Fate::Broken | Fate::Half => Err("connection reset".to_owned()),
            _ => Ok(Response::new("").into()),
        }
    }

    /// Carries a request to SQS.
    async fn ask_sqs(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let (world, place) = (&self.world, self.process.place);
        let action = request.headers().get("x-amz-target").unwrap_or_default();
        let action = action.rsplit('.').next().unwrap_or_default().to_owned();
        let mut chance = world.chance_of_request(place, &Method::POST, &action);
        let fate = self.fate(&mut chance, world.faults_of_queue(), &action);
        let io = |why: &str| Err(ConnectorError::io(why.into()));
        match self.go(&mut chance, fate).await {
            Err(Unanswered::Unsent) => return io("connection refused"),
            Err(Unanswered::Refused(status)) => return Ok(aws_answer(status, &Value::Null)),
            Ok(()) => {}
        }
        let asked = serde_json::from_slice(request.body().bytes().unwrap_or_default());
        let asked = asked.unwrap_or_default();
        let answer = world.sqs.answer(world, place, self.process.life, &action, &asked).await;
        self.come_back(&mut chance, fate).await;
        if matches!(fate, Fate::Broken | Fate::Half) {
            return io("connection reset");
        }
        Ok(match answer {
            Ok(answer) => aws_answer(200, &answer),
            Err(status) => aws_answer(status, &Value::Null),
        })
    }

    /// Carries a request to the API server.
    async fn carry(self, request: Request<kube::client::Body>) -> Result<Response<Body>, BoxError> {
        let (world, replica) = (&self.world, self.process.place);
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let (method, uri) = (parts.method.clone(), parts.uri.to_string());
        let is_watch = uri.contains("watch=true");
        let takes_back = method == Method::PATCH && removes(&body);
        let mut chance = world.chance_of_request(replica, &method, &uri);
        if !is_watch && self.process.is_forgotten(world.conditions.forgets_after) {
            let _forgotten = Forgotten(&self.process);
            if takes_back {
                world.note_left(&uri);
            }
            world.log(format!("r{replica} {method} {} on a forgotten connection", short(&uri)));
            match chance.percent(50) {
                true => pending().await,
                false => return Err("connection reset".into()),
            }
        }
        let faults = if is_watch { 0 } else { world.faults(replica) };
        let fate = self.fate(&mut chance, faults, &format!("{method} {}", short(&uri)));
        if takes_back && fate != Fate::Answered {
            world.note_left(&uri);
        }
        match self.go(&mut chance, fate).await {
            Err(Unanswered::Unsent) => return Err("connection refused".into()),
            Err(Unanswered::Refused(status)) => return Ok(refusal(status, &mut chance)),
            Ok(()) if world.is_closed(&uri) => return Ok(refusal(403, &mut chance)),
            Ok(()) => {}
        }
        let interval = method == Method::PATCH && !uri.contains("/status");
        let commit = announced(&body);
        if method == Method::GET && uri.contains("/gitrepos") && !uri.contains("includeObject") {
            let at = world.millis();
            world.seen().looked.push((self.process.life, name_in(&uri), at));
        }
        let request = Request::from_parts(parts, Body::from(body));
        let Ok(response) = world.server.service().oneshot(request).await;
        let response = response.map(Body::new);
        if response.status().is_success() && method == Method::PATCH {
            match commit {
                Some(commit) => world.patched(replica, &uri, &commit).await,
                None => world.log(format!("r{replica} patched {}", short(&uri))),
            }
            if interval && world.kills_between(&mut chance) {
                world.kill(replica, self.process.life);
            }
        }
        self.come_back(&mut chance, fate).await;
        match fate {
            Fate::Broken => Err("connection reset".into()),
            Fate::Half => Ok(cut_in_two(response)),
            _ if is_watch => Ok(late(response, chance.millis(0, 60), self.process.killed.clone())),
            _ => Ok(response),
        }
    }
}

impl HttpConnector for Ways {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().ask_sqs(request))
    }
}

/// Whether a patch takes something away: the polling interval, for it is all that we do.
fn removes(body: &Bytes) -> bool {
    let patch: Vec<Value> = serde_json::from_slice(body).unwrap_or_default();
    patch.iter().any(|it| it["op"] == "remove")
}

/// The commit that a patch of a status announces.
fn announced(body: &Bytes) -> Option<String> {
    let patch: Vec<Value> = serde_json::from_slice(body).ok()?;
    let add = |path: &str| patch.iter().find(|it| it["op"] == "add" && it["path"] == path);
    let commit = add("/status/webhookCommit").map(|add| &add["value"]);
    let commit = commit.or_else(|| add("/status").map(|add| &add["value"]["webhookCommit"]));
    commit?.as_str().map(str::to_owned)
}

fn refusal(status: u16, chance: &mut Chance) -> Response<Body> {
    let mut refusal = Response::new(Body::from("{}"));
    *refusal.status_mut() = StatusCode::from_u16(status).expect("a status");
    if status == 429 || (status == 503 && chance.percent(50)) {
        refusal.headers_mut().insert(header::RETRY_AFTER, 1.into());
    }
    refusal
}

/// An answer of AWS, or a refusal.
fn aws_answer(status: u16, answer: &Value) -> HttpResponse {
    let answer = Response::builder().status(status).body(answer.to_string().into());
    HttpResponse::try_from(answer.expect("an answer")).expect("one of AWS's")
}

fn cut_in_two(response: Response<Body>) -> Response<Body> {
    response.map(|body| {
        let first = body.into_data_stream().take(1).map(|chunk| {
            let chunk = chunk.unwrap_or_default();
            let half = chunk.slice(..chunk.len() / 2);
            Ok::<_, BoxError>(half)
        });
        let end = futures::stream::once(async { Err("connection reset".into()) });
        Body::from_stream(first.chain(end))
    })
}

/// Each part of an answer comes later by this, while there is somebody to hear it.
fn late(response: Response<Body>, lag: Duration, killed: CancellationToken) -> Response<Body> {
    response.map(|body| {
        let stream = body.into_data_stream().take_until(killed.cancelled_owned());
        Body::from_stream(stream.then(move |chunk| async move {
            sleep(lag).await;
            chunk
        }))
    })
}

/// Which GitRepo is read alone.
fn name_in(uri: &str) -> Option<String> {
    let name = uri.split("metadata.name%3D").nth(1)?.split('&').next()?;
    Some(name.to_owned())
}

fn short(uri: &str) -> &str {
    uri.rsplit("v1alpha1/").next().unwrap_or(uri)
}
