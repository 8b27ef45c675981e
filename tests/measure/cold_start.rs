//! What a cold and a warm delivery cost: time, CPU, memory, requests. The Runtime API is a few lines here, so that
//! nothing but the function is measured.
//!
//!     cargo lambda build --release
//!     cargo test --test measure cold_start -- --ignored --nocapture

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Instant,
};

use axum::{Router, extract::State, http::HeaderMap, response::IntoResponse as _, routing};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
};

use crate::support::{
    github::{headers, signed},
    lambda::FrontDoor,
    moto::Moto,
    space::Space,
    tools::tool,
};

const RUNS: usize = 30;
const SECRET: &str = "It's a Secret to Everybody";

/// The function's side of Lambda: one event at a time, and when it was asked for and answered.
#[derive(Clone)]
struct RuntimeApi {
    events: Arc<Mutex<mpsc::Receiver<String>>>,
    asked: mpsc::Sender<Instant>,
    answered: mpsc::Sender<(Instant, Value)>,
}

struct Run {
    process: Child,
    started: Instant,
    events: mpsc::Sender<String>,
    asked: mpsc::Receiver<Instant>,
    answered: mpsc::Receiver<(Instant, Value)>,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures a release build: its first lines say how to run it"]
async fn measures_cold_and_warm_deliveries() {
    let (space, moto) = (Space::real().await, Moto::start().await);
    let python = tool("venv/bin/python");
    let binary = env::var("FLEET_WEBHOOK_BINARY").unwrap_or_else(|_| {
        format!("{}/target/lambda/fleet-webhook/bootstrap", env!("CARGO_MANIFEST_DIR"))
    });
    moto.create_secret("webhook", &json!({ "github": SECRET }).to_string()).await;
    space.gitrepo("simple", json!({ "repo": space.github_url(), "branch": "main" })).await;
    for other in 0..99 {
        let repo = format!("https://github.com/acme/other-{other}");
        space.gitrepo(&format!("other-{other}"), json!({ "repo": repo, "branch": "main" })).await;
    }
    let ca = env::temp_dir().join("secrets-manager-ca.pem");
    let mut front = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/https.py"))
        .args(["--upstream", &moto.url, "--ca", ca.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(front.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let https: Value = serde_json::from_str(&line).unwrap();
    let mut variables = moto.variables();
    variables.extend([
        ("KUBECONFIG", space.kubeconfig.to_str().unwrap()),
        ("WEBHOOK_SECRET_ID", "webhook"),
        ("ROTATION_WINDOW", "0s"),
        ("AWS_ENDPOINT_URL", https["url"].as_str().unwrap()),
        ("SSL_CERT_FILE", ca.to_str().unwrap()),
    ]);

    let (mut asked, mut asked_cpu, mut asked_memory) = (Vec::new(), Vec::new(), Vec::new());
    let (mut first, mut first_cpu, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    let mut warm = Vec::new();
    let mut requests = (0, 0);
    for run in 0..RUNS {
        let mut function = Run::start(&binary, &variables).await;
        let at = function.asked.recv().await.unwrap();
        asked.push((at - function.started).as_secs_f64() * 1e3);
        asked_cpu.push(function.cpu());
        asked_memory.push(function.memory());
        let before = Instant::now();
        let at = function.deliver(&space, run * 2).await;
        first.push((at - before).as_secs_f64() * 1e3 + asked.last().unwrap());
        first_cpu.push(function.cpu());
        let counted = (moto.requests(), space.requests().len());
        let before = Instant::now();
        let at = function.deliver(&space, run * 2 + 1).await;
        warm.push((at - before).as_secs_f64() * 1e3);
        requests = (moto.requests() - counted.0, space.requests().len() - counted.1);
        memory.push(function.memory());
    }
    let size = std::fs::metadata(&binary).unwrap().len();
    println!("{binary}: {size} bytes; {RUNS} runs, 100 GitRepos, median / 95th percentile");
    report("start to the first request for an event, ms", &mut asked);
    report("  CPU until then, ms", &mut asked_cpu);
    report("  resident memory then, MiB", &mut asked_memory);
    report("start to the first answer, with a secret and a patch over TLS, ms", &mut first);
    report("  CPU until then, ms", &mut first_cpu);
    report("a warm delivery, ms", &mut warm);
    report("resident memory after two deliveries, MiB", &mut memory);
    println!(
        "a warm delivery asks AWS {} times and the API server {} times",
        requests.0, requests.1
    );
    front.kill().unwrap();
    front.wait().unwrap();
}

impl Run {
    async fn start(binary: &str, variables: &[(&str, &str)]) -> Self {
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
        let process = command.spawn().expect("cargo lambda build --release made it");
        Self { process, started, events, asked, answered }
    }

    /// Delivers a push of a new commit; gives when it was answered.
    async fn deliver(&mut self, space: &Space, number: usize) -> Instant {
        let (body, proof) = signed(space, SECRET, &format!("{:040x}", number + 1));
        let event = FrontDoor::HttpApi.post(&headers(&proof), body.as_bytes(), false);
        self.events.send(event.to_string()).await.unwrap();
        let (at, answer) = self.answered.recv().await.unwrap();
        assert_eq!(answer["statusCode"], 200, "{answer}");
        assert!(answer["body"].as_str().unwrap().contains(r#""patched":1"#), "{answer}");
        // It asks for the next event at once.
        self.asked.recv().await.unwrap();
        at
    }

    /// Milliseconds on a CPU, of all its threads.
    fn cpu(&self) -> f64 {
        let tasks =
            std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap().flatten();
        let nanoseconds = tasks.map(|task| {
            let stat = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            stat.split(' ').next().and_then(|on_cpu| on_cpu.parse::<f64>().ok()).unwrap_or_default()
        });
        nanoseconds.sum::<f64>() / 1e6
    }

    fn memory(&self) -> f64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        resident.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.process.kill();
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

fn report(what: &str, figures: &mut [f64]) {
    figures.sort_by(f64::total_cmp);
    let at = |part: f64| figures[((figures.len() - 1) as f64 * part).round() as usize];
    println!("{what}: {:.1} / {:.1}", at(0.5), at(0.95));
}
