//! Bodies as nobody sends them: cut short, endless, large, and any bytes at all.

use proptest::prelude::*;

use super::*;

#[test]
fn a_byte_order_mark_before_the_json_does_no_harm() {
    let body = format!("\u{feff}{}", json!({ "zen": "Speak like a human." }));
    assert_eq!(github("ping", body), Ok(Event::Ping(None)));
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
