//! One running process: the program's own service with all that it is made of, and the driver that brings it deliveries.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, response::Response};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use fleet_webhook::{
    adapter::{
        destination::Destination,
        http::router,
        lambda::Function,
        memory::Memory,
        readiness::Readiness,
        service::{Clock, Service},
    },
    cluster::{Cluster, index::Index, lookup::Lookup},
    config::{GlobalSecret, UnsignedDeliveries},
    receiver::{Receiver, patch::Patcher},
    repo_url::HostAliases,
    retry::RetryQueue,
    secret::{source::SecretSource, store::SecretStore},
    telemetry::{Format, Metrics},
};
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use jiff::SignedDuration;
use lambda_runtime::{Context, LambdaEvent};
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};
use tokio::{select, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use crate::{
    network::{carrier, client},
    world::{FLEET, World},
};

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_millis(4500);

/// How long what goes on after the answer takes at the most.
const AFTER_THE_ANSWER: Duration = Duration::from_secs(15);

const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A process, until it is killed.
pub struct Replica {
    /// Tells it from the one that had its place before.
    pub life: usize,
    driver: Driver,
    metrics: Arc<Metrics>,
    /// From then on nothing comes in or goes out, wherever in its work it is.
    pub killed: CancellationToken,
    /// Lambda gives a process one event at a time.
    busy: AtomicBool,
    /// Watches for as long as there is one.
    _index: Option<Arc<Index>>,
}

enum Driver {
    Http(Router),
    Lambda(Function),
}

/// How a delivery was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Outcome(String),
    /// It was in progress, and failed afterwards.
    Lost,
    /// The process is gone.
    None,
}

impl Answer {
    pub fn is(&self, outcome: &str) -> bool {
        matches!(self, Self::Outcome(it) if it == outcome)
    }

    /// Whether it was answered so that nobody sends it again.
    pub fn is_taken(&self) -> bool {
        let lost = ["unavailable", "unauthorized", "malformed"];
        matches!(self, Self::Outcome(it) if !lost.contains(&it.as_str()))
    }
}

/// What is brought to a process.
#[derive(Clone, Debug)]
pub struct Brought {
    pub headers: HeaderMap,
    pub body: Bytes,
    /// It comes out of the queue.
    pub queued: bool,
}

impl Replica {
    /// Starts one in a place, with a clock that is wrong by `wrong`.
    pub fn start(
        world: &Arc<World>,
        place: usize,
        life: usize,
        on_lambda: bool,
        wrong: SignedDuration,
    ) -> Self {
        let killed = CancellationToken::new();
        let metrics = Arc::new(Metrics::new());
        let way = client(world, place, life, &killed);
        let cluster = Cluster::new(way, Arc::clone(&metrics));
        let global = GlobalSecret::Kubernetes {
            namespace: FLEET.to_owned(),
            name: "gitjob-webhook".to_owned(),
            named: false,
        };
        let source = SecretSource::new(Some(cluster.clone()), global, Duration::ZERO);
        let secrets = SecretStore::new(source, Duration::from_secs(60), Duration::from_secs(10));
        let namespaces = world.namespaces();
        let index = (!on_lambda).then(|| Arc::new(Index::start(&cluster, &namespaces)));
        let mut lookup = Lookup::new(cluster.clone(), namespaces, Duration::from_secs(10));
        if let Some(index) = &index {
            lookup = lookup.with_index(Arc::clone(index));
        }
        let patcher = Patcher::new(cluster.clone(), Some("1h".to_owned()));
        let receiver = Arc::new(Receiver::new(
            cluster,
            secrets,
            lookup,
            patcher,
            UnsignedDeliveries::Reject,
            HostAliases::default(),
        ));
        if let Some(index) = &index {
            let (receiver, index) = (Arc::clone(&receiver), Arc::clone(index));
            let ended = killed.clone();
            tokio::spawn(async move {
                select! {
                    biased;
                    () = ended.cancelled() => {}
                    () = receiver.take_left_intervals_back(&index) => {}
                }
            });
        }
        let retry = world.conditions.has_queue.then(|| {
            let carrier = carrier(world, place, life, &killed);
            Arc::new(RetryQueue::sink_behind(carrier, "http://broker/".to_owned(), MAX_BODY_BYTES))
        });
        let clock = Arc::clone(world);
        let service = Service {
            destination: Destination::Cluster(receiver),
            metrics: Arc::clone(&metrics),
            readiness: Arc::new(Readiness::new(true)),
            retry,
            tasks: TaskTracker::new(),
            memory: Memory::for_bodies_of(MAX_BODY_BYTES),
            max_body_bytes: MAX_BODY_BYTES,
            deadline: DEADLINE,
            clock: Clock::new(move || clock.true_time() + wrong),
        };
        let driver = match on_lambda {
            true => Driver::Lambda(Function::new(service)),
            false => Driver::Http(router(service)),
        };
        let busy = AtomicBool::new(false);
        Self { life, driver, metrics, killed, busy, _index: index }
    }

    /// Takes it for one event, unless it has one.
    pub fn reserve(&self) -> bool {
        matches!(self.driver, Driver::Http(_)) || !self.busy.swap(true, Ordering::Relaxed)
    }

    /// Receives what is brought; who goes away before the answer stops nothing on Lambda.
    pub async fn receive(self: &Arc<Self>, brought: Brought) -> Answer {
        let before = self.lost();
        let answer = match &self.driver {
            Driver::Http(router) => {
                let router = router.clone();
                select! {
                    biased;
                    () = self.killed.cancelled() => return Answer::None,
                    answer = by_http(router, brought) => answer,
                }
            }
            Driver::Lambda(function) => {
                let (replica, function) = (Arc::clone(self), function.clone());
                let handled = tokio::spawn(async move {
                    let answer = select! {
                        biased;
                        () = replica.killed.cancelled() => Answer::None,
                        answer = by_event(&function, brought) => answer,
                    };
                    replica.busy.store(false, Ordering::Relaxed);
                    answer
                });
                handled.await.expect("does not panic")
            }
        };
        if !answer.is("in_progress") {
            return answer;
        }
        select! {
            biased;
            () = self.killed.cancelled() => Answer::None,
            () = sleep(AFTER_THE_ANSWER) => match self.lost() == before {
                true => answer,
                false => Answer::Lost,
            },
        }
    }

    /// How many deliveries it counts as lost after the answer.
    fn lost(&self) -> String {
        let text = self.metrics.render(Format::Text);
        let lost = text.lines().filter(|line| line.contains("after_answer") && !line.contains('#'));
        lost.filter(|line| line.contains("provider")).collect()
    }
}

async fn by_http(router: Router, brought: Brought) -> Answer {
    let Brought { headers, body, queued } = brought;
    let mut request = Request::post("/").body(Body::from(body)).expect("a request");
    *request.headers_mut() = headers;
    let Ok::<Response, Infallible>(response) = router.oneshot(request).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    match (queued, status) {
        (true, 204) => Answer::Outcome("done".to_owned()),
        _ => outcome(status, &body),
    }
}

/// What Lambda makes of a request, or of a message of a queue.
async fn by_event(function: &Function, brought: Brought) -> Answer {
    let Brought { headers, body, queued } = brought;
    let text = String::from_utf8(body.to_vec()).expect("is text");
    let event = match queued {
        true => {
            json!({ "Records": [{ "messageId": "1", "eventSource": "aws:sqs", "body": text }] })
        }
        false => {
            let headers: serde_json::Map<_, _> = headers
                .iter()
                .map(|(name, value)| (name.to_string(), json!(value.to_str().expect("is text"))))
                .collect();
            json!({
                "version": "2.0", "routeKey": "$default", "rawPath": "/", "rawQueryString": "",
                "headers": headers,
                "requestContext": { "http": {
                    "method": "POST", "path": "/", "protocol": "HTTP/1.1",
                    "sourceIp": "192.0.2.1", "userAgent": "simulation",
                } },
                "body": BASE64_STANDARD.encode(text), "isBase64Encoded": true,
            })
        }
    };
    let event: Box<RawValue> = to_raw_value(&event).expect("is JSON");
    // Without a deadline of its own it has the service's.
    let answer = function.handle(LambdaEvent::new(event, Context::default())).await;
    let answer: Value = match answer {
        Ok(answer) => serde_json::from_str(answer.get()).expect("is JSON"),
        Err(error) => return Answer::Outcome(error.error_type),
    };
    if queued {
        let done = answer["batchItemFailures"].as_array().is_some_and(Vec::is_empty);
        return Answer::Outcome(if done { "done" } else { "unavailable" }.to_owned());
    }
    let status = answer["statusCode"].as_u64().and_then(|status| status.try_into().ok());
    outcome(status.unwrap_or_default(), answer["body"].as_str().unwrap_or_default().as_bytes())
}

fn outcome(status: u16, body: &[u8]) -> Answer {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let outcome = body["outcome"].as_str().map(str::to_owned);
    Answer::Outcome(outcome.unwrap_or_else(|| format!("status {status}")))
}
