//! Where a delivery goes that the cluster cannot take now; `retry/message` packs it, `adapter/http` and `lambda/queue` take it again.

mod message;

use http::{HeaderMap, Method, StatusCode, header};
use jiff::Timestamp;
use reqwest::{Certificate, Client, Request, Response, redirect::Policy};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};
use tower::{ServiceExt as _, util::BoxCloneSyncService};

pub(crate) use self::message::pack_within;
pub use self::message::{Message, NoDelivery};
#[cfg(feature = "aws")]
use crate::aws::sqs;
use crate::{causes::causes, delivery::Delivery, trace::TraceContext};

/// How large a message may be: [what SQS takes](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html),
/// and about what brokers do.
pub(crate) const MESSAGE_LIMIT: usize = 1024 * 1024;

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
    Sqs(sqs::Queue),
    Sink(Sink),
}

/// Takes [CloudEvents](https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/http-protocol-binding.md) in binary mode.
#[derive(Debug)]
struct Sink {
    carrier: Carrier,
    url: String,
}

/// Carries a request to a sink; says why it could not.
pub type Carrier = BoxCloneSyncService<Request, Response, String>;

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

/// There is no way to the sink, as the certificates here are.
#[derive(Debug, thiserror::Error)]
#[error("the sink cannot be trusted: {0}")]
pub struct Untrusted(String);

impl RetryQueue {
    /// A queue in SQS. Messages come back through Lambda, or are taken out of it.
    #[cfg(feature = "aws")]
    pub fn sqs(queue: sqs::Queue, max_body_bytes: usize) -> Self {
        Self::new(Target::Sqs(queue), max_body_bytes)
    }

    /// A sink of CloudEvents, which may have a certificate of the system's authorities or of those in `ca_certs`, PEM.
    /// What it is given has to come back through the limit for bodies.
    ///
    /// # Errors
    /// [`Untrusted`] where neither the system nor `ca_certs` has a usable authority.
    pub fn sink(
        url: String,
        ca_certs: Option<&str>,
        max_body_bytes: usize,
    ) -> Result<Self, Untrusted> {
        let untrusted = |error: reqwest::Error| Untrusted(causes(&error));
        let authorities = Certificate::from_pem_bundle(ca_certs.unwrap_or_default().as_bytes());
        let client = Client::builder()
            .redirect(Policy::none())
            .tls_certs_merge(authorities.map_err(untrusted)?)
            .build()
            .map_err(untrusted)?;
        let client = client.map_err(|error: reqwest::Error| causes(&error.without_url()));
        Ok(Self::sink_behind(Carrier::new(client), url, max_body_bytes))
    }

    /// A sink that is reached in another way than over the network.
    pub fn sink_behind(carrier: Carrier, url: String, max_body_bytes: usize) -> Self {
        Self::new(Target::Sink(Sink { carrier, url }), max_body_bytes)
    }

    fn new(target: Target, max_body_bytes: usize) -> Self {
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
        let may_compress = !matches!(self.target, Target::Sink(_));
        let message = pack_within(self.message_limit, may_compress, delivery, received);
        let message = message.ok_or_else(|| HandOverError::TooLarge(delivery.raw().len()))?;
        let sent = timeout_at(until, async {
            match &self.target {
                #[cfg(feature = "aws")]
                Target::Sqs(queue) => queue.send(message).await.map_err(HandOverError::Unreachable),
                Target::Sink(sink) => sink.send(message, received, trace).await,
            }
        });
        sent.await.unwrap_or(Err(HandOverError::TimedOut))
    }
}

impl Sink {
    async fn send(
        &self,
        message: String,
        received: Timestamp,
        trace: &TraceContext,
    ) -> Result<(), HandOverError> {
        let mut tracing = HeaderMap::new();
        trace.apply(&mut tracing);
        let mut request = http::Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("ce-specversion", "1.0")
            .header("ce-type", EVENT_TYPE)
            .header("ce-source", EVENT_SOURCE)
            .header("ce-id", hex::encode(Sha256::digest(&message)))
            .header("ce-time", received.to_string())
            .body(message)
            .map_err(|error| HandOverError::Unreachable(error.to_string()))?;
        request.headers_mut().extend(tracing);
        let request = Request::try_from(request)
            .map_err(|error| HandOverError::Unreachable(causes(&error.without_url())))?;
        let answer = self.carrier.clone().oneshot(request).await;
        match answer.map_err(HandOverError::Unreachable)?.status() {
            status if status.is_success() => Ok(()),
            status => Err(HandOverError::Refused(status)),
        }
    }
}
