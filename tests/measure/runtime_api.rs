//! Lambda's Runtime API in a few lines, so that nothing but the function is measured.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each user uses a part of it"
)]

use std::{
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Instant,
};

use axum::{Router, extract::State, http::HeaderMap, response::IntoResponse as _, routing};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
};

/// The function's side of Lambda: one event at a time, and when it was asked for and answered.
#[derive(Clone)]
struct RuntimeApi {
    events: Arc<Mutex<mpsc::Receiver<String>>>,
    asked: mpsc::Sender<Instant>,
    answered: mpsc::Sender<(Instant, Value)>,
}

/// A running function; it is stopped when dropped, by a signal after which a profiler around it still writes.
pub struct Run {
    process: Child,
    pub started: Instant,
    events: mpsc::Sender<String>,
    /// When it asked for an event.
    pub asked: mpsc::Receiver<Instant>,
    answered: mpsc::Receiver<(Instant, Value)>,
}

impl Run {
    pub async fn start(binary: &str, variables: &[(&str, &str)]) -> Self {
        let (events, next) = mpsc::channel(1);
        let (asking, asked) = mpsc::channel(1);
        let (answering, answered) = mpsc::channel(1);
        let api =
            RuntimeApi { events: Arc::new(Mutex::new(next)), asked: asking, answered: answering };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", routing::get(next_event))
            .route("/2018-06-01/runtime/invocation/1/response", routing::post(response))
            .with_state(api);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut command = Command::new(binary);
        command
            .env_clear()
            .envs(variables.iter().copied())
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .env("AWS_LAMBDA_FUNCTION_NAME", "fleet-webhook")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .stderr(Stdio::null());
        let started = Instant::now();
        let process = command.spawn().expect("it is a program");
        Self { process, started, events, asked, answered }
    }

    /// Hands it an event; gives when it was answered, and the answer.
    pub async fn handle(&mut self, event: &Value) -> (Instant, Value) {
        self.events.send(event.to_string()).await.unwrap();
        let answered = self.answered.recv().await.unwrap();
        // It asks for the next event at once.
        self.asked.recv().await.unwrap();
        answered
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

async fn next_event(State(api): State<RuntimeApi>) -> axum::response::Response {
    api.asked.send(Instant::now()).await.unwrap();
    let Some(event) = api.events.lock().await.recv().await else { std::future::pending().await };
    let deadline = jiff::Timestamp::now().as_millisecond() + 10_000;
    let mut headers = HeaderMap::new();
    headers.insert("lambda-runtime-aws-request-id", "1".parse().unwrap());
    headers.insert("lambda-runtime-deadline-ms", deadline.to_string().parse().unwrap());
    headers.insert("lambda-runtime-invoked-function-arn", "arn:aws:lambda:f".parse().unwrap());
    (headers, event).into_response()
}

async fn response(State(api): State<RuntimeApi>, body: String) {
    let answer = serde_json::from_str(&body).unwrap_or_default();
    api.answered.send((Instant::now(), answer)).await.unwrap();
}
