//! `sam build` and `sam local invoke -e events/…`, the way that users try it: a push of each provider, in a container.
//! No API server of this machine can be reached from there, so that a delivery ends as `unavailable`; what becomes of it
//! with one is what `tests/lambda` shows, under the same emulator.
//!
//!     cargo test --test aws -- --ignored --nocapture sam_local

use std::{path::Path, process::Command};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::events::{Event, REPOSITORIES};

#[tokio::test]
#[ignore = "needs the SAM CLI, cargo-lambda and podman: tests/README.md"]
async fn sam_local_invokes_a_push_of_each_provider() {
    let folder = std::env::temp_dir();
    let kubeconfig = folder.join("nowhere.kubeconfig");
    let nowhere = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "nowhere",
        "clusters": [{ "name": "nowhere", "cluster": { "server": "http://127.0.0.1:1" } }],
        "users": [{ "name": "nobody", "user": {} }],
        "contexts": [{ "name": "nowhere", "context": { "cluster": "nowhere", "user": "nobody" } }],
    });
    std::fs::write(&kubeconfig, nowhere.to_string()).unwrap();
    let pushes = REPOSITORIES.map(|(provider, _)| format!("{provider}-push"));
    let events: Vec<_> = pushes.iter().map(String::as_str).chain(["github-issues"]).collect();
    let files: Vec<_> = events.iter().map(|name| folder.join(format!("{name}.json"))).collect();
    for (name, file) in events.iter().zip(&files) {
        let event = Event::load(name).signed_at(Timestamp::now());
        std::fs::write(file, event.json.to_string()).unwrap();
    }
    let mut command = Command::new("tests/tools/sam-local");
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR"))).arg(&kubeconfig).args(&files);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(said.lines().count(), files.len() + 1, "{said}\n{errors}");
    let by_http = said.lines().last().unwrap();
    assert!(by_http.starts_with("start-api\t503 {"), "{by_http}\n{errors}");
    assert!(by_http.contains("\"outcome\":\"unavailable\""), "{by_http}\n{errors}");
    for (name, line) in events.iter().zip(said.lines()) {
        let returned: Value = serde_json::from_str(line.split_once('\t').unwrap().1).unwrap();
        println!("{name}: {returned}");
        if name.starts_with("codecommit") {
            assert_eq!(returned["errorType"], "unavailable");
            continue;
        }
        let answer: Value = serde_json::from_str(returned["body"].as_str().unwrap()).unwrap();
        let provider = answer["provider"].as_str().unwrap();
        assert!(name.starts_with(provider), "{name}: {answer}");
        let outcome = if name.ends_with("push") { "unavailable" } else { "ignored" };
        assert_eq!(answer["outcome"], outcome, "{name}: {answer}");
    }
}
