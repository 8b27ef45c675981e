//! A delivery with the headers of two providers: the one that is looked for first has to be proven, and nothing else is.

use serde_json::{Value, json};

use crate::{
    on_both,
    support::{
        function::{Answer, Function},
        github::{NEW, signature},
        space::Space,
    },
};

on_both!(
    a_right_proof_of_another_provider_verifies_nothing,
    the_provider_that_is_looked_for_first_decides_though_another_ones_proof_is_wrong,
);

const GITHUB: &str = "github secret";
const GITLAB: &str = "gitlab secret";
const GOGS: &str = "gogs secret";

/// On a host that every one of them may speak about.
fn url(space: &Space) -> String {
    format!("https://git.example/{}", space.repository)
}

/// A push that GitHub, GitLab, Gogs and Gitee could each have sent.
fn body(space: &Space) -> String {
    json!({
        "ref": "refs/heads/main", "after": NEW,
        "repository": { "clone_url": url(space), "git_http_url": url(space) },
    })
    .to_string()
}

async fn prepared(space: &Space) -> Function {
    space.gitrepo("shop", json!({ "repo": url(space), "branch": "main" })).await;
    let secret =
        json!({ "github": GITHUB, "gitlab": GITLAB, "gogs": GOGS, "gitee": "gitee secret" });
    space.global_secret(secret).await;
    Function::start(space, &[]).await
}

async fn deliver(function: &Function, space: &Space, headers: &[(&str, &str)]) -> Answer {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    function.deliver(&all, body(space)).await
}

async fn a_right_proof_of_another_provider_verifies_nothing(space: &Space) {
    let function = prepared(space).await;
    let github_proof = signature(GITHUB, body(space).as_bytes());
    let gogs_proof = signature(GOGS, body(space).as_bytes()).replace("sha256=", "");
    let github = [("x-github-event", "push"), ("x-hub-signature-256", github_proof.as_str())];
    let gitlab = [("x-gitlab-event", "Push Hook"), ("x-gitlab-token", GITLAB)];
    let gogs = [("x-gogs-event", "push"), ("x-gogs-signature", gogs_proof.as_str())];
    for (proven, first, event) in [
        (github, "gitlab", ("x-gitlab-event", "Push Hook")),
        (github, "gogs", ("x-gogs-event", "push")),
        (github, "gitea", ("x-gitea-event", "push")),
        (gitlab, "gitee", ("x-gitee-event", "Push Hook")),
        (gitlab, "gogs", ("x-gogs-event", "push")),
        (gogs, "forgejo", ("x-forgejo-event", "push")),
    ] {
        for headers in [[proven[0], proven[1], event], [event, proven[0], proven[1]]] {
            let answer = deliver(&function, space, &headers).await;
            assert_eq!((answer.status, answer.outcome()), (401, "unauthorized"), "{headers:?}");
            assert_eq!(answer.body["provider"], first, "{headers:?}");
        }
    }
    assert_eq!(space.writes(), []);
    assert_eq!(space.commit("shop").await, None);

    for alone in [github, gitlab, gogs] {
        let answer = deliver(&function, space, &alone).await;
        assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{alone:?}");
    }
}

async fn the_provider_that_is_looked_for_first_decides_though_another_ones_proof_is_wrong(
    space: &Space,
) {
    let function = prepared(space).await;
    let wrong = signature("wrong", body(space).as_bytes());
    let headers = [
        ("x-github-event", "push"),
        ("x-hub-signature-256", wrong.as_str()),
        ("x-gitlab-event", "Push Hook"),
        ("x-gitlab-token", GITLAB),
    ];
    let answer = deliver(&function, space, &headers).await;
    assert_eq!((answer.status, answer.outcome()), (200, "accepted"));
    assert_eq!(answer.body["provider"], json!("gitlab"));
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));

    let token_twice = [headers[2], headers[3], headers[3], headers[0]];
    let answer = deliver(&function, space, &token_twice).await;
    assert_eq!((answer.status, answer.body["counts"].clone()), (401, Value::Null));
}
