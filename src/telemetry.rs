//! What the operator sees of the program: log lines here, figures in `metrics` and `emf`.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::{
    Layer as _, filter::Targets, fmt::layer, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

mod emf;
mod format;
mod line;
mod metrics;

use emf::Emf;
pub use format::Format;
use line::JsonLine;
pub use metrics::Metrics;

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, its fields at the top.
    #[default]
    Json,
    /// Text for a person's eyes.
    Text,
}

/// What kube says of each request that failed: our own lines say it, once and with the delivery.
const SAID_TWICE: &str = "kube_client::client::builder=off";

/// A filter that nobody can read.
#[derive(Debug, thiserror::Error)]
#[error("no filter for the log")]
pub struct NoFilter;

/// Reads a filter, levels for targets such as `info,kube=debug`; empty parts are passed over.
///
/// `tracing`'s `EnvFilter` knows spans and fields too, and brings an engine for regular expressions.
///
/// # Errors
/// [`NoFilter`], also for a target without a level, which `tracing` takes for one that shows errors alone.
pub fn log_filter(directives: &str) -> Result<Targets, NoFilter> {
    let parts: Vec<_> =
        directives.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.iter().any(|part| part.ends_with('=')) {
        return Err(NoFilter);
    }
    format!("{SAID_TWICE},{}", parts.join(",")).parse().map_err(|_| NoFilter)
}

/// Whether a filter shows nothing of this program, its errors neither.
pub fn silences_all(filter: &Targets) -> bool {
    !filter.would_enable("fleet_webhook", &tracing::Level::ERROR)
}

/// Sends the log to stderr from now on; a second call changes nothing.
pub fn init(filter: Targets, format: LogFormat) {
    let lines = layer().with_writer(stderr);
    let lines = match format {
        LogFormat::Json => lines.json().event_format(JsonLine).boxed(),
        // Colours are for a terminal; NO_COLOR is looked at already.
        LogFormat::Text if stderr().is_terminal() => lines.boxed(),
        LogFormat::Text => lines.with_ansi(false).boxed(),
    };
    // Only the second call fails, and then the log is already where it belongs.
    let _already_set = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
}

/// A request to the API server, as far as it is counted: its verb, and the status or `None` where no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct ApiRequest {
    verb: &'static str,
    code: Option<u16>,
}

impl ApiRequest {
    /// The status as a label; client-go's word where there is none.
    fn code(self) -> String {
        self.code.map_or_else(|| "<error>".to_owned(), |code| code.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_refused() {
        assert!(log_filter("info,kube=debug").is_ok());
        assert!(log_filter("kube=loud").is_err());
        assert!(log_filter("fleet=,,").is_err());
        assert!(log_filter("info,,").is_ok());
        assert!(log_filter("").is_ok());
    }

    #[test]
    fn a_filter_that_shows_nothing_of_ours_is_known() {
        let silences = |filter: &str| silences_all(&log_filter(filter).expect("is a filter"));
        assert!(silences("off") && silences("kube=debug"));
        assert!(
            !silences("info")
                && !silences("fleet_webhook=error")
                && !silences("off,fleet_webhook=info")
        );
    }

    #[test]
    fn what_kube_repeats_is_left_out_unless_it_is_asked_for() {
        use tracing::Level;
        let target = "kube_client::client::builder";
        let shows = |filter: &str| {
            log_filter(filter).expect("is a filter").would_enable(target, &Level::ERROR)
        };
        assert!(!shows("info"));
        assert!(!shows("debug,kube=debug"));
        assert!(shows("info,kube_client::client::builder=error"));
    }

    #[test]
    fn a_request_without_an_answer_counts_as_an_error() {
        assert_eq!(ApiRequest { verb: "get", code: None }.code(), "<error>");
        assert_eq!(ApiRequest { verb: "get", code: Some(404) }.code(), "404");
    }
}
