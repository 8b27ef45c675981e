//! HTTP events of every kind: each is the same delivery to us, and nothing that a sender writes ends the process.

use serde_json::{Value, json};

use crate::{
    on_both,
    support::{
        github::{NEW, OLD, SECRET, push, signed},
        lambda::{FrontDoor, Lambda},
        space::Space,
    },
};

on_both!(
    #[ignore = "needs the Lambda emulator: tests/README.md"]
    every_front_door_brings_the_same_delivery,
    a_base64_body_is_verified_over_its_bytes,
    a_proof_header_sent_twice_verifies_nothing,
    unsigned_deliveries_are_rejected_by_default,
    hostile_events_are_answered_400_and_the_process_lives,
);

async fn start(space: &Space) -> Lambda {
    let kubeconfig = space.kubeconfig.to_str().unwrap();
    Lambda::start(&[("KUBECONFIG", kubeconfig), ("FLEET_NAMESPACE", &space.fleet)]).await
}

async fn prepared(space: &Space) -> Lambda {
    space.github_secret().await;
    space.gitrepo("simple", space.follows_main()).await;
    start(space).await
}

fn headers(signature: &str) -> Vec<(&'static str, &str)> {
    vec![
        ("Content-Type", "application/json"),
        ("X-GitHub-Event", "push"),
        ("X-GITHUB-DELIVERY", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
        ("x-hub-signature-256", signature),
    ]
}

async fn every_front_door_brings_the_same_delivery(space: &Space) {
    let lambda = prepared(space).await;
    for (number, door) in (1..).zip(FrontDoor::ALL) {
        let commit = number.to_string().repeat(40);
        let (body, signature) = signed(space, SECRET, &commit);
        let event = door.post(&headers(&signature), body.as_bytes(), false);
        let returned = lambda.invoke(&event).await;
        assert_eq!(returned["statusCode"], 200, "{door:?} {returned}\n{}", lambda.log());
        let answer: Value = serde_json::from_str(returned["body"].as_str().unwrap()).unwrap();
        assert_eq!(answer["outcome"], "accepted");
        assert_eq!(answer["delivery"], "72d3162e-cc78-11e3-81ab-4c9367dc0958");
        let patched = json!({ "namespace": space.apps, "name": "simple", "commit": commit });
        assert_eq!(answer["patched"], json!([patched]));
        assert_eq!(space.commit("simple").await, Some(commit));
        let line = lambda.delivery_line(number).await;
        let id = line["aws.request_id"].as_str().unwrap();
        assert!(
            id.len() == 36 && lambda.log().contains(&format!("START RequestId: {id}")),
            "{line}"
        );
    }
    // CloudWatch counts what the log has in its embedded metric format.
    let log = lambda.log();
    let embedded: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &Value| line.get("_aws").is_some())
        .collect();
    assert!(
        embedded.iter().any(|line| line["Outcome"] == "accepted" && line["GitReposPatched"] == 1),
        "{log}"
    );
    assert!(embedded.iter().any(|line| line["Verb"] == "patch" && line["Code"] == "200"), "{log}");
}

async fn a_base64_body_is_verified_over_its_bytes(space: &Space) {
    let lambda = prepared(space).await;
    for (number, door) in (1..).zip(FrontDoor::ALL) {
        let commit = number.to_string().repeat(40);
        let (body, signature) = signed(space, SECRET, &commit);
        let event = door.post(&headers(&signature), body.as_bytes(), true);
        let answer = lambda.answer(&event).await;
        assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{door:?}");
        assert_eq!(space.commit("simple").await, Some(commit));
    }
}

async fn a_proof_header_sent_twice_verifies_nothing(space: &Space) {
    let lambda = prepared(space).await;
    let (body, signature) = signed(space, SECRET, NEW);
    // A load balancer without multi-value headers shows the last one alone.
    for door in [FrontDoor::HttpApi, FrontDoor::RestApi, FrontDoor::LoadBalancerMultiValue] {
        let mut headers = headers("sha256=00");
        headers.push(("x-hub-signature-256", &signature));
        let answer = lambda.answer(&door.post(&headers, body.as_bytes(), false)).await;
        assert_eq!((answer.status, answer.outcome()), (401, "unauthorized"), "{door:?}");
    }
    assert_eq!(space.writes(), []);
}

async fn unsigned_deliveries_are_rejected_by_default(space: &Space) {
    let lambda = start(space).await;
    space.gitrepo("simple", space.follows_main()).await;
    let body = push(space, "refs/heads/main", NEW).to_string();
    let event = FrontDoor::HttpApi.post(&headers("sha256="), body.as_bytes(), false);
    let answer = lambda.answer(&event).await;
    assert_eq!((answer.status, answer.outcome()), (401, "unauthorized"));
    assert_eq!(space.writes(), []);
}

async fn hostile_events_are_answered_400_and_the_process_lives(space: &Space) {
    let lambda = prepared(space).await;
    let (body, proof) = signed(space, SECRET, OLD);
    let with = |door: FrontDoor, change: &dyn Fn(&mut Value)| {
        let mut event = door.post(&headers(&proof), body.as_bytes(), false);
        change(&mut event);
        event
    };
    let mut hostile = Vec::new();
    for host in ["xn--a", "%", "a:99999"] {
        hostile
            .push(with(FrontDoor::LoadBalancer, &|event| event["headers"]["host"] = json!(host)));
    }
    for query in ["\"", "<", "\u{0}"] {
        hostile.push(with(FrontDoor::HttpApi, &|event| event["rawQueryString"] = json!(query)));
    }
    for door in FrontDoor::ALL {
        hostile.push(with(door, &|event| {
            event["body"] = json!("{}=");
            event["isBase64Encoded"] = json!(true);
        }));
    }
    hostile.push(with(FrontDoor::HttpApi, &|event| event["headers"]["a b"] = json!("c")));
    hostile.push(with(FrontDoor::HttpApi, &|event| event["headers"]["a"] = json!("b\r\nc: d")));
    hostile.push(json!({ "requestContext": {} }));
    hostile
        .push(json!({ "requestContext": "", "detail-type": "CodeCommit Repository State Change" }));
    for event in &hostile {
        let returned = lambda.invoke(event).await;
        assert_eq!(returned["statusCode"], 400, "{event}\n{returned}");
    }
    assert_eq!(space.writes(), []);
    let function = lambda.function_id();
    let good = FrontDoor::HttpApi.post(&headers(&proof), body.as_bytes(), false);
    assert_eq!(lambda.answer(&good).await.outcome(), "accepted");
    assert_eq!(lambda.function_id(), function, "it is still the same process");
    assert!(function.is_some());
}

#[tokio::test]
#[ignore = "needs the Lambda emulator: tests/README.md"]
async fn a_stage_in_the_path_is_not_seen() {
    let space = Space::embedded().await;
    let lambda = start(&space).await;
    let healthz = FrontDoor::RestApi.request("GET", "/healthz", &[]);
    assert_eq!(lambda.invoke(&healthz).await["statusCode"], 200);
    let mut staged = FrontDoor::HttpApi.request("GET", "/prod/healthz", &[]);
    staged["requestContext"]["stage"] = json!("prod");
    assert_eq!(lambda.invoke(&staged).await["statusCode"], 200);
    let elsewhere = FrontDoor::HttpApi.request("GET", "/prod/healthz", &[]);
    assert_eq!(lambda.invoke(&elsewhere).await["statusCode"], 405);
}

#[tokio::test]
#[ignore = "needs the Lambda emulator: tests/README.md"]
async fn what_is_no_known_event_is_a_function_error() {
    let space = Space::embedded().await;
    let lambda = start(&space).await;
    for event in [json!({}), json!([]), json!("x")] {
        let returned = lambda.invoke(&event).await;
        assert_eq!(returned["errorType"], "UnknownEvent", "{event} {returned}");
    }
}

#[tokio::test]
#[ignore = "needs the Lambda emulator: tests/README.md"]
async fn each_delivery_is_counted_in_cloudwatchs_embedded_format() {
    let space = Space::embedded().await;
    let lambda = start(&space).await;
    space.github_secret().await;
    space.gitrepo("simple", space.follows_main()).await;
    let (body, signature) = signed(&space, SECRET, NEW);
    lambda.answer(&FrontDoor::HttpApi.post(&headers(&signature), body.as_bytes(), false)).await;
    lambda.delivery_line(1).await;
    let log = lambda.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let figures: Vec<_> = lines.filter(|line| line["_aws"].is_object()).collect();
    let delivery = figures.iter().find(|line| line["Deliveries"] == 1).expect("a delivery");
    assert_eq!(
        (&delivery["Provider"], &delivery["Outcome"]),
        (&json!("github"), &json!("accepted"))
    );
    assert_eq!(delivery["GitReposPatched"], 1);
    assert!(figures.iter().any(|line| line["Verb"] == "patch" && line["Code"] == "200"), "{log}");
}
