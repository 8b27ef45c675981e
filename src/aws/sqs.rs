//! A queue in SQS; `retry` and `forward` decide what goes there, `adapter/pull` takes it out.

use std::time::Duration;

use aws_config::{SdkConfig, timeout::TimeoutConfig};
use aws_sdk_sqs::{
    Client,
    config::Builder,
    error::{ProvideErrorMetadata, SdkError},
    types::{Message, MessageSystemAttributeName},
};
use jiff::Timestamp;

use super::{is_denial, own_words};
use crate::causes::causes;

/// How long SQS waits for a message before it answers that there is none: its longest
/// [long poll](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html).
const LONG_POLL: Duration = Duration::from_secs(20);

/// How much later than that its answer may come.
const LONG_POLL_MARGIN: Duration = Duration::from_secs(5);

/// How many messages one answer holds at the most.
const BATCH: usize = 10;

/// One queue, with the credentials of AWS's usual chain.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    url: String,
}

/// A message that nobody else gets for a while.
#[derive(Debug)]
pub struct Received {
    /// What was sent.
    pub body: String,
    /// SQS's own id of it, for the log.
    pub id: String,
    /// How often it was received, this time included.
    pub times: u32,
    /// When it was sent.
    pub sent: Option<Timestamp>,
    receipt: String,
}

impl Queue {
    /// Makes the client; nothing is asked of the network yet.
    pub fn new(config: &SdkConfig, url: String) -> Self {
        Self { client: Client::new(config), url }
    }

    /// Its URL, for the log.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a message.
    ///
    /// # Errors
    /// What AWS said, in one line; the queue may have the message all the same where no answer came.
    pub async fn send(&self, message: String) -> Result<(), String> {
        let sent = self.client.send_message().queue_url(&self.url).message_body(message).send();
        sent.await.map(drop).map_err(|error| said("sqs:SendMessage", &error))
    }

    /// Receives up to `most` messages, which are hidden from others for `hidden`; waits for the first one, 20 s at most.
    ///
    /// # Errors
    /// What AWS said, in one line.
    pub async fn receive(&self, most: usize, hidden: Duration) -> Result<Vec<Received>, String> {
        let limit = LONG_POLL + LONG_POLL_MARGIN;
        let patient = TimeoutConfig::builder()
            .operation_timeout(limit)
            .operation_attempt_timeout(limit)
            .read_timeout(limit)
            .build();
        let received = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(number(most.clamp(1, BATCH)))
            .wait_time_seconds(seconds(LONG_POLL))
            .visibility_timeout(seconds(hidden))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .customize()
            .config_override(Builder::default().timeout_config(patient))
            .send();
        let messages = received.await.map_err(|error| said("sqs:ReceiveMessage", &error))?.messages;
        Ok(messages.unwrap_or_default().into_iter().map(Received::from).collect())
    }

    /// Takes a message out of the queue for good.
    ///
    /// # Errors
    /// What AWS said, in one line; the message comes again.
    pub async fn delete(&self, message: &Received) -> Result<(), String> {
        let delete = self.client.delete_message().queue_url(&self.url);
        let deleted = delete.receipt_handle(&message.receipt).send();
        deleted.await.map(drop).map_err(|error| said("sqs:DeleteMessage", &error))
    }

    /// Lets a message come again after `delay`.
    ///
    /// # Errors
    /// What AWS said, in one line; the message comes again when the time is over for which it was hidden.
    pub async fn postpone(&self, message: &Received, delay: Duration) -> Result<(), String> {
        let change = self.client.change_message_visibility().queue_url(&self.url);
        let change = change.receipt_handle(&message.receipt).visibility_timeout(seconds(delay));
        change.send().await.map(drop).map_err(|error| causes(&error))
    }
}

impl From<Message> for Received {
    fn from(message: Message) -> Self {
        let attribute =
            |name| message.attributes.as_ref().and_then(|all| all.get(&name)).map(String::as_str);
        let times = attribute(MessageSystemAttributeName::ApproximateReceiveCount);
        let sent = attribute(MessageSystemAttributeName::SentTimestamp);
        Self {
            times: times.and_then(|times| times.parse().ok()).unwrap_or(1),
            sent: sent.and_then(|at| Timestamp::from_millisecond(at.parse().ok()?).ok()),
            body: message.body.unwrap_or_default(),
            id: message.message_id.unwrap_or_default(),
            receipt: message.receipt_handle.unwrap_or_default(),
        }
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

/// What AWS said: of a denial its own words, of anything else what is behind it too.
fn said<E>(action: &str, error: &SdkError<E>) -> String
where
    SdkError<E>: std::error::Error + ProvideErrorMetadata,
{
    match error.code() {
        Some(code) if is_denial(code) => own_words(action, error),
        _ => causes(error),
    }
}

fn number(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
