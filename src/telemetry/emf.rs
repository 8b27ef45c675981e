//! The figures of `metrics` as CloudWatch embedded metrics: JSON lines in a Lambda's log, which CloudWatch counts.
//!
//! Format: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::{
    collections::BTreeMap,
    mem,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::ApiRequest;
use crate::outcome::Kind;

const NAMESPACE: &str = "FleetWebhook";

/// The outcome that nobody wants.
const UNAVAILABLE: &str = Kind::Unavailable.name();

/// The set of dimensions that an alarm can stand on: one for the function, whatever happens.
const OF_FUNCTION: &[&str] = &["FunctionName"];

/// Counts what happens between two lines.
#[derive(Debug, Default)]
pub(super) struct Emf {
    function: String,
    requests: Mutex<BTreeMap<ApiRequest, u64>>,
}

impl Emf {
    /// Of the function of that name.
    pub(super) fn new(function: String) -> Self {
        Self { function, requests: Mutex::default() }
    }

    /// Counts a request to the API server, as [`Metrics::api_request`](super::Metrics::api_request) does.
    pub(super) fn api_request(&self, verb: &'static str, code: Option<u16>) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry(ApiRequest { verb, code }).or_default() += 1;
    }

    /// Returns the lines of one delivery: its own, and one for each kind of request made since the last call.
    ///
    /// Each goes to stdout as it is: CloudWatch takes no other JSON around it.
    pub(super) fn delivery(
        &self,
        now: SystemTime,
        provider: &'static str,
        outcome: &'static str,
        duration: Duration,
        patched: u64,
    ) -> Vec<Value> {
        let timestamp = milliseconds(now);
        let delivery = json!({
            "_aws": directive(timestamp, &[OF_FUNCTION, &["Provider", "Outcome"]], &[
                ("Deliveries", "Count"),
                ("DeliveriesUnavailable", "Count"),
                ("DeliveryDuration", "Milliseconds"),
                ("GitReposPatched", "Count"),
            ]),
            "FunctionName": self.function,
            "Provider": provider,
            "Outcome": outcome,
            "Deliveries": 1,
            // Zeros too: an alarm on a figure that is seldom there has no data most of the time.
            "DeliveriesUnavailable": u8::from(outcome == UNAVAILABLE),
            "DeliveryDuration": duration.as_secs_f64() * 1000.0,
            "GitReposPatched": patched,
        });
        let requests =
            mem::take(&mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner));
        let requests = requests.into_iter().map(|(request, count)| {
            json!({
                "_aws": directive(timestamp, &[&["Verb", "Code"]], &[("KubernetesRequests", "Count")]),
                "Verb": request.verb,
                "Code": request.code(),
                "KubernetesRequests": count,
            })
        });
        std::iter::once(delivery).chain(requests).collect()
    }

    /// Returns the line of something that happened once.
    pub(super) fn count(&self, now: SystemTime, what: &str) -> Value {
        json!({
            "_aws": directive(milliseconds(now), &[OF_FUNCTION], &[(what, "Count")]),
            "FunctionName": self.function,
            what: 1,
        })
    }
}

fn milliseconds(now: SystemTime) -> u64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn directive(timestamp: u64, dimensions: &[&[&str]], metrics: &[(&str, &str)]) -> Value {
    let metrics: Vec<_> =
        metrics.iter().map(|(name, unit)| json!({ "Name": name, "Unit": unit })).collect();
    json!({
        "Timestamp": timestamp,
        "CloudWatchMetrics": [{ "Namespace": NAMESPACE, "Dimensions": dimensions, "Metrics": metrics }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What CloudWatch demands: each dimension and metric that is announced is a member at the top.
    fn announced_members_exist(line: &Value) {
        let directive = line.pointer("/_aws/CloudWatchMetrics/0").expect("has a directive");
        let sets = directive.get("Dimensions").and_then(Value::as_array).expect("a list");
        for dimension in sets.iter().flat_map(|set| set.as_array().expect("a list")) {
            let name = dimension.as_str().expect("a name");
            assert!(line.get(name).is_some_and(Value::is_string), "{name} in {line}");
        }
        for metric in directive.get("Metrics").and_then(Value::as_array).expect("a list") {
            let name = metric.get("Name").and_then(Value::as_str).expect("a name");
            assert!(line.get(name).is_some_and(Value::is_number), "{name} in {line}");
        }
    }

    #[test]
    fn a_delivery_is_one_line_and_its_requests_are_counted_once() {
        let emf = Emf::new("webhook".to_owned());
        emf.api_request("list", Some(200));
        emf.api_request("patch", Some(200));
        emf.api_request("patch", Some(200));
        let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);

        let lines = emf.delivery(now, "github", "accepted", Duration::from_millis(7), 2);

        assert_eq!(lines.len(), 3);
        lines.iter().for_each(announced_members_exist);
        let first = lines.first().expect("a line");
        assert_eq!(first.pointer("/_aws/Timestamp"), Some(&json!(1_700_000_000_123_u64)));
        assert_eq!(first.get("GitReposPatched"), Some(&json!(2)));
        assert_eq!(first.get("DeliveriesUnavailable"), Some(&json!(0)));
        let last = lines.last().expect("a line");
        assert_eq!(last.get("Verb"), Some(&json!("patch")));
        assert_eq!(last.get("KubernetesRequests"), Some(&json!(2)));
        assert_eq!(emf.delivery(now, "github", "pong", Duration::ZERO, 0).len(), 1);
    }

    #[test]
    fn an_alarm_can_stand_on_the_function_alone() {
        let emf = Emf::new("webhook".to_owned());
        let unavailable = emf.delivery(UNIX_EPOCH, "github", UNAVAILABLE, Duration::ZERO, 0);
        let lines =
            [unavailable.first().expect("a line").clone(), emf.count(UNIX_EPOCH, "MessagesFailed")];
        for line in &lines {
            announced_members_exist(line);
            let sets = line.pointer("/_aws/CloudWatchMetrics/0/Dimensions/0");
            assert_eq!(sets, Some(&json!(["FunctionName"])), "{line}");
            assert_eq!(line.get("FunctionName"), Some(&json!("webhook")));
        }
        let [first, _] = &lines;
        assert_eq!(first.get("DeliveriesUnavailable"), Some(&json!(1)));
    }
}
