//! A signed push patches the GitRepos that follow it, and says so.

use serde_json::json;

use crate::{
    on_both,
    support::{
        function::Function,
        github::{NEW, NEWER, SECRET},
        space::Space,
    },
};

on_both!(
    a_signed_push_patches_commit_time_and_polling_interval,
    the_answer_names_what_was_patched_and_what_was_not,
    a_polling_interval_that_is_set_is_kept,
    keep_sets_no_polling_interval,
    a_delivery_sent_again_writes_nothing,
    a_push_back_to_an_older_commit_is_announced,
    a_tag_moves_only_the_gitrepos_pinned_to_it,
    only_the_same_repository_is_patched,
    a_deletion_patches_nothing,
    the_log_has_one_line_for_a_delivery_and_no_secret,
    a_warm_delivery_costs_a_scan_a_list_and_a_patch,
    health_readiness_and_other_methods,
);

async fn ready(space: &Space) -> Function {
    space.github_secret().await;
    Function::start(space, &[]).await
}

async fn a_signed_push_patches_commit_time_and_polling_interval(space: &Space) {
    space.gitrepo("shop", space.follows_main()).await;
    let function = ready(space).await;

    let answer = function.push(space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (200, "accepted"));
    let gitrepo = space.read("shop").await;
    assert_eq!(gitrepo["status"]["webhookCommit"], NEW);
    assert_eq!(gitrepo["spec"]["pollingInterval"], "1h");
    // Fleet's CRDs before 0.15 do not know it, and the API server drops it.
    let Some(time) = gitrepo["status"]["lastWebhookTime"].as_str() else {
        return assert!(std::env::var_os("FLEET_WEBHOOK_CRD").is_some(), "{gitrepo}");
    };
    assert_eq!((time.len(), &time[19..]), (20, "Z"), "{time}");
    let time: jiff::Timestamp = time.parse().expect("RFC 3339");
    assert!(time.duration_until(jiff::Timestamp::now()).as_secs().abs() < 60);
}

async fn the_answer_names_what_was_patched_and_what_was_not(space: &Space) {
    let url = space.github_url();
    space.gitrepo("shop", json!({ "repo": url, "branch": "main" })).await;
    space.gitrepo("pinned", json!({ "repo": url, "branch": "main", "revision": "v1" })).await;
    space.gitrepo("other", json!({ "repo": url, "branch": "dev" })).await;
    let function = ready(space).await;

    let answer = function.push(space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!(
        answer.body,
        json!({
            "outcome": "accepted", "provider": "github", "delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
            "counts": { "patched": 1, "skipped": 2 },
            "patched": [{ "namespace": space.apps, "name": "shop", "commit": NEW }],
            "skipped": [
                { "namespace": space.apps, "name": "other", "reason": "branch" },
                { "namespace": space.apps, "name": "pinned", "reason": "revision" },
            ],
        })
    );
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(space.commit("other").await, None);
    assert_eq!(space.commit("pinned").await, None);
}

async fn a_polling_interval_that_is_set_is_kept(space: &Space) {
    let spec = json!({ "repo": space.github_url(), "branch": "main", "pollingInterval": "30s" });
    space.gitrepo("shop", spec).await;
    let function = ready(space).await;

    function.push(space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));
    assert_eq!(space.read("shop").await["spec"]["pollingInterval"], "30s");
    assert_eq!(space.writes().len(), 1);
}

async fn keep_sets_no_polling_interval(space: &Space) {
    space.shop().await;
    let function = Function::start(space, &[("POLLING_INTERVAL", "keep")]).await;

    function.push(space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));
    assert!(space.read("shop").await["spec"]["pollingInterval"].is_null());
}

async fn a_delivery_sent_again_writes_nothing(space: &Space) {
    space.gitrepo("shop", space.follows_main()).await;
    let function = ready(space).await;
    function.push(space, SECRET, "refs/heads/main", NEW).await;
    let writes = space.writes().len();

    let answer = function.push(space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!((answer.status, answer.outcome()), (200, "accepted"));
    assert_eq!(answer.body["skipped"][0]["reason"], "unchanged");
    assert_eq!(space.writes().len(), writes);
}

async fn a_push_back_to_an_older_commit_is_announced(space: &Space) {
    space.gitrepo("shop", space.follows_main()).await;
    let function = ready(space).await;

    for commit in [NEW, NEWER, NEW, NEWER, NEW] {
        function.push(space, SECRET, "refs/heads/main", commit).await;
        assert_eq!(space.commit("shop").await.as_deref(), Some(commit));
    }
}

async fn a_tag_moves_only_the_gitrepos_pinned_to_it(space: &Space) {
    space.gitrepo("follower", json!({ "repo": space.github_url(), "branch": "v1" })).await;
    space
        .gitrepo(
            "pinned",
            json!({ "repo": space.github_url(), "branch": "main", "revision": "v1" }),
        )
        .await;
    space
        .gitrepo("full-ref", json!({ "repo": space.github_url(), "revision": "refs/tags/v1" }))
        .await;
    space.gitrepo("later", json!({ "repo": space.github_url(), "revision": "v1.1" })).await;
    let function = ready(space).await;

    let answer = function.push(space, SECRET, "refs/tags/v1", NEW).await;

    assert_eq!(answer.body["counts"], json!({ "patched": 2, "skipped": 2 }));
    assert_eq!(space.commit("pinned").await.as_deref(), Some(NEW));
    assert_eq!(space.commit("full-ref").await.as_deref(), Some(NEW));
    assert_eq!(space.commit("follower").await, None);
    assert_eq!(space.commit("later").await, None);
}

async fn only_the_same_repository_is_patched(space: &Space) {
    let url = space.github_url();
    let same = [
        ("plain", url.clone()),
        ("dot-git", format!("{url}.git")),
        ("slash", format!("{url}/")),
        ("upper", url.to_uppercase().replace("HTTPS", "https")),
        ("user", format!("https://token@github.com/{}", space.repository)),
        ("scp", format!("git@github.com:{}.git", space.repository)),
        ("ssh", format!("ssh://git@ssh.github.com:443/{}.git", space.repository)),
        ("port", format!("https://github.com:8443/{}", space.repository)),
    ];
    let other = [
        ("prefix", format!("{url}-2")),
        ("evil", format!("https://evilgithub.com/{}", space.repository)),
        ("contains", format!("https://mirror.example/{url}")),
        ("query", format!("https://mirror.example/?url={url}")),
    ];
    for (name, repo) in same.iter().chain(&other) {
        space.gitrepo(name, json!({ "repo": repo, "branch": "main" })).await;
    }
    let function = ready(space).await;

    let answer = function.push(space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!(answer.body["counts"], json!({ "patched": same.len(), "skipped": 0 }));
    for (name, repo) in same {
        assert_eq!(space.commit(name).await.as_deref(), Some(NEW), "{repo}");
    }
    for (name, repo) in other {
        assert_eq!(space.commit(name).await, None, "{repo}");
    }
}

async fn a_deletion_patches_nothing(space: &Space) {
    space.gitrepo("shop", space.follows_main()).await;
    let function = ready(space).await;

    let answer = function.push(space, SECRET, "refs/heads/main", &"0".repeat(40)).await;

    assert_eq!((answer.status, answer.outcome()), (200, "ignored"));
    assert!(space.writes().is_empty());
}

async fn the_log_has_one_line_for_a_delivery_and_no_secret(space: &Space) {
    space.gitrepo("shop", space.follows_main()).await;
    let function = ready(space).await;

    function.push(space, SECRET, "refs/heads/main", NEW).await;
    function.push(space, "a wrong secret", "refs/heads/main", NEWER).await;

    let lines = function.deliveries_logged(2).await;
    assert_eq!(lines.len(), 2, "{}", function.log());
    let line = &lines[0];
    assert_eq!(line["provider"], "github");
    assert_eq!(line["delivery.id"], "72d3162e-cc78-11e3-81ab-4c9367dc0958");
    assert_eq!(line["repo.url"], format!("github.com/{}", space.repository));
    assert_eq!(line["git.ref"], "refs/heads/main");
    assert_eq!((&line["outcome"], &line["patched"]), (&json!("accepted"), &json!(1)));
    assert!(line["duration_ms"].as_f64().is_some());
    assert_eq!(lines[1]["outcome"], "unauthorized");
    let log = function.log();
    for private in [SECRET, "a wrong secret", "sha256=", "head_commit", "Y29ycmVjdCBob3JzZ"] {
        assert!(!log.contains(private), "{private:?} is in the log");
    }
}

async fn a_warm_delivery_costs_a_scan_a_list_and_a_patch(space: &Space) {
    space.gitrepo("shop", space.follows_main()).await;
    let function = ready(space).await;
    function.push(space, SECRET, "refs/heads/main", NEW).await;
    let before = space.requests().len();

    function.push(space, SECRET, "refs/heads/main", NEWER).await;

    let mut requests = space.requests().split_off(before);
    // The index lists when it starts, and watches.
    requests.retain(|request| {
        !request.uri.contains("watch=true") && !request.uri.ends_with("/gitrepos?resourceVersion=0")
    });
    let user_agent = concat!("fleet-webhook/", env!("CARGO_PKG_VERSION"));
    assert!(requests.iter().all(|request| request.user_agent == user_agent), "{requests:?}");
    assert!(
        requests.iter().filter(|request| request.uri.contains("/gitrepos")).count() <= 3,
        "{requests:?}"
    );
    assert_eq!(requests.iter().filter(|request| request.is_write()).count(), 1, "{requests:?}");
    assert!(!requests.iter().any(|request| request.uri.contains("/secrets/")), "{requests:?}");
}

async fn health_readiness_and_other_methods(space: &Space) {
    let function = ready(space).await;

    // `/` is where load balancers look, unless they are told otherwise.
    for path in ["/", "/healthz", "/readyz"] {
        for method in ["GET", "HEAD"] {
            assert_eq!(function.request(method, path).await.status, 200, "{method} {path}");
        }
    }
    for (method, path, allow) in [
        ("GET", "/hook", "POST"),
        ("PUT", "/", "GET, HEAD, POST"),
        ("DELETE", "/healthz", "GET, HEAD, POST"),
    ] {
        let answer = function.request(method, path).await;
        assert_eq!(
            (answer.status, answer.headers["allow"].to_str().unwrap()),
            (405, allow),
            "{method} {path}"
        );
    }
    // Without a content type it counts as JSON.
    assert_eq!(function.request("POST", "/any/path").await.outcome(), "unknown_provider");
}
