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
    let sent = encoded(delivery).map(|encoded| BASE64.decode(encoded));
    matches!(sent, Some(Ok(sent)) if same(&sent, credential))
}

/// What the delivery sends in this way, in base64.
pub(super) fn encoded(delivery: &Delivery) -> Option<&str> {
    let (scheme, encoded) = delivery.header(HEADER)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("basic").then(|| encoded.trim())
}
