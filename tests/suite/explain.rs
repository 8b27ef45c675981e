//! `fleet-webhook explain` as docs/nothing-happens.md shows it: what a person sees who asks why a GitRepo did not move, and
//! that nothing is written.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    on_both,
    support::{
        github::{NEW, SECRET, push, signature},
        space::Space,
    },
};

on_both!(
    each_gitrepo_of_the_repository_is_explained_and_nothing_is_written,
    a_wrong_secret_is_said_to_be_wrong,
    near_misses_are_named_where_nothing_follows,
    a_push_that_is_only_supposed_is_explained_without_a_proof,
    what_cannot_be_told_is_said_and_returns_2,
);

struct Said {
    code: Option<i32>,
    text: String,
}

async fn explain(space: &Space, arguments: &[&str], input: &str) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleet-webhook"));
    command
        .arg("explain")
        .args(arguments)
        .env_clear()
        .env("KUBECONFIG", &space.kubeconfig)
        .env("FLEET_NAMESPACE", &space.fleet)
        .env("GITREPO_NAMESPACES", &space.apps)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await;
    let output = output.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let text = text + &String::from_utf8(output.stderr).unwrap();
    Said { code: output.status.code(), text }
}

fn event(secret: &str, payload: &Value) -> String {
    let body = payload.to_string();
    let headers = json!({
        "content-type": "application/json", "x-github-event": "push",
        "x-hub-signature-256": signature(secret, body.as_bytes()),
    });
    json!({ "headers": headers, "body": body, "isBase64Encoded": false }).to_string()
}

fn assert_says(said: &Said, code: i32, lines: &[String]) {
    assert_eq!(said.code, Some(code), "{}", said.text);
    for line in lines {
        assert!(said.text.contains(line.as_str()), "{line:?} is not in\n{}", said.text);
    }
    assert!(!said.text.contains(SECRET) && !said.text.contains("sha256="), "{}", said.text);
}

async fn each_gitrepo_of_the_repository_is_explained_and_nothing_is_written(space: &Space) {
    space.github_secret().await;
    let url = space.github_url();
    for (name, more) in [
        ("shop", json!({ "branch": "main" })),
        ("dev", json!({ "branch": "dev" })),
        ("case", json!({ "branch": "Main" })),
        ("pinned", json!({ "revision": "v1" })),
        ("own", json!({ "branch": "main", "webhookSecret": "absent" })),
        ("there", json!({ "branch": "main" })),
    ] {
        let mut spec = more;
        spec["repo"] = json!(url);
        space.gitrepo(name, spec).await;
    }
    space.change_gitrepo("there", "/status", json!({ "status": { "webhookCommit": NEW } })).await;
    let before = space.writes().len();

    let said = explain(space, &["-"], &event(SECRET, &push(space, "refs/heads/main", NEW))).await;

    let apps = &space.apps;
    assert_says(
        &said,
        0,
        &[
            "sender     github, by its header x-github-event".to_owned(),
            format!("refs/heads/main moved to {NEW}"),
            format!("the global one, {}/gitjob-webhook, verifies it", space.fleet),
            format!("{apps}/shop would be patched: it follows refs/heads/main"),
            format!("{apps}/dev branch: it follows refs/heads/dev, which did not move"),
            format!("{apps}/case branch: it follows refs/heads/Main, and refs/heads/main moved"),
            format!("{apps}/pinned revision: it follows refs/tags/v1, which did not move"),
            format!("{apps}/own secret_missing: its secret absent does not exist"),
            format!("{apps}/there unchanged: it has that commit already"),
            "so         a GitRepo would be patched".to_owned(),
        ],
    );
    assert_eq!(space.commit("shop").await, None);
    assert_eq!(space.writes().len(), before, "nothing is written");
}

async fn a_wrong_secret_is_said_to_be_wrong(space: &Space) {
    space.shop().await;
    let wrong = event("mistyped", &push(space, "refs/heads/main", NEW));
    let said = explain(space, &["-"], &wrong).await;
    assert_says(
        &said,
        1,
        &[
            "none verifies it: the proof is wrong".to_owned(),
            format!(
                "{}/shop unverified: the global secret does not verify the delivery",
                space.apps
            ),
            "so         no GitRepo would be patched".to_owned(),
        ],
    );
}

async fn near_misses_are_named_where_nothing_follows(space: &Space) {
    space.github_secret().await;
    let elsewhere = format!("https://git.example.com/{}", space.repository);
    space.gitrepo("mirror", json!({ "repo": elsewhere, "branch": "main" })).await;
    let said = explain(space, &["-"], &event(SECRET, &push(space, "refs/heads/main", NEW))).await;
    let near =
        format!("near miss  {}/mirror has the same path on another host: {elsewhere}", space.apps);
    assert_says(&said, 1, &[near]);
}

async fn a_push_that_is_only_supposed_is_explained_without_a_proof(space: &Space) {
    let ssh = format!("git@github.com:{}.git", space.repository);
    space.gitrepo("shop", json!({ "repo": ssh, "branch": "main" })).await;
    let url = space.github_url();
    let said = explain(space, &["--repo", &url, "--ref", "main", "--json"], "").await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    let json: Value = serde_json::from_str(&said.text).expect("is JSON");
    assert_eq!(json["gitrepos"][0]["name"], "shop");
    assert_eq!(
        (&json["gitrepos"][0]["reason"], &json["would_patch"]),
        (&Value::Null, &json!(true))
    );

    let said = explain(space, &["--repo", &url, "--ref", "dev"], "").await;
    let line =
        format!("{}/shop branch: it follows refs/heads/main, which did not move", space.apps);
    assert_says(&said, 1, &[line]);
}

async fn what_cannot_be_told_is_said_and_returns_2(space: &Space) {
    let said = explain(space, &["-"], "hunter2").await;
    assert_says(&said, 2, &["the file holds no event of Lambda".to_owned()]);
    assert!(!said.text.contains("hunter2"), "{}", said.text);
    let said = explain(space, &["--repo", "no url", "--ref", "main"], "").await;
    assert_says(&said, 2, &["--repo takes the URL of a repository".to_owned()]);
    let said = explain(space, &["/nowhere.json"], "").await;
    assert_says(&said, 2, &["/nowhere.json".to_owned()]);
}
