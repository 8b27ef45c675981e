//! What it costs that a patch is conditional: nothing, it was hoped.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{commit, following, line, median};
use crate::support::space::Space;

const PATCHES: usize = 450;

/// As the function sends it: for what was judged, and for what was announced.
fn conditional(gitrepo: &Value, commit: &str, time: &str) -> Value {
    let test = |path: &str| {
        let value = gitrepo.pointer(path).cloned().unwrap_or_default();
        json!({ "op": "test", "path": path, "value": value })
    };
    let paths = [
        "/metadata/uid",
        "/spec/repo",
        "/spec/branch",
        "/spec/revision",
        "/spec/webhookSecret",
        "/status/webhookCommit",
        "/status/lastWebhookTime",
    ];
    let mut patch: Vec<_> = paths.into_iter().map(test).collect();
    patch.push(json!({ "op": "add", "path": "/status/webhookCommit", "value": commit }));
    patch.push(json!({ "op": "add", "path": "/status/lastWebhookTime", "value": time }));
    Value::Array(patch)
}

fn merge(commit: &str, time: &str) -> Value {
    json!({ "status": { "webhookCommit": commit, "lastWebhookTime": time } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for minutes: found.rs says how to run it"]
async fn measures_a_conditional_patch_beside_a_merge_patch() {
    let space = Space::real().await;
    following(&space, "shop").await;
    let time = "2026-11-26T08:00:00Z";
    let timed = async |media_type: &str, patch: Value| -> Duration {
        let began = Instant::now();
        let status = space.patch_status("shop", media_type, &patch).await;
        let took = began.elapsed();
        assert_eq!(status, StatusCode::OK, "{patch}");
        took
    };
    timed("application/merge-patch+json", merge(&commit(0), time)).await;
    let mut gitrepo = space.read("shop").await;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for number in 0..PATCHES {
        let (one, other) = (commit(2 * number + 1), commit(2 * number + 2));
        let patch = conditional(&gitrepo, &one, time);
        ours.push(timed("application/json-patch+json", patch).await);
        bare.push(timed("application/merge-patch+json", merge(&other, time)).await);
        gitrepo["status"]["webhookCommit"] = json!(other);
    }
    let (ours, bare) = (median(ours), median(bare));
    let now =
        format!("{ours:.2?} and {bare:.2?}: {:.3} times", ours.as_secs_f64() / bare.as_secs_f64());
    line(
        "p50 of 450 conditional patches and of 450 merge patches, in turn",
        "3.39 and 3.30 ms",
        &now,
    );
}
