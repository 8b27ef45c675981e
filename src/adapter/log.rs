//! The log lines of a delivery, and what is counted with them: as it is answered, and once more where patches go on.

use std::{fmt::Display, time::Duration};

use super::arrival::Arrival;
use crate::{
    outcome::{Kind, Outcome},
    seldom::Seldom,
    telemetry::Metrics,
};

/// How often the log says that nothing is checked: it is the operator's mistake and not the delivery's.
const UNSIGNED_INTERVAL: Duration = Duration::from_secs(60);

static UNSIGNED: Seldom = Seldom::new();

/// Logs and counts a delivery that is about to be answered.
pub(super) fn answered(metrics: &Metrics, outcome: &Outcome, arrival: &Arrival) {
    let duration = arrival.started.elapsed();
    let patched = outcome.report.patched_count();
    let provider = outcome.provider.unwrap_or("unknown");
    let counted = u64::try_from(patched).unwrap_or(u64::MAX);
    metrics.delivery(provider, outcome.kind.name(), duration, counted);
    if outcome.report.patched_unsigned() && UNSIGNED.may(UNSIGNED_INTERVAL) {
        tracing::warn!(
            delivery.id = outcome.delivery,
            "patched without a check: no webhook secret is configured, so anybody can do this"
        );
    }
    // A level has to be known where the line stands.
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                provider,
                delivery.id = outcome.delivery,
                repo.url = some(&outcome.subject.repository),
                git.r#ref = some(&outcome.subject.refs),
                outcome = outcome.kind.name(),
                status = outcome.kind.status().as_u16(),
                patched,
                skipped = outcome.report.skipped_count(),
                gitrepos.skipped = some(&outcome.report.skipped_summary()),
                detail = outcome.detail,
                delivery.received = outcome.waited_since.map(tracing::field::display),
                duration_ms = tenths(duration),
                client.address = arrival.client.address.map(tracing::field::display),
                client.forwarded_for = arrival.client.forwarded_for.map(tracing::field::display),
                trace.id = arrival.trace.id(),
                aws.trace_id = arrival.client.aws_trace,
                aws.request_id = arrival.request_id,
                "delivery"
            )
        };
    }
    match outcome.kind {
        Kind::Unavailable | Kind::Queued => line!(warn),
        _ => line!(info),
    }
}

/// Logs and counts a delivery that the retry queue did not take.
pub(super) fn not_queued(metrics: &Metrics, outcome: &Outcome, error: &impl Display) {
    metrics.not_queued(outcome.provider.unwrap_or("unknown"));
    tracing::error!(
        provider = outcome.provider,
        delivery.id = outcome.delivery,
        repo.url = some(&outcome.subject.repository),
        git.r#ref = some(&outcome.subject.refs),
        %error,
        "could not be queued: lost unless its sender sends it again"
    );
}

/// Logs what became of patches that went on after the answer, and counts it too where a push was lost: one whose sender
/// was told that it goes on.
pub(super) fn finished(metrics: &Metrics, outcome: &Outcome, in_progress: bool) {
    let patched = outcome.report.patched_count();
    metrics.patched_after_answer(u64::try_from(patched).unwrap_or(u64::MAX));
    if in_progress && outcome.kind == Kind::Unavailable {
        metrics.lost_after_answer(outcome.provider.unwrap_or("unknown"));
        tracing::error!(
            provider = outcome.provider,
            delivery.id = outcome.delivery,
            repo.url = some(&outcome.subject.repository),
            git.r#ref = some(&outcome.subject.refs),
            detail = outcome.detail,
            gitrepos.skipped = some(&outcome.report.skipped_summary()),
            "lost: a patch failed after the answer, and nobody will send it again"
        );
    }
    tracing::info!(
        delivery.id = outcome.delivery,
        outcome = outcome.kind.name(),
        patched,
        skipped = outcome.report.skipped_count(),
        "finished after the answer"
    );
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Milliseconds, to a tenth.
fn tenths(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_one_digit_behind_its_point() {
        assert_eq!(tenths(Duration::from_nanos(7_902_149)).to_string(), "7.9");
    }
}
