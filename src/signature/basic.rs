//! HTTP Basic authentication ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617)), the one proof of Azure DevOps.

use std::borrow::Cow;

use base64::Engine;

use super::{BASE64, same};
use crate::{delivery::Delivery, secret::SecretValue};

pub(super) const HEADER: &str = "authorization";

/// `user:password`; `None` where one of them is empty.
pub(super) fn credential(user: &SecretValue, password: &SecretValue) -> Option<Cow<'static, [u8]>> {
    Some(Cow::Owned([user.usable()?, b":", password.usable()?].concat()))
}

/// Says whether the delivery comes with this `user:password`.
pub(super) fn proves(delivery: &Delivery, credential: &[u8]) -> bool {
    let Some((scheme, encoded)) = delivery.header(HEADER).and_then(|value| value.split_once(' '))
    else {
        return false;
    };
    let Ok(sent) = BASE64.decode(encoded.trim()) else { return false };
    scheme.eq_ignore_ascii_case("basic") && same(&sent, credential)
}
