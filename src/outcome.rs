//! What became of a delivery: the status, the JSON for the caller, and the facts for the log.

use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    event::{CommitId, Event, Refs, Repository},
    gitrepo::GitRepo,
    reason::Reason,
};

/// How many skipped GitRepos a log line names.
const SKIPPED_IN_LOG: usize = 20;

/// The outcomes of contract §6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// At least one GitRepo was patched, or had the commit.
    Accepted,
    /// Nothing follows, or it was no push.
    Ignored,
    /// A ping that nothing speaks against.
    Pong,
    /// The deadline came while patches were under way; they go on.
    InProgress,
    /// The delivery was handed to the retry queue.
    Queued,
    /// The delivery was forwarded to the clusters' queues.
    Forwarded,
    /// The API server or a secret store is not to be had.
    Unavailable,
    /// No secret verifies the delivery.
    Unauthorized,
    /// The body is not what the provider promises.
    Malformed,
    /// No header of a known provider.
    UnknownProvider,
    /// Neither JSON nor a form.
    UnsupportedMediaType,
    /// The body is larger than the limit.
    TooLarge,
    /// The body did not arrive before the deadline.
    Incomplete,
}

impl Kind {
    /// The status that it is answered with.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Accepted | Self::Ignored | Self::Pong => StatusCode::OK,
            Self::InProgress | Self::Queued | Self::Forwarded => StatusCode::ACCEPTED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Malformed | Self::UnknownProvider => StatusCode::BAD_REQUEST,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Incomplete => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// Its name in answers, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Ignored => "ignored",
            Self::Pong => "pong",
            Self::InProgress => "in_progress",
            Self::Queued => "queued",
            Self::Forwarded => "forwarded",
            Self::Unavailable => "unavailable",
            Self::Unauthorized => "unauthorized",
            Self::Malformed => "malformed",
            Self::UnknownProvider => "unknown_provider",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::TooLarge => "too_large",
            Self::Incomplete => "incomplete",
        }
    }

    const fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::Unauthorized
                | Self::Malformed
                | Self::UnknownProvider
                | Self::UnsupportedMediaType
                | Self::TooLarge
                | Self::Incomplete
        )
    }
}

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

/// What became of a delivery.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The outcome.
    pub kind: Kind,
    /// The provider, where its headers were known.
    pub provider: Option<&'static str>,
    /// The delivery's id, as the sender gave it.
    pub delivery: Option<String>,
    /// The repository and its refs, as claimed; for the log.
    pub subject: Subject,
    /// When it was received first, if it waited in a retry queue; for the log.
    pub waited_since: Option<Timestamp>,
    /// Why, in one phrase; for the log, and for its sender where it gives nothing away.
    pub detail: Option<String>,
    /// What became of the GitRepos.
    pub report: Report,
    /// What the delivery proves.
    pub standing: Standing,
}

/// What a delivery proves, and so what its sender is told of it beyond what is the same for everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// No secret verifies it, and one would have to: nothing.
    #[default]
    Unverified,
    /// No secret is configured, and none is needed: how many GitRepos follow.
    Unsigned,
    /// A secret verifies it: why, too.
    Verified,
}

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

impl Outcome {
    /// An outcome of which nothing more is known.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            provider: None,
            delivery: None,
            subject: Subject::default(),
            waited_since: None,
            detail: None,
            report: Report::default(),
            standing: Standing::default(),
        }
    }

    pub(crate) fn because(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Says why nothing is done for a push, if nothing else is said of it.
    pub(crate) fn explained(self) -> Self {
        if self.kind != Kind::Ignored || self.detail.is_some() {
            return self;
        }
        let repository = &self.subject.repository;
        let why = match self.report.skipped_count() {
            0 => format!("no GitRepo names {repository}"),
            1 => format!("one GitRepo names {repository}, and has its reason not to move"),
            many => {
                format!("{many} GitRepos name {repository}, and each has its reason not to move")
            }
        };
        self.because(why)
    }

    /// The JSON for the caller; names only GitRepos whose governing secret verified the delivery.
    ///
    /// # Panics
    /// Never: names and numbers are JSON.
    pub fn json(&self) -> Box<RawValue> {
        // How many GitRepos follow is nobody's business who is not verified, though it is not refused yet.
        let is_open = matches!(self.kind, Kind::Unavailable | Kind::Queued);
        let answered = !self.kind.is_refusal() && (self.standing >= Standing::Unsigned || !is_open);
        let is_verified = self.standing == Standing::Verified;
        let body = Body {
            outcome: self.kind.name(),
            provider: self.provider,
            delivery: self.delivery.as_deref(),
            counts: answered.then_some(Counts {
                patched: self.report.patched.len(),
                skipped: self.report.skipped.len(),
            }),
            patched: answered.then(|| shown(&self.report.patched)),
            skipped: answered.then(|| shown(&self.report.skipped)),
            detail: self.detail.as_deref().filter(|_| is_verified || self.is_of_the_request()),
        };
        to_raw_value(&body).expect("names and numbers are JSON")
    }

    /// Whether the request itself shows all there is to say, so that anybody may be told.
    const fn is_of_the_request(&self) -> bool {
        match self.kind {
            Kind::Unauthorized => false,
            Kind::Ignored => self.subject.repository.is_empty(),
            kind => kind.is_refusal(),
        }
    }
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

#[derive(Serialize)]
struct Body<'a> {
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patched: Option<Vec<Shown<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<Vec<Shown<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct Counts {
    patched: usize,
    skipped: usize,
}

#[derive(Serialize)]
struct Shown<'a> {
    namespace: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}
