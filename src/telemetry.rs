//! What the operator sees of the program: log lines here, figures in `metrics` and `emf`.

use tracing_subscriber::{
    Layer as _,
    filter::{ParseError, Targets},
    fmt::layer,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

mod emf;
mod metrics;

use emf::Emf;
pub use metrics::{CONTENT_TYPE, Metrics};

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, its fields at the top.
    #[default]
    Json,
    /// Text for a person's eyes.
    Text,
}

/// Reads a filter, levels for targets such as `info,kube=debug`.
///
/// `tracing`'s `EnvFilter` knows spans and fields too, and brings an engine for regular expressions.
///
/// # Errors
/// What is wrong with it.
pub fn log_filter(directives: &str) -> Result<Targets, ParseError> {
    directives.parse()
}

/// Sends the log to stderr from now on; a second call changes nothing.
pub fn init(filter: Targets, format: LogFormat) {
    let lines = layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
        LogFormat::Text => lines.boxed(),
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
    }

    #[test]
    fn a_request_without_an_answer_counts_as_an_error() {
        assert_eq!(ApiRequest { verb: "get", code: None }.code(), "<error>");
        assert_eq!(ApiRequest { verb: "get", code: Some(404) }.code(), "404");
    }
}
