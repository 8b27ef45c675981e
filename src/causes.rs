//! An error with all its causes in one line, for the log.

use std::{error::Error, io};

/// Joins the messages of an error and its causes; one that repeats its cause is not said twice.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_line = said(cause);
        if !line.ends_with(&cause_line) {
            line = format!("{line}: {cause_line}");
        }
        source = cause.source();
    }
    line
}

/// What an error says by itself. Of a connection that ended too early rustls says how TLS ends well, with a link.
fn said(error: &(dyn Error + 'static)) -> String {
    match error.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::UnexpectedEof) => {
            "the connection ended before the answer did".to_owned()
        }
        _ => error.to_string(),
    }
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

    #[test]
    fn of_a_connection_that_ended_too_early_no_more_is_said_than_that() {
        let eof = "peer closed connection without sending TLS close_notify: https://docs.rs/rustls";
        let error = anyhow!(io::Error::new(io::ErrorKind::UnexpectedEof, eof)).context("a list");
        assert_eq!(causes(&*error), "a list: the connection ended before the answer did");
    }
}
