//! Many GitRepos at once: of one repository, beside the same patches 16 at a time; and of as many as there are pushes.

use std::time::Instant;

use futures::future::join_all;
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    SECRET,
    bare::{Bare, Target},
    figures::{Burst, FanOut, Times},
    gitrepos::{fill_one_repository, name},
    pushes::{Connection, push, request},
    size::commit,
    start,
    support::process::{cpu, most_resident},
    support::{function::Function, space::Space},
};

const SIZES: [usize; 2] = [200, 600];

/// Of each, and in turn with the bare ones.
const ROUNDS: usize = 7;

/// How many pushes come at once.
const BURST: usize = 1_000;

/// For the watch to bring what was patched.
const SETTLED: std::time::Duration = std::time::Duration::from_millis(700);

pub async fn measure(space: &Space, bare: &Bare) -> Vec<FanOut> {
    let mut measured = Vec::new();
    for gitrepos in SIZES {
        let repository = format!("monorepo-of-{gitrepos}");
        fill_one_repository(space, &repository, gitrepos).await;
        let patched = format!("patched-{gitrepos}");
        let targets = fill_one_repository(space, &patched, gitrepos).await;
        let mut targets: Vec<_> = targets.into_iter().map(Target::new).collect();
        let function = start(space).await;
        let mut connection = Connection::open(&function.url).await;
        let (mut times, mut floor) = (Vec::new(), Vec::new());
        let mut on_cpu = std::time::Duration::ZERO;
        for _ in 0..=ROUNDS {
            let body = push(&format!("acme/{repository}"), &commit(), 1024);
            let request = request(&body, SECRET);
            let (before, started) = (cpu(function.id()), Instant::now());
            let (_, answer) = connection.send(&request).await;
            times.push(started.elapsed());
            on_cpu += cpu(function.id()).saturating_sub(before);
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(answer["counts"]["patched"], gitrepos, "{answer}");
            sleep(SETTLED).await;
            floor.push(bare.patch_all(&mut targets, &commit()).await);
            sleep(SETTLED).await;
        }
        // The first of each makes its connections.
        let (delivery, bare) = (times.split_off(1), floor.split_off(1));
        measured.push(FanOut {
            gitrepos,
            delivery: Times::of(delivery).p50,
            bare: Times::of(bare).p50,
            cpu: on_cpu / (ROUNDS as u32 + 1),
        });
    }
    measured
}

/// Pushes of different repositories, each followed by one GitRepo, each on a connection of its own.
pub async fn burst(function: &Function) -> Burst {
    let started = Instant::now();
    let pushes = (0..BURST).map(|number| async move {
        let body = push(&format!("acme/{}", name(number)), &commit(), 1024);
        let request = request(&body, SECRET);
        let (status, _) = Connection::open(&function.url).await.send(&request).await;
        (status, started.elapsed())
    });
    let answers = join_all(pushes).await;
    let took = started.elapsed();
    Burst {
        deliveries: BURST,
        accepted: answers.iter().filter(|(status, _)| matches!(status, 200 | 202)).count(),
        took,
        slowest: Times::of(answers.into_iter().map(|(_, at)| at).collect()),
        resident: most_resident(function.id()),
    }
}
