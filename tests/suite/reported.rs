//! Deliveries as people reported them, each against a function and a cluster of its own. `senders` has the same kinds
//! among our own events.

use crate::support::{function::Function, reported::Reported, space::Space};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ../shared: tests/README.md"]
async fn every_reported_delivery_comes_out_as_its_people_need_it() {
    let mut wrong = Vec::new();
    let all = Reported::all();
    assert!(!all.is_empty());
    for reported in all {
        let space = Space::embedded().await;
        reported.prepare(&space).await;
        let variables = reported.variables();
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let function = Function::start(&space, &variables).await;
        let answer = if reported.method() == "POST" {
            let headers = reported.headers();
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            function.deliver(&headers, reported.body()).await
        } else {
            function.request(reported.method(), reported.path()).await
        };
        wrong.extend(reported.differs(&space, answer.status).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
