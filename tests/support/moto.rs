//! moto as AWS: Secrets Manager, IAM, STS, SQS and EKS on a free port, spoken to as the SDKs do but without one.

use std::{
    collections::BTreeSet,
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::Client;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, time::sleep};

use super::{
    lambda::{collect, free_port},
    tools::tool,
};

pub const REGION: &str = "eu-central-1";

/// A running moto; it is killed when dropped.
pub struct Moto {
    pub url: String,
    process: Child,
    log: Arc<Mutex<String>>,
    client: Client,
}

/// Python takes a core for seconds to start, and many at once would take it from the functions under test.
static STARTING: Semaphore = Semaphore::const_new(2);

impl Moto {
    /// Starts it.
    pub async fn start() -> Self {
        let _turn = STARTING.acquire().await.expect("is never closed");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let port = free_port().to_string();
        let mut process = Command::new(tool("venv/bin/moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port])
            .env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
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
            assert!(tries < 1200, "moto does not listen:\n{}", log.lock().unwrap());
            sleep(Duration::from_millis(50)).await;
        }
        let client = Client::builder().build().expect("a client");
        Self { url: format!("http://{address}"), process, log, client }
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
        self.log.lock().unwrap().matches("POST / HTTP/1.1").count()
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
        let arn = format!("arn:aws:sqs:{REGION}:123456789012:{name}-dead");
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
        let role = "arn:aws:iam::123456789012:role/cluster";
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

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
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
