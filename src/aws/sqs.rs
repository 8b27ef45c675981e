//! A queue in SQS; `retry` decides what goes there.

use aws_config::SdkConfig;
use aws_sdk_sqs::Client;

use crate::causes::causes;

/// One queue, with the function's own credentials.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    url: String,
}

impl Queue {
    /// Makes the client; nothing is asked of the network yet.
    pub fn new(config: &SdkConfig, url: String) -> Self {
        Self { client: Client::new(config), url }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// What AWS said, in one line; the queue may have the message all the same where no answer came.
    pub async fn send(&self, message: String) -> Result<(), String> {
        let sent = self.client.send_message().queue_url(&self.url).message_body(message).send();
        sent.await.map(drop).map_err(|error| causes(&error))
    }
}
