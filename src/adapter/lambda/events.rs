//! Events that are no HTTP requests: CodeCommit's, by way of EventBridge.

use std::{sync::Arc, time::Instant};

use lambda_runtime::Diagnostic;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::timeout_at;

use crate::{
    adapter::http::{Invocation, Service},
    event::Claim,
    outcome::{Kind, Outcome},
    provider::codecommit,
    receiver::Progress,
    signature::Verified,
    trace::TraceContext,
    verdict::Sender,
};

/// Takes a CodeCommit event, which IAM has verified: only the rule of EventBridge may invoke the function with one.
///
/// # Errors
/// What could not be patched. Only an error makes Lambda send the event again.
pub(super) async fn codecommit(
    service: &Service,
    event: &RawValue,
    invocation: &Invocation,
) -> Result<Box<RawValue>, Diagnostic> {
    let started = Instant::now();
    let (id, event) = codecommit::parse(event.get().as_bytes())
        .map_err(|malformed| failure(Kind::Malformed, malformed.to_string()))?;
    let (claim, receiver) = (Claim::new(event), Arc::clone(&service.receiver));
    let progress = Progress::new(invocation.deadline);
    let sender = Sender::Iam(Verified::by_iam());
    let outcome = receiver.receive_claim(&claim, sender, &progress);
    let outcome = timeout_at(invocation.deadline.into(), outcome).await;
    let outcome =
        outcome.unwrap_or_else(|_elapsed| Outcome::new(Kind::Unavailable).because("too slow"));
    let outcome = Outcome { provider: Some(codecommit::NAME), delivery: Some(id), ..outcome };
    let request_id = Some(invocation.request_id.as_str());
    service.log(&outcome, started.elapsed(), &TraceContext::default(), request_id);
    if outcome.kind == Kind::Unavailable {
        return Err(failure(outcome.kind, outcome.detail.unwrap_or_default()));
    }
    Ok(to_raw_value(&outcome.json()).expect("a Value is JSON"))
}

/// A function error: what Lambda counts as failed and sends again.
fn failure(kind: Kind, detail: String) -> Diagnostic {
    Diagnostic { error_type: kind.name().to_owned(), error_message: detail }
}
