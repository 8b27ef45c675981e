//! What was counted when faults were found at 868e35c, each beside what it is now, on the real API server. Not tests that pass
//! or fail; each prints lines of one table:
//!
//!     cargo test --test measure found -- --ignored --nocapture --test-threads 1
//!
//! `FLEET_WEBHOOK_PROGRAM` names another program than the one of this build.

#[path = "found/order.rs"]
mod order;
#[path = "found/patch.rs"]
mod patch;
#[path = "found/reads.rs"]
mod reads;
#[path = "found/strangers.rs"]
mod strangers;

use std::time::Duration;

use serde_json::json;

use crate::support::{
    function::{Answer, Function},
    github::{self, SECRET},
    space::Space,
};

/// Prints a line of the table: what was done, what it came to when it was found, and what it comes to now.
fn line(what: &str, found: &str, now: &str) {
    println!("| {what} | {found} | {now} |");
}

/// A push from one commit to another.
async fn push(function: &Function, space: &Space, before: &str, after: &str) -> Answer {
    let mut payload = github::push(space, "refs/heads/main", after);
    payload["before"] = json!(before);
    function.deliver_github("push", SECRET, &payload).await
}

/// A commit of that number.
fn commit(number: usize) -> String {
    format!("{number:040x}")
}

/// The function with its index in use.
async fn started(space: &Space, variables: &[(&str, &str)]) -> Function {
    let function = Function::start(space, variables).await;
    function.logs("the index is in use").await;
    function
}

/// A corner of the real API server with the global secret, and with one GitRepo.
async fn shop() -> Space {
    let space = Space::real().await;
    space.github_secret().await;
    following(&space, "shop").await;
    space
}

/// A GitRepo on the space's repository that polls already.
async fn following(space: &Space, name: &str) {
    let spec = json!({ "repo": space.github_url(), "branch": "main", "pollingInterval": "1h" });
    space.gitrepo(name, spec).await;
}

/// The one in the middle.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
