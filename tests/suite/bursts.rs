//! Bursts of strangers, which once ended a pod: however they come, the process stays under half of what a pod has, and
//! the next push is patched.

use serde_json::json;

use crate::support::{
    bursts::{bursts, variables_of_the_image},
    function::Function,
    github::{NEW, SECRET},
    process::most_resident,
    space::Space,
};

/// Half of the limit that the manifests set, in MB.
const HALF_OF_A_POD: u64 = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_burst_of_strangers_takes_more_than_half_of_a_pod() {
    let _ = rlimit::increase_nofile_limit(8 * 1024);
    let space = Space::embedded().await;
    space.gitrepo("shop", space.follows_main()).await;
    space.global_secret(json!({ "github": SECRET, "bitbucket": "a-uuid" })).await;
    let mut variables = variables_of_the_image();
    variables.push(("RUST_LOG", "info"));
    let function = Function::start(&space, &variables).await;
    function.logs("the index is in use").await;

    let mut came = Vec::new();
    for burst in bursts() {
        let name = burst.name;
        let (answered, number) = burst.send(&function).await;
        let peak = most_resident(function.id()) / 1024;
        came.push(format!(
            "{answered} of {number} {name} were answered; the peak so far is {peak} MB"
        ));
    }

    let peak = most_resident(function.id()) / 1024;
    assert!(peak < HALF_OF_A_POD, "it took {peak} MB: {came:#?}");
    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{answer:?}, {came:#?}");
}
