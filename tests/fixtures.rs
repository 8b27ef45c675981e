//! The deliveries in `events/`, documentation and fixtures at once: signed as their provider signs, known as its,
//! and read to the refs that the README there has for them.

#[path = "support/events.rs"]
mod support;

use std::{env, fs};

use fleet_webhook::{
    event::{After, Event as Said, RefUpdate, Repository},
    keys::Secret,
    provider::{self, PROVIDERS, codecommit},
    repo_url::{HostAliases, RepoUrl},
    signature::{self, Refusal},
};
use jiff::Timestamp;
use support::{Event, REPOSITORIES, SECRET, SIGNED_AT, folder};

/// `UPDATE_EVENTS=1 cargo test --test fixtures` signs them again.
#[test]
fn every_event_is_signed_with_the_test_secret() {
    for event in Event::all() {
        let signed = event.signed_at(signed_at());
        if signed.json == event.json {
            continue;
        }
        assert!(
            env::var_os("UPDATE_EVENTS").is_some(),
            "events/{}.json was edited: UPDATE_EVENTS=1 cargo test --test fixtures signs it again",
            event.name
        );
        // Renamed into place, since the other tests may be reading it.
        let (file, new) = (format!("{}.json", event.name), folder().join(".new"));
        fs::write(&new, format!("{:#}\n", signed.json)).expect("can be written");
        fs::rename(new, folder().join(file)).expect("can be renamed");
    }
}

#[test]
fn every_event_is_known_as_its_providers_and_read_to_the_refs_of_the_readme() {
    for event in Event::all() {
        assert_eq!(in_words(&said(&event)), event.promise().refs, "{}", event.name);
    }
}

#[test]
fn every_event_is_of_the_repository_that_the_gitrepos_have() {
    for event in Event::all() {
        let (Said::Push(fleet_webhook::event::Push { repository, .. })
        | Said::Ping(Some(repository))) = said(&event)
        else {
            continue;
        };
        for (provider, spec_repo) in REPOSITORIES {
            let spec_repo = RepoUrl::parse(spec_repo).expect("names a repository");
            let is_own = provider == event.provider();
            assert_eq!(repository.is(&spec_repo), is_own, "{} {spec_repo}", event.name);
        }
    }
}

#[test]
fn the_test_secret_verifies_every_event_but_those_that_are_wrongly_signed() {
    let now = signed_at();
    for event in Event::all().into_iter().filter(Event::is_http) {
        let delivery = event.request().delivery();
        let provider = provider::sender_of(&delivery).expect("is of a known provider");
        let verified = signature::verify(provider.schemes, &delivery, &test_secret(|_| true), now);
        let has_proof = signature::carries_proof(provider.schemes, delivery.headers());
        let refused = event.is_wrongly_signed() || !has_proof;
        assert_eq!(verified.is_err(), refused, "{}", event.name);
        assert_eq!(
            event.promise().status == Some(401),
            event.is_wrongly_signed(),
            "{}",
            event.name
        );
    }
}

#[test]
fn the_weaker_proofs_are_right_too() {
    for (name, key) in [
        ("gitlab-push", "gitlab"),
        ("gitlab-push", "gitlab-signing-token"),
        ("bitbucket-cloud-push", "bitbucket"),
        ("bitbucket-cloud-push", "bitbucket-hmac"),
    ] {
        let delivery = Event::load(name).request().delivery();
        let provider = provider::sender_of(&delivery).expect("is of a known provider");
        let verify = |secret| signature::verify(provider.schemes, &delivery, &secret, signed_at());
        assert!(verify(test_secret(|of| of == key)).is_ok(), "{name} {key}");
        assert!(matches!(verify(test_secret(|_| false)), Err(Refusal::KeyMissing(_))));
    }
}

#[test]
fn an_event_can_be_signed_for_any_time() {
    let later = Timestamp::from_second(SIGNED_AT + 86_400).expect("is a time");
    for name in ["gitlab-push", "generic-push", "gitee-push"] {
        for (request, verifies) in
            [(Event::load(name).request(), false), (Event::load(name).request_at(later), true)]
        {
            let delivery = request.delivery();
            let provider = provider::sender_of(&delivery).expect("is of a known provider");
            let verified =
                signature::verify(provider.schemes, &delivery, &test_secret(|_| true), later);
            assert_eq!(verified.is_ok(), verifies, "{name}");
        }
    }
}

#[test]
fn every_provider_has_the_events_that_all_of_them_can_send() {
    let events = Event::all();
    let names = PROVIDERS.iter().map(|provider| provider.name).chain([codecommit::NAME]);
    for name in names {
        for what in ["push", "tag", "delete", "wrong-signature"] {
            let cannot = (name, what) == (codecommit::NAME, "wrong-signature");
            let has = events.iter().any(|event| (event.provider(), event.what()) == (name, what));
            assert!(has || cannot, "there is no events/{name}-{what}.json");
        }
    }
}

#[test]
fn the_readme_has_the_secret_and_the_repositories() {
    let readme = fs::read_to_string(folder().join("README.md")).expect("is a file");
    for (name, value) in SECRET.into_iter().chain(REPOSITORIES) {
        let row = format!("| `{name}` | `{value}` |");
        assert!(readme.contains(&row), "events/README.md lacks {row}");
    }
}

#[test]
fn at_least_one_body_is_base64_and_one_is_a_form() {
    let is_form = |event: &Event| event.request().body.starts_with(b"payload=");
    let is_base64 = |event: &Event| event.json.get("isBase64Encoded") == Some(&true.into());
    assert!(Event::all().iter().filter(|event| event.is_http()).any(is_form));
    assert!(Event::all().iter().any(is_base64));
}

fn signed_at() -> Timestamp {
    Timestamp::from_second(SIGNED_AT).expect("is a time")
}

fn test_secret(wanted: impl Fn(&str) -> bool) -> Secret {
    let keys = SECRET.into_iter().filter(|(key, _)| wanted(key));
    let keys = keys.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
    Secret { current: keys.collect(), previous: None }
}

fn said(event: &Event) -> Said {
    if !event.is_http() {
        let change = codecommit::parse(event.json.to_string().as_bytes()).expect("is an event");
        return change.event;
    }
    let delivery = event.request().delivery();
    let provider = provider::sender_of(&delivery).expect("is of a known provider");
    assert_eq!(provider.name, event.provider(), "{}", event.name);
    let said = provider::read(provider, &delivery, &HostAliases::default());
    said.unwrap_or_else(|malformed| panic!("{}: {malformed}", event.name))
}

/// The refs as the README has them.
fn in_words(said: &Said) -> String {
    let Said::Push(push) = said else { return String::new() };
    let named = !matches!(&push.repository, Repository::Urls(urls) if urls.is_empty());
    assert!(named, "it borrows a host");
    let one = |update: &RefUpdate| match &update.after {
        After::Commit(commit) => {
            assert_eq!(commit.as_str(), support::COMMIT);
            update.git_ref.to_string()
        }
        After::Deleted => format!("{} gone", update.git_ref),
        After::Unusable => format!("{} at no commit", update.git_ref),
    };
    let mut refs: Vec<_> = push.refs.named().iter().map(one).collect();
    refs.extend(push.refs.and_more().then(|| "unknown".to_owned()));
    refs.join(", ")
}
