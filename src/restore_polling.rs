//! Takes back the polling intervals that this program has set, for whoever goes back to polling (contract §9): which
//! they are, `cluster/intervals` knows.

use std::{fmt, time::Duration};

use futures::{StreamExt as _, stream};
use tokio::time::Instant;

use crate::{
    cluster::{ApiError, CONCURRENT_REQUESTS, Cluster, intervals::Interval, retrying},
    outcome::printable,
};

/// For how long a request is tried again.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// How often a GitRepo is read again that somebody else changes.
const ATTEMPTS: usize = 10;

/// What became of the polling intervals.
#[derive(Debug, Default)]
pub struct Restored {
    dry_run: bool,
    gitrepos: Vec<Found>,
    /// The namespaces that could not be read, `None` for all, and why.
    unread: Vec<(Option<String>, ApiError)>,
}

/// A GitRepo that had a polling interval, and what became of it.
#[derive(Debug)]
struct Found {
    place: String,
    value: String,
    fate: Fate,
}

#[derive(Debug)]
enum Fate {
    TakenBack,
    /// It is not ours alone.
    Stays(String),
    Failed(ApiError),
}

impl Restored {
    /// Takes back those in `namespaces`, in all if there are none; with `dry_run` only looks.
    pub async fn new(cluster: &Cluster, namespaces: &[String], dry_run: bool) -> Self {
        let mut namespaces: Vec<_> = namespaces.iter().map(|name| Some(&**name)).collect();
        if namespaces.is_empty() {
            namespaces.push(None);
        }
        let mut restored = Self { dry_run, ..Self::default() };
        for namespace in namespaces {
            match cluster.intervals(namespace).await {
                Ok(read) => {
                    let taken = read.into_iter().map(|read| take_back(cluster, read, dry_run));
                    let taken = stream::iter(taken).buffered(CONCURRENT_REQUESTS);
                    restored.gitrepos.extend(taken.collect::<Vec<_>>().await);
                }
                // Where Fleet is gone, so are its GitRepos.
                Err(ApiError::NotFound) => {}
                Err(error) => restored.unread.push((namespace.map(str::to_owned), error)),
            }
        }
        restored
    }

    /// What a program returns that says it: 0 if none of ours is left, or would be; 1 if one is, or may be.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.count(|fate| matches!(fate, Fate::Failed(_))) + self.unread.len() > 0)
    }

    fn count(&self, is: fn(&Fate) -> bool) -> usize {
        self.gitrepos.iter().filter(|found| is(&found.fate)).count()
    }
}

/// Takes one back, for as long as it is ours alone.
async fn take_back(cluster: &Cluster, mut read: Interval, dry_run: bool) -> Found {
    let (place, value) = (read.place(), printable(read.value()));
    let found = |fate| Found { place, value, fate };
    for _ in 0..ATTEMPTS {
        if !read.is_ours_alone() {
            return found(Fate::Stays(because(&read)));
        }
        if dry_run {
            return found(Fate::TakenBack);
        }
        let until = Instant::now() + TIME_LIMIT;
        match retrying(until, || cluster.remove_interval(&read)).await {
            Ok(()) | Err(ApiError::NotFound) => return found(Fate::TakenBack),
            // Somebody changed the GitRepo; or it was done, and we did not hear the answer.
            Err(ApiError::Unprocessable) => {}
            Err(error) => return found(Fate::Failed(error)),
        }
        match cluster.interval_again(&read).await {
            Ok(Some(again)) => read = again,
            Ok(None) => return found(Fate::TakenBack),
            Err(error) => return found(Fate::Failed(error)),
        }
    }
    found(Fate::Failed(ApiError::Unprocessable))
}

/// Why an interval stays.
fn because(read: &Interval) -> String {
    let others: Vec<_> = read.others().iter().map(|name| printable(name)).collect();
    match (others.is_empty(), read.has_us()) {
        (true, _) => "who set it is not known".to_owned(),
        (false, false) => format!("{} set it", others.join(" and ")),
        (false, true) => format!("{} set it too", others.join(" and ")),
    }
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let would = if self.dry_run { "would be " } else { "" };
        let width = self.gitrepos.iter().map(|found| found.place.len()).max().unwrap_or_default();
        for Found { place, value, fate } in &self.gitrepos {
            write!(f, "{place:width$}  {value:6}  ")?;
            match fate {
                Fate::TakenBack => writeln!(f, "{would}taken back")?,
                Fate::Stays(because) => writeln!(f, "stays: {because}")?,
                Fate::Failed(error) => writeln!(f, "FAILED: {error}")?,
            }
        }
        for (namespace, error) in &self.unread {
            let namespace = namespace.as_deref().unwrap_or("all namespaces");
            writeln!(f, "{namespace}  FAILED: {error}")?;
        }
        let taken_back = self.count(|fate| matches!(fate, Fate::TakenBack));
        let stay = self.count(|fate| matches!(fate, Fate::Stays(_)));
        let failed = self.gitrepos.len() - taken_back - stay + self.unread.len();
        writeln!(
            f,
            "polling intervals: {taken_back} {would}taken back, {stay} stay, {failed} failed"
        )
    }
}
