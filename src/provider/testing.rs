//! What the tests of the providers share: an event as one line of text.

use serde_json::Value;

use super::{Malformed, Provider};
use crate::event::{After, Event, Push, RefUpdate, Refs, Repository};

pub(crate) const COMMIT: &str = "1f0c3a189c40fdd8a7ad2a8bf3a9ea8d5e6f7a01";
pub(crate) const OTHER: &str = "2e7b9d01ac5566778899aabbccddeeff00112233";
pub(crate) const TAG_OBJECT: &str = "3d6a8c12bd5566778899aabbccddeeff00112233";
pub(crate) const ZEROS: &str = "0000000000000000000000000000000000000000";

/// What the provider reads in a payload, such as `push of github.com/acme/shop: refs/heads/main at 1f0c3a1`.
pub(crate) fn said(provider: &Provider, kind: &str, payload: &Value) -> String {
    in_words(&(provider.parse)(Some(kind), payload.to_string().as_bytes()))
}

pub(crate) fn in_words(event: &Result<Event, Malformed>) -> String {
    match event {
        Ok(Event::Push(Push { repository, refs })) => {
            format!("push of {}: {}", places(repository), moves(refs))
        }
        Ok(Event::Ping(Some(repository))) => format!("ping of {}", places(repository)),
        Ok(Event::Ping(None)) => "ping".to_owned(),
        Ok(Event::Ignored(why)) => format!("ignored, {why}"),
        Err(malformed) => malformed.to_string(),
    }
}

fn places(repository: &Repository) -> String {
    let Repository::Urls(urls) = repository else { return format!("{repository} somewhere") };
    let mut places: Vec<String> = urls.iter().map(ToString::to_string).collect();
    places.dedup();
    places.join(" and ")
}

fn moves(refs: &Refs) -> String {
    let before = |update: &RefUpdate| {
        update.before.as_ref().map(|commit| format!(" from {:.7}", commit.as_str()))
    };
    let one = |update: &RefUpdate| {
        let after = match &update.after {
            After::Commit(commit) => format!("at {:.7}", commit.as_str()),
            After::Deleted => "gone".to_owned(),
            After::Unusable => "at no commit".to_owned(),
        };
        format!("{} {after}{}", update.git_ref, before(update).unwrap_or_default())
    };
    let mut moves: Vec<_> = refs.named().iter().map(one).collect();
    moves.extend(refs.and_more().then(|| "unknown refs".to_owned()));
    moves.join(", ")
}
