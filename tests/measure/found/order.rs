//! A1 to A4: how often an older push ends where a later one should, and how often what a GitRepo was decides what is done
//! to what it is.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{commit, following, line, push, shop, started};
use crate::support::{
    between::{Between, Fate},
    function::Function,
    github::{OLD, SECRET},
    silent::Silent,
    space::Space,
};

/// How many GitRepos are on one branch.
const MANY: usize = 300;

/// For how many seconds nothing has to change.
const QUIET: usize = 10;

/// How often a GitRepo is changed.
const CHANGES: usize = 5;

/// Pushes, one after another.
struct Pushes<'a> {
    space: &'a Space,
    at: String,
    number: usize,
}

impl<'a> Pushes<'a> {
    const fn new(space: &'a Space, at: String) -> Self {
        Self { space, at, number: 0 }
    }

    /// Two pushes, so many milliseconds apart; gives the later commit.
    async fn two(&mut self, one: &Function, other: &Function, apart: u64) -> String {
        let (first, second) = (commit(self.number + 1), commit(self.number + 2));
        self.number += 2;
        let earlier = push(one, self.space, &self.at, &first);
        let later = async {
            sleep(Duration::from_millis(apart)).await;
            push(other, self.space, &first, &second).await
        };
        let (_, later) = tokio::join!(earlier, later);
        // What is not done has to come again, and is not overtaken.
        if later.status == 503 {
            println!("the later one of {apart} ms: {}", later.body["counts"]);
        }
        self.at.clone_from(&second);
        second
    }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for minutes: found.rs says how to run it"]
async fn measures_overtaken_pushes_at_two_replicas() {
    let many = &[(100, "242 of 300"), (20, "264 of 300"), (300, "30 of 300")][..];
    for (gitrepos, times, gaps) in [(MANY, 1, many), (1, 40, &[(1, "20 of 40")])] {
        let space = Space::real().await;
        space.github_secret().await;
        let names: Vec<_> = (0..gitrepos).map(|number| format!("shop-{number}")).collect();
        for name in &names {
            following(&space, name).await;
        }
        let (one, other) = (started(&space, &[]).await, started(&space, &[]).await);
        push(&one, &space, "", OLD).await;
        let mut pushes = Pushes::new(&space, OLD.to_owned());
        for (apart, found) in gaps {
            let mut overtaken = 0;
            for _ in 0..times {
                let last = pushes.two(&one, &other, *apart).await;
                overtaken += elsewhere(&space, &names, &last).await;
            }
            let what = format!(
                "A2: two pushes {apart} ms apart at two replicas, GitRepos {gitrepos}, at the older commit"
            );
            line(&what, found, &format!("{overtaken} of {}", gitrepos * times));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for minutes: found.rs says how to run it"]
async fn measures_pushes_that_are_overtaken_by_one_that_is_tried_again() {
    let space = shop().await;
    let between = Between::start(&space).await;
    let function = started(&space, &[("KUBECONFIG", &between.kubeconfig)]).await;
    push(&function, &space, "", OLD).await;
    let mut pushes = Pushes::new(&space, OLD.to_owned());
    for (what, found, wait, apart, times) in [
        (
            "A1: 503 with Retry-After for a push, another one 200 ms later",
            "7 of 7",
            Some(1),
            200,
            7,
        ),
        ("A3: 503 for a push, another one 20 ms later", "8 of 8", None, 20, 8),
    ] {
        let mut overtaken = 0;
        for _ in 0..times {
            between.order(Method::PATCH, "/shop/status", Fate::Refused(503, wait));
            let last = pushes.two(&function, &function, apart).await;
            overtaken += elsewhere(&space, &["shop".to_owned()], &last).await;
        }
        let what = format!("{what}, at the older commit");
        line(&what, found, &format!("{overtaken} of {times}"));
    }
}

/// Whether a push moves a GitRepo that was changed since a look-up, by which time the watch is silent or not.
async fn moves(change: &Value, is_silent: bool) -> bool {
    let space = shop().await;
    let silent = Silent::start(&space).await;
    let function = started(&space, &[("KUBECONFIG", &silent.kubeconfig)]).await;
    if is_silent {
        silent.swallow();
    } else {
        // A look-up that others may share.
        function.push(&space, "forged", "refs/heads/nobody", OLD).await;
    }
    if change.is_null() {
        space.delete_gitrepo("shop").await;
        let spec = json!({ "repo": space.github_url(), "branch": "dev", "pollingInterval": "1h" });
        space.gitrepo("shop", spec).await;
    } else {
        space.change_gitrepo("shop", "", json!({ "spec": change })).await;
    }
    sleep(Duration::from_millis(300)).await;
    function.push(&space, SECRET, "refs/heads/main", &commit(1)).await;
    sleep(Duration::from_secs(1)).await;
    space.commit("shop").await.is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for minutes: found.rs says how to run it"]
async fn measures_gitrepos_that_are_moved_for_what_they_were() {
    for (what, change) in [
        ("recreated with another branch", Value::Null),
        ("given another branch", json!({ "branch": "dev" })),
        ("given a secret of its own", json!({ "webhookSecret": "own" })),
    ] {
        for (when, is_silent) in
            [("0.3 s before the push", false), ("and the watch is silent", true)]
        {
            let mut moved = 0;
            for _ in 0..CHANGES {
                moved += usize::from(moves(&change, is_silent).await);
            }
            let what = format!("A4: {what} {when}, moved all the same");
            line(&what, "moved", &format!("{moved} of {CHANGES}"));
        }
    }
}
