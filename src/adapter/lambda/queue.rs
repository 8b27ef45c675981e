//! The retry queue's events: each record is a delivery that waited, and what still cannot be taken goes back.

use futures::future::join_all;
use serde::Deserialize;
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};

use crate::{
    adapter::{
        arrival::{Arrival, Invocation},
        service::Service,
    },
    outcome::Kind,
    retry::Message,
};

/// A message, as [Lambda gets it from SQS](https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    message_id: String,
    event_source: String,
    body: String,
}

/// Takes deliveries again; names the messages that SQS has to send once more
/// ([partial batch response](https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting)).
///
/// `None` if the records are not SQS's.
pub(super) async fn redeliver(
    service: &Service,
    records: &RawValue,
    invocation: &Invocation,
) -> Option<Box<RawValue>> {
    let records: Vec<Record> = serde_json::from_str(records.get()).ok()?;
    if records.is_empty() || records.iter().any(|record| record.event_source != "aws:sqs") {
        return None;
    }
    let taken = records.iter().map(|record| async move {
        let again = fails(service, record, invocation).await;
        again.then(|| json!({ "itemIdentifier": record.message_id }))
    });
    let failures: Vec<_> = join_all(taken).await.into_iter().flatten().collect();
    Some(to_raw_value(&json!({ "batchItemFailures": failures })).expect("a Value is JSON"))
}

/// Whether a message has to come again. One that holds no delivery never succeeds, and ends in the dead letters.
async fn fails(service: &Service, record: &Record, invocation: &Invocation) -> bool {
    let Ok(message) = Message::unpack_within(service.max_body_bytes, record.body.as_bytes()) else {
        service.metrics.message_failed();
        tracing::error!(
            sqs.message_id = record.message_id,
            aws.request_id = invocation.request_id,
            "a message holds no delivery, and goes to the dead letters of its queue"
        );
        return true;
    };
    // IAM guards the queue, so the message is right about its time.
    let received = message.received;
    let arrival = Arrival::of_event(invocation);
    let outcome = service.take_again(message, None, received, arrival).await;
    outcome.kind == Kind::Unavailable
}
