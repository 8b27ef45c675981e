//! Bitbucket Server's payloads, and the repositories that they may be about.

use serde_json::{Value, json};

use super::*;
use crate::provider::testing::{COMMIT, TAG_OBJECT, ZEROS, said};

const HTTP: &str = "https://bitbucket.acme.example/scm/acme/shop.git";
const SSH: &str = "ssh://git@bitbucket.acme.example:7999/acme/shop.git";
const PLACES: &str =
    "bitbucket.acme.example/scm/acme/shop and bitbucket.acme.example:7999/acme/shop";

fn repository(links: &[&str]) -> Value {
    let clone: Vec<_> = links.iter().map(|href| json!({ "href": href })).collect();
    json!({ "slug": "shop", "project": { "key": "ACME" }, "links": { "clone": clone } })
}

fn change(kind: &str, git_ref: &str, to: &str) -> Value {
    json!({ "ref": { "id": git_ref, "type": "BRANCH" }, "toHash": to, "type": kind })
}

fn pushed(repository: &Value, changes: &[Value]) -> String {
    let payload = json!({ "repository": repository, "changes": changes });
    said(&PROVIDER, "repo:refs_changed", &payload)
}

#[test]
fn every_change_counts() {
    let changes = [
        change("UPDATE", "refs/heads/main", COMMIT),
        change("ADD", "refs/tags/v1", COMMIT),
        change("DELETE", "refs/heads/x", ZEROS),
        change("ADD", "refs/notes/x", COMMIT),
    ];
    assert_eq!(
        pushed(&repository(&[HTTP, SSH]), &changes),
        format!(
            "push of {PLACES}: \
             refs/heads/main at 1f0c3a1, refs/tags/v1 at 1f0c3a1, refs/heads/x gone"
        )
    );
    assert_eq!(pushed(&repository(&[HTTP, SSH]), &[]), format!("push of {PLACES}: "));
}

#[test]
fn an_annotated_tag_that_came_alone_moves_to_its_commit() {
    let pushed = |changes: &[Value]| {
        let repository = repository(&[HTTP, SSH]);
        let to_commit = json!({ "id": COMMIT });
        let payload =
            json!({ "repository": repository, "changes": changes, "toCommit": to_commit });
        said(&PROVIDER, "repo:refs_changed", &payload)
    };
    let tag = change("ADD", "refs/tags/v1", TAG_OBJECT);
    let event = pushed(std::slice::from_ref(&tag));
    assert_eq!(event, format!("push of {PLACES}: refs/tags/v1 at 1f0c3a1"));
    let event = pushed(&[tag, change("UPDATE", "refs/heads/main", COMMIT)]);
    let both = "refs/tags/v1 at 3d6a8c1, refs/heads/main at 1f0c3a1";
    assert_eq!(event, format!("push of {PLACES}: {both}"));
}

#[test]
fn a_commit_of_the_tag_that_is_none_does_not_count() {
    for to_commit in [json!(null), json!({}), json!({ "id": "x" }), json!({ "id": ZEROS })] {
        let payload = json!({
            "repository": repository(&[HTTP, SSH]),
            "changes": [change("ADD", "refs/tags/v1", COMMIT)],
            "toCommit": to_commit,
        });
        let event = said(&PROVIDER, "repo:refs_changed", &payload);
        assert_eq!(event, format!("push of {PLACES}: refs/tags/v1 at 1f0c3a1"), "{to_commit}");
    }
}

#[test]
fn a_mirror_tells_of_refs_or_that_there_were_too_many() {
    let synchronized = |too_many: bool, changes: &[Value]| {
        let repository = repository(&[HTTP, SSH]);
        let payload = json!({
            "repository": repository, "changes": changes, "refLimitExceeded": too_many,
        });
        said(&PROVIDER, "mirror:repo_synchronized", &payload)
    };
    for (too_many, others) in [(false, ""), (true, ", unknown refs")] {
        let event = synchronized(too_many, &[change("UPDATE", "refs/heads/main", COMMIT)]);
        assert_eq!(event, format!("push of {PLACES}: refs/heads/main at 1f0c3a1{others}"));
    }
    assert_eq!(synchronized(true, &[]), format!("push of {PLACES}: unknown refs"));
}

fn linked(links: &[&str]) -> Repository {
    let payload = json!({ "repository": repository(links), "changes": [] });
    let event = (PROVIDER.parse)(Some("repo:refs_changed"), payload.to_string().as_bytes());
    let Ok(Event::Push(push)) = event else { panic!("{links:?} is no push") };
    push.repository
}

fn is(links: &[&str], name: &str) -> bool {
    linked(links).is(&RepoUrl::parse(name).expect("names a repository"))
}

#[test]
fn the_url_of_the_other_transport_is_made_up() {
    for (link, names) in [
        (HTTP, ["git@bitbucket.acme.example:acme/shop", HTTP]),
        (
            "https://acme.example/bitbucket/scm/scm/shop",
            [
                "ssh://git@acme.example:7999/scm/shop",
                "https://acme.example/bitbucket/scm/scm/shop.git",
            ],
        ),
        (SSH, ["http://bitbucket.acme.example:7990/scm/ACME/shop", SSH]),
    ] {
        for name in names {
            assert!(is(&[link], name), "{link} is not {name}");
        }
    }
}

#[test]
fn it_is_made_up_for_each_host_of_the_links() {
    let links = [HTTP, "ssh://git@ssh.acme.example:7999/acme/shop.git"];
    for name in [
        HTTP,
        "ssh://git@bitbucket.acme.example:7999/acme/shop.git",
        "ssh://git@ssh.acme.example/acme/shop.git",
        "https://ssh.acme.example/scm/acme/shop.git",
    ] {
        assert!(is(&links, name), "{name}");
    }
    assert!(is(&links, "https://ssh.acme.example:8443/scm/acme/shop.git"));
    assert!(!is(&links, "https://other.acme.example/scm/acme/shop.git"));
}

#[test]
fn what_is_on_another_port_of_the_web_is_another_repository() {
    let links = ["http://bitbucket.acme.example:7990/scm/acme/shop.git", SSH];
    assert!(is(&links, "http://bitbucket.acme.example:7990/scm/acme/shop"));
    assert!(is(&links, HTTP));
    assert!(!is(&links, "https://bitbucket.acme.example:8443/scm/acme/shop"));
}

#[test]
fn what_the_links_do_not_say_of_the_context_path_may_be_anything() {
    for name in ["https://bitbucket.acme.example/stash/scm/acme/shop", HTTP] {
        assert!(is(&[SSH], name), "{name}");
    }
    for other in [
        "https://bitbucket.acme.example/stash/acme/shop",
        "https://bitbucket.acme.example/xscm/acme/shop",
        "https://other.acme.example/stash/scm/acme/shop",
    ] {
        assert!(!is(&[SSH], other), "{other}");
    }
    assert!(!is(&[HTTP, SSH], "https://bitbucket.acme.example/stash/scm/acme/shop"));
}

#[test]
fn without_links_it_is_known_by_key_and_slug() {
    for links in [json!(null), json!({}), json!({ "clone": [] }), json!({ "clone": [{}] })] {
        let repository = json!({ "slug": "shop", "project": { "key": "ACME" }, "links": links });
        let event = pushed(&repository, &[change("UPDATE", "refs/heads/main", COMMIT)]);
        assert_eq!(event, "push of ACME/shop somewhere: refs/heads/main at 1f0c3a1");
    }
}

#[test]
fn the_test_of_a_connection_is_a_ping() {
    assert_eq!(said(&PROVIDER, "diagnostics:ping", &json!({ "test": true })), "ping");
}

#[test]
fn a_push_of_bitbucket_cloud_without_its_header_is_not_taken_for_a_plugins() {
    let push = |href: &str| json!({ "repository": { "links": { "html": { "href": href } } } });
    let said_of = |href: &str| said(&PROVIDER, "repo:push", &push(href));
    assert!(said_of("https://bitbucket.org/acme/shop").starts_with("header x-hook-uuid"));
    assert!(said_of("https://bitbucket.acme.example/acme/shop").starts_with("ignored"));
}

#[test]
fn every_other_event_is_ignored() {
    for kind in ["repo:push", "repo:modified", "pr:opened", ""] {
        assert!(said(&PROVIDER, kind, &json!({})).starts_with("ignored"), "{kind}");
    }
}

#[test]
fn what_bitbucket_server_does_not_send_is_malformed() {
    let moved = json!([change("UPDATE", "refs/heads/main", COMMIT)]);
    for (kind, payload) in [
        ("repo:refs_changed", json!([])),
        ("repo:refs_changed", json!({ "changes": moved })),
        ("repo:refs_changed", json!({ "changes": moved, "repository": null })),
        ("repo:refs_changed", json!({ "changes": moved, "repository": { "slug": "shop" } })),
        (
            "repo:refs_changed",
            json!({ "changes": moved, "repository": { "slug": "a/b", "project": { "key": "A" } } }),
        ),
        ("repo:refs_changed", json!({ "repository": repository(&[HTTP]) })),
        ("repo:refs_changed", json!({ "changes": {}, "repository": repository(&[HTTP]) })),
        ("repo:refs_changed", json!({ "changes": [{}], "repository": repository(&[HTTP]) })),
        (
            "repo:refs_changed",
            json!({ "changes": [{ "ref": { "id": "refs/heads/main" } }], "repository": repository(&[HTTP]) }),
        ),
        ("diagnostics:ping", json!([])),
        ("pr:opened", json!(true)),
    ] {
        assert!(said(&PROVIDER, kind, &payload).starts_with("payload: "), "{kind} {payload}");
    }
}
