//! An error with all its causes in one line, for the log.

use std::error::Error;

/// Joins the messages of an error and its causes; one that repeats its cause is not said twice.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_line = cause.to_string();
        if !line.ends_with(&cause_line) {
            line = format!("{line}: {cause_line}");
        }
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn every_cause_is_said_once() {
        let error = anyhow!("connection refused")
            .context("connect: connection refused")
            .context("no answer");
        assert_eq!(causes(&*error), "no answer: connect: connection refused");
    }
}
