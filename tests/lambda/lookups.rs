//! What looking GitRepos up costs without the index: a scan of names and URLs, and then only what matches.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    on_both,
    support::{
        github::{NEW, NEWER, SECRET, headers, push, signature},
        lambda::{FrontDoor, Lambda},
        space::{ApiRequest, Space},
    },
};

on_both!(
    #[ignore = "needs the Lambda emulator: tests/README.md"]
    one_of_many_gitrepos_costs_a_scan_a_list_by_name_and_a_patch,
    a_monorepo_with_many_gitrepos_is_patched_whole_after_two_scans_without_a_list,
    forged_deliveries_share_one_scan_for_a_while,
    without_a_cache_each_forged_delivery_costs_a_scan,
);

async fn start(space: &Space, variables: &[(&str, &str)]) -> Lambda {
    space.github_secret().await;
    let kubeconfig = space.kubeconfig.to_str().unwrap();
    let mut all = vec![
        ("KUBECONFIG", kubeconfig),
        ("FLEET_NAMESPACE", space.fleet.as_str()),
        ("AWS_LAMBDA_FUNCTION_TIMEOUT", "60"),
    ];
    all.extend_from_slice(variables);
    Lambda::start(&all).await
}

fn follows(repo: &str) -> Value {
    json!({ "repo": repo, "branch": "main", "pollingInterval": "1h" })
}

/// Creates GitRepos, each by its namespace, its name and its repository.
async fn create(space: &Space, gitrepos: impl Iterator<Item = (String, String, String)>) {
    let gitrepos: Vec<_> = gitrepos.collect();
    for chunk in gitrepos.chunks(20) {
        let create = |(namespace, name, repo): &(String, String, String)| {
            let (namespace, name, spec) = (namespace.clone(), name.clone(), follows(repo));
            async move { space.gitrepo_in(&namespace, &name, spec).await }
        };
        join_all(chunk.iter().map(create)).await;
    }
}

fn others(space: &Space) -> impl Iterator<Item = (String, String, String)> {
    let (apps, fleet) = (space.apps.clone(), space.fleet.clone());
    (0..200).map(move |number| {
        let (name, repo) = (format!("other-{number}"), format!("{fleet}/other-{number}"));
        (apps.clone(), name, format!("https://github.com/{repo}"))
    })
}

/// Delivers once so that connection and secret are there, and then counts.
async fn warm(lambda: &Lambda, space: &Space) -> usize {
    let cold = lambda.push(space, SECRET, NEW).await;
    assert_eq!(cold.outcome(), "accepted", "{}", lambda.log());
    space.requests().len()
}

/// The requests since there were `before`, in short.
fn since(space: &Space, before: usize) -> Vec<String> {
    space.requests().split_off(before).iter().map(in_short).collect()
}

fn in_short(request: &ApiRequest) -> String {
    let (path, query) = request.uri.split_once('?').unwrap_or((&request.uri, ""));
    let last = path.rsplit('/').next().unwrap_or_default();
    let what = match query {
        _ if path.contains("/secrets/") => "secret".to_owned(),
        _ if query.starts_with("includeObject=None") => "scan".to_owned(),
        _ if query.starts_with("includeObject=Metadata") => "scan with metadata".to_owned(),
        _ if query.starts_with("fieldSelector=") => match path.contains("/namespaces/") {
            true => "gitrepo".to_owned(),
            false => "list by name".to_owned(),
        },
        _ if query.starts_with("limit=") => "page".to_owned(),
        _ if last == "gitrepos" => "list".to_owned(),
        _ if last == "status" => "status".to_owned(),
        _ => "gitrepo".to_owned(),
    };
    format!("{} {what}", request.method)
}

fn count(requests: &[String], wanted: &str) -> usize {
    requests.iter().filter(|request| *request == wanted).count()
}

async fn one_of_many_gitrepos_costs_a_scan_a_list_by_name_and_a_patch(space: &Space) {
    create(space, others(space)).await;
    space.gitrepo(&space.apps, follows(&space.github_url())).await;
    let lambda = start(space, &[]).await;
    let before = warm(&lambda, space).await;

    let answer = lambda.push(space, SECRET, NEWER).await;

    assert_eq!(answer.body["counts"], json!({ "patched": 1, "skipped": 0 }), "{}", lambda.log());
    let requests = since(space, before);
    assert_eq!(requests, ["GET scan", "GET list by name", "PATCH status"]);
    assert_eq!(space.commit(&space.apps).await.as_deref(), Some(NEWER));
}

async fn a_monorepo_with_many_gitrepos_is_patched_whole_after_two_scans_without_a_list(
    space: &Space,
) {
    let part = |number| (space.apps.clone(), format!("part-{number}"), space.github_url());
    create(space, (0..200).map(part)).await;
    let lambda = start(space, &[]).await;
    let before = warm(&lambda, space).await;

    let answer = lambda.push(space, SECRET, NEWER).await;

    assert_eq!(answer.body["counts"], json!({ "patched": 200, "skipped": 0 }), "{}", lambda.log());
    let requests = since(space, before);
    assert_eq!(count(&requests, "GET scan"), 1);
    assert_eq!(count(&requests, "GET scan with metadata"), 1);
    assert_eq!(count(&requests, "GET gitrepo"), 200);
    assert_eq!(count(&requests, "PATCH status"), 200);
    assert_eq!(requests.len(), 402, "{requests:?}");
    for number in [0, 77, 199] {
        assert_eq!(space.commit(&format!("part-{number}")).await.as_deref(), Some(NEWER));
    }
}

async fn forged_deliveries_share_one_scan_for_a_while(space: &Space) {
    space.gitrepo(&space.apps, follows(&space.github_url())).await;
    let lambda = start(space, &[]).await;
    for _ in 0..20 {
        assert_eq!(lambda.push(space, "forged", NEW).await.status, 401);
    }
    let requests = since(space, 0);
    assert_eq!(count(&requests, "GET scan"), 1, "{requests:?}");
    assert_eq!(count(&requests, "GET list by name"), 1, "{requests:?}");
    assert_eq!(space.writes(), []);
}

async fn without_a_cache_each_forged_delivery_costs_a_scan(space: &Space) {
    space.gitrepo(&space.apps, follows(&space.github_url())).await;
    let lambda = start(space, &[("LOOKUP_CACHE_TTL", "0s")]).await;
    for number in 1..=3 {
        assert_eq!(lambda.push(space, "forged", NEW).await.status, 401);
        assert_eq!(count(&since(space, 0), "GET scan"), number);
    }
    assert_eq!(space.writes(), []);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the Lambda emulator: tests/README.md"]
async fn one_of_many_gitrepos_of_one_name_is_found_without_reading_the_others() {
    let space = Space::embedded().await;
    create(&space, (0..300).map(of_team)).await;
    space.gitrepo("app", follows(&space.github_url())).await;
    let lambda = start(&space, &[]).await;
    let before = warm(&lambda, &space).await;

    let answer = lambda.push(&space, SECRET, NEWER).await;

    assert_eq!(answer.body["counts"], json!({ "patched": 1, "skipped": 0 }), "{}", lambda.log());
    let requests = since(&space, before);
    let found = ["GET scan", "GET scan with metadata", "GET gitrepo", "PATCH status"];
    assert_eq!(requests, found);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the Lambda emulator: tests/README.md"]
async fn forged_deliveries_for_gitrepos_of_one_name_share_both_scans() {
    let space = Space::embedded().await;
    create(&space, (0..300).map(of_team)).await;
    let lambda = start(&space, &[]).await;

    for number in 0..3 {
        let (_, _, url) = of_team(number);
        let body = push(&space, "refs/heads/main", NEW).to_string();
        let body = body.replace(&space.github_url(), &url);
        let proof = signature("forged", body.as_bytes());
        let event = FrontDoor::HttpApi.post(&headers(&proof), body.as_bytes(), false);
        assert_eq!(lambda.answer(&event).await.status, 401);
    }

    let requests = since(&space, 0);
    for (wanted, times) in [("GET scan", 1), ("GET scan with metadata", 1), ("GET gitrepo", 3)] {
        assert_eq!(count(&requests, wanted), times, "{wanted}: {requests:?}");
    }
}

/// The GitRepo of a team: all have one name, each a namespace and a repository.
fn of_team(number: usize) -> (String, String, String) {
    let namespace = format!("team-{number}");
    (namespace.clone(), "app".to_owned(), format!("https://github.com/acme/{namespace}"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the Lambda emulator: tests/README.md"]
async fn where_the_crd_prints_no_url_gitrepos_are_listed_page_by_page() {
    let space = Space::embedded().await;
    space.embedded_server().unwrap().print_no_repo();
    let other = |number| {
        let repo = format!("https://github.com/acme/other-{number}");
        (space.apps.clone(), format!("a-{number}"), repo)
    };
    create(&space, (0..600).map(other)).await;
    space.gitrepo("shop", follows(&space.github_url())).await;
    let lambda = start(&space, &[]).await;
    let before = warm(&lambda, &space).await;

    let answer = lambda.push(&space, SECRET, NEWER).await;

    assert_eq!(answer.body["counts"], json!({ "patched": 1, "skipped": 0 }), "{}", lambda.log());
    let requests = since(&space, before);
    assert_eq!(requests[..3], ["GET scan", "GET page", "GET page"]);
    assert_eq!(requests.last().unwrap(), "PATCH status");
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEWER));
}
