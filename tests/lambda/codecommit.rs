//! CodeCommit's events: taken as the outer event alone, verified by IAM, and a function error where a patch failed.

use serde_json::{Value, json};

use crate::{
    on_both,
    support::{
        api_server::Fault,
        github::{NEW, NEWER, OLD},
        lambda::{FrontDoor, Lambda},
        space::Space,
    },
};

on_both!(
    #[ignore = "needs the Lambda emulator: tests/README.md"]
    a_codecommit_event_patches_every_form_of_its_url,
    a_gitrepo_with_a_secret_of_its_own_is_not_patched,
    the_same_json_over_http_is_an_unknown_provider,
    an_event_of_another_account_moves_nothing,
    the_trigger_of_a_repository_patches_too,
    an_event_of_another_source_is_ignored_without_looking_for_anything,
);

/// Two moments at which something is pushed.
const EARLIER: &str = "2026-11-23T21:00:00Z";
const LATER: &str = "2026-11-23T21:00:09Z";

async fn start(space: &Space) -> Lambda {
    let kubeconfig = space.kubeconfig.to_str().unwrap();
    let variables = [
        ("KUBECONFIG", kubeconfig),
        ("FLEET_NAMESPACE", &space.fleet),
        ("AWS_LAMBDA_FUNCTION_TIMEOUT", "3"),
    ];
    Lambda::start(&variables).await
}

/// A push to a repository that only this space's GitRepos follow.
fn event(space: &Space, commit: &str) -> Value {
    event_at(space, commit, EARLIER)
}

fn event_at(space: &Space, commit: &str, time: &str) -> Value {
    json!({
        "version": "0", "id": "01234567-0123-0123-0123-012345678901",
        "detail-type": "CodeCommit Repository State Change", "source": "aws.codecommit",
        "account": "012345678912", "time": time, "region": "eu-central-1",
        "resources": [format!("arn:aws:codecommit:eu-central-1:012345678912:{}", space.apps)],
        "detail": {
            "event": "referenceUpdated", "repositoryName": space.apps, "repositoryId": "12345678",
            "referenceType": "branch", "referenceName": "main", "referenceFullName": "refs/heads/main",
            "oldCommitId": OLD, "commitId": commit,
        },
    })
}

async fn an_event_of_another_account_moves_nothing(space: &Space) {
    gitrepos(space).await;
    let lambda = start(space).await;
    let mut event = event(space, NEW);
    event["account"] = "210987654321".into();
    let returned = lambda.invoke(&event).await;
    assert_eq!(returned["outcome"], "ignored", "{returned}");
    assert_eq!(space.writes(), []);
}

async fn the_trigger_of_a_repository_patches_too(space: &Space) {
    gitrepos(space).await;
    let lambda = start(space).await;
    let trigger = |name: &str| {
        json!({ "Records": [{
            "eventId": "5a824061-17ca-46a9-bbf9-114edeadbeef", "eventTime": "2026-11-23T21:00:00.475+0000",
            "eventName": name, "eventSource": "aws:codecommit", "awsRegion": "eu-central-1",
            "eventSourceARN": format!("arn:aws:codecommit:eu-central-1:012345678912:{}", space.apps),
            "codecommit": { "references": [{ "ref": "refs/heads/main", "commit": NEW }] },
        }] })
    };
    let returned = lambda.invoke(&trigger("TriggerEventTest")).await;
    assert_eq!(returned["outcome"], "pong", "{returned}");
    assert_eq!(space.writes(), []);
    let returned = lambda.invoke(&trigger("ReferenceChanges")).await;
    assert_eq!(returned["outcome"], "accepted", "{returned}");
    assert_eq!(space.commit("https").await.as_deref(), Some(NEW));
}

async fn gitrepos(space: &Space) {
    let host = "git-codecommit.eu-central-1.amazonaws.com/v1/repos";
    for (name, url) in [
        ("https", format!("https://{host}/{}", space.apps)),
        ("ssh", format!("ssh://APKAEXAMPLE@{host}/{}", space.apps)),
        ("helper", format!("codecommit::eu-central-1://{}", space.apps)),
    ] {
        space.gitrepo(name, json!({ "repo": url, "branch": "main" })).await;
    }
}

async fn a_codecommit_event_patches_every_form_of_its_url(space: &Space) {
    let lambda = start(space).await;
    gitrepos(space).await;
    let returned = lambda.invoke(&event(space, NEW)).await;
    assert_eq!(returned["outcome"], "accepted", "{returned}\n{}", lambda.log());
    assert_eq!(returned["counts"], json!({ "patched": 3, "skipped": 0 }));
    for name in ["https", "ssh", "helper"] {
        assert_eq!(space.commit(name).await.as_deref(), Some(NEW), "{name}");
    }
    let line = lambda.delivery_line(1).await;
    assert_eq!(line["provider"], "codecommit");
    assert_eq!(line["delivery.id"], "01234567-0123-0123-0123-012345678901");
}

async fn a_gitrepo_with_a_secret_of_its_own_is_not_patched(space: &Space) {
    let lambda = start(space).await;
    let url = format!("codecommit::eu-central-1://{}", space.apps);
    space.secret(&space.apps, "own", json!({ "github": "x" })).await;
    space.gitrepo("own", json!({ "repo": url, "branch": "main", "webhookSecret": "own" })).await;
    let returned = lambda.invoke(&event(space, NEW)).await;
    assert_eq!(returned["counts"], json!({ "patched": 0, "skipped": 1 }), "{returned}");
    assert_eq!(space.writes(), []);
}

async fn the_same_json_over_http_is_an_unknown_provider(space: &Space) {
    let lambda = start(space).await;
    gitrepos(space).await;
    let body = event(space, NEW).to_string();
    for door in FrontDoor::ALL {
        let event = door.post(&[("content-type", "application/json")], body.as_bytes(), false);
        let answer = lambda.answer(&event).await;
        assert_eq!((answer.status, answer.outcome()), (400, "unknown_provider"), "{door:?}");
    }
    assert_eq!(space.writes(), []);
}

async fn an_event_of_another_source_is_ignored_without_looking_for_anything(space: &Space) {
    let lambda = start(space).await;
    gitrepos(space).await;
    let mut of_another_source = event(space, NEW);
    of_another_source["source"] = json!("aws.events");
    let mut scheduled = of_another_source.clone();
    scheduled["detail-type"] = json!("Scheduled Event");
    scheduled["detail"] = json!({});
    for event in [scheduled, of_another_source] {
        let returned = lambda.invoke(&event).await;
        assert_eq!(returned["outcome"], "ignored", "{returned}");
        assert_eq!(returned["counts"], json!({ "patched": 0, "skipped": 0 }));
    }
    let requests = space.requests();
    // Whether the global secret is there is asked once, for the start line.
    let asked = requests.iter().filter(|request| !request.uri.contains("/secrets/"));
    assert_eq!(asked.count(), 0, "{requests:?}");
    assert_eq!(space.writes(), []);
}

/// Makes patches of one GitRepo fail until the server is mended.
fn break_down(space: &Space, name: &str) {
    let uri = format!("gitrepos/{name}/status");
    space.fail(Fault::always(reqwest::Method::PATCH, &uri, 500));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the Lambda emulator: tests/README.md"]
async fn an_event_that_failed_is_patched_when_it_is_sent_again() {
    let space = Space::embedded().await;
    let lambda = start(&space).await;
    gitrepos(&space).await;
    break_down(&space, "ssh");
    let failed = lambda.invoke(&event(&space, NEW)).await;
    assert_eq!(failed["errorType"], "unavailable", "{failed}");
    space.embedded_server().unwrap().mend();

    let again = lambda.invoke(&event(&space, NEW)).await;

    assert_eq!(again["outcome"], "accepted", "{again}\n{}", lambda.log());
    assert_eq!(again["counts"], json!({ "patched": 1, "skipped": 2 }));
    for name in ["https", "ssh", "helper"] {
        assert_eq!(space.commit(name).await.as_deref(), Some(NEW), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the Lambda emulator: tests/README.md"]
async fn an_event_that_is_sent_again_does_not_overtake_a_later_one() {
    let space = Space::embedded().await;
    let lambda = start(&space).await;
    gitrepos(&space).await;
    break_down(&space, "ssh");
    let failed = lambda.invoke(&event_at(&space, NEW, EARLIER)).await;
    assert_eq!(failed["errorType"], "unavailable", "{failed}");
    space.embedded_server().unwrap().mend();
    let later = lambda.invoke(&event_at(&space, NEWER, LATER)).await;
    assert_eq!(later["counts"], json!({ "patched": 3, "skipped": 0 }), "{later}");

    let again = lambda.invoke(&event_at(&space, NEW, EARLIER)).await;

    assert_eq!(again["counts"], json!({ "patched": 0, "skipped": 3 }), "{again}");
    for name in ["https", "ssh", "helper"] {
        assert_eq!(space.commit(name).await.as_deref(), Some(NEWER), "{name}");
    }
    let skipped = lambda.delivery_line(3).await["gitrepos.skipped"].to_string();
    assert_eq!(skipped.matches(": superseded").count(), 3, "{skipped}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the Lambda emulator: tests/README.md"]
async fn what_could_not_be_patched_is_a_function_error() {
    let space = Space::embedded().await;
    let lambda = start(&space).await;
    gitrepos(&space).await;
    break_down(&space, "ssh");
    let returned = lambda.invoke(&event(&space, NEW)).await;
    assert_eq!(returned["errorType"], "unavailable", "{returned}");
    assert_eq!(space.commit("https").await.as_deref(), Some(NEW));
    assert_eq!(space.commit("ssh").await, None);
}

#[tokio::test]
#[ignore = "needs the Lambda emulator: tests/README.md"]
async fn a_malformed_event_is_a_function_error() {
    let space = Space::embedded().await;
    let lambda = start(&space).await;
    let returned = lambda.invoke(&json!({ "detail-type": "x", "source": "aws.codecommit" })).await;
    assert_eq!(returned["errorType"], "malformed", "{returned}");
}
