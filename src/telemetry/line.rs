//! A line of the log as JSON: letter for letter that of `tracing-subscriber`, which brings it to its writer in many
//! small pieces and checks each of them, for half of its work.

use std::fmt;

use serde::{Serialize, Serializer as _, ser::SerializeMap as _};
use serde_json::{Map, Serializer, Value};
use tracing::{Event, Subscriber};
use tracing_serde::SerdeMapVisitor;
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormattedFields,
        format::{JsonFields, Writer},
        time::{FormatTime as _, SystemTime},
    },
    registry::LookupSpan,
};

/// What most lines have room in, in bytes.
const USUAL: usize = 1024;

/// Time, level, the event's own fields, where it comes from and the innermost span, in one object.
#[derive(Debug)]
pub(super) struct JsonLine;

/// The innermost span: its fields by their names, and its own.
#[derive(Serialize)]
struct Span {
    #[serde(flatten)]
    fields: Map<String, Value>,
    name: &'static str,
}

impl<S> FormatEvent<S, JsonFields> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let line = line(&time, event, span(context, event)).map_err(|_| fmt::Error)?;
        writer.write_str(&line)
    }
}

fn line(time: &str, event: &Event<'_>, span: Option<Span>) -> serde_json::Result<String> {
    let mut line = Vec::with_capacity(USUAL);
    let mut json = Serializer::new(&mut line);
    let mut object = json.serialize_map(None)?;
    object.serialize_entry("timestamp", time)?;
    object.serialize_entry("level", event.metadata().level().as_str())?;
    let mut fields = SerdeMapVisitor::new(object);
    event.record(&mut fields);
    let mut object = fields.take_serializer()?;
    object.serialize_entry("target", event.metadata().target())?;
    if let Some(span) = span {
        object.serialize_entry("span", &span)?;
    }
    object.end()?;
    line.push(b'\n');
    String::from_utf8(line).map_err(serde::ser::Error::custom)
}

fn span<S>(context: &FmtContext<'_, S, JsonFields>, event: &Event<'_>) -> Option<Span>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let named = event.parent().and_then(|id| context.span(id));
    let span = named.or_else(|| context.lookup_current())?;
    let extensions = span.extensions();
    let fields = extensions.get::<FormattedFields<JsonFields>>();
    let fields = fields.and_then(|fields| serde_json::from_str(fields).ok()).unwrap_or_default();
    Some(Span { fields, name: span.metadata().name() })
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::{Layer, Registry, fmt::layer, layer::SubscriberExt as _};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("is whole").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        /// The lines, each with its time and without.
        fn lines(&self) -> Vec<(String, String)> {
            let text = String::from_utf8(self.0.lock().expect("is whole").clone()).expect("text");
            let line = |line: &str| {
                let (time, rest) = line.split_once(r#"Z","#).expect("a time");
                (time.to_owned(), rest.to_owned())
            };
            text.split_inclusive('\n').map(line).collect()
        }
    }

    /// What is logged, by `tracing-subscriber` and by us.
    fn logged(events: impl Fn()) -> [Vec<(String, String)>; 2] {
        let (theirs, ours) = (Log::default(), Log::default());
        let writer = |log: &Log| {
            let log = log.clone();
            move || log.clone()
        };
        let json = layer::<Registry>().json().flatten_event(true).with_span_list(false);
        let by_them = json.with_writer(writer(&theirs)).boxed();
        let by_us = layer().json().with_writer(writer(&ours)).event_format(JsonLine);
        let registry = tracing_subscriber::registry().with(by_them).with(by_us);
        tracing::subscriber::with_default(registry, events);
        [theirs, ours].map(|log| log.lines())
    }

    #[test]
    fn a_line_is_that_of_tracing_subscriber_whatever_strangers_put_into_it() {
        let every: String = (0..0x300).filter_map(char::from_u32).collect();
        let hostile = ["", "\"},\"level\":\"ERROR\n", "\u{1b}[31m\0\u{7f}\\", "🦀\u{2028}", &every];
        let [theirs, ours] = logged(|| {
            for text in hostile {
                let error = io::Error::other(text.to_owned());
                tracing::warn!(
                    delivery.id = text,
                    git.r#ref = Some(text),
                    none = None::<&str>,
                    shown = %text,
                    debugged = ?text,
                    failed = &error as &dyn std::error::Error,
                    bytes = text.as_bytes(),
                    patched = 3_u64,
                    change = -3,
                    duration_ms = 0.1,
                    never = f64::NAN,
                    most = u128::MAX,
                    done = true,
                    "{text}"
                );
            }
        });
        let without_time = |lines: &[(String, String)]| {
            lines.iter().map(|(_, rest)| rest.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ours.len(), hostile.len());
        assert_eq!(without_time(&ours), without_time(&theirs));
        assert!(ours.iter().zip(&theirs).all(|(ours, theirs)| ours.0.len() == theirs.0.len()));
    }

    #[test]
    fn a_line_within_spans_shows_the_innermost_one_or_the_one_that_it_names() {
        let [theirs, ours] = logged(|| {
            let named = tracing::info_span!("named", "z\"" = 1, a = "\"}");
            let _outer = tracing::info_span!("outer").entered();
            let inner =
                tracing::info_span!("inner", requestId = "1", later = tracing::field::Empty);
            inner.record("later", "\n");
            let _inner = inner.entered();
            tracing::info!(a = 1, "in the innermost");
            tracing::info!(parent: &named, "in the named");
            tracing::info!(parent: None, "in none");
        });
        assert_eq!(ours.len(), 3);
        for ((_, ours), (_, theirs)) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs);
        }
    }
}
