//! Real deliveries that others published, where the folder with them is: each is known as its provider's, verified
//! by its secret, and read to the refs that its own documentation or source says.

#[path = "support/shared.rs"]
mod shared;

use std::fs;

use bytes::Bytes;
use fleet_webhook::{
    delivery::Delivery,
    event::{After, Event, RefUpdate, Refs, Repository},
    keys::Secret,
    provider::{
        self, Provider,
        codecommit::{self, StateChange},
    },
    repo_url::HostAliases,
    signature,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use shared::{DELIVERIES, Published};

/// When Gitee's deliveries were signed.
const GITEE_SIGNED_AT: i64 = 1_633_679_083_918;

#[test]
#[ignore = "needs ../shared: tests/README.md"]
fn every_real_delivery_is_read_as_listed() {
    let folder = shared::folder();
    for published in shared::deliveries(&folder) {
        let file = &published.file;
        let (provider, delivery) = received(&published);
        assert_eq!(Some(provider.name), file.split('/').next(), "{file}");
        let event = provider::read(provider, &delivery, &HostAliases::default());
        let event = event.unwrap_or_else(|malformed| panic!("{file}: {malformed}"));
        let listed = DELIVERIES.iter().find(|(listed, _)| listed == file);
        let said = listed.map_or("nothing, for it is not listed", |(_, said)| said);
        assert_eq!(in_words(&event), said, "{file}");
    }
}

#[test]
#[ignore = "needs ../shared: tests/README.md"]
fn every_real_delivery_is_verified_by_its_secret_and_by_no_other() {
    let folder = shared::folder();
    for published in shared::deliveries(&folder) {
        let (provider, delivery) = received(&published);
        let Some(secret) = published.secret else { continue };
        let now = Timestamp::from_millisecond(GITEE_SIGNED_AT).expect("is a time");
        let verified = |value: &str| {
            let keys = shared::keys(provider.name, value);
            let keys = keys.into_iter().map(|(key, value)| (key, value.into_bytes())).collect();
            let secret = Secret { current: keys, previous: None };
            signature::verify(provider.schemes, &delivery, &secret, now).is_ok()
        };
        assert!(verified(&secret), "{}", published.file);
        assert!(!verified(&format!("{secret}x")), "{}", published.file);
    }
}

#[test]
#[ignore = "needs ../shared: tests/README.md"]
fn what_eventbridge_is_documented_to_hand_over_is_read() {
    let folder = shared::folder();
    let place = "push of git-codecommit.us-east-2.amazonaws.com/v1/repos/mydemorepo";
    for kind in ["created", "updated", "deleted"] {
        let path = folder.join(format!("payloads/codecommit/eventbridge-reference-{kind}.json"));
        let json = fs::read(path).expect("is a file");
        let StateChange { id, event, .. } =
            codecommit::parse(&json).expect("is an event of CodeCommit");
        // The ids of these examples are none.
        let now = if kind == "deleted" { "gone" } else { "at no commit" };
        assert_eq!(in_words(&event), format!("{place}: refs/heads/myBranch {now}"), "{kind}");
        assert_eq!(id, "01234567-EXAMPLE");
    }
}

#[test]
#[ignore = "needs ../shared: tests/README.md"]
fn the_test_of_a_repositorys_trigger_is_a_ping() {
    let folder = shared::folder();
    let json = fs::read(folder.join("payloads/codecommit/lambda-trigger-test.json"));
    let change = codecommit::parse(&json.expect("is a file")).expect("is an event of CodeCommit");
    assert_eq!(in_words(&change.event), "ping");
}

#[test]
#[ignore = "needs ../shared: tests/README.md"]
fn every_file_is_read_by_some_test() {
    let folder = shared::folder();
    let read = [
        "codecommit/eventbridge-reference-created",
        "codecommit/eventbridge-reference-deleted",
        "codecommit/eventbridge-reference-updated",
        "codecommit/lambda-trigger-test",
    ];
    let listed = DELIVERIES.iter().map(|(file, _)| *file).chain(read);
    let mut listed: Vec<_> = listed.map(str::to_owned).collect();
    listed.sort();
    assert_eq!(shared::files(&folder), listed);
}

fn received(published: &Published) -> (&'static Provider, Delivery) {
    let mut headers = HeaderMap::new();
    for (name, value) in &published.headers {
        let name: HeaderName = name.parse().expect("is a header's name");
        headers.append(name, HeaderValue::from_str(value).expect("is a header's value"));
    }
    let provider = provider::detect(&headers);
    let provider = provider.unwrap_or_else(|| panic!("{} is of nobody known", published.file));
    let delivery = Delivery::new(headers, Bytes::from(published.body.clone()));
    (provider, delivery.expect("has a known content type"))
}

fn in_words(event: &Event) -> String {
    match event {
        Event::Push(push) => format!("push of {}: {}", places(&push.repository), moves(&push.refs)),
        Event::Ping(Some(repository)) => format!("ping of {}", places(repository)),
        Event::Ping(None) => "ping".to_owned(),
        Event::Ignored(_) => "ignored".to_owned(),
    }
}

fn places(repository: &Repository) -> String {
    let Repository::Urls(urls) = repository else { return format!("{repository} somewhere") };
    let mut places: Vec<String> = urls.iter().map(ToString::to_string).collect();
    places.sort();
    places.dedup();
    places.join(" and ")
}

fn moves(refs: &Refs) -> String {
    let one = |update: &RefUpdate| match &update.after {
        After::Commit(commit) => format!("{} at {commit}", update.git_ref),
        After::Deleted => format!("{} gone", update.git_ref),
        After::Unusable => format!("{} at no commit", update.git_ref),
    };
    let mut moves: Vec<_> = refs.named().iter().map(one).collect();
    moves.extend(refs.and_more().then(|| "unknown refs".to_owned()));
    moves.join(", ")
}
