//! What holds of every provider: who is asked, what it says of a ref and of itself.

mod bodies;
mod hosts;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header::CONTENT_TYPE};
use serde_json::json;

use super::*;

fn provider(name: &str) -> &'static Provider {
    PROVIDERS.iter().find(|provider| provider.name == name).expect("is in the table")
}

fn headers(names: &[&'static str]) -> HeaderMap {
    let pair =
        |name: &&'static str| (HeaderName::from_static(name), HeaderValue::from_static("push"));
    names.iter().map(pair).collect()
}

fn delivery(kind: (&'static str, &'static str), body: String) -> Delivery {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(kind.0, HeaderValue::from_static(kind.1));
    Delivery::new(headers, Bytes::from(body)).expect("is JSON")
}

/// What is read in a delivery of GitHub.
fn github(kind: &'static str, body: String) -> Result<Event, Malformed> {
    read(provider("github"), &delivery(("x-github-event", kind), body), &HostAliases::default())
}

#[test]
fn names_and_markers_are_in_lower_case_and_of_one_row_each() {
    let mut names: Vec<_> = PROVIDERS.iter().map(|provider| provider.name).collect();
    let mut markers: Vec<_> = PROVIDERS.iter().flat_map(|provider| provider.markers).collect();
    names.sort_unstable();
    markers.sort_unstable();
    for (count, all) in
        [(names.len(), names), (markers.len(), markers.into_iter().copied().collect())]
    {
        let mut all: Vec<&str> = all;
        assert!(all.iter().all(|text| text.to_lowercase() == *text), "{all:?}");
        all.dedup();
        assert_eq!(all.len(), count, "{all:?}");
    }
}

#[test]
fn the_header_decides_who_sent_it_and_the_first_row_if_there_are_several() {
    for (names, sender) in [
        (&["x-github-event", "x-hub-signature-256"][..], Some("github")),
        (&["x-github-event", "x-gogs-event"], Some("gogs")),
        (&["x-github-event", "x-gogs-event", "x-gitea-event"], Some("gitea")),
        (&["x-github-event", "x-gogs-event", "x-gitea-event", "x-forgejo-event"], Some("forgejo")),
        (&["x-gitee-event"], Some("gitee")),
        (&["x-gitlab-event", "webhook-id", "webhook-signature"], Some("gitlab")),
        (&["x-event-key", "x-hook-uuid"], Some("bitbucket-cloud")),
        (&["x-event-key", "x-request-id"], Some("bitbucket-server")),
        (&["x-vss-activityid"], Some("azure-devops")),
        (&["x-vss-subscriptionid", "x-github-event"], Some("azure-devops")),
        (&["webhook-id"], Some("generic")),
        (&["webhook-signature", "x-github-event"], Some("github")),
        (&["x-github-event", "x-gitlab-event"], Some("gitlab")),
        (&["x-request-id"], None),
        (&[], None),
    ] {
        let detected = detect(&headers(names)).map(|provider| provider.name);
        assert_eq!(detected, sender, "{names:?}");
    }
}

#[test]
fn every_provider_says_what_the_ref_was_before() {
    let (old, new) = (testing::OTHER, testing::COMMIT);
    let url = "https://git.acme.example/acme/shop";
    let (ref_push, gitlab) = (
        json!({ "ref": "refs/heads/main", "before": old, "after": new, "repository": { "clone_url": url } }),
        json!({ "ref": "refs/heads/main", "before": old, "after": new, "project": { "git_http_url": url } }),
    );
    let bitbucket =
        |commit| json!({ "type": "branch", "name": "main", "target": { "hash": commit } });
    for (name, kind, payload) in [
        ("github", "push", &ref_push),
        ("gogs", "push", &ref_push),
        ("gitea", "push", &ref_push),
        ("forgejo", "push", &ref_push),
        ("gitee", "Push Hook", &ref_push),
        ("gitlab", "Push Hook", &gitlab),
        (
            "bitbucket-cloud",
            "repo:push",
            &json!({
                "repository": { "full_name": "acme/shop" },
                "push": { "changes": [{ "old": bitbucket(old), "new": bitbucket(new) }] },
            }),
        ),
        (
            "bitbucket-server",
            "repo:refs_changed",
            &json!({
                "repository": { "links": { "clone": [{ "href": "https://git.acme.example/scm/acme/shop" }] } },
                "changes": [{ "ref": { "id": "refs/heads/main" }, "type": "UPDATE", "fromHash": old, "toHash": new }],
            }),
        ),
        (
            "azure-devops",
            "",
            &json!({
                "eventType": "git.push",
                "resource": {
                    "refUpdates": [{ "name": "refs/heads/main", "oldObjectId": old, "newObjectId": new }],
                    "repository": { "remoteUrl": url },
                },
            }),
        ),
        (
            "generic",
            "",
            &json!({ "repository": url, "ref": "refs/heads/main", "before": old, "after": new }),
        ),
    ] {
        let said = testing::said(provider(name), kind, payload);
        assert!(said.ends_with("refs/heads/main at 1f0c3a1 from 2e7b9d0"), "{name}: {said}");
    }
}

fn kind_of(lines: &[&str]) -> Result<String, String> {
    let mut headers = delivery(("x-unrelated", "x"), String::new()).headers().clone();
    for line in lines {
        let value = HeaderValue::from_bytes(line.as_bytes()).expect("is a header's value");
        headers.append("x-gitlab-event", value);
    }
    let delivery = Delivery::new(headers, Bytes::new()).expect("is JSON");
    kind("x-gitlab-event", &delivery).map(str::to_owned).map_err(|malformed| malformed.0)
}

#[test]
fn a_header_that_names_the_event_counts_once_however_a_proxy_repeats_it() {
    for lines in [
        &["Push Hook"][..],
        &["Push Hook", "Push Hook"],
        &["Push Hook, Push Hook"],
        &["Push Hook,Push Hook,", " Push Hook "],
    ] {
        assert_eq!(kind_of(lines), Ok("Push Hook".to_owned()), "{lines:?}");
    }
}

#[test]
fn a_push_is_never_ignored_for_a_header_that_came_out_wrong() {
    for (lines, how) in [
        (&[][..], "missing"),
        (&[""], "missing"),
        (&[" , "], "missing"),
        (&["Push Hook", "Tag Push Hook"], "there with several values"),
        (&["Push Hook, Note Hook"], "there with several values"),
        (&["Push H\u{f6}\u{f6}k"], "unreadable"),
    ] {
        let said = format!("header x-gitlab-event: {how}, and it names the event");
        assert_eq!(kind_of(lines), Err(said), "{lines:?}");
    }
    for (marker, name) in [
        ("x-hook-uuid", "bitbucket-cloud"),
        ("x-gitlab-token", "gitlab"),
        ("x-gitea-signature", "gitea"),
        ("x-hub-signature-256", "github"),
    ] {
        let delivery = delivery((marker, "x"), "{}".to_owned());
        let sender = sender_of(&delivery).expect("is known");
        assert_eq!(sender.name, name);
        let said = read(sender, &delivery, &HostAliases::default());
        assert!(said.is_err_and(|malformed| malformed.0.contains("missing")), "{marker}");
    }
}

#[test]
fn azure_without_its_headers_is_known_by_basic_authentication_and_publisher() {
    let body = r#"{"publisherId":"tfs","eventType":"git.push"}"#;
    let sender =
        |headers: &[(&'static str, &'static str)], body: &str| {
            let mut map = delivery(("x-unrelated", "x"), String::new()).headers().clone();
            map.extend(headers.iter().map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            }));
            let delivery = Delivery::new(map, Bytes::from(body.to_owned())).expect("is JSON");
            sender_of(&delivery).map(|provider| provider.name)
        };
    let basic = ("authorization", "Basic aG9vazp4");
    assert_eq!(sender(&[basic], body), Some("azure-devops"));
    assert_eq!(sender(&[basic, ("x-github-event", "push")], body), Some("github"));
    assert_eq!(sender(&[], body), None);
    assert_eq!(sender(&[("authorization", "Bearer x")], body), None);
    for other in ["", "[]", "{}", r#"{"publisherId":null}"#, r#"{"publisherId":{}}"#] {
        assert_eq!(sender(&[basic], other), None, "{other}");
    }
}

#[test]
fn a_delivery_is_known_by_its_first_id_unless_that_is_endless() {
    let with = |headers: &[(&'static str, String)]| {
        let mut delivery =
            delivery(("x-gitlab-event", "Push Hook"), String::new()).headers().clone();
        for (name, value) in headers {
            delivery.insert(*name, value.parse().expect("is a header's value"));
        }
        Delivery::new(delivery, Bytes::new()).expect("is JSON")
    };
    let gitlab = provider("gitlab");
    let one = with(&[("webhook-id", "b".to_owned()), ("idempotency-key", "a".to_owned())]);
    assert_eq!(gitlab.delivery_id(&one), Some("a"));
    assert_eq!(gitlab.delivery_id(&with(&[("webhook-id", "b".to_owned())])), Some("b"));
    assert_eq!(gitlab.delivery_id(&with(&[("webhook-id", "b".repeat(129))])), None);
    assert_eq!(gitlab.delivery_id(&with(&[])), None);
}

#[test]
fn a_delivery_of_azure_is_known_by_the_id_in_its_body() {
    let long = format!(r#"{{"id":"{}"}}"#, "b".repeat(129));
    for (body, id) in [
        (r#"{"id":"03c164c2-8912-4d5e-8009-3707d5f83734","x":[]}"#, true),
        (r#"{"id":null}"#, false),
        (r#"{"id":""}"#, false),
        (r#"{"id":1}"#, false),
        (r#"{"id":"é"}"#, false),
        (r#"{"id":"\u001b[31m"}"#, false),
        (&long, false),
        (r#"["03c164c2"]"#, false),
        ("", false),
    ] {
        let delivery = delivery(("x-vss-activityid", "x"), body.to_owned());
        let known = provider("azure-devops").delivery_id(&delivery);
        assert_eq!(known, id.then_some("03c164c2-8912-4d5e-8009-3707d5f83734"), "{body}");
    }
}
