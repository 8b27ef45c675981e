//! How often an older push ends where a later one should, on the real API server, as it was counted when it happened.
//! Not a test that passes or fails:
//!
//!     cargo test --test measure counts -- --ignored --nocapture

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::time::sleep;

use crate::support::{
    between::{Between, Fate},
    function::{Answer, Function},
    github::{self, OLD, SECRET},
    space::Space,
};

/// How many GitRepos are on one branch.
const MANY: usize = 300;

/// For how many seconds nothing has to change.
const QUIET: usize = 10;

/// Pushes, one after another.
struct Pushes<'a> {
    space: &'a Space,
    at: String,
    number: usize,
}

impl Pushes<'_> {
    /// Two pushes, this far apart; gives the later commit.
    async fn two(&mut self, one: &Function, other: &Function, apart: u64) -> String {
        let first = format!("{:040x}", self.number + 1);
        let second = format!("{:040x}", self.number + 2);
        self.number += 2;
        let earlier = push(one, self.space, &self.at, &first);
        let later = async {
            sleep(Duration::from_millis(apart)).await;
            push(other, self.space, &first, &second).await
        };
        let (earlier, later) = tokio::join!(earlier, later);
        // What is not done has to come again, and is not overtaken.
        println!(
            "{} {}, {} {}",
            earlier.outcome(),
            earlier.body["counts"],
            later.outcome(),
            later.body["counts"]
        );
        self.at.clone_from(&second);
        second
    }
}

async fn push(function: &Function, space: &Space, before: &str, after: &str) -> Answer {
    let mut payload = github::push(space, "refs/heads/main", after);
    payload["before"] = json!(before);
    function.deliver_github("push", SECRET, &payload).await
}

/// How many GitRepos are not at a commit, once nothing has changed for a while: patches go on after the answer.
async fn elsewhere(space: &Space, names: &[String], commit: &str) -> usize {
    let (mut last, mut quiet) = (usize::MAX, 0);
    loop {
        let at = join_all(names.iter().map(|name| space.commit(name))).await;
        let now = at.iter().filter(|at| at.as_deref() != Some(commit)).count();
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
        if now == 0 || quiet == QUIET {
            return now;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

async fn started(space: &Space, variables: &[(&str, &str)]) -> Function {
    let function = Function::start(space, variables).await;
    function.logs("the index is in use").await;
    function
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for minutes: its first lines say how to run it"]
async fn measures_counts_of_overtaken_pushes() {
    for (gitrepos, times, apart) in [(MANY, 1, &[100, 20, 300][..]), (1, 40, &[1])] {
        let space = Space::real().await;
        space.github_secret().await;
        let names: Vec<_> = (0..gitrepos).map(|number| format!("shop-{number}")).collect();
        for name in &names {
            let spec =
                json!({ "repo": space.github_url(), "branch": "main", "pollingInterval": "1h" });
            space.gitrepo(name, spec).await;
        }
        let (one, other) = (started(&space, &[]).await, started(&space, &[]).await);
        push(&one, &space, "", OLD).await;
        let mut pushes = Pushes { space: &space, at: OLD.to_owned(), number: 0 };
        for apart in apart {
            let mut overtaken = 0;
            for _ in 0..times {
                let last = pushes.two(&one, &other, *apart).await;
                overtaken += elsewhere(&space, &names, &last).await;
            }
            println!(
                "two replicas, {gitrepos} GitRepos, {apart} ms apart: {overtaken} of {} at the older",
                gitrepos * times
            );
        }
    }
    let space = Space::real().await;
    space.github_secret().await;
    let spec = json!({ "repo": space.github_url(), "branch": "main", "pollingInterval": "1h" });
    space.gitrepo("shop", spec).await;
    let between = Between::start(&space).await;
    let function = started(&space, &[("KUBECONFIG", &between.kubeconfig)]).await;
    push(&function, &space, "", OLD).await;
    let mut pushes = Pushes { space: &space, at: OLD.to_owned(), number: 0 };
    for (wait, apart, times) in [(Some(1), 200, 7), (None, 20, 8)] {
        let mut overtaken = 0;
        for _ in 0..times {
            between.order(Method::PATCH, "/shop/status", Fate::Refused(503, wait));
            let last = pushes.two(&function, &function, apart).await;
            overtaken += elsewhere(&space, &["shop".to_owned()], &last).await;
        }
        println!("a 503 for the first, {apart} ms apart: {overtaken} of {times} at the older");
    }
}
