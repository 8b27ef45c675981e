//! What is read of a payload has a limit: nothing is verified yet, and a few bytes of it may take many in memory.

use std::{fmt, marker::PhantomData, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, SeqAccess, Visitor},
};

use super::Object;

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

/// The ref updates of one delivery. More of them is malformed: `{}` takes two bytes of the body and a hundred times
/// that in memory.
pub(crate) type RefUpdates<T> = Bounded<T, 10_000>;

/// The clone URLs of a repository, one for each transport.
pub(crate) type CloneLinks<T> = Bounded<T, 16>;

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
    use crate::payload::{Anything, Malformed, object};

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
}
