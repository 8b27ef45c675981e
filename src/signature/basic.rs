//! HTTP Basic authentication ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617)), the one proof of Azure DevOps.

use std::borrow::Cow;

use base64::Engine;

use super::{BASE64, same};
use crate::{delivery::Delivery, keys::SecretValue};

pub(super) const HEADER: &str = "authorization";

/// `user:password`, in each form in which they may be meant; nothing without a password. The user name may be missing
/// or empty, and has to be sent empty then: Azure DevOps takes a password alone.
pub(super) fn credentials<'k>(
    user: Option<&SecretValue>,
    password: Option<&SecretValue>,
) -> Vec<Cow<'k, [u8]>> {
    let forms = |value: Option<&SecretValue>| -> Vec<Vec<u8>> {
        value.into_iter().flat_map(SecretValue::candidates).map(<[u8]>::to_vec).collect()
    };
    let mut users = forms(user);
    if users.is_empty() {
        users.push(Vec::new());
    }
    let passwords = forms(password);
    let pairs =
        users.iter().flat_map(|user| passwords.iter().map(move |password| (user, password)));
    pairs.map(|(user, password)| Cow::Owned([user, &b":"[..], password].concat())).collect()
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
