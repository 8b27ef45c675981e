//! Where a delivery goes that the cluster cannot take now; `retry/message` packs it, `adapter/redelivery` takes it again.

mod message;

use std::time::Instant;

use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use reqwest::{Client, redirect::Policy};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout_at;

pub use self::message::{Message, NoDelivery};
use crate::{causes::causes, config, delivery::Delivery, trace::TraceContext};

/// How large a message may be: [what SQS takes](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html),
/// and about what brokers do.
const MESSAGE_LIMIT: usize = 1024 * 1024;

/// The type of the CloudEvents that hold deliveries.
const EVENT_TYPE: &str = "dev.fleet-webhook.delivery";

const EVENT_SOURCE: &str = "fleet-webhook";

/// A queue that keeps a delivery and brings it back later.
#[derive(Debug)]
pub struct RetryQueue {
    target: Target,
    message_limit: usize,
}

#[derive(Debug)]
enum Target {
    #[cfg(feature = "aws")]
    Sqs(crate::aws::sqs::Queue),
    /// Takes [CloudEvents](https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/http-protocol-binding.md) in binary mode.
    Sink { client: Client, url: String },
}

/// Why a delivery could not be handed over.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum HandOverError {
    #[error("the delivery is too large for the retry queue: {0} bytes")]
    TooLarge(usize),
    #[error("the retry queue did not answer in time")]
    TimedOut,
    #[error("the retry queue answered {0}")]
    Refused(StatusCode),
    #[error("the retry queue cannot be reached: {0}")]
    Unreachable(String),
}

impl RetryQueue {
    /// Makes the client; nothing is asked of the network yet. A message must come back through the limit for bodies.
    #[cfg_attr(
        not(feature = "aws"),
        expect(clippy::unused_async, reason = "AWS is asked for its region")
    )]
    pub async fn new(queue: &config::RetryQueue, max_body_bytes: usize) -> Self {
        let target = match queue {
            #[cfg(feature = "aws")]
            config::RetryQueue::Sqs(url) => {
                Target::Sqs(crate::aws::sqs::Queue::new(crate::aws::config().await, url.clone()))
            }
            #[cfg(not(feature = "aws"))]
            config::RetryQueue::Sqs(never) => match *never {},
            config::RetryQueue::Sink(url) => {
                let client = Client::builder().redirect(Policy::none()).build();
                let client = client.expect("the TLS provider is installed");
                Target::Sink { client, url: url.clone() }
            }
        };
        Self { target, message_limit: MESSAGE_LIMIT.min(max_body_bytes) }
    }

    /// Hands over a delivery that was `received` a moment ago, by `until` at the latest.
    ///
    /// # Errors
    /// [`HandOverError`]; the queue may have it all the same where no answer came.
    pub async fn hand_over(
        &self,
        delivery: &Delivery,
        received: Timestamp,
        trace: &TraceContext,
        until: Instant,
    ) -> Result<(), HandOverError> {
        // Packed it is a third larger; so that what cannot fit is not packed at all.
        let size = delivery.raw().len();
        if size > self.message_limit {
            return Err(HandOverError::TooLarge(size));
        }
        let message = message::pack(delivery, received);
        if message.len() > self.message_limit {
            return Err(HandOverError::TooLarge(message.len()));
        }
        let sent = timeout_at(until.into(), self.send(message, received, trace)).await;
        sent.unwrap_or(Err(HandOverError::TimedOut))
    }

    async fn send(
        &self,
        message: String,
        received: Timestamp,
        trace: &TraceContext,
    ) -> Result<(), HandOverError> {
        match &self.target {
            #[cfg(feature = "aws")]
            Target::Sqs(queue) => queue.send(message).await.map_err(HandOverError::Unreachable),
            Target::Sink { client, url } => {
                let mut tracing = HeaderMap::new();
                trace.apply(&mut tracing);
                let request = client
                    .post(url)
                    .headers(tracing)
                    .header(header::CONTENT_TYPE, "application/json")
                    .header("ce-specversion", "1.0")
                    .header("ce-type", EVENT_TYPE)
                    .header("ce-source", EVENT_SOURCE)
                    .header("ce-id", hex::encode(Sha256::digest(&message)))
                    .header("ce-time", received.to_string())
                    .body(message);
                let answer = request
                    .send()
                    .await
                    .map_err(|error| HandOverError::Unreachable(causes(&error.without_url())))?;
                match answer.status() {
                    status if status.is_success() => Ok(()),
                    status => Err(HandOverError::Refused(status)),
                }
            }
        }
    }
}

/// Whether a request brings back what a sink was given: a CloudEvent in binary mode, of our type.
pub fn is_redelivery(headers: &HeaderMap) -> bool {
    headers.get("ce-type").is_some_and(|event_type| event_type == EVENT_TYPE)
}
