//! The function itself, as a process on a free port, and what it logs.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use reqwest::{Client, RequestBuilder, Response, header::HeaderMap};
use serde_json::Value;

use super::space::Space;

/// A running function; it is killed when dropped.
pub struct Function {
    pub url: String,
    process: Child,
    log: Arc<Mutex<String>>,
    client: Client,
}

/// An answer of the function.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn outcome(&self) -> &str {
        self.body["outcome"].as_str().unwrap_or_default()
    }
}

impl Function {
    /// Starts it on the space's API server with more variables, and waits until it listens.
    pub async fn start(space: &Space, variables: &[(&str, &str)]) -> Self {
        Self::start_by(Command::new(Self::program()), space, variables).await
    }

    /// The same where a process may have so many files open, unless it asks for more.
    pub async fn start_with_descriptors(
        space: &Space,
        variables: &[(&str, &str)],
        number: u64,
    ) -> Self {
        let mut limited = Command::new("/bin/sh");
        limited.args(["-c", &format!("ulimit -Sn {number} && exec \"$0\"")]).arg(Self::program());
        Self::start_by(limited, space, variables).await
    }

    async fn start_by(mut command: Command, space: &Space, variables: &[(&str, &str)]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        command
            .env_clear()
            .env("KUBECONFIG", &space.kubeconfig)
            .env("FLEET_NAMESPACE", &space.fleet)
            .envs([
                ("HOST", "127.0.0.1"),
                ("PORT", "0"),
                ("METRICS_PORT", "0"),
                ("RUST_LOG", "debug,kube=debug"),
            ])
            .envs(variables.iter().copied())
            .stderr(Stdio::piped());
        let mut process = command.spawn().expect("it starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (listening, port) = mpsc::channel();
        let (lines, written) =
            (BufReader::new(process.stderr.take().expect("is piped")), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let entry: Value = serde_json::from_str(&line).unwrap_or_default();
                if entry["message"] == "listening" {
                    let _ = listening.send(entry["port"].as_u64());
                }
                let mut written = written.lock().unwrap();
                written.push_str(&line);
                written.push('\n');
            }
        });
        let port =
            tokio::task::spawn_blocking(move || port.recv_timeout(Duration::from_secs(20))).await;
        let Ok(Ok(Some(port))) = port else {
            panic!("it does not listen:\n{}", log.lock().unwrap())
        };
        let client = Client::builder().build().expect("a client");
        Self { url: format!("http://127.0.0.1:{port}"), process, log, client }
    }

    /// The program that is started: that of this build, or another one of `FLEET_WEBHOOK_PROGRAM`.
    pub fn program() -> PathBuf {
        let other = std::env::var_os("FLEET_WEBHOOK_PROGRAM");
        other.unwrap_or_else(|| env!("CARGO_BIN_EXE_fleet-webhook").into()).into()
    }

    /// Everything it logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it logs a message.
    pub async fn logs(&self, message: &str) {
        self.logs_times(message, 1).await;
    }

    /// Waits until it has logged a message so many times.
    pub async fn logs_times(&self, message: &str, times: usize) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.log().matches(message).count() < times {
            assert!(Instant::now() < deadline, "{message:?} is not in\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Its figures, as curl reads them.
    pub async fn figures(&self) -> String {
        self.figures_in("*/*").await.text().await.expect("a text")
    }

    /// Its figures in a format.
    pub async fn figures_in(&self, accept: &str) -> Response {
        let port = self.figures_port();
        let request = self.client.get(format!("http://127.0.0.1:{port}/metrics"));
        request.header("accept", accept).send().await.expect("an answer")
    }

    /// The port where they are read.
    pub fn figures_port(&self) -> u64 {
        let entries = self.log();
        let mut entries =
            entries.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        entries.find_map(|entry| entry["metrics.port"].as_u64()).expect("it listens there too")
    }

    /// Sends it a signal, by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        let kill = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status();
        assert!(kill.expect("there is a kill").success());
    }

    /// Waits until it ends by itself; gives its exit code.
    pub async fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.process.try_wait().expect("it is ours") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The log lines of deliveries.
    pub fn delivery_lines(&self) -> Vec<Value> {
        let entries = self
            .log()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect::<Vec<Value>>();
        entries.into_iter().filter(|entry| entry["message"] == "delivery").collect()
    }

    /// The log lines of deliveries, once there are so many; what it logs is read a moment after its answers.
    pub async fn deliveries_logged(&self, number: usize) -> Vec<Value> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.delivery_lines().len() < number {
            assert!(Instant::now() < deadline, "it logged no {number}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.delivery_lines()
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a delivery.
    pub async fn deliver(
        &self,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let mut request = self.client.post(format!("{}/", self.url)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.answer(request).await
    }

    /// Sends any request.
    pub async fn request(&self, method: &str, path: &str) -> Answer {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self.client.request(method, format!("{}{path}", self.url));
        self.answer(request).await
    }

    async fn answer(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await;
        let response = response.unwrap_or_else(|error| panic!("{error:?}\n{}", self.log()));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a body");
        Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default() }
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
