//! What is between the function and its API server, embedded or real: it refuses, swallows, cuts and loses what a test
//! orders, request by request.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{Method, StatusCode, header},
    response::Response,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::{StreamExt as _, future::pending, stream};
use reqwest::{Certificate, Client};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::space::Space;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing is done, and this is answered, with so many seconds in `Retry-After`.
    Refused(u16, Option<u64>),
    /// Nothing is done, and nothing is answered.
    Silence,
    /// It is done, and nothing is answered.
    Unheard,
    /// It is done, and half of the answer comes before the connection breaks.
    Half,
}

/// The next request of this method whose path and query have this part.
type Ordered = (Method, &'static str, Fate);

#[derive(Clone)]
pub struct Between {
    /// The kubeconfig of whoever is to come by here.
    pub kubeconfig: String,
    ordered: Arc<Mutex<Vec<Ordered>>>,
    /// Who is connected, and whether we know him no more.
    connected: Arc<Mutex<HashMap<SocketAddr, bool>>>,
    disowned: Arc<AtomicUsize>,
    /// Whether watches say nothing any more.
    hushed: Arc<AtomicBool>,
    server: String,
    client: Client,
}

impl Between {
    /// In front of the space's API server, on a free port.
    pub async fn start(space: &Space) -> Self {
        let kubeconfig = std::fs::read(&space.kubeconfig).expect("a kubeconfig");
        let mut kubeconfig: Value = serde_json::from_slice(&kubeconfig).expect("is JSON");
        let cluster = &mut kubeconfig["clusters"][0]["cluster"];
        let server = cluster["server"].as_str().expect("a URL").to_owned();
        let client = match cluster["certificate-authority-data"].take() {
            Value::String(ca) => {
                let ca = BASE64_STANDARD.decode(ca).expect("is Base64");
                let ca = Certificate::from_pem(&ca).expect("a certificate");
                Client::builder().tls_certs_only([ca])
            }
            _ => Client::builder(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("is bound");
        *cluster = json!({ "server": format!("http://{address}") });
        let path = format!("{}.between", space.kubeconfig.display());
        std::fs::write(&path, kubeconfig.to_string()).expect("is written");
        let client = client.build().expect("a client");
        let between = Self {
            kubeconfig: path,
            ordered: Arc::default(),
            connected: Arc::default(),
            disowned: Arc::default(),
            hushed: Arc::default(),
            server,
            client,
        };
        let router = axum::Router::new().fallback(pass).with_state(between.clone());
        let router = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, router).await });
        between
    }

    /// Orders what becomes of the next such request.
    pub fn order(&self, method: Method, part: &'static str, fate: Fate) {
        self.ordered.lock().unwrap().push((method, part, fate));
    }

    /// Whether all that was ordered has happened.
    pub fn is_done(&self) -> bool {
        self.ordered.lock().unwrap().is_empty()
    }

    /// From now on 401 answers whatever is asked on a connection that is there by now, as an API server does that was
    /// taken out of service and still runs.
    pub fn disown(&self) {
        self.connected.lock().unwrap().values_mut().for_each(|disowned| *disowned = true);
    }

    /// How often that was answered.
    pub fn disowned(&self) -> usize {
        self.disowned.load(Ordering::SeqCst)
    }

    /// From now on no watch says what happens, those that are there and new ones, and none ends.
    pub fn hush(&self) {
        self.hushed.store(true, Ordering::SeqCst);
    }

    fn fate(&self, method: &Method, uri: &str) -> Option<Fate> {
        let mut ordered = self.ordered.lock().unwrap();
        let is_it = |(ordered, part, _): &Ordered| ordered == method && uri.contains(part);
        let position = ordered.iter().position(is_it)?;
        Some(ordered.remove(position).2)
    }
}

async fn pass(
    State(between): State<Between>,
    ConnectInfo(who): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let uri = parts.uri.to_string();
    let disowned = *between.connected.lock().unwrap().entry(who).or_default();
    if disowned {
        between.disowned.fetch_add(1, Ordering::SeqCst);
    }
    let is_watch = uri.contains("watch=true");
    let fate = match is_watch {
        _ if disowned => Some(Fate::Refused(401, None)),
        true => None,
        false => between.fate(&parts.method, &uri),
    };
    match fate {
        Some(Fate::Silence) => return pending().await,
        Some(Fate::Refused(status, retry_after)) => {
            let mut refusal = Response::new(Body::from("{}"));
            *refusal.status_mut() = StatusCode::from_u16(status).expect("a status");
            if let Some(seconds) = retry_after {
                refusal.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            return refusal;
        }
        Some(Fate::Unheard | Fate::Half) | None => {}
    }
    let body = to_bytes(body, usize::MAX).await.expect("a body");
    let mut headers = parts.headers;
    headers.remove(header::HOST);
    // What is cut in two has to be what was sent.
    headers.remove(header::ACCEPT_ENCODING);
    let ask = between.client.request(parts.method, format!("{}{uri}", between.server));
    let answer = ask.headers(headers).body(body).send().await.expect("the API server answers");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    let content_type = answer.headers().get(header::CONTENT_TYPE).cloned();
    response.headers_mut().extend(content_type.map(|it| (header::CONTENT_TYPE, it)));
    match fate {
        Some(Fate::Unheard) => pending().await,
        Some(Fate::Half) => {
            let whole = answer.bytes().await.expect("a body");
            response.map(|_| halved(&whole))
        }
        _ => response.map(|_| {
            Body::from_stream(stream::try_unfold(answer, move |mut answer| {
                let hushed = Arc::clone(&between.hushed);
                async move {
                    let chunk = answer.chunk().await?;
                    if is_watch && hushed.load(Ordering::SeqCst) {
                        return pending().await;
                    }
                    Ok::<_, reqwest::Error>(chunk.map(|chunk| (chunk, answer)))
                }
            }))
        }),
    }
}

fn halved(whole: &Bytes) -> Body {
    let half = whole.slice(..whole.len() / 2);
    let cut = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    };
    Body::from_stream(stream::iter([Ok(half)]).chain(stream::once(cut)))
}
