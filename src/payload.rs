//! What the payloads of several providers have in common; `provider/*` read them with it.

mod bounded;

use std::{fmt, marker::PhantomData, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::error::Category;

pub(crate) use self::bounded::{CloneLinks, RefUpdates, Text, TriggerRecords, Update};
use crate::event::{After, CommitId, Event, GitRef, Push, RefUpdate, Repository};

/// A delivery is not what the provider promises; says where, never what stood there.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// UTF-8's.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads the JSON object of a payload.
///
/// The error says where it is not what was promised, never what stands there: `serde_json`'s own messages quote it.
pub(crate) fn object<'j, T: Deserialize<'j>>(json: &'j [u8]) -> Result<T, Malformed> {
    // What some relays write before it is no part of it.
    let json = json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(json);
    let read: Result<Object<T>, _> = serde_json::from_slice(json);
    read.map(|object| object.0).map_err(|error| {
        let what = match error.classify() {
            Category::Data => "not the fields or types that the provider promises",
            Category::Eof => "JSON that ends too early",
            Category::Syntax | Category::Io => "not JSON",
        };
        Malformed(format!("payload: {what}, at line {} column {}", error.line(), error.column()))
    })
}

/// Any JSON object, for events of which nothing else is read.
#[derive(Deserialize)]
pub(crate) struct Anything {}

/// The event that nothing is done for; its body has to be a JSON object nevertheless.
pub(crate) fn ignored(json: &[u8], why: &'static str) -> Result<Event, Malformed> {
    object::<Anything>(json).map(|_| Event::Ignored(why))
}

/// A promised field that is not there.
pub(crate) fn missing(field: &str) -> Malformed {
    Malformed(format!("payload: no usable `{field}`"))
}

/// A struct read from a JSON object and nothing else: serde would take an array too, field by field.
pub(crate) struct Object<T>(pub(crate) T);

impl<T> Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfObject<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(OfObject(PhantomData))
    }
}

/// The push that GitHub made a model for Gogs, Gitea, Forgejo and Gitee: one full ref.
#[derive(Deserialize)]
pub(crate) struct RefPush {
    #[serde(rename = "ref")]
    pub(crate) git_ref: Option<Text>,
    before: Option<Text>,
    pub(crate) after: Option<Text>,
    deleted: Option<bool>,
    head_commit: Option<Object<HeadCommit>>,
    pub(crate) repository: Option<Object<HostedRepository>>,
}

/// The repository of such a push, and of pings.
///
/// `homepage`, `website` and `original_url` do not count: its owner can write anything there.
#[derive(Deserialize)]
pub(crate) struct HostedRepository {
    clone_url: Option<Text>,
    ssh_url: Option<Text>,
    git_url: Option<Text>,
    html_url: Option<Text>,
    /// Gitee's, beside the others.
    git_http_url: Option<Text>,
    /// Gitee's, beside the others.
    git_ssh_url: Option<Text>,
}

#[derive(Deserialize)]
struct HeadCommit {
    id: Option<Text>,
}

impl HostedRepository {
    /// The repository by its URLs; `None` if it has none.
    pub(crate) fn named(&self) -> Option<Repository> {
        let urls = [
            &self.clone_url,
            &self.ssh_url,
            &self.git_url,
            &self.html_url,
            &self.git_http_url,
            &self.git_ssh_url,
        ];
        Repository::from_urls(urls.into_iter().flatten().map(Text::as_str))
    }
}

impl RefPush {
    /// The event of a push whose ref is whole (`refs/heads/…`).
    pub(crate) fn event(&self) -> Result<Event, Malformed> {
        let git_ref = self.git_ref.as_deref().ok_or_else(|| missing("ref"))?;
        self.event_of(GitRef::parse(git_ref))
    }

    /// The same where mirrors that were synchronised push the short names of branches.
    pub(crate) fn event_of_full_or_short_ref(&self) -> Result<Event, Malformed> {
        match self.git_ref.as_deref() {
            Some(short_ref) if !short_ref.starts_with("refs/") => {
                self.event_of(GitRef::branch(short_ref))
            }
            _ => self.event(),
        }
    }

    /// The event of a push of that ref; `None` is a ref that is neither branch nor tag.
    fn event_of(&self, git_ref: Option<GitRef>) -> Result<Event, Malformed> {
        let repository = self.repository.as_ref().and_then(|repository| repository.named());
        let repository = repository.ok_or_else(|| missing("repository.clone_url"))?;
        let after = match (&self.after, self.deleted) {
            (_, Some(true)) => After::Deleted,
            (Some(after), _) => After::id(after),
            (None, _) => return Err(missing("after")),
        };
        let update = git_ref.map(|git_ref| {
            let after = self.peeled(after, &git_ref);
            RefUpdate::new(git_ref, self.before.as_deref(), after)
        });
        Ok(Event::Push(Push { repository, refs: Vec::from_iter(update).into() }))
    }

    /// `after` of an annotated tag is the tag object, `head_commit` the commit that it points to.
    fn peeled(&self, after: After, git_ref: &GitRef) -> After {
        let head = self.head_commit.as_ref().and_then(|head| CommitId::parse(head.id.as_deref()?));
        match (after, git_ref, head) {
            (After::Commit(_), GitRef::Tag(_), Some(head)) => After::Commit(head),
            (after, ..) => after,
        }
    }
}
