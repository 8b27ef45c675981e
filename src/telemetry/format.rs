//! The two text formats of Prometheus: OpenMetrics, which `prometheus-client` writes, and the older one.

use std::{collections::HashMap, fmt::Write as _};

/// A format of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// [OpenMetrics](https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md).
    OpenMetrics,
    /// [Prometheus' own](https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format), which
    /// everything reads.
    Text,
}

impl Format {
    /// The one that a request wants by its `Accept`; the older one, unless the other is named.
    pub fn wanted(accept: Option<&str>) -> Self {
        let names = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            parts.next() == Some("application/openmetrics-text") && parts.all(|part| part != "q=0")
        };
        match accept.is_some_and(|accept| accept.split(',').any(names)) {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }

    /// Its content type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Turns OpenMetrics into the older format: there a family has the name of its samples, and neither units nor an end.
pub(super) fn text_of(open_metrics: &str) -> String {
    let described = |line: &str| {
        let (what, rest) = line.strip_prefix("# ")?.split_once(' ')?;
        let (family, text) = rest.split_once(' ')?;
        Some((what.to_owned(), family.to_owned(), text.to_owned()))
    };
    let kinds: HashMap<_, _> = open_metrics
        .lines()
        .filter_map(described)
        .filter(|(what, ..)| what == "TYPE")
        .map(|(_, family, kind)| (family, kind))
        .collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        let Some((what, family, rest)) = described(line) else {
            if !line.starts_with('#') {
                text.push_str(line);
                text.push('\n');
            }
            continue;
        };
        let (suffix, kind) = match kinds.get(&family).map(String::as_str) {
            Some("counter") => ("_total", "counter"),
            Some("info") => ("_info", "gauge"),
            Some(kind) => ("", kind),
            None => ("", "untyped"),
        };
        let rest = if what == "TYPE" { kind } else { &rest };
        if what != "UNIT" {
            writeln!(text, "# {what} {family}{suffix} {rest}").expect("a string takes it");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_name_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
        assert_eq!(Format::wanted(Some(prometheus)), Format::OpenMetrics);
        for accept in
            [None, Some("*/*"), Some("text/plain"), Some("application/openmetrics-text;q=0")]
        {
            assert_eq!(Format::wanted(accept), Format::Text, "{accept:?}");
        }
    }

    #[test]
    fn a_family_has_the_name_of_its_samples_in_the_older_format() {
        let open_metrics = "# HELP a Things.\n# TYPE a counter\na_total{x=\"# b\"} 1\n# HELP s_seconds Time.\n\
            # TYPE s_seconds gauge\n# UNIT s_seconds seconds\ns_seconds 1.5\n# HELP b The program.\n# TYPE b info\n\
            b_info{v=\"1\"} 1\n# EOF\n";
        let text = "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"# b\"} 1\n# HELP s_seconds Time.\n\
            # TYPE s_seconds gauge\ns_seconds 1.5\n# HELP b_info The program.\n# TYPE b_info gauge\n\
            b_info{v=\"1\"} 1\n";
        assert_eq!(text_of(open_metrics), text);
    }
}
