//! What a delivery is about, as its unverified sender says it, made fit for a log line.

use crate::event::{Event, Refs, Repository};

/// What a delivery is about, as its unverified sender says; printable.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// The repository.
    pub repository: String,
    /// The refs.
    pub refs: String,
}

/// How long a claimed name may be in a log line, in characters.
const CLAIM_IN_LOG: usize = 200;

/// How many refs a log line names.
const REFS_IN_LOG: usize = 5;

impl Subject {
    /// What an event is about.
    pub(crate) fn of(event: &Event) -> Self {
        match event {
            Event::Push(push) => Self::new(&push.repository, Some(&push.refs)),
            Event::Ping(Some(repository)) => Self::new(repository, None),
            Event::Ping(None) | Event::Ignored(_) => Self::default(),
        }
    }

    fn new(repository: &Repository, refs: Option<&Refs>) -> Self {
        let refs = match refs {
            None => String::new(),
            Some(refs) if refs.and_more() && refs.named().is_empty() => "unknown".to_owned(),
            Some(refs) => {
                let names: Vec<_> = refs
                    .named()
                    .iter()
                    .take(REFS_IN_LOG)
                    .map(|update| update.git_ref.to_string())
                    .collect();
                names.join(" ")
            }
        };
        Self { repository: printable(&repository.to_string()), refs: printable(&refs) }
    }
}

/// Makes a name from outside fit for a log line: no control characters, not too long.
pub(crate) fn printable(claimed: &str) -> String {
    let shown = |character: char| if character.is_control() { '\u{fffd}' } else { character };
    claimed.chars().take(CLAIM_IN_LOG).map(shown).collect()
}
