//! `fleet-webhook ping`: what `helm test` sends, the service takes if the key is right, and the exit code says so.

use std::process::Command;

use serde_json::json;

use crate::{
    on_both,
    support::{function::Function, space::Space},
};

const SECRET: &str = "It's a \"Secret\" to Everybody";

on_both!(
    a_ping_is_taken_with_the_right_key_and_with_no_other,
    without_a_key_it_is_unsigned_and_says_so,
);

/// What it printed, and its exit code, with a file that holds `key`, or one that is not there.
async fn ping(space: &Space, url: &str, key: Option<&str>) -> (Option<i32>, String) {
    let file = space.kubeconfig.with_extension("key");
    if let Some(key) = key {
        std::fs::write(&file, key).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleet-webhook"));
    command.args(["ping", "--secret-file"]).arg(&file).arg(url).env_clear();
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let _ = std::fs::remove_file(file);
    let said = String::from_utf8(output.stdout).unwrap();
    let said = said + &String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains(SECRET), "{said}");
    (output.status.code(), said)
}

async fn a_ping_is_taken_with_the_right_key_and_with_no_other(space: &Space) {
    space.global_secret(json!({ "github": SECRET })).await;
    let function = Function::start(space, &[("UNSIGNED_DELIVERIES", "reject")]).await;

    let (code, said) = ping(space, &function.url, Some(SECRET)).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("a signed ping: 200 OK ") && said.contains("\"pong\""), "{said}");
    // As `echo` makes it.
    let (code, said) = ping(space, &function.url, Some(&format!("{SECRET}\n"))).await;
    assert_eq!(code, Some(0), "{said}");
    for wrong in ["mistyped", ""] {
        let (code, said) = ping(space, &function.url, Some(wrong)).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.starts_with("a signed ping: 401 Unauthorized "), "{said}");
        assert!(said.contains("\nthe service has another secret"), "{said}");
    }
}

async fn without_a_key_it_is_unsigned_and_says_so(space: &Space) {
    let function = Function::start(space, &[("UNSIGNED_DELIVERIES", "reject")]).await;
    let (code, said) = ping(space, &function.url, None).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("an unsigned ping (there is no file "), "{said}");
    assert!(said.contains("): 200 OK "), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_url_is_said_and_returns_2() {
    let space = Space::embedded().await;
    let (code, said) = ping(&space, "hooks.example.com", Some(SECRET)).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.starts_with("fleet-webhook: \"hooks.example.com\" is no URL: "), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_listens_it_says_so_and_returns_1() {
    let space = Space::embedded().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, said) = ping(&space, &format!("http://{free}/"), Some(SECRET)).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("a signed ping: no answer: ") && said.contains("refused"), "{said}");
}
