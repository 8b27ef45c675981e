//! Bad input: each gets its answer of the contract, and writes nothing.

use serde_json::{Value, json};

use crate::{
    on_both,
    support::{
        function::Function,
        github::{NEW, SECRET, headers, push, signature},
        space::Space,
    },
};

on_both!(
    a_proof_that_is_missing_malformed_or_wrong_is_refused,
    a_body_changed_by_one_byte_is_refused,
    an_unknown_provider_is_refused,
    a_content_type_that_is_neither_json_nor_a_form_is_refused,
    a_body_over_the_limit_is_refused,
    a_body_that_is_not_what_the_provider_promises_is_malformed,
    a_borrowed_host_moves_nothing,
    a_mistyped_secret_shows_in_the_ping,
    a_form_is_signed_as_it_was_sent,
    an_unverified_caller_cannot_tell_what_is_followed,
);

async fn prepared(space: &Space, variables: &[(&str, &str)]) -> Function {
    space.gitrepo("shop", space.follows_main()).await;
    space.global_secret(json!({ "github": SECRET, "gogs": "gogs secret" })).await;
    Function::start(space, variables).await
}

fn body(space: &Space) -> String {
    push(space, "refs/heads/main", NEW).to_string()
}

async fn untouched(space: &Space) {
    assert_eq!(space.writes(), []);
    assert_eq!(space.commit("shop").await, None);
}

async fn a_proof_that_is_missing_malformed_or_wrong_is_refused(space: &Space) {
    let function = prepared(space, &[]).await;
    let body = body(space);
    let good = signature(SECRET, body.as_bytes());
    let digest = good.trim_start_matches("sha256=").to_owned();
    let proofs: Vec<Vec<String>> = vec![
        vec![],
        vec![String::new()],
        vec!["sha256=".to_owned()],
        vec![digest.clone()],
        vec![format!("sha1={digest}")],
        vec![format!("sha256={}", "z".repeat(64))],
        vec![format!("sha256={}", &digest[1..])],
        vec!["abc".to_owned()],
        vec![signature("another secret", body.as_bytes())],
        vec![signature("", body.as_bytes())],
        vec![good.clone(), good],
    ];
    for proof in proofs {
        let mut headers = vec![("content-type", "application/json"), ("x-github-event", "push")];
        headers.extend(proof.iter().map(|value| ("x-hub-signature-256", value.as_str())));
        let answer = function.deliver(&headers, body.clone()).await;
        assert_eq!((answer.status, answer.outcome()), (401, "unauthorized"), "{proof:?}");
        assert_eq!(answer.body.get("counts"), None);
    }
    untouched(space).await;
}

async fn a_body_changed_by_one_byte_is_refused(space: &Space) {
    let function = prepared(space, &[]).await;
    let proof = signature(SECRET, body(space).as_bytes());
    let headers = headers(&proof);
    let answer = function.deliver(&headers, format!("{} ", body(space))).await;
    assert_eq!((answer.status, answer.outcome()), (401, "unauthorized"));
    untouched(space).await;
}

async fn an_unknown_provider_is_refused(space: &Space) {
    let function = prepared(space, &[]).await;
    let answer = function.deliver(&[("content-type", "application/json")], body(space)).await;
    assert_eq!((answer.status, answer.outcome()), (400, "unknown_provider"));
    untouched(space).await;
}

async fn a_content_type_that_is_neither_json_nor_a_form_is_refused(space: &Space) {
    let function = prepared(space, &[]).await;
    let answer = function
        .deliver(&[("content-type", "text/plain"), ("x-github-event", "push")], body(space))
        .await;
    assert_eq!((answer.status, answer.outcome()), (415, "unsupported_media_type"));
    untouched(space).await;
}

async fn a_body_over_the_limit_is_refused(space: &Space) {
    let function = prepared(space, &[("MAX_BODY_BYTES", "1000")]).await;
    let headers = [("content-type", "application/json"), ("x-github-event", "push")];
    let announced = function.deliver(&headers, "x".repeat(1001)).await;
    assert_eq!((announced.status, announced.outcome()), (413, "too_large"));
    untouched(space).await;
}

async fn a_body_that_is_not_what_the_provider_promises_is_malformed(space: &Space) {
    let function = prepared(space, &[]).await;
    let push = push(space, "refs/heads/main", NEW);
    let with = |pointer: &str, value: Value| {
        let mut changed = push.clone();
        *changed.pointer_mut(pointer).expect("is there") = value;
        changed.to_string()
    };
    let mut nowhere = push.clone();
    for url in ["html_url", "clone_url", "ssh_url", "git_url"] {
        nowhere["repository"][url] = json!("https://github.com/");
    }
    let bodies = [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        "\"push\"".to_owned(),
        "{}".to_owned(),
        with("/repository", Value::Null),
        with("/repository", json!([])),
        with("/ref", json!(["refs/heads/main"])),
        with("/after", json!({})),
        nowhere.to_string(),
    ];
    for body in bodies {
        let proof = signature(SECRET, body.as_bytes());
        let headers = headers(&proof);
        let answer = function.deliver(&headers, body.clone()).await;
        assert_eq!((answer.status, answer.outcome()), (400, "malformed"), "{body}");
    }
    untouched(space).await;
}

async fn a_borrowed_host_moves_nothing(space: &Space) {
    let function = prepared(space, &[]).await;
    let body = body(space);
    let proof = signature("gogs secret", body.as_bytes()).replace("sha256=", "");
    let headers = [
        ("content-type", "application/json"),
        ("x-gogs-event", "push"),
        ("x-gogs-signature", proof.as_str()),
    ];
    let answer = function.deliver(&headers, body).await;
    assert_eq!((answer.status, answer.outcome()), (200, "ignored"));
    untouched(space).await;
}

async fn a_mistyped_secret_shows_in_the_ping(space: &Space) {
    let function = prepared(space, &[]).await;
    let repository = push(space, "refs/heads/main", NEW)["repository"].clone();
    let ping =
        json!({ "zen": "Keep it logically awesome.", "hook_id": 1, "repository": repository });

    let right = function.deliver_github("ping", SECRET, &ping).await;
    let wrong = function.deliver_github("ping", "mistyped", &ping).await;
    let organisation =
        function.deliver_github("ping", "mistyped", &json!({ "zen": "z", "hook_id": 1 })).await;
    let headers = [("content-type", "application/json"), ("x-github-event", "ping")];
    let without_proof = function.deliver(&headers, ping.to_string()).await;

    assert_eq!((right.status, right.outcome()), (200, "pong"));
    assert_eq!((wrong.status, wrong.outcome()), (401, "unauthorized"));
    assert_eq!((organisation.status, organisation.outcome()), (401, "unauthorized"));
    assert_eq!((without_proof.status, without_proof.outcome()), (200, "pong"));
    untouched(space).await;
}

async fn a_form_is_signed_as_it_was_sent(space: &Space) {
    let function = prepared(space, &[]).await;
    let form: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("payload", &body(space))
        .finish();
    let proof = signature(SECRET, form.as_bytes());
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("x-github-event", "push"),
        ("x-hub-signature-256", proof.as_str()),
    ];
    let answer = function.deliver(&headers, form).await;
    assert_eq!((answer.status, answer.outcome()), (200, "accepted"));
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));
}

async fn an_unverified_caller_cannot_tell_what_is_followed(space: &Space) {
    let function = prepared(space, &[]).await;
    let followed = function.push(space, "wrong", "refs/heads/main", NEW).await;
    let mut nobody = push(space, "refs/heads/main", NEW);
    for url in ["html_url", "clone_url", "ssh_url", "git_url"] {
        nobody["repository"][url] = json!("https://github.com/acme/nobody-follows-this");
    }
    let nobody = function.deliver_github("push", "wrong", &nobody).await;
    assert_eq!((followed.status, followed.body), (nobody.status, nobody.body));
}
