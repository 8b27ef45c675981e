//! What is read of a payload has a limit: nothing is verified yet, and a few bytes of it may take many in memory.

use std::{fmt, marker::PhantomData, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, SeqAccess, Visitor},
};

use super::{Malformed, Object};
use crate::event::{RefUpdate, Refs};

/// A text of at most 4096 bytes: no provider has a longer name, ref or URL. A longer one is malformed, and never held.
#[derive(Debug)]
pub(crate) struct Text(String);

impl Text {
    /// The longest, in bytes.
    const LIMIT: usize = 4096;

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfText;

        impl Visitor<'_> for OfText {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {} bytes of text", Text::LIMIT)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                if text.len() > Text::LIMIT {
                    return Err(E::invalid_length(text.len(), &self));
                }
                Ok(Text(text.to_owned()))
            }
        }

        deserializer.deserialize_str(OfText)
    }
}

/// How many ref updates of one delivery are kept: more than anybody pushes but to copy a whole repository.
const REF_UPDATES_LIMIT: usize = 100_000;

/// What one entry of a list says of a ref.
pub(crate) trait Update {
    /// The update; `None` for what is neither branch nor tag.
    ///
    /// # Errors
    /// [`Malformed`] where a promised field is missing.
    fn update(self) -> Result<Option<RefUpdate>, Malformed>;
}

/// The ref updates of one delivery, each read as `T` and kept as what it says: `{}` takes two bytes of the body, and as a
/// `T` fifty times that. Of more than the limit those that were read count.
#[derive(Debug)]
pub(crate) struct RefUpdates<T> {
    named: Vec<RefUpdate>,
    and_more: bool,
    count: usize,
    malformed: Option<Malformed>,
    of: PhantomData<T>,
}

impl<T> RefUpdates<T> {
    /// How many entries the list has.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// What moved.
    ///
    /// # Errors
    /// The first [`Malformed`] among the entries.
    pub(crate) fn refs(self) -> Result<Refs, Malformed> {
        self.read().map(|(named, and_more)| Refs::new(named, and_more))
    }

    /// What was read of the list, and whether it goes on.
    ///
    /// # Errors
    /// The first [`Malformed`] among the entries.
    pub(crate) fn read(self) -> Result<(Vec<RefUpdate>, bool), Malformed> {
        self.malformed.map_or(Ok((self.named, self.and_more)), Err)
    }
}

impl<T> Default for RefUpdates<T> {
    fn default() -> Self {
        Self { named: Vec::new(), and_more: false, count: 0, malformed: None, of: PhantomData }
    }
}

impl<'de, T: Deserialize<'de> + Update> Deserialize<'de> for RefUpdates<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfUpdates<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de> + Update> Visitor<'de> for OfUpdates<T> {
            type Value = RefUpdates<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("ref updates")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut updates = RefUpdates::default();
                while updates.malformed.is_none() && updates.named.len() < REF_UPDATES_LIMIT {
                    let Some(Object::<T>(entry)) = list.next_element()? else { break };
                    updates.count += 1;
                    match entry.update() {
                        Ok(update) => updates.named.extend(update),
                        Err(malformed) => updates.malformed = Some(malformed),
                    }
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    updates.count += 1;
                    updates.and_more = true;
                }
                updates.named.shrink_to_fit();
                Ok(updates)
            }
        }

        deserializer.deserialize_seq(OfUpdates(PhantomData))
    }
}

/// The clone URLs of a repository, one for each transport.
pub(crate) type CloneLinks<T> = Bounded<T, 16>;

/// The records of an event of a repository's trigger.
pub(crate) type TriggerRecords<T> = Bounded<T, 16>;

impl<T, const LIMIT: usize> Bounded<T, LIMIT> {
    /// The only one; `None` where there is none, or several.
    pub(crate) fn only(mut self) -> Option<T> {
        self.0.pop().filter(|_| self.0.is_empty())
    }
}

/// A list of at most `LIMIT` JSON objects; what is beyond is never held.
pub(crate) struct Bounded<T, const LIMIT: usize>(Vec<T>);

impl<T, const LIMIT: usize> Deref for Bounded<T, LIMIT> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>, const LIMIT: usize> Deserialize<'de> for Bounded<T, LIMIT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObjects<T, const LIMIT: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const LIMIT: usize> Visitor<'de> for OfObjects<T, LIMIT> {
            type Value = Bounded<T, LIMIT>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {LIMIT} objects")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut objects = Vec::new();
                while objects.len() < LIMIT {
                    let Some(Object(object)) = list.next_element()? else {
                        return Ok(Bounded(objects));
                    };
                    objects.push(object);
                }
                match list.next_element::<IgnoredAny>()? {
                    None => Ok(Bounded(objects)),
                    Some(_) => Err(A::Error::invalid_length(LIMIT + 1, &self)),
                }
            }
        }

        deserializer.deserialize_seq(OfObjects(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{After, GitRef},
        payload::{Anything, missing, object},
    };

    #[derive(Deserialize)]
    struct Named {
        name: Option<Text>,
    }

    #[test]
    fn a_text_is_taken_up_to_its_limit_whichever_way_it_is_written() {
        for letter in ["x", "\\n", "\\u0078"] {
            let json = |length: usize| format!(r#"{{"name":"{}"}}"#, letter.repeat(length));
            let named: Named = object(json(4096).as_bytes()).expect("is taken");
            assert_eq!(named.name.map(|name| name.len()), Some(4096));
            assert!(object::<Named>(json(4097).as_bytes()).is_err(), "{letter}");
        }
    }

    #[derive(Deserialize)]
    struct Listed {
        #[serde(default)]
        list: Option<Bounded<Anything, 3>>,
    }

    fn length(json: &str) -> Result<usize, Malformed> {
        object::<Listed>(json.as_bytes()).map(|listed| listed.list.map_or(0, |list| list.len()))
    }

    #[test]
    fn a_list_is_taken_up_to_its_limit() {
        for (json, expected) in [
            (r#"{}"#, 0),
            (r#"{"list":null}"#, 0),
            (r#"{"list":[]}"#, 0),
            (r#"{"list":[{},{"x":[]},{}]}"#, 3),
        ] {
            assert_eq!(length(json), Ok(expected), "{json}");
        }
        for json in [
            r#"{"list":[{},{},{},{}]}"#,
            r#"{"list":[{},{},{},1]}"#,
            r#"{"list":[[]]}"#,
            r#"{"list":{}}"#,
        ] {
            assert!(length(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_list_is_given_up_at_its_limit() {
        let malformed = length(r#"{"list":[{},{},{},{},"#).expect_err("is too long");
        assert!(malformed.0.contains("not the fields or types"), "{malformed}");
    }

    #[derive(Deserialize)]
    struct Moved {
        name: Option<Text>,
    }

    impl Update for Moved {
        fn update(self) -> Result<Option<RefUpdate>, Malformed> {
            let name = self.name.ok_or_else(|| missing("name"))?;
            Ok(RefUpdate::of(&name, None, After::Deleted))
        }
    }

    #[derive(Deserialize)]
    struct Told {
        list: RefUpdates<Moved>,
    }

    fn told(entries: &[&str]) -> Result<Refs, Malformed> {
        let json = format!(r#"{{"list":[{}]}}"#, entries.join(","));
        object::<Told>(json.as_bytes())?.list.refs()
    }

    #[test]
    fn a_hundred_thousand_ref_updates_are_kept_and_of_more_it_is_known_that_there_are_more() {
        let branch = r#"{"name":"refs/heads/a"}"#;
        for (length, and_more) in [(100_000, false), (100_001, true), (200_000, true)] {
            let mut entries = vec![branch; length];
            *entries.get_mut(99_999).expect("is there") = r#"{"name":"refs/heads/last"}"#;
            let refs = told(&entries).expect("is taken");
            assert_eq!((refs.named().len(), refs.and_more()), (100_000, and_more));
            let last = refs.named().last().map(|update| update.git_ref.clone());
            assert_eq!(last, GitRef::branch("last"));
        }
    }

    #[test]
    fn what_is_neither_branch_nor_tag_takes_nobodys_place() {
        let mut entries = vec![r#"{"name":"refs/pull/1/head"}"#; 100_001];
        entries.push(r#"{"name":"refs/heads/main"}"#);
        let refs = told(&entries).expect("is taken");
        assert_eq!((refs.named().len(), refs.and_more()), (1, false));
    }

    #[test]
    fn one_entry_that_is_wrong_makes_all_of_them_wrong() {
        let right = r#"{"name":"refs/heads/main"}"#;
        for (entry, said) in
            [("{}", "no usable `name`"), ("[]", "not the fields"), ("1", "not the fields")]
        {
            let malformed = told(&[right, entry, right]).expect_err("is wrong");
            assert!(malformed.0.contains(said), "{entry}: {malformed}");
        }
    }
}
