//! The figures that a real function writes into its log, as CloudWatch counts them: each set of dimensions is there, and
//! an alarm can stand on the function alone.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    api_server::Fault,
    github::{NEW, SECRET},
    lambda::Lambda,
    space::Space,
};

fn figures(lambda: &Lambda) -> Vec<Value> {
    let log = lambda.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line.get("_aws").is_some()).collect()
}

/// What CloudWatch demands: what a directive announces is a member at the top, dimensions as text and metrics as numbers.
fn is_whole(line: &Value) -> bool {
    let directives = line["_aws"]["CloudWatchMetrics"].as_array();
    directives.into_iter().flatten().all(|directive| {
        let sets = directive["Dimensions"].as_array().into_iter().flatten();
        let mut dimensions = sets.flat_map(|set| set.as_array().into_iter().flatten());
        let mut metrics = directive["Metrics"].as_array().into_iter().flatten();
        dimensions.all(|name| line[name.as_str().unwrap()].is_string())
            && metrics.all(|metric| line[metric["Name"].as_str().unwrap()].is_number())
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the Lambda emulator: tests/README.md"]
async fn a_function_writes_figures_that_an_alarm_can_stand_on() {
    let space = Space::embedded().await;
    space.shop().await;
    let variables = [
        ("KUBECONFIG", space.kubeconfig.to_str().unwrap()),
        ("FLEET_NAMESPACE", space.fleet.as_str()),
        ("AWS_LAMBDA_FUNCTION_TIMEOUT", "3"),
    ];
    let lambda = Lambda::start(&variables).await;
    assert_eq!(lambda.push(&space, SECRET, NEW).await.status, 200);
    space.fail(Fault::always(Method::GET, "/gitrepos", 403));
    assert_eq!(lambda.push(&space, SECRET, NEW).await.status, 503);
    lambda.delivery_line(2).await;

    let figures = figures(&lambda);
    assert!(figures.iter().all(is_whole), "{figures:?}");
    let deliveries: Vec<_> =
        figures.iter().filter(|line| line.get("Deliveries").is_some()).collect();
    let [accepted, unavailable] = deliveries[..] else { panic!("{figures:?}") };
    for line in [accepted, unavailable] {
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "FleetWebhook");
        assert_eq!(directive["Dimensions"], json!([["FunctionName"], ["Provider", "Outcome"]]));
        assert_eq!(line["FunctionName"], "fleet-webhook");
    }
    assert_eq!(
        (&accepted["Outcome"], &accepted["DeliveriesUnavailable"]),
        (&json!("accepted"), &json!(0))
    );
    assert_eq!(
        (&unavailable["Outcome"], &unavailable["DeliveriesUnavailable"]),
        (&json!("unavailable"), &json!(1))
    );
    let refused = |line: &&Value| line["Verb"] == "list" && line["Code"] == "403";
    assert!(figures.iter().any(|line| refused(&line)), "{figures:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the Lambda emulator: tests/README.md"]
async fn switched_off_it_writes_none() {
    let space = Space::embedded().await;
    space.github_secret().await;
    let variables = [
        ("KUBECONFIG", space.kubeconfig.to_str().unwrap()),
        ("FLEET_NAMESPACE", space.fleet.as_str()),
        ("EMBEDDED_METRICS", "off"),
    ];
    let lambda = Lambda::start(&variables).await;
    assert_eq!(lambda.push(&space, SECRET, NEW).await.status, 200);
    lambda.delivery_line(1).await;
    assert_eq!(figures(&lambda), [] as [Value; 0]);
}
