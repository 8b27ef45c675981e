//! What became of a delivery: the status, the JSON for the caller, and the facts for the log.

mod kind;
mod report;
mod subject;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use self::report::Shown;
pub use self::{kind::Kind, report::Report, subject::Subject};
pub(crate) use self::{report::Fate, subject::printable};

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

    /// Of a delivery whose sender was told that it is kept: one that is refused by what may have been read before it came
    /// is not refused for good.
    pub(crate) fn refused_too_early(mut self) -> Self {
        if self.kind == Kind::Unauthorized {
            self.kind = Kind::Unavailable;
            let why = self.detail.as_deref().unwrap_or("unverified");
            self.detail = Some(format!("{why}, by what may have been read before it came"));
        }
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
                patched: self.report.patched_count(),
                skipped: self.report.skipped_count(),
            }),
            patched: answered.then(|| self.report.shown_patched()),
            skipped: answered.then(|| self.report.shown_skipped()),
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
