//! Deliveries as people reported them, as a function URL hands them over.

use crate::support::{lambda::Lambda, reported::Reported, space::Space};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ../shared and the Lambda emulator: tests/README.md"]
async fn every_reported_delivery_comes_out_as_its_people_need_it() {
    let mut wrong = Vec::new();
    for reported in Reported::all() {
        let space = Space::embedded().await;
        reported.prepare(&space).await;
        let mut variables = reported.variables();
        let kubeconfig = space.kubeconfig.to_str().expect("is text").to_owned();
        variables.push(("KUBECONFIG".to_owned(), kubeconfig));
        variables.push(("FLEET_NAMESPACE".to_owned(), space.fleet.clone()));
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let lambda = Lambda::start(&variables).await;
        let answer = lambda.answer(&reported.lambda_event()).await;
        wrong.extend(reported.differs(&space, answer.status).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
