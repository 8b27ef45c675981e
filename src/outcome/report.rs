//! What became of each GitRepo of the pushed repository, and which of them the sender may know of.

use serde::Serialize;

use crate::{event::CommitId, gitrepo::GitRepo, reason::Reason};

/// How many skipped GitRepos a log line names.
const SKIPPED_IN_LOG: usize = 20;

/// What became of the GitRepos of the pushed repository.
#[derive(Clone, Debug, Default)]
pub struct Report {
    patched: Vec<Entry>,
    skipped: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    namespace: String,
    name: String,
    /// Whether the governing secret verified the delivery, so that its sender may know of the GitRepo.
    shown: bool,
    fate: Fate,
}

/// What became of one GitRepo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The commit is announced to it.
    Patched(CommitId),
    /// It is not.
    Skipped(Reason),
}

impl Report {
    /// Notes what became of a GitRepo, and whether its sender may know of it.
    pub(crate) fn add(&mut self, gitrepo: &GitRepo, fate: Fate, shown: bool) {
        let entries = match fate {
            Fate::Patched(_) => &mut self.patched,
            Fate::Skipped(_) => &mut self.skipped,
        };
        entries.push(Entry::new(gitrepo, fate, shown));
    }

    /// How many GitRepos were patched.
    pub fn patched_count(&self) -> usize {
        self.patched.len()
    }

    /// How many GitRepos of the repository were not.
    pub fn skipped_count(&self) -> usize {
        self.skipped.len()
    }

    /// Whether a GitRepo was skipped for that reason.
    pub(crate) fn has(&self, reason: Reason) -> bool {
        self.skipped.iter().any(|entry| entry.fate.reason() == Some(reason))
    }

    /// Whether a GitRepo was patched though no secret is configured for it.
    pub fn patched_unsigned(&self) -> bool {
        self.patched.iter().any(|entry| !entry.shown)
    }

    /// Names the first skipped GitRepos with their reasons, for the log; in order, whoever was done first.
    pub fn skipped_summary(&self) -> String {
        let mut skipped: Vec<_> = self.skipped.iter().collect();
        skipped.sort_unstable_by_key(|entry| (&entry.namespace, &entry.name));
        let entry = |entry: &Entry| {
            let reason = entry.fate.reason().map_or("", Reason::name);
            format!("{}/{}: {reason}", entry.namespace, entry.name)
        };
        let entries: Vec<_> = skipped.into_iter().take(SKIPPED_IN_LOG).map(entry).collect();
        entries.join(", ")
    }

    /// The patched GitRepos that the sender may know of.
    pub(super) fn shown_patched(&self) -> Vec<Shown<'_>> {
        shown(&self.patched)
    }

    /// The skipped GitRepos that the sender may know of.
    pub(super) fn shown_skipped(&self) -> Vec<Shown<'_>> {
        shown(&self.skipped)
    }
}

impl Fate {
    const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Patched(_) => None,
            Self::Skipped(reason) => Some(*reason),
        }
    }

    fn commit(&self) -> Option<&str> {
        match self {
            Self::Patched(commit) => Some(commit.as_str()),
            Self::Skipped(_) => None,
        }
    }
}

impl Entry {
    fn new(gitrepo: &GitRepo, fate: Fate, shown: bool) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (namespace, name) = (&gitrepo.metadata.namespace, &gitrepo.metadata.name);
        Self { namespace: text(namespace), name: text(name), shown, fate }
    }
}

/// A GitRepo in the answer.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    namespace: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// In order of their names, so that the same delivery is answered the same, whoever was done first.
fn shown(entries: &[Entry]) -> Vec<Shown<'_>> {
    let shown = entries.iter().filter(|entry| entry.shown);
    let mut shown: Vec<_> = shown
        .map(|entry| Shown {
            namespace: &entry.namespace,
            name: &entry.name,
            commit: entry.fate.commit(),
            reason: entry.fate.reason().map(Reason::name),
        })
        .collect();
    shown.sort_unstable_by_key(|entry| (entry.namespace, entry.name));
    shown
}
