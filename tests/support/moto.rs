//! moto as AWS: Secrets Manager, IAM, STS, SQS and EKS on a free port, spoken to as the SDKs do but without one.
//!
//! One serves all tests of a binary, for Python takes a core for seconds to start. Each test comes by a door of its own, which
//! counts its requests and puts them into an account of its own.

use std::{
    collections::BTreeSet,
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, Method},
    response::Response,
};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{lambda::collect, ports::free_port, tools::tool};

pub const REGION: &str = "eu-central-1";

/// An account of AWS, as far as moto is one.
#[derive(Clone)]
pub struct Moto {
    pub url: String,
    account: String,
    server: Arc<Server>,
    requests: Arc<AtomicUsize>,
    client: Client,
}

/// A running moto. It ends when it is dropped, and with the test binary, whose end of its stdin is closed then.
struct Server {
    url: String,
    process: Child,
}

static SHARED: LazyLock<Arc<Server>> = LazyLock::new(|| Arc::new(Server::start()));

static ACCOUNTS: AtomicUsize = AtomicUsize::new(0);

impl Server {
    fn start() -> Self {
        let port = free_port().to_string();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/moto-server.py");
        let mut process = Command::new(tool("venv/bin/python"))
            .args([script, &port])
            .env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let log = Arc::new(Mutex::new(String::new()));
        collect(process.stderr.take().expect("is piped"), &log);
        let address = format!("127.0.0.1:{port}");
        let mut tries = 0;
        while TcpStream::connect(&address).is_err() {
            tries += 1;
            let runs = process.try_wait().expect("it is ours").is_none();
            assert!(runs && tries < 1200, "moto does not listen:\n{}", log.lock().unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { url: format!("http://{address}"), process }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Moto {
    /// An account that no other test has.
    pub async fn start() -> Self {
        let server = tokio::task::spawn_blocking(|| Arc::clone(&SHARED)).await;
        Self::of(server.expect("it starts")).await
    }

    /// A moto of its own, for what is about all accounts.
    pub async fn alone() -> Self {
        let server = tokio::task::spawn_blocking(|| Arc::new(Server::start())).await;
        Self::of(server.expect("it starts")).await
    }

    async fn of(server: Arc<Server>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let moto = Self {
            url: format!("http://{}", listener.local_addr().expect("is bound")),
            account: format!("{:012}", 123_456_789_012 + ACCOUNTS.fetch_add(1, Ordering::Relaxed)),
            server,
            requests: Arc::default(),
            client: Client::builder().build().expect("a client"),
        };
        let door = axum::Router::new().fallback(pass).with_state(moto.clone());
        tokio::spawn(async move { axum::serve(listener, door).await });
        moto
    }

    /// What makes an AWS SDK speak to it, with keys that may do everything.
    pub fn variables(&self) -> Vec<(&str, &str)> {
        vec![
            ("AWS_ENDPOINT_URL", &self.url),
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ]
    }

    /// How many requests of JSON services it answered so far; the function makes no others.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    pub async fn create_secret(&self, name: &str, value: &str) {
        let secret = json!({ "Name": name, "SecretString": value });
        self.json("secretsmanager", "secretsmanager.CreateSecret", &secret).await;
    }

    /// Makes another version the current one, and the current one the previous.
    pub async fn rotate_secret(&self, name: &str, value: &str) {
        let secret = json!({ "SecretId": name, "SecretString": value });
        self.json("secretsmanager", "secretsmanager.PutSecretValue", &secret).await;
    }

    /// Marks a secret for deletion.
    pub async fn delete_secret(&self, name: &str) {
        let secret = json!({ "SecretId": name, "RecoveryWindowInDays": 7 });
        self.json("secretsmanager", "secretsmanager.DeleteSecret", &secret).await;
    }

    /// Takes the label `AWSPREVIOUS` from whichever version has it.
    pub async fn revoke_previous(&self, name: &str) {
        let secret = json!({ "SecretId": name });
        let described = self.json("secretsmanager", "secretsmanager.DescribeSecret", &secret).await;
        let stages = described["VersionIdsToStages"].as_object().expect("versions");
        let is_previous = |stages: &Value| stages.to_string().contains("AWSPREVIOUS");
        let (id, _) =
            stages.iter().find(|(_, stages)| is_previous(stages)).expect("a previous one");
        let label = json!({
            "SecretId": name, "VersionStage": "AWSPREVIOUS", "RemoveFromVersionId": id,
        });
        self.json("secretsmanager", "secretsmanager.UpdateSecretVersionStage", &label).await;
    }

    /// Makes a queue that takes messages of up to `limit` bytes; gives its URL.
    pub async fn create_queue(&self, name: &str, limit: usize) -> String {
        let attributes = json!({ "MaximumMessageSize": limit.to_string() });
        let queue = json!({ "QueueName": name, "Attributes": attributes });
        let created = self.json("sqs", "AmazonSQS.CreateQueue", &queue).await;
        created["QueueUrl"].as_str().expect("a URL").to_owned()
    }

    /// Makes a queue whose messages go to another one when they were received `times`; gives both URLs.
    pub async fn create_queue_with_dead_letters(&self, name: &str, times: u32) -> (String, String) {
        let dead = self.create_queue(&format!("{name}-dead"), 1_048_576).await;
        let queue = self.create_queue(name, 1_048_576).await;
        let arn = format!("arn:aws:sqs:{REGION}:{}:{name}-dead", self.account);
        let policy = json!({ "deadLetterTargetArn": arn, "maxReceiveCount": times }).to_string();
        let attributes = json!({ "QueueUrl": queue, "Attributes": { "RedrivePolicy": policy } });
        self.json("sqs", "AmazonSQS.SetQueueAttributes", &attributes).await;
        (queue, dead)
    }

    /// Sends a message to a queue.
    pub async fn send(&self, url: &str, body: &str) {
        let message = json!({ "QueueUrl": url, "MessageBody": body });
        self.json("sqs", "AmazonSQS.SendMessage", &message).await;
    }

    /// How many messages wait in a queue, and how many somebody has received and not deleted.
    pub async fn messages(&self, url: &str) -> (u64, u64) {
        let asked = json!({ "QueueUrl": url, "AttributeNames": ["All"] });
        let answer = self.json("sqs", "AmazonSQS.GetQueueAttributes", &asked).await;
        let number = |name: &str| {
            let number = answer["Attributes"][name].as_str().expect("a number");
            number.parse().expect("a number")
        };
        (number("ApproximateNumberOfMessages"), number("ApproximateNumberOfMessagesNotVisible"))
    }

    /// The event that Lambda makes of the queue's messages; hides them from the next.
    pub async fn queue_event(&self, url: &str) -> Value {
        let receive = json!({ "QueueUrl": url, "MaxNumberOfMessages": 10 });
        let received = self.json("sqs", "AmazonSQS.ReceiveMessage", &receive).await;
        let messages = received["Messages"].as_array().cloned().unwrap_or_default();
        let bodies = messages.iter().map(|message| message["Body"].as_str().expect("a text"));
        // On a busy machine the SDK sends a message again whose answer was late.
        sqs_event(bodies.collect::<BTreeSet<_>>().into_iter())
    }

    pub async fn create_cluster(&self, name: &str) {
        let role = format!("arn:aws:iam::{}:role/cluster", self.account);
        let cluster = json!({ "name": name, "roleArn": role, "resourcesVpcConfig": {} });
        let request = self.client.post(format!("{}/clusters", self.url)).body(cluster.to_string());
        let answer = request.header("authorization", scope("eks")).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// Makes a user who may do one thing; gives an access key and its secret.
    pub async fn user_who_may(&self, name: &str, action: &str) -> (String, String) {
        let statement = json!({ "Effect": "Allow", "Action": action, "Resource": "*" });
        let policy = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
        self.iam(&format!("Action=CreateUser&UserName={name}")).await;
        let policy: String = form_urlencoded::byte_serialize(policy.as_bytes()).collect();
        let put =
            format!("Action=PutUserPolicy&UserName={name}&PolicyName=p&PolicyDocument={policy}");
        self.iam(&put).await;
        let created = self.iam(&format!("Action=CreateAccessKey&UserName={name}")).await;
        let between = |open: &str, close: &str| {
            let (_, rest) = created.split_once(open).expect("is there");
            rest.split_once(close).expect("is closed").0.to_owned()
        };
        let id = between("<AccessKeyId>", "</AccessKeyId>");
        (id, between("<SecretAccessKey>", "</SecretAccessKey>"))
    }

    /// From now on IAM decides about each request.
    pub async fn ask_iam(&self) {
        let request = self.client.post(format!("{}/moto-api/reset-auth", self.url)).body("0");
        let asked = request.header("content-type", "text/plain").send().await.expect("an answer");
        assert!(asked.status().is_success(), "{asked:?}");
    }

    async fn json(&self, service: &str, target: &str, body: &Value) -> Value {
        let request = self.client.post(&self.url).body(body.to_string());
        let request = request.header("content-type", "application/x-amz-json-1.1");
        let request =
            request.header("x-amz-target", target).header("authorization", scope(service));
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{answer:?}");
        let text = answer.text().await.expect("a body");
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn iam(&self, form: &str) -> String {
        let request = self.client.post(&self.url).body(format!("{form}&Version=2010-05-08"));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.header("authorization", scope("iam")).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{answer:?}");
        answer.text().await.expect("a body")
    }
}

/// Passes a request on to moto, as one of the account.
async fn pass(State(moto): State<Moto>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let account = HeaderValue::from_str(&moto.account).expect("are digits");
    parts.headers.insert("x-moto-account-id", account);
    let is_json = parts.method == Method::POST && parts.uri == "/";
    let body = to_bytes(body, usize::MAX).await.expect("a body");
    let ask = moto.client.request(parts.method, format!("{}{}", moto.server.url, parts.uri));
    let answer = ask.headers(parts.headers).body(body).send().await.expect("moto answers");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    let body = answer.bytes().await.expect("a body");
    moto.requests.fetch_add(usize::from(is_json), Ordering::Relaxed);
    response.map(|_| Body::from(body))
}

/// What Lambda gets from SQS: messages `m0`, `m1` and so on.
pub fn sqs_event<'a>(bodies: impl Iterator<Item = &'a str>) -> Value {
    let records: Vec<_> = bodies
        .enumerate()
        .map(|(number, body)| {
            json!({
                "messageId": format!("m{number}"), "receiptHandle": "handle", "body": body,
                "attributes": {
                    "ApproximateReceiveCount": "1", "SentTimestamp": "1795467600000",
                    "SenderId": "AIDAIENQZJOLO23YVJ4VO", "ApproximateFirstReceiveTimestamp": "1795467600001",
                },
                "messageAttributes": {}, "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
                "eventSource": "aws:sqs", "eventSourceARN": format!("arn:aws:sqs:{REGION}:123456789012:retry"),
                "awsRegion": REGION,
            })
        })
        .collect();
    json!({ "Records": records })
}

/// moto finds the service by this and checks no signature.
fn scope(service: &str) -> String {
    let credential = format!("test/20261123/{REGION}/{service}/aws4_request");
    format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=none")
}
