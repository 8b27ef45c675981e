//! Events that are no HTTP requests: CodeCommit's, by way of EventBridge or of a repository's trigger.

use lambda_runtime::Diagnostic;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::{Instant, timeout_at};

use crate::{
    adapter::{
        arrival::{Arrival, Invocation},
        log,
        service::Service,
    },
    outcome::{Kind, Outcome},
    provider::codecommit::{self, StateChange},
    receiver::Progress,
    signature::Verified,
    verdict::Sender,
};

/// Takes a CodeCommit event, which IAM has verified: only a rule of EventBridge or CodeCommit itself may invoke the
/// function, `arn`, with one.
///
/// A URL does not say whose account a repository is in. On a bus that others may put events on, who names a repository
/// like ours must not move ours, so another account's are ignored.
///
/// # Errors
/// What could not be patched. Only an error makes Lambda send the event again.
pub(super) async fn codecommit(
    service: &Service,
    event: &RawValue,
    invocation: &Invocation,
    arn: &str,
) -> Result<Box<RawValue>, Diagnostic> {
    let arrival = Arrival::of_event(invocation);
    let outcome = match codecommit::parse(event.get().as_bytes()) {
        Ok(change) if account_of(arn).is_some_and(|own| own != change.account) => {
            let outcome = Outcome { delivery: Some(change.id), ..Outcome::new(Kind::Ignored) };
            outcome.because("of another AWS account than the function's")
        }
        Ok(change) => receive(service, change, arrival.deadline).await,
        Err(malformed) => Outcome::new(Kind::Malformed).because(malformed.to_string()),
    };
    let outcome = Outcome { provider: Some(codecommit::NAME), ..outcome };
    log::answered(&service.metrics, &outcome, &arrival);
    if matches!(outcome.kind, Kind::Unavailable | Kind::Malformed) {
        return Err(failure(outcome.kind, outcome.detail.unwrap_or_default()));
    }
    Ok(to_raw_value(&outcome.json()).expect("a Value is JSON"))
}

/// The account that the function is in; `None` where its name does not say, as some emulators have it.
fn account_of(arn: &str) -> Option<&str> {
    arn.split(':').nth(4).filter(|account| account.len() == 12)
}

/// Events come late, again and in any order, so that one may be older than what is announced by now.
async fn receive(service: &Service, change: StateChange, deadline: Instant) -> Outcome {
    let StateChange { id, time, event, .. } = change;
    let sender = Sender::Iam(Verified::by_iam());
    let now = service.clock.now();
    let progress = Progress::redelivery(deadline, time, now, now).ending_at_deadline();
    let received = service.destination.receive_event(&event, sender, &progress);
    let outcome = timeout_at(deadline, received)
        .await
        .unwrap_or_else(|_elapsed| Outcome::new(Kind::Unavailable).because("too slow"));
    Outcome { delivery: Some(id), ..outcome }
}

/// A function error: what Lambda counts as failed and sends again.
fn failure(kind: Kind, detail: String) -> Diagnostic {
    Diagnostic { error_type: kind.name().to_owned(), error_message: detail }
}
