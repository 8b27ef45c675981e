//! The figures that Prometheus reads at `/metrics`; `emf` has the same for CloudWatch.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64},
    },
    time::{Duration, Instant, SystemTime},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, LabelSetEncoder, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Metric, Registry, Unit},
};

use super::{ApiRequest, Emf, Format, format};
use crate::{outcome::Kind, provider::PROVIDERS};

/// Seconds: Prometheus' own buckets up to the longest deadline that makes sense.
const DURATION_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// All figures of one process.
///
/// Label values are static strings and the status codes of an API server, so that no caller can make more series.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    deliveries: Family<Delivery, Counter>,
    durations: Family<Provider, Histogram, fn() -> Histogram>,
    patched: Counter,
    lost: Family<Provider, Counter>,
    not_queued: Family<Provider, Counter>,
    messages_failed: Counter,
    requests: Family<ApiRequest, Counter>,
    queue_messages: Family<QueueOf, Counter>,
    queue_failures: Family<QueueOf, Counter>,
    queue_age: Family<QueueOf, Gauge<f64, AtomicU64>>,
    index_size: Gauge<i64, AtomicI64>,
    index_age: Gauge<f64, AtomicU64>,
    index_confirmed: Mutex<Option<Instant>>,
    embedded: Option<Emf>,
}

impl Metrics {
    /// Makes the figures, all of them zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("fleet_webhook");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", version);
        let histogram: fn() -> Histogram = || Histogram::new(DURATION_BUCKETS);
        let metrics = Self {
            deliveries: counted(&mut registry, "deliveries", "Deliveries answered"),
            durations: in_seconds(
                &mut registry,
                "delivery_duration",
                "Time from a delivery's head to its answer",
                Family::new_with_constructor(histogram),
            ),
            patched: counted(&mut registry, "gitrepos_patched", "GitRepos patched"),
            lost: counted(
                &mut registry,
                "deliveries_failed_after_answer",
                "Deliveries answered in_progress of which a patch then failed for good",
            ),
            not_queued: counted(
                &mut registry,
                "deliveries_not_queued",
                "Deliveries that the retry queue did not take: their senders were told to send them again",
            ),
            messages_failed: counted(
                &mut registry,
                "messages_failed",
                "Messages of the queue that hold no delivery: they go to its dead letters",
            ),
            requests: counted(
                &mut registry,
                "kubernetes_requests",
                "Requests to the API server; code <error> where no answer came",
            ),
            queue_messages: counted(
                &mut registry,
                "queue_messages_received",
                "Messages taken out of an SQS queue",
            ),
            queue_failures: counted(
                &mut registry,
                "queue_failures",
                "Reads of an SQS queue that failed, and messages that stayed in it",
            ),
            queue_age: in_seconds(
                &mut registry,
                "queue_message_age",
                "Age of the oldest message that was received last",
                Family::default(),
            ),
            index_size: counted(&mut registry, "index_gitrepos", "GitRepos held by the index"),
            index_age: in_seconds(
                &mut registry,
                "index_age",
                "Time since the API server last confirmed the index; NaN while there is none to use",
                Gauge::default(),
            ),
            index_confirmed: Mutex::new(None),
            embedded: None,
            registry,
        };
        metrics.begin_at_zero();
        metrics
    }

    /// A counter that is born with its first event shows Prometheus no increase.
    fn begin_at_zero(&self) {
        for provider in PROVIDERS.iter().map(|provider| provider.name) {
            for kind in
                [Kind::Accepted, Kind::Ignored, Kind::Queued, Kind::Unauthorized, Kind::Unavailable]
            {
                let series = Delivery { provider, outcome: kind.name() };
                drop(self.deliveries.get_or_create(&series));
            }
            drop(self.lost.get_or_create(&Provider { provider }));
            drop(self.not_queued.get_or_create(&Provider { provider }));
        }
        for verb in ["get", "list", "patch", "watch"] {
            drop(self.requests.get_or_create(&ApiRequest { verb, code: None }));
        }
    }

    /// Makes figures that are printed too, for CloudWatch: nobody can read them from the Lambda function of that name.
    pub fn embedded(function: String) -> Self {
        Self { embedded: Some(Emf::new(function)), ..Self::new() }
    }

    /// Counts a delivery that was answered, and the GitRepos that it patched.
    pub fn delivery(
        &self,
        provider: &'static str,
        outcome: &'static str,
        duration: Duration,
        patched: u64,
    ) {
        self.deliveries.get_or_create(&Delivery { provider, outcome }).inc();
        self.durations.get_or_create(&Provider { provider }).observe(duration.as_secs_f64());
        self.patched.inc_by(patched);
        let Some(embedded) = &self.embedded else { return };
        for line in embedded.delivery(SystemTime::now(), provider, outcome, duration, patched) {
            println!("{line}");
        }
    }

    /// Counts GitRepos whose patch finished after the answer.
    pub fn patched_after_answer(&self, patched: u64) {
        self.patched.inc_by(patched);
    }

    /// Counts a delivery that was answered `in_progress` and of which a patch then failed for good.
    pub fn lost_after_answer(&self, provider: &'static str) {
        self.lost.get_or_create(&Provider { provider }).inc();
    }

    /// Counts a delivery that the retry queue did not take.
    pub fn not_queued(&self, provider: &'static str) {
        self.not_queued.get_or_create(&Provider { provider }).inc();
        if let Some(embedded) = &self.embedded {
            println!("{}", embedded.count(SystemTime::now(), "DeliveriesNotQueued"));
        }
    }

    /// Counts a message of the queue that holds no delivery.
    pub fn message_failed(&self) {
        self.messages_failed.inc();
        if let Some(embedded) = &self.embedded {
            println!("{}", embedded.count(SystemTime::now(), "MessagesFailed"));
        }
    }

    /// Counts a request to the API server by its verb (`get`, `list`, `watch`, `patch`) and the status of its answer.
    pub fn api_request(&self, verb: &'static str, code: Option<u16>) {
        self.requests.get_or_create(&ApiRequest { verb, code }).inc();
        if let Some(embedded) = &self.embedded {
            embedded.api_request(verb, code);
        }
    }

    /// Counts messages that were taken out of a queue, the oldest of which was sent `age` ago, if they say so.
    pub fn queue_received(&self, queue: &'static str, messages: usize, age: Option<Duration>) {
        let queue = QueueOf { queue };
        let number = u64::try_from(messages).unwrap_or(u64::MAX);
        self.queue_messages.get_or_create(&queue).inc_by(number);
        if let Some(age) = age {
            self.queue_age.get_or_create(&queue).set(age.as_secs_f64());
        }
    }

    /// Counts a read of a queue that failed, or a message that stays in it.
    pub fn queue_failed(&self, queue: &'static str) {
        self.queue_failures.get_or_create(&QueueOf { queue }).inc();
    }

    /// Notes how many GitRepos the index holds, and when the API server last confirmed them; `None`: not to be used.
    pub fn index(&self, size: usize, confirmed: Option<Instant>) {
        self.index_size.set(i64::try_from(size).unwrap_or(i64::MAX));
        *self.index_confirmed.lock().unwrap_or_else(PoisonError::into_inner) = confirmed;
    }

    /// Writes all figures in a format that Prometheus reads.
    pub fn render(&self, format: Format) -> String {
        let confirmed = *self.index_confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        self.index_age.set(confirmed.map_or(f64::NAN, |at| at.elapsed().as_secs_f64()));
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string cannot fail");
        match format {
            Format::OpenMetrics => text,
            Format::Text => format::text_of(&text),
        }
    }
}

/// Registers a number that begins at zero.
fn counted<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let figure = M::default();
    registry.register(name, help, figure.clone());
    figure
}

/// Registers what is measured in seconds.
fn in_seconds<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, figure: M) -> M {
    registry.register_with_unit(name, help, Unit::Seconds, figure.clone());
    figure
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Delivery {
    provider: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Provider {
    provider: &'static str,
}

/// A queue by what it holds: `deliveries` or `retries`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueOf {
    queue: &'static str,
}

impl EncodeLabelSet for ApiRequest {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("verb", self.verb.to_owned()), ("code", self.code())].encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_its_documented_name() {
        let metrics = Metrics::new();
        metrics.delivery("github", "accepted", Duration::from_millis(7), 2);
        metrics.api_request("patch", Some(200));
        metrics.api_request("list", None);
        metrics.index(10, Some(Instant::now()));

        let text = metrics.render(Format::OpenMetrics);

        for line in [
            "fleet_webhook_deliveries_total{provider=\"github\",outcome=\"accepted\"} 1",
            "fleet_webhook_delivery_duration_seconds_bucket{le=\"0.005\",provider=\"github\"} 0",
            "fleet_webhook_delivery_duration_seconds_bucket{le=\"0.01\",provider=\"github\"} 1",
            "fleet_webhook_delivery_duration_seconds_count{provider=\"github\"} 1",
            "fleet_webhook_gitrepos_patched_total 2",
            "fleet_webhook_kubernetes_requests_total{verb=\"patch\",code=\"200\"} 1",
            "fleet_webhook_kubernetes_requests_total{verb=\"list\",code=\"<error>\"} 1",
            "fleet_webhook_index_gitrepos 10",
            concat!("fleet_webhook_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn an_index_that_is_not_to_be_used_has_no_age() {
        let metrics = Metrics::new();
        metrics.index(3, None);
        assert!(metrics.render(Format::Text).contains("fleet_webhook_index_age_seconds NaN"));
        metrics.index(3, Some(Instant::now()));
        assert!(!metrics.render(Format::Text).contains("fleet_webhook_index_age_seconds NaN"));
    }

    #[test]
    fn messages_that_do_not_say_when_they_were_sent_count_too() {
        let metrics = Metrics::new();
        metrics.queue_received("deliveries", 3, None);
        metrics.queue_received("deliveries", 1, Some(Duration::from_secs(7)));
        metrics.queue_received("deliveries", 2, None);

        let text = metrics.render(Format::OpenMetrics);

        assert!(text.contains("queue_messages_received_total{queue=\"deliveries\"} 6"), "{text}");
        assert!(text.contains("queue_message_age_seconds{queue=\"deliveries\"} 7.0"), "{text}");
    }
}
