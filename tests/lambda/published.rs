//! Real deliveries that others published, as a front door of Lambda hands them over: they are understood, and answered as
//! over HTTP.

use serde_json::json;

use crate::support::{
    function::Function,
    lambda::{FrontDoor, Lambda},
    shared,
    space::Space,
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ../shared and the Lambda emulator: tests/README.md"]
async fn every_real_delivery_is_answered_as_over_http() {
    let space = Space::embedded().await;
    let kubeconfig = space.kubeconfig.to_str().unwrap();
    let variables = [
        ("KUBECONFIG", kubeconfig),
        ("FLEET_NAMESPACE", &space.fleet),
        ("UNSIGNED_DELIVERIES", "accept"),
    ];
    let (lambda, http) =
        (Lambda::start(&variables).await, Function::start(&space, &variables).await);
    for published in shared::deliveries(&shared::folder()) {
        let shared::Published { file, headers, body, .. } = published;
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = lambda.answer(&FrontDoor::HttpApi.post(&headers, &body, true)).await;
        let over_http = http.deliver(&headers, body).await;
        assert_eq!(answer.body, over_http.body, "{file}");
        assert_eq!(answer.status, 200, "{file}: {}", answer.body);
        assert_eq!(answer.body["provider"], json!(file.split('/').next()), "{file}");
    }
    assert_eq!(space.writes(), []);
}
