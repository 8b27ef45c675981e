//! The list that a watch begins with: read object by object while it arrives, none kept whole.

use std::{fmt, hash::RandomState};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor},
};

use super::{listed::Listed, records::Records};
use crate::cluster::streamed::Each;

/// Reads a `GitRepoList` into records, and its version.
pub(super) struct ListSeed {
    pub(super) hasher: RandomState,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
}

impl<'de> DeserializeSeed<'de> for ListSeed {
    type Value = (Records, String);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ListSeed {
    type Value = (Records, String);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a GitRepoList")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut records = Records::default();
        let mut version = None;
        while let Some(key) = list.next_key::<String>()? {
            match &*key {
                "metadata" => version = Some(list.next_value::<ListMetadata>()?.resource_version),
                "items" => {
                    let take = |item: Listed| records.apply(item, &self.hasher);
                    list.next_value_seed(Each::new(take))?;
                }
                _ => drop(list.next_value::<IgnoredAny>()?),
            }
        }
        let version = version.ok_or_else(|| A::Error::missing_field("metadata"))?;
        Ok((records, version))
    }
}
