//! Real deliveries that others published, sent to the function: they move who follows them, and nobody else.
//! `conformance` does the same with our own.

use serde_json::{Map, Value, json};

use crate::{
    conformance::{prepared, start},
    on_both,
    support::{shared, space::Space},
};

on_both!(
    #[ignore = "needs ../shared: tests/README.md"]
    every_real_delivery_is_answered_and_moves_nothing,
    every_real_push_moves_who_follows_it_to_its_commit,
);

async fn every_real_delivery_is_answered_and_moves_nothing(space: &Space) {
    let folder = shared::folder();
    let function = prepared(space).await;
    for shared::Published { file, headers, body, .. } in shared::deliveries(&folder) {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = function.deliver(&headers, body).await;
        let said = (answer.status, answer.outcome());
        let is_harmless = matches!(said, (200, "ignored" | "pong") | (401, "unauthorized"));
        assert!(is_harmless, "{file} {said:?} {}", answer.body);
    }
    assert_eq!(space.writes(), []);
}

async fn every_real_push_moves_who_follows_it_to_its_commit(space: &Space) {
    let folder = shared::folder();
    let pushes: Vec<_> = shared::deliveries(&folder).into_iter().filter_map(RealPush::of).collect();
    assert!(!pushes.is_empty());
    for push in &pushes {
        // Each with the secret that was published with it, as its own.
        space.secret(&space.apps, &push.name, push.keys.clone().into()).await;
        space.gitrepo(&push.name, push.follower.clone()).await;
    }
    let function = start(space).await;
    for RealPush { name, headers, body, commit, .. } in pushes {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = function.deliver(&headers, body).await;
        let said = (answer.status, answer.outcome());
        assert_eq!(said, (200, "accepted"), "{name} {}", answer.body);
        assert_eq!(space.commit(&name).await.as_deref(), Some(commit), "{name}");
    }
}

/// A real delivery that moves a ref, with a GitRepo that follows it.
struct RealPush {
    name: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    keys: Map<String, Value>,
    follower: Value,
    commit: &'static str,
}

impl RealPush {
    /// `None` where no commit is listed for it.
    fn of(published: shared::Published) -> Option<Self> {
        let shared::Published { file, mut headers, body, secret } = published;
        let (_, listed) = shared::DELIVERIES.iter().find(|(listed, _)| *listed == file)?;
        let (_, moved) = listed.split_once(": ")?;
        let (full_ref, commit) = moved.split(", ").find_map(|moved| moved.split_once(" at "))?;
        let secret = secret.expect("who published a push published its secret");
        let provider = file.split('/').next()?;
        if provider == "gitee" {
            // Its signatures were good for an hour in 2021; the secret itself, which it may send as well, is for ever.
            headers.retain(|(name, _)| !name.eq_ignore_ascii_case("x-gitee-token"));
            headers.push(("x-gitee-token".to_owned(), secret.clone()));
        }
        let repo = repository(&serde_json::from_slice(&body).expect("is JSON"));
        let mut follower = match full_ref.strip_prefix("refs/heads/") {
            Some(branch) => json!({ "repo": repo, "branch": branch }),
            None => json!({ "repo": repo, "revision": full_ref }),
        };
        let name = file.replace('/', "-");
        follower["webhookSecret"] = name.clone().into();
        let keys = shared::keys(provider, &secret).into_iter();
        let keys = keys.map(|(key, value)| (key, value.into())).collect();
        Some(Self { name, headers, body, keys, follower, commit })
    }
}

/// A URL of the repository that a payload is about.
fn repository(payload: &Value) -> String {
    let text = |pointer| payload.pointer(pointer).and_then(Value::as_str);
    let url = [
        "/project/git_http_url",
        "/repository/clone_url",
        "/repository/links/clone/0/href",
        "/resource/repository/remoteUrl",
    ];
    if let Some(url) = url.into_iter().find_map(text) {
        return url.to_owned();
    }
    match (text("/repository/full_name"), text("/repository/project/key"), text("/repository/slug"))
    {
        (Some(full_name), ..) => format!("git@bitbucket.org:{full_name}.git"),
        (_, Some(key), Some(slug)) => {
            format!("https://bitbucket.acme.example/scm/{key}/{slug}.git")
        }
        _ => panic!("of which repository is {payload}?"),
    }
}
