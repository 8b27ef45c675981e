//! The function as Lambda runs it: under AWS's Runtime Interface Emulator, invoked with whole events.

use std::{
    io::{BufRead as _, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    function::{Answer, Function},
    ports::free_port,
    tools::tool,
};

/// How often starting the emulator is tried: another process may have the port before it.
const ATTEMPTS: usize = 5;

/// A running emulator with the function; both are killed when it is dropped.
pub struct Lambda {
    url: String,
    emulator: Child,
    log: Arc<Mutex<String>>,
    client: Client,
}

impl Lambda {
    /// Starts the function with these variables.
    pub async fn start(variables: &[(&str, &str)]) -> Self {
        Self::start_program(&Function::program(), variables).await
    }

    /// Starts any build of it.
    pub async fn start_program(program: &Path, variables: &[(&str, &str)]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let emulator = tool("rie");
        for _ in 0..ATTEMPTS {
            if let Some(lambda) = Self::attempt(&emulator, program, variables).await {
                return lambda;
            }
        }
        panic!("the emulator does not listen");
    }

    /// Starts it on ports that nobody has; `None` if somebody took one before it did.
    async fn attempt(emulator: &Path, program: &Path, variables: &[(&str, &str)]) -> Option<Self> {
        let ports = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
        let mut emulator = Command::new(emulator)
            .args(["--runtime-interface-emulator-address", &ports[0]])
            .args(["--runtime-api-address", &ports[1]])
            .arg(program)
            .env_clear()
            .env("AWS_LAMBDA_FUNCTION_NAME", "fleet-webhook")
            .env("AWS_LAMBDA_FUNCTION_TIMEOUT", "10")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let log = Arc::new(Mutex::new(String::new()));
        collect(emulator.stdout.take().expect("is piped"), &log);
        collect(emulator.stderr.take().expect("is piped"), &log);
        let url = format!("http://{}/2015-03-31/functions/function/invocations", ports[0]);
        let client = Client::builder().timeout(Duration::from_secs(30)).build().expect("a client");
        let mut lambda = Self { url, emulator, log, client };
        for _ in 0..500 {
            sleep(Duration::from_millis(20)).await;
            if lambda.emulator.try_wait().expect("is ours").is_some() {
                return None;
            }
            if std::net::TcpStream::connect(&ports[0]).is_ok() {
                // Whoever answers may be another one, if ours is about to find the port taken.
                sleep(Duration::from_millis(50)).await;
                return lambda.emulator.try_wait().expect("is ours").is_none().then_some(lambda);
            }
        }
        None
    }

    /// Hands it an event and gives what it returned, or the error that Lambda would count.
    pub async fn invoke(&self, event: &Value) -> Value {
        self.invoke_raw(event.to_string()).await
    }

    pub async fn invoke_raw(&self, event: String) -> Value {
        let answer = self.client.post(&self.url).body(event).send().await.expect("an answer");
        let text = answer.text().await.expect("a body");
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}\n{}", self.log()))
    }

    /// Hands it an HTTP event and reads the HTTP answer.
    pub async fn answer(&self, event: &Value) -> Answer {
        let returned = self.invoke(event).await;
        let body = returned["body"].as_str().unwrap_or_default();
        let status = returned["statusCode"].as_u64();
        let status = status.unwrap_or_else(|| panic!("{returned}\n{}", self.log()));
        let mut headers = reqwest::header::HeaderMap::new();
        for (name, value) in returned["headers"].as_object().into_iter().flatten() {
            let name: reqwest::header::HeaderName = name.parse().unwrap();
            headers.insert(name, value.as_str().unwrap_or_default().parse().unwrap());
        }
        Answer {
            status: status.try_into().unwrap(),
            headers,
            body: serde_json::from_str(body).unwrap_or_default(),
        }
    }

    /// Everything that it and the emulator logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it logs a message: what it logs is read a moment after its answers.
    pub async fn logs(&self, message: &str) {
        for _ in 0..500 {
            if self.log().contains(message) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("{message:?} is not in\n{}", self.log())
    }

    /// The function's log line of its `number`th delivery, counted from 1.
    pub async fn delivery_line(&self, number: usize) -> Value {
        for _ in 0..100 {
            let log = self.log();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut deliveries = lines.filter(|line| line["message"] == "delivery");
            if let Some(line) = deliveries.nth(number - 1) {
                return line;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("it logged no {number} deliveries:\n{}", self.log())
    }

    /// The process of the function, a child of the emulator.
    pub fn function_id(&self) -> Option<u32> {
        let parent = format!(" {} ", self.emulator.id());
        std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let id: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let after_name = stat.rsplit_once(')')?.1;
            after_name.get(2..)?.starts_with(&parent).then_some(id)
        })
    }
}

impl Drop for Lambda {
    fn drop(&mut self) {
        let function = self.function_id();
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
        if let Some(id) = function {
            let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
        }
    }
}

/// Reads lines into a log.
pub fn collect(output: impl Read + Send + 'static, log: &Arc<Mutex<String>>) {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
}

/// What carries HTTP requests to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontDoor {
    /// Payload format 2.0; a Function URL's event is the same.
    HttpApi,
    /// Payload format 1.0, in stage `Prod`.
    RestApi,
    LoadBalancer,
    /// With `lambda.multi_value_headers.enabled`.
    LoadBalancerMultiValue,
}

impl FrontDoor {
    pub const ALL: [Self; 4] =
        [Self::HttpApi, Self::RestApi, Self::LoadBalancer, Self::LoadBalancerMultiValue];

    /// The event that it makes of a `POST /`, each header as it was sent.
    pub fn post(self, headers: &[(&str, &str)], body: &[u8], base64: bool) -> Value {
        let body = if base64 {
            BASE64_STANDARD.encode(body)
        } else {
            String::from_utf8(body.to_vec()).expect("text")
        };
        let mut event = self.request("POST", "/", headers);
        event["body"] = json!(body);
        event["isBase64Encoded"] = json!(base64);
        event
    }

    /// The event that it makes of a request without body.
    pub fn request(self, method: &str, path: &str, headers: &[(&str, &str)]) -> Value {
        let mut last = serde_json::Map::new();
        let mut joined = serde_json::Map::new();
        let mut every = serde_json::Map::new();
        for (name, value) in headers {
            last.insert((*name).to_owned(), json!(value));
            let so_far = joined.get(*name).and_then(Value::as_str);
            let value_so_far =
                so_far.map_or((*value).to_owned(), |so_far| format!("{so_far},{value}"));
            joined.insert((*name).to_owned(), json!(value_so_far));
            let values = every.entry((*name).to_owned()).or_insert_with(|| json!([]));
            values.as_array_mut().unwrap().push(json!(value));
        }
        let balancer = json!({ "elb": { "targetGroupArn": "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/f/1" } });
        match self {
            Self::HttpApi => json!({
                "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
                "headers": joined,
                "requestContext": {
                    "accountId": "123456789012", "apiId": "api", "stage": "$default",
                    "domainName": "api.execute-api.eu-central-1.amazonaws.com", "domainPrefix": "api",
                    "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "test" },
                    "requestId": "id", "routeKey": "$default",
                    "time": "23/Nov/2026:21:00:00 +0000", "timeEpoch": 1_795_467_600_000_u64,
                },
            }),
            Self::RestApi => json!({
                "resource": "/{proxy+}", "path": path, "httpMethod": method,
                "headers": last, "multiValueHeaders": every,
                "queryStringParameters": null, "multiValueQueryStringParameters": null,
                "pathParameters": null, "stageVariables": null,
                "requestContext": {
                    "accountId": "123456789012", "apiId": "api", "stage": "Prod", "path": format!("/Prod{path}"),
                    "httpMethod": method, "protocol": "HTTP/1.1", "requestId": "id", "resourceId": "r",
                    "resourcePath": "/{proxy+}", "requestTimeEpoch": 1_795_467_600_000_u64,
                    "identity": { "sourceIp": "192.0.2.1" },
                },
                "body": null, "isBase64Encoded": false,
            }),
            Self::LoadBalancer => json!({
                "requestContext": balancer, "httpMethod": method, "path": path, "queryStringParameters": {},
                "headers": last, "body": "", "isBase64Encoded": false,
            }),
            Self::LoadBalancerMultiValue => json!({
                "requestContext": balancer, "httpMethod": method, "path": path, "multiValueQueryStringParameters": {},
                "multiValueHeaders": every, "body": "", "isBase64Encoded": false,
            }),
        }
    }
}
