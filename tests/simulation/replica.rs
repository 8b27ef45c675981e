//! One running process: the program's own service with all that it is made of, and the driver that brings it deliveries.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use fleet_webhook::{
    adapter::{
        destination::Destination,
        http::router,
        lambda::Function,
        memory::Memory,
        pull::{Holds, Pull},
        readiness::Readiness,
        service::{Clock, Service},
    },
    cluster::{Cluster, index::Index, lookup::Lookup},
    config::{GlobalSecret, UnsignedDeliveries},
    forward::Forwarder,
    receiver::{Receiver, patch::Patcher},
    repo_url::HostAliases,
    retry::RetryQueue,
    secret::{source::SecretSource, store::SecretStore},
    telemetry::{Format, Metrics},
};
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use lambda_runtime::{Context, LambdaEvent};
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};
use tokio::{select, time::sleep};
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::{conditions::Retries, gitrepos::FLEET, network::Ways, process::Process, world::World};

/// How long what goes on after the answer takes at the most.
const AFTER_THE_ANSWER: Duration = Duration::from_secs(15);

const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A process with what runs in it.
pub struct Replica {
    pub process: Arc<Process>,
    driver: Driver,
    metrics: Arc<Metrics>,
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
    /// Starts one in a place.
    pub fn start(world: &Arc<World>, place: usize, life: usize) -> Self {
        let conditions = &world.conditions;
        let on_lambda = conditions.is_function(place);
        let process = Arc::new(Process::new(place, life, on_lambda));
        let ways = Ways::of(world, &process);
        let metrics = Arc::new(Metrics::new());
        let cluster = Cluster::new(ways.client(), Arc::clone(&metrics));
        let namespaces = world.namespaces();
        let index = (!on_lambda).then(|| Arc::new(Index::start(&cluster, &namespaces)));
        let destination = match conditions.forwards(place) {
            true => {
                let forwarder = Forwarder::new(secrets(&cluster), vec![ways.queue()]);
                Destination::Queues(Arc::new(forwarder))
            }
            false => {
                let receiver = Arc::new(receiver(cluster, namespaces, index.as_ref()));
                if let Some(index) = &index {
                    let (receiver, index) = (Arc::clone(&receiver), Arc::clone(index));
                    process.spawn(async move { receiver.take_left_intervals_back(&index).await });
                }
                Destination::Cluster(receiver)
            }
        };
        let retry = match conditions.retries {
            Retries::Nowhere => None,
            Retries::Broker => {
                let url = "http://broker/".to_owned();
                Some(RetryQueue::sink_behind(ways.carrier(), url, MAX_BODY_BYTES))
            }
            Retries::Sqs => Some(RetryQueue::sqs(ways.queue(), MAX_BODY_BYTES)),
        };
        let (clock, wrong) = (Arc::clone(world), world.wrong(place));
        let service = Service {
            destination,
            metrics: Arc::clone(&metrics),
            readiness: Arc::new(Readiness::new(true)),
            retry: retry.map(Arc::new),
            tasks: TaskTracker::new(),
            memory: Memory::for_bodies_of(MAX_BODY_BYTES),
            max_body_bytes: MAX_BODY_BYTES,
            deadline: conditions.deadline,
            clock: Clock::new(move || clock.true_time() + wrong),
        };
        if !on_lambda && conditions.has_sqs() {
            let holds = if conditions.unreachable { Holds::Deliveries } else { Holds::Retries };
            process.spawn(Pull::new(ways.queue(), holds).run(service.clone()));
        }
        let driver = match on_lambda {
            true => Driver::Lambda(Function::new(service)),
            false => Driver::Http(router(service)),
        };
        Self { process, driver, metrics, _index: index }
    }

    /// Takes it for one event, unless it has one.
    pub fn reserve(&self) -> bool {
        matches!(self.driver, Driver::Http(_)) || self.process.thaw()
    }

    /// Receives what is brought; who goes away before the answer stops nothing on Lambda.
    pub async fn receive(self: &Arc<Self>, brought: Brought) -> Answer {
        let before = self.lost();
        let answer = match &self.driver {
            Driver::Http(router) => {
                let router = router.clone();
                select! {
                    biased;
                    () = self.process.killed.cancelled() => return Answer::None,
                    answer = by_http(router, brought) => answer,
                }
            }
            Driver::Lambda(_) => by_event(self, brought).await,
        };
        if !answer.is("in_progress") {
            return answer;
        }
        select! {
            biased;
            () = self.process.killed.cancelled() => Answer::None,
            () = sleep(AFTER_THE_ANSWER) => match self.lost() == before {
                true => answer,
                false => Answer::Lost,
            },
        }
    }

    /// Gives a function an event, and freezes it once that is answered; `None` where it fails or is killed.
    pub async fn invoke(self: &Arc<Self>, event: Value) -> Option<Value> {
        let Driver::Lambda(function) = &self.driver else { return None };
        let (replica, function) = (Arc::clone(self), function.clone());
        let event: Box<RawValue> = to_raw_value(&event).expect("is JSON");
        // Without a deadline of its own it has the service's.
        let event = LambdaEvent::new(event, Context::default());
        let handled = tokio::spawn(async move {
            let answer = select! {
                biased;
                () = replica.process.killed.cancelled() => None,
                answer = function.handle(event) => answer.ok(),
            };
            replica.process.freeze();
            answer
        });
        let answer = handled.await.expect("does not panic")?;
        Some(serde_json::from_str(answer.get()).expect("is JSON"))
    }

    /// How many deliveries it counts as lost after the answer.
    fn lost(&self) -> String {
        let text = self.metrics.render(Format::Text);
        let lost = text.lines().filter(|line| line.contains("after_answer") && !line.contains('#'));
        lost.filter(|line| line.contains("provider")).collect()
    }
}

/// The secrets that processes remember.
fn secrets(cluster: &Cluster) -> SecretStore {
    let global = GlobalSecret::Kubernetes {
        namespace: FLEET.to_owned(),
        name: "gitjob-webhook".to_owned(),
        named: false,
    };
    let source = SecretSource::new(Some(cluster.clone()), global, Duration::ZERO);
    SecretStore::new(source, Duration::from_secs(60), Duration::from_secs(10))
}

fn receiver(cluster: Cluster, namespaces: Vec<String>, index: Option<&Arc<Index>>) -> Receiver {
    let mut lookup = Lookup::new(cluster.clone(), namespaces, Duration::from_secs(10));
    if let Some(index) = index {
        lookup = lookup.with_index(Arc::clone(index));
    }
    let patcher = Patcher::new(cluster.clone(), Some("1h".to_owned()));
    let (secrets, unsigned) = (secrets(&cluster), UnsignedDeliveries::Reject);
    Receiver::new(cluster, secrets, lookup, patcher, unsigned, HostAliases::default())
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

/// What Lambda makes of a request.
async fn by_event(replica: &Arc<Replica>, brought: Brought) -> Answer {
    let Brought { headers, body, queued } = brought;
    let headers: serde_json::Map<_, _> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), json!(value.to_str().expect("is text"))))
        .collect();
    let event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": "/", "rawQueryString": "",
        "headers": headers,
        "requestContext": { "http": {
            "method": "POST", "path": "/", "protocol": "HTTP/1.1",
            "sourceIp": "192.0.2.1", "userAgent": "simulation",
        } },
        "body": BASE64_STANDARD.encode(body), "isBase64Encoded": true,
    });
    let Some(answer) = replica.invoke(event).await else { return Answer::None };
    let status = answer["statusCode"].as_u64().and_then(|status| status.try_into().ok());
    let status = status.unwrap_or_default();
    match (queued, status) {
        (true, 204) => Answer::Outcome("done".to_owned()),
        _ => outcome(status, answer["body"].as_str().unwrap_or_default().as_bytes()),
    }
}

fn outcome(status: u16, body: &[u8]) -> Answer {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let outcome = body["outcome"].as_str().map(str::to_owned);
    Answer::Outcome(outcome.unwrap_or_else(|| format!("status {status}")))
}
