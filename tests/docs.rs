//! README.md and docs/: each command in them is run as it stands, or the page says why it cannot be; links lead somewhere;
//! and what they say of the program is what its source says.
//!
//! What stands behind the language of a fenced block is for this test; a reader sees nothing of it:
//!
//! | mark | what becomes of the block |
//! | --- | --- |
//! | `run` | it runs, in the root of the repository; with `until=TEXT` until it has printed that |
//! | `run=service` | it runs with `$url` and `$secret` of the quickstart's service, and is answered with `pong` |
//! | `run=cluster` | it runs with `kubectl` for a real API server, in a folder that holds `knative` |
//! | `by=FILE` | that test does it, and names the page |
//! | `needs=WHAT` | nobody can run it here: `NEEDS` in docs/commands.rs has the reasons |
//!
//! A block of `text` behind one that runs holds lines that this has to print.

#![cfg(all(feature = "aws", feature = "knative", feature = "lambda"))]

mod support;

#[path = "docs/commands.rs"]
mod commands;
#[path = "docs/links.rs"]
mod links;
#[path = "docs/page.rs"]
mod page;
#[path = "docs/truth.rs"]
mod truth;
