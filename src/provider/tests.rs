use bytes::Bytes;
use http::{HeaderName, HeaderValue, header::CONTENT_TYPE};
use proptest::prelude::*;
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

fn github_push(urls: &str) -> Event {
    let body =
        format!(r#"{{"ref":"refs/heads/main","after":"{}","repository":{urls}}}"#, testing::COMMIT);
    read(provider("github"), &delivery(("x-github-event", "push"), body), &HostAliases::default())
        .expect("is a push")
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
fn a_delivery_speaks_only_for_hosts_of_its_provider_and_of_nobody() {
    for (name, own, others) in [
        (
            "github",
            &["https://github.com/a/b", "https://acme.ghe.com/a/b", "https://git.example/a/b"][..],
            &[
                "https://gitlab.com/a/b",
                "https://bitbucket.org/a/b",
                "https://dev.azure.com/a/_git/b",
            ][..],
        ),
        (
            "gitlab",
            &["https://gitlab.com/a/b", "https://git.example/a/b"],
            &["https://github.com/a/b", "git@ssh.github.com:a/b", "https://gitee.com/a/b"],
        ),
        (
            "bitbucket-cloud",
            &["https://bitbucket.org/a/b"],
            &["https://git.example/a/b", "https://github.com/a/b"],
        ),
        (
            "bitbucket-server",
            &["https://git.example/scm/a/b"],
            &["https://bitbucket.org/a/b", "codecommit::eu-west-1://b"],
        ),
        (
            "azure-devops",
            &[
                "https://dev.azure.com/a/_git/b",
                "git@vs-ssh.visualstudio.com:v3/a/b/c",
                "https://git.example/a/_git/b",
            ],
            &["https://github.com/a/b", "https://gitee.com/a/b"],
        ),
        (
            "gitee",
            &["https://gitee.com/a/b", "https://git.example/a/b"],
            &["https://gitlab.com/a/b"],
        ),
        (
            "generic",
            &[
                "https://github.com/a/b",
                "https://gitlab.com/a/b",
                "codecommit::eu-west-1://b",
                "https://git.example/b",
            ],
            &[],
        ),
        (
            "gogs",
            &["https://git.example/a/b", "https://evilgithub.com/a/b"],
            &[
                "https://github.com/a/b",
                "https://acme.visualstudio.com/_git/b",
                "https://x.gitlab.com/a",
            ],
        ),
    ] {
        let hosts = provider(name).hosts;
        let url = |text: &str| RepoUrl::parse(text).expect("names a repository");
        for text in own {
            assert!(hosts.may_name(&url(text)), "{name} {text}");
        }
        for text in others {
            assert!(!hosts.may_name(&url(text)), "{name} {text}");
        }
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

#[test]
fn a_borrowed_url_is_taken_out_of_a_push() {
    let event = github_push(
        r#"{"clone_url":"https://github.com/acme/shop","ssh_url":"git@gitlab.com:acme/shop"}"#,
    );
    let event = testing::in_words(&Ok(event));
    assert_eq!(event, "push of github.com/acme/shop: refs/heads/main at 1f0c3a1");
}

#[test]
fn a_push_with_nothing_but_borrowed_urls_is_of_no_repository() {
    let event = github_push(r#"{"clone_url":"https://gitlab.com/acme/shop"}"#);
    assert!(matches!(event, Event::Push(push) if push.repository.is_nowhere()));
}

#[test]
fn a_ping_for_a_borrowed_url_names_no_repository() {
    let body = r#"{"repository":{"clone_url":"https://gitlab.com/acme/shop"}}"#.to_owned();
    let event = read(
        provider("github"),
        &delivery(("x-github-event", "ping"), body),
        &HostAliases::default(),
    );
    assert_eq!(event, Ok(Event::Ping(None)));
}

#[test]
fn a_server_is_meant_by_each_name_that_its_operator_gives_it_and_borrows_none() {
    let aliases: HostAliases =
        "gitea.svc=gitea.example,mirror.example=github.com".parse().expect("are aliases");
    let named = |sender: &str, kind: (&'static str, &'static str), url: &str| {
        let body = format!(
            r#"{{"ref":"refs/heads/main","after":"{}","repository":{{"clone_url":"{url}"}}}}"#,
            testing::COMMIT
        );
        testing::in_words(&read(provider(sender), &delivery(kind, body), &aliases))
    };
    let gitea = |url| named("gitea", ("x-gitea-event", "push"), url);
    let github = |url| named("github", ("x-github-event", "push"), url);
    let at = "refs/heads/main at 1f0c3a1";
    assert_eq!(
        gitea("https://gitea.example:8443/a/b"),
        format!("push of gitea.example:8443/a/b and gitea.svc/a/b: {at}")
    );
    assert_eq!(gitea("https://mirror.example/a/b"), format!("push of : {at}"));
    assert_eq!(
        github("https://mirror.example/a/b"),
        format!("push of github.com/a/b and mirror.example/a/b: {at}")
    );
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
fn a_byte_order_mark_before_the_json_does_no_harm() {
    let body = format!("\u{feff}{}", json!({ "zen": "Speak like a human." }));
    let event = read(
        provider("github"),
        &delivery(("x-github-event", "ping"), body),
        &HostAliases::default(),
    );
    assert_eq!(event, Ok(Event::Ping(None)));
}

#[test]
fn a_form_without_payload_is_malformed() {
    let mut headers = HeaderMap::new();
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(CONTENT_TYPE, form);
    let delivery = Delivery::new(headers, Bytes::from_static(b"a=b")).expect("is a form");
    assert!(read(provider("github"), &delivery, &HostAliases::default()).is_err());
}

#[test]
fn what_is_malformed_is_not_repeated() {
    for body in
        [r#"{"ref":{"hunter2":1}}"#, r#"["hunter2"]"#, r#"{"ref":hunter2}"#, r#"{"ref":"hunter2"#]
    {
        for provider in PROVIDERS {
            for kind in ["push", "Push Hook", "repo:push", "repo:refs_changed", "hunter2"] {
                let Err(malformed) = (provider.parse)(Some(kind), body.as_bytes()) else {
                    continue;
                };
                assert!(!format!("{malformed} {malformed:?}").contains("hunter2"), "{malformed}");
            }
        }
    }
}

#[test]
fn a_longer_list_of_links_than_anybody_sends_is_malformed() {
    let is_too_long = |length: usize| {
        let links = vec!["{}"; length].join(",");
        let body = format!(r#"{{"changes":[],"repository":{{"links":{{"clone":[{links}]}}}}}}"#);
        let event =
            (provider("bitbucket-server").parse)(Some("repo:refs_changed"), body.as_bytes());
        event.is_err_and(|malformed| malformed.0.contains("not the fields or types"))
    };
    assert!(!is_too_long(16));
    assert!(is_too_long(17));
}

#[test]
fn a_push_of_a_hundred_thousand_refs_is_read_to_the_last() {
    let many = |entry: &dyn Fn(&str) -> String| {
        let others = (0..99_999).map(|number| entry(&format!("mirrored/branch-{number}")));
        others.chain([entry("main")]).collect::<Vec<_>>().join(",")
    };
    let (old, new) = (testing::OTHER, testing::COMMIT);
    let url = "https://git.example/acme/shop";
    for (name, kind, body) in [
        (
            "bitbucket-server",
            "repo:refs_changed",
            format!(
                r#"{{"repository":{{"links":{{"clone":[{{"href":"https://git.example/scm/acme/shop"}}]}}}},"changes":[{}]}}"#,
                many(&|name| format!(
                    r#"{{"ref":{{"id":"refs/heads/{name}"}},"type":"ADD","fromHash":"{old}","toHash":"{new}"}}"#
                )),
            ),
        ),
        (
            "bitbucket-cloud",
            "repo:push",
            format!(
                r#"{{"repository":{{"full_name":"acme/shop"}},"push":{{"changes":[{}]}}}}"#,
                many(&|name| format!(
                    r#"{{"new":{{"type":"branch","name":"{name}","target":{{"hash":"{new}"}}}}}}"#
                )),
            ),
        ),
        (
            "gitlab",
            "System Hook",
            format!(
                r#"{{"event_name":"repository_update","project":{{"git_http_url":"{url}"}},"changes":[{}]}}"#,
                many(&|name| format!(
                    r#"{{"ref":"refs/heads/{name}","before":"{old}","after":"{new}"}}"#
                )),
            ),
        ),
        (
            "azure-devops",
            "",
            format!(
                r#"{{"eventType":"git.push","resource":{{"repository":{{"remoteUrl":"{url}"}},"refUpdates":[{}]}}}}"#,
                many(&|name| format!(
                    r#"{{"name":"refs/heads/{name}","oldObjectId":"{old}","newObjectId":"{new}"}}"#
                )),
            ),
        ),
        (
            "generic",
            "",
            format!(
                r#"{{"repository":"{url}","updates":[{}]}}"#,
                many(&|name| format!(
                    r#"{{"ref":"refs/heads/{name}","before":"{old}","after":"{new}"}}"#
                )),
            ),
        ),
    ] {
        let event = (provider(name).parse)(Some(kind), body.as_bytes());
        let Ok(Event::Push(push)) = event else { panic!("{name}: {event:?}") };
        assert_eq!((push.refs.named().len(), push.refs.and_more()), (100_000, false), "{name}");
        let last = push.refs.named().last().expect("is there");
        assert_eq!(last.git_ref.to_string(), "refs/heads/main", "{name}");
    }
}

#[test]
fn what_is_kept_of_many_refs_takes_three_times_the_body_at_most() {
    let url = "https://git.example/acme/shop";
    for (name, kind, head, entry, tail) in [
        (
            "bitbucket-server",
            "repo:refs_changed",
            r#"{"repository":{"slug":"s","project":{"key":"K"}},"changes":["#.to_owned(),
            r#"{"ref":{"id":"refs/tags/a"},"toHash":""}"#,
            "]}",
        ),
        (
            "bitbucket-cloud",
            "repo:push",
            r#"{"repository":{"full_name":"acme/shop"},"push":{"changes":["#.to_owned(),
            r#"{"new":{"type":"tag","name":"a"}}"#,
            "]}}",
        ),
        (
            "gitlab",
            "System Hook",
            format!(
                r#"{{"event_name":"repository_update","project":{{"url":"{url}"}},"changes":["#
            ),
            r#"{"ref":"refs/tags/a","after":""}"#,
            "]}",
        ),
        (
            "generic",
            "",
            format!(r#"{{"repository":"{url}","updates":["#),
            r#"{"ref":"refs/tags/a","after":""}"#,
            "]}",
        ),
    ] {
        for length in [1_000, 100_000] {
            let body = format!("{head}{}{tail}", vec![entry; length].join(","));
            let mut event = None;
            let used = allocation_counter::measure(|| {
                event = Some((provider(name).parse)(Some(kind), body.as_bytes()));
            });
            let Some(Ok(Event::Push(push))) = event else { panic!("{name} is no push") };
            assert_eq!(push.refs.named().len(), length, "{name}");
            let (kept, body) = (used.bytes_current, i64::try_from(body.len()).expect("is small"));
            assert!(kept <= 3 * body, "{name}: {kept} bytes of {body}");
        }
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

/// JSON that uses the words of the payloads, so that it gets past the first field.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Map, Value, json};
    let word = prop::sample::select(vec![
        "ref",
        "after",
        "deleted",
        "head_commit",
        "id",
        "repository",
        "project",
        "clone_url",
        "ssh_url",
        "git_http_url",
        "checkout_sha",
        "changes",
        "push",
        "new",
        "old",
        "type",
        "name",
        "target",
        "hash",
        "full_name",
        "links",
        "clone",
        "href",
        "slug",
        "key",
        "toHash",
        "toCommit",
        "refLimitExceeded",
        "event_name",
        "ref_type",
        "sha",
        "eventType",
        "resource",
        "refUpdates",
        "newObjectId",
        "remoteUrl",
        "detail",
        "event",
        "region",
        "repositoryName",
        "referenceFullName",
        "commitId",
        "source",
    ]);
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        prop::sample::select(vec![
            "refs/heads/main",
            "refs/tags/v1",
            "main",
            testing::COMMIT,
            testing::ZEROS,
            "branch",
            "tag",
            "https://github.com/acme/shop",
            "acme/shop",
            "ADD",
            "DELETE",
            "repository_update",
            "git.push",
            "referenceUpdated",
            "aws.codecommit",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..6).prop_map(|pairs| {
                Value::from(
                    pairs
                        .into_iter()
                        .map(|(key, value)| (key.to_owned(), value))
                        .collect::<Map<_, _>>(),
                )
            }),
        ]
    })
}

const KINDS: [&str; 11] = [
    "push",
    "ping",
    "create",
    "delete",
    "Push Hook",
    "Tag Push Hook",
    "System Hook",
    "repo:push",
    "repo:refs_changed",
    "mirror:repo_synchronized",
    "diagnostics:ping",
];

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(body: Vec<u8>) {
        for provider in PROVIDERS {
            for kind in KINDS {
                let _ = (provider.parse)(Some(kind), &body);
            }
            let is_object = body.trim_ascii_start().first() == Some(&b'{');
            prop_assert!(is_object || (provider.parse)(None, &body).is_err());
        }
    }

    #[test]
    fn any_json_is_read_without_panic_and_only_an_object_is_taken(json in any_json()) {
        for provider in PROVIDERS {
            for kind in KINDS {
                let event = (provider.parse)(Some(kind), json.to_string().as_bytes());
                prop_assert!(event.is_err() || json.is_object(), "{} {}", provider.name, kind);
            }
        }
    }
}
