//! The webhook secret in Secrets Manager: read, kept, rotated, denied, broken.

use std::time::Duration;

use axum::Router;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};

use crate::support::{
    github::{NEW, OLD},
    lambda::Lambda,
    moto::Moto,
    space::Space,
};

/// How long a read stands against deliveries that it refuses, and a little more.
const FRESH_READ: Duration = Duration::from_millis(10_500);

async fn start(space: &Space, moto: &Moto, variables: &[(&str, &str)]) -> Lambda {
    let mut all = moto.variables();
    all.push(("KUBECONFIG", space.kubeconfig.to_str().unwrap()));
    all.extend_from_slice(variables);
    Lambda::start(&all).await
}

async fn space() -> Space {
    let space = Space::embedded().await;
    space.gitrepo("simple", space.follows_main()).await;
    space
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_rotation_works_at_once_and_the_previous_secret_for_a_while() {
    let (space, moto) = (space().await, Moto::start().await);
    moto.create_secret("webhook", &json!({ "github": "first" }).to_string()).await;
    let id = ("WEBHOOK_SECRET_ID", "webhook");
    let lambda = start(&space, &moto, &[id]).await;
    let strict = start(&space, &moto, &[id, ("ROTATION_WINDOW", "0s")]).await;

    assert_eq!(lambda.push(&space, "first", OLD).await.outcome(), "accepted");
    assert_eq!(strict.push(&space, "first", OLD).await.outcome(), "accepted");
    moto.rotate_secret("webhook", &json!({ "github": "second" }).to_string()).await;

    let commits = ["2", "3", "4"].map(|digit| digit.repeat(40));
    let rotated = lambda.push(&space, "second", &commits[0]).await;
    assert_eq!(rotated.outcome(), "accepted", "{}", lambda.log());
    assert_eq!(lambda.push(&space, "first", &commits[1]).await.outcome(), "accepted");
    assert_eq!(strict.push(&space, "second", &commits[2]).await.outcome(), "accepted");
    assert_eq!(strict.push(&space, "first", OLD).await.status, 401);
    assert_eq!(space.commit("simple").await.as_ref(), Some(&commits[2]));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_flood_of_wrong_signatures_causes_one_read_in_ten_seconds() {
    let (space, moto) = (space().await, Moto::start().await);
    moto.create_secret("webhook", &json!({ "github": "right" }).to_string()).await;
    let variables = [("WEBHOOK_SECRET_ID", "webhook"), ("ROTATION_WINDOW", "0s")];
    let lambda = start(&space, &moto, &variables).await;
    assert_eq!(lambda.push(&space, "right", OLD).await.outcome(), "accepted");
    let before = moto.requests();
    for reads in 1..=2 {
        for _ in 0..30 {
            assert_eq!(lambda.push(&space, "wrong", OLD).await.status, 401);
        }
        assert_eq!(moto.requests(), before + reads);
        sleep(FRESH_READ).await;
    }
    assert_eq!(lambda.push(&space, "right", OLD).await.outcome(), "accepted");
    assert_eq!(moto.requests(), before + 2, "a warm delivery asks AWS nothing");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_previous_secret_that_is_revoked_verifies_no_more_once_the_cache_is_old() {
    let (space, moto) = (space().await, Moto::start().await);
    moto.create_secret("webhook", &json!({ "github": "first" }).to_string()).await;
    moto.rotate_secret("webhook", &json!({ "github": "second" }).to_string()).await;
    let variables = [("WEBHOOK_SECRET_ID", "webhook"), ("SECRET_CACHE_TTL", "2s")];
    let lambda = start(&space, &moto, &variables).await;
    let previous = lambda.push(&space, "first", OLD).await;
    assert_eq!(previous.outcome(), "accepted", "{}", lambda.log());

    moto.revoke_previous("webhook").await;
    sleep(Duration::from_millis(2100)).await;

    let revoked = lambda.push(&space, "first", NEW).await;
    assert_eq!((revoked.status, revoked.outcome()), (401, "unauthorized"), "{}", lambda.log());
    assert_eq!(space.commit("simple").await.as_deref(), Some(OLD));
    let current = lambda.push(&space, "second", NEW).await;
    assert_eq!(current.outcome(), "accepted", "{}", lambda.log());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_secret_that_cannot_be_used_is_named_in_a_warning_and_never_shown() {
    let (space, moto) = (space().await, Moto::start().await);
    moto.create_secret("number", r#"{"github":["hunter2"]}"#).await;
    moto.create_secret("text", "hunter2").await;
    moto.create_secret("other-key", r#"{"gitlab":"hunter2"}"#).await;
    moto.create_secret("empty", r#"{"github":"","gitlab":"hunter2"}"#).await;
    moto.create_secret("deleted", r#"{"github":"hunter2"}"#).await;
    moto.delete_secret("deleted").await;
    for (id, status, said) in [
        ("missing", 503, "no such secret"),
        ("deleted", 503, "marked deleted"),
        ("number", 401, "the value of its key github is empty"),
        ("text", 503, "its value is not JSON"),
        ("other-key", 401, "it has no key github"),
        ("empty", 401, "the value of its key github is empty"),
    ] {
        let lambda = start(&space, &moto, &[("WEBHOOK_SECRET_ID", id)]).await;
        let answer = lambda.push(&space, "hunter2", OLD).await;
        assert_eq!(answer.status, status, "{id}\n{}", lambda.log());
        lambda.delivery_line(1).await;
        let log = lambda.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let at_start = |line: &Value| {
            line["message"].as_str().is_some_and(|it| it.starts_with("there is no webhook secret"))
        };
        let warns = |line: &Value| {
            line["level"] == "WARN" && line["message"] != "delivery" && !at_start(line)
        };
        let warnings: Vec<_> = lines.filter(warns).collect();
        // The start reads the secret too, and warns of one that it cannot have.
        let ([warning] | [warning, _]) = warnings.as_slice() else { panic!("{id}: {log}") };
        assert!(warnings.iter().all(|line| line["secret"] == id), "{id}: {log}");
        let why = [&warning["error"], &warning["refusal"]].map(Value::as_str);
        assert!(why.into_iter().flatten().any(|why| why.contains(said)), "{id}: {warning}");
        assert!(!log.contains("hunter2"), "{id}: {log}");
    }
    assert_eq!(space.writes(), []);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_secret_that_may_not_be_read_is_unavailable() {
    let (space, moto) = (space().await, Moto::alone().await);
    moto.create_secret("webhook", &json!({ "github": "secret" }).to_string()).await;
    let reader = moto.user_who_may("reader", "secretsmanager:GetSecretValue").await;
    let stranger = moto.user_who_may("stranger", "sqs:SendMessage").await;
    moto.ask_iam().await;
    for ((id, key), status) in [(&reader, 200), (&stranger, 503)] {
        let variables = [
            ("AWS_ACCESS_KEY_ID", id.as_str()),
            ("AWS_SECRET_ACCESS_KEY", key.as_str()),
            ("WEBHOOK_SECRET_ID", "webhook"),
        ];
        let lambda = start(&space, &moto, &variables).await;
        let answer = lambda.push(&space, "secret", OLD).await;
        assert_eq!(answer.status, status, "{}", lambda.log());
        assert_eq!(lambda.log().contains("may not be read"), status == 503);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_typo_leaves_the_version_before_in_force_and_refuses_nobody() {
    let (space, moto) = (space().await, Moto::start().await);
    moto.create_secret("webhook", &json!({ "github": "first" }).to_string()).await;
    moto.rotate_secret("webhook", r#"{"github":"second",}"#).await;
    let id = ("WEBHOOK_SECRET_ID", "webhook");
    let lambda = start(&space, &moto, &[id]).await;
    let strict = start(&space, &moto, &[id, ("ROTATION_WINDOW", "0s")]).await;

    let before = lambda.push(&space, "first", NEW).await;
    assert_eq!(before.outcome(), "accepted", "{}", lambda.log());
    for (lambda, secret) in [(&lambda, "second"), (&strict, "first"), (&strict, "second")] {
        let answer = lambda.push(&space, secret, OLD).await;
        assert_eq!((answer.status, answer.outcome()), (503, "unavailable"), "{}", lambda.log());
    }
    assert_eq!(space.commit("simple").await.as_deref(), Some(NEW));

    moto.rotate_secret("webhook", &json!({ "github": "second" }).to_string()).await;
    sleep(FRESH_READ).await;
    let mended = lambda.push(&space, "second", OLD).await;
    assert_eq!(mended.outcome(), "accepted", "{}", lambda.log());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn what_else_is_in_the_secret_does_no_harm() {
    let (space, moto) = (space().await, Moto::start().await);
    let value = "\u{feff}{\"github\":\"right\",\"gitlab\":12345,\"rotated\":true,\"tags\":[\"x\"]}";
    moto.create_secret("webhook", value).await;
    let lambda = start(&space, &moto, &[("WEBHOOK_SECRET_ID", "webhook")]).await;
    let answer = lambda.push(&space, "right", NEW).await;
    assert_eq!(answer.outcome(), "accepted", "{}", lambda.log());
    assert_eq!(lambda.push(&space, "wrong", OLD).await.status, 401);
}

/// As Secrets Manager says it; moto has a form of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn a_refusal_in_the_words_of_aws_is_understood() {
    let (space, moto) = (space().await, Moto::start().await);
    for (code, message, status, said) in [
        (
            "AccessDeniedException",
            "User is not authorized to perform",
            503,
            "secretsmanager:GetSecretValue of that secret",
        ),
        (
            "AccessDeniedException",
            "Access to KMS is not allowed",
            503,
            "kms:Decrypt with the secret's key: SecretKmsKeyArns",
        ),
        (
            "DecryptionFailure",
            "Secrets Manager can't decrypt",
            503,
            "kms:Decrypt with the secret's key: SecretKmsKeyArns",
        ),
        ("InvalidRequestException", "it was marked for deletion", 503, "marked for deletion"),
        ("ThrottlingException", "Rate exceeded", 503, "Rate exceeded"),
    ] {
        let refusal = json!({ "__type": code, "Message": message, "message": message }).to_string();
        let answer =
            (StatusCode::BAD_REQUEST, [("content-type", "application/x-amz-json-1.1")], refusal);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(async move || answer.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        let variables = [("WEBHOOK_SECRET_ID", "webhook"), ("AWS_ENDPOINT_URL", url.as_str())];
        let lambda = start(&space, &moto, &variables).await;
        let answer = lambda.push(&space, "secret", OLD).await;
        assert_eq!(answer.status, status, "{code}: {}", lambda.log());
        lambda.logs(said).await;
        assert!(!lambda.log().contains("knative/rbac"), "{code}: {}", lambda.log());
        serving.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn without_secrets_manager_a_delivery_is_answered_503_in_time() {
    let (space, moto) = (space().await, Moto::start().await);
    let variables = [
        ("WEBHOOK_SECRET_ID", "webhook"),
        ("AWS_LAMBDA_FUNCTION_TIMEOUT", "5"),
        // Nothing listens there.
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
    ];
    let lambda = start(&space, &moto, &variables).await;
    let started = std::time::Instant::now();
    let answer = lambda.push(&space, "secret", OLD).await;
    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"), "{}", lambda.log());
    assert!(answer.headers.contains_key("retry-after"));
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(space.writes(), []);
}
