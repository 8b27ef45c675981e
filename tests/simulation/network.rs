//! The way between a replica and the API server or the queue: slow, refused, silent, broken and cut in two, as the seed says.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use fleet_webhook::retry::Carrier;
use futures::{StreamExt as _, future::pending};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, ServiceExt as _};

use crate::{chance::Chance, world::World};

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

/// The ways of one process.
#[derive(Clone)]
struct Ways {
    world: Arc<World>,
    replica: usize,
    life: usize,
    killed: CancellationToken,
}

/// A client of one process, whose requests the world carries until it is `killed`.
pub fn client(
    world: &Arc<World>,
    replica: usize,
    life: usize,
    killed: &CancellationToken,
) -> kube::Client {
    let ways = Ways { world: Arc::clone(world), replica, life, killed: killed.clone() };
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let ways = ways.clone();
        async move { ways.carry(request).await }
    });
    kube::Client::new(service, "default")
}

/// What carries its messages to the queue.
pub fn carrier(
    world: &Arc<World>,
    replica: usize,
    life: usize,
    killed: &CancellationToken,
) -> Carrier {
    let ways = Ways { world: Arc::clone(world), replica, life, killed: killed.clone() };
    Carrier::new(tower::service_fn(move |request: reqwest::Request| {
        let ways = ways.clone();
        async move { ways.hand_over(request).await }
    }))
}

impl Ways {
    /// A process that is killed sends nothing and hears nothing any more; here it may be killed.
    async fn stand(&self, chance: &mut Chance) {
        if self.world.kills_now(chance) {
            self.world.kill(self.replica, self.life);
        }
        if self.killed.is_cancelled() {
            pending().await
        }
    }

    /// Carries a message to the queue.
    async fn hand_over(self, request: reqwest::Request) -> Result<reqwest::Response, String> {
        let (world, replica) = (&self.world, self.replica);
        let mut chance = world.chance_of_request(replica, &Method::POST, "queue");
        let fate = Fate::draw(&mut chance, world.faults_of_queue());
        if fate != Fate::Answered {
            world.log(format!("r{replica} queue {fate:?}"));
        }
        self.stand(&mut chance).await;
        sleep(world.way(&mut chance)).await;
        match fate {
            Fate::Silence => return pending().await,
            Fate::Unsent => return Err("connection refused".to_owned()),
            Fate::Refused(status) => return Ok(refusal(status, &mut chance).map(|_| "").into()),
            _ => {}
        }
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        world.keep(request.headers().clone(), Bytes::copy_from_slice(body));
        self.stand(&mut chance).await;
        sleep(world.way(&mut chance)).await;
        self.stand(&mut chance).await;
        match fate {
            Fate::Unheard => pending().await,
            Fate::Broken | Fate::Half => Err("connection reset".to_owned()),
            _ => Ok(Response::new("").into()),
        }
    }

    async fn carry(self, request: Request<kube::client::Body>) -> Result<Response<Body>, BoxError> {
        let (world, replica) = (&self.world, self.replica);
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let (method, uri) = (parts.method.clone(), parts.uri.to_string());
        let is_watch = uri.contains("watch=true");
        let mut chance = world.chance_of_request(replica, &method, &uri);
        let faults = if is_watch { 0 } else { world.faults(replica) };
        let fate = Fate::draw(&mut chance, faults);
        if fate != Fate::Answered {
            world.log(format!("r{replica} {method} {} {fate:?}", short(&uri)));
        }
        self.stand(&mut chance).await;
        // What is on its way arrives, whatever becomes of its sender.
        sleep(world.way(&mut chance)).await;
        match fate {
            Fate::Silence => return pending().await,
            Fate::Unsent => return Err("connection refused".into()),
            Fate::Refused(status) => return Ok(refusal(status, &mut chance)),
            _ if world.is_closed(&uri) => return Ok(refusal(403, &mut chance)),
            _ => {}
        }
        let interval = method == Method::PATCH && !uri.contains("/status");
        let commit = announced(&body);
        let request = Request::from_parts(parts, Body::from(body));
        let Ok(response) = world.server.service().oneshot(request).await;
        let response = response.map(Body::new);
        if response.status().is_success() && method == Method::PATCH {
            match commit {
                Some(commit) => world.patched(replica, &uri, &commit).await,
                None => world.log(format!("r{replica} patched {}", short(&uri))),
            }
            if interval && world.kills_between(&mut chance) {
                world.kill(replica, self.life);
            }
        }
        self.stand(&mut chance).await;
        sleep(world.way(&mut chance)).await;
        self.stand(&mut chance).await;
        match fate {
            Fate::Unheard => pending().await,
            Fate::Broken => Err("connection reset".into()),
            Fate::Half => Ok(cut_in_two(response)),
            _ if is_watch => Ok(late(response, chance.millis(0, 60), self.killed)),
            _ => Ok(response),
        }
    }
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

fn short(uri: &str) -> &str {
    uri.rsplit("v1alpha1/").next().unwrap_or(uri)
}
