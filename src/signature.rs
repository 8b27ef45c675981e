//! How a delivery proves who sent it: the schemes, and which of a secret's values one has to prove; `signature/*`
//! check the proofs.

mod basic;
mod gitee;
mod hmac_sha256;
mod standard_webhooks;

use std::{borrow::Cow, fmt};

use base64::{
    alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::HeaderMap;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    delivery::Delivery,
    keys::{Keys, Secret, SecretValue},
};

/// Base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A way to prove who sent a delivery, with the secret's key that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Hex HMAC-SHA256 in a header.
    HmacSha256 {
        /// The secret's key.
        key: &'static str,
        /// The header, in lower case.
        header: &'static str,
        /// What stands before the hex digits, such as `sha256=`.
        prefix: &'static str,
        /// What is signed.
        over: Signed,
    },
    /// The secret itself in a header.
    Token {
        /// The secret's key.
        key: &'static str,
        /// The header, in lower case.
        header: &'static str,
    },
    /// A UUID that stands for the secret, in a header, with or without its braces.
    Uuid {
        /// The secret's key.
        key: &'static str,
        /// The header, in lower case.
        header: &'static str,
    },
    /// [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md), symmetric.
    StandardWebhooks {
        /// The secret's key; its value is `whsec_` and the base64 of the signing key.
        key: &'static str,
    },
    /// HTTP Basic authentication.
    Basic {
        /// The secret's key of the user name.
        username: &'static str,
        /// The secret's key of the password.
        password: &'static str,
    },
    /// [Gitee](https://gitee.com/help/articles/4290): the secret itself in `X-Gitee-Token`, or with `X-Gitee-Timestamp` its signature.
    Gitee {
        /// The secret's key.
        key: &'static str,
    },
}

/// What a signature covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// The body as it was sent.
    RawBody,
    /// The JSON, decoded from a form where it came in one.
    Json,
}

/// Witness that a delivery was verified; only this file makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified(());

impl Verified {
    /// A CodeCommit event that is the outer event of a Lambda invocation, as EventBridge hands it over: who may
    /// invoke the function is decided by IAM, and nothing else signs such an event.
    ///
    /// Never call it for anything that came in an HTTP request.
    pub(crate) const fn by_iam() -> Self {
        Self(())
    }
}

/// Why a secret does not verify a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The secret has no key for this provider, that is for any of these schemes.
    KeyMissing(&'static [Scheme]),
    /// The secret has the key of this scheme, but nobody can prove its value: it is empty, or not of the scheme's form.
    KeyUnusable(&'static Scheme),
    /// Proof missing, repeated, malformed or wrong.
    Unverified,
}

/// For the log: names keys, never a value.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyMissing(schemes) => {
                let keys: Vec<_> = schemes.iter().map(Scheme::key).collect();
                write!(f, "it has no key {}", keys.join(", or "))
            }
            Self::KeyUnusable(scheme) => {
                write!(f, "the value of its key {} is empty or malformed", scheme.key())
            }
            Self::Unverified => f.write_str("the proof is missing or wrong"),
        }
    }
}

/// Checks the proof of a delivery against one secret (contract §3); `schemes` are its provider's, the strongest first.
///
/// The strongest scheme whose key the secret has is demanded, even where its value is empty: a sender cannot choose
/// a weaker one. Beside the key's value, `<key>.previous` verifies, also that of a weaker scheme, so that hooks move to
/// the stronger one by one; and until its time what the version before has under the demanded key.
///
/// # Errors
/// [`Refusal`] where this secret does not verify the delivery.
pub fn verify(
    schemes: &'static [Scheme],
    delivery: &Delivery,
    secret: &Secret,
    now: Timestamp,
) -> Result<Verified, Refusal> {
    let keys = &secret.current;
    let mut demanded_and_weaker =
        schemes.iter().skip_while(|scheme| !scheme.is_configured(keys)).peekable();
    let scheme = *demanded_and_weaker.peek().ok_or(Refusal::KeyMissing(schemes))?;
    let in_force = scheme.credentials(keys);
    if in_force.is_empty() {
        return Err(Refusal::KeyUnusable(scheme));
    }
    let before = secret.previous.as_ref().filter(|(_, until)| now < *until);
    let before = before.map(|(keys, _)| scheme.credentials(keys)).unwrap_or_default();
    let is_proven = in_force.iter().chain(&before).any(|it| scheme.proves(delivery, it, now))
        || demanded_and_weaker.any(|scheme| {
            scheme.rotated_credentials(keys).iter().any(|it| scheme.proves(delivery, it, now))
        });
    if is_proven { Ok(Verified(())) } else { Err(Refusal::Unverified) }
}

/// Says whether a delivery comes with a proof of any of these schemes, right or wrong.
pub fn carries_proof(schemes: &[Scheme], headers: &HeaderMap) -> bool {
    schemes.iter().any(|scheme| {
        let (header, prefix) = scheme.proof_header();
        // Some send the bare prefix where they have no secret.
        let is_proof = |value: &[u8]| !value.is_empty() && value != prefix.as_bytes();
        headers.get_all(header).iter().any(|value| is_proof(value.as_bytes()))
    })
}

/// Says whether a delivery comes with HTTP Basic authentication, right or wrong.
pub(crate) fn is_basic(delivery: &Delivery) -> bool {
    basic::encoded(delivery).is_some()
}

impl Scheme {
    /// Whether the secret has its key, whatever the value.
    fn is_configured(&self, keys: &Keys) -> bool {
        keys.value(self.key()).is_some()
    }

    /// The secret's key that it cannot do without.
    const fn key(&self) -> &'static str {
        match *self {
            Self::HmacSha256 { key, .. }
            | Self::Token { key, .. }
            | Self::Uuid { key, .. }
            | Self::StandardWebhooks { key }
            | Self::Gitee { key } => key,
            Self::Basic { password, .. } => password,
        }
    }

    /// What may be proven to these keys, in each form in which it may be meant; nothing where the value is unusable.
    fn credentials<'k>(&self, keys: &'k Keys) -> Vec<Cow<'k, [u8]>> {
        match self {
            Self::Basic { username, password } => {
                basic::credentials(keys.value(username), keys.value(password))
            }
            _ => self.forms_of(keys.value(self.key())),
        }
    }

    /// The same for `<key>.previous`.
    fn rotated_credentials<'k>(&self, keys: &'k Keys) -> Vec<Cow<'k, [u8]>> {
        let previous = |key: &str| keys.value(&format!("{key}.previous"));
        match self {
            Self::Basic { username, password } => match (previous(username), previous(password)) {
                (None, None) => Vec::new(),
                // The half without a previous value was not changed.
                (user, pass) => basic::credentials(
                    user.or_else(|| keys.value(username)),
                    pass.or_else(|| keys.value(password)),
                ),
            },
            _ => self.forms_of(previous(self.key())),
        }
    }

    fn forms_of<'k>(&self, value: Option<&'k SecretValue>) -> Vec<Cow<'k, [u8]>> {
        let Some(value) = value else { return Vec::new() };
        let token = || value.token().into_iter();
        match self {
            Self::Token { .. } => token().map(Cow::Borrowed).collect(),
            Self::Uuid { .. } => {
                token().map(uuid).filter(|uuid| !uuid.is_empty()).map(Cow::Owned).collect()
            }
            Self::StandardWebhooks { .. } => token()
                .filter(|secret| standard_webhooks::signing_key(secret).is_some())
                .map(Cow::Borrowed)
                .collect(),
            Self::HmacSha256 { .. } | Self::Gitee { .. } | Self::Basic { .. } => {
                value.candidates().map(Cow::Borrowed).collect()
            }
        }
    }

    fn proves(&self, delivery: &Delivery, credential: &[u8], now: Timestamp) -> bool {
        match self {
            Self::HmacSha256 { header, prefix, over, .. } => {
                hmac_sha256::proves(delivery, header, prefix, *over, credential)
            }
            Self::Token { header, .. } => delivery
                .header_value(header)
                .is_some_and(|token| same(token.as_bytes().trim_ascii(), credential)),
            Self::Uuid { header, .. } => delivery
                .header_value(header)
                .is_some_and(|sent| same(&uuid(sent.as_bytes().trim_ascii()), credential)),
            Self::StandardWebhooks { .. } => standard_webhooks::proves(delivery, credential, now),
            Self::Basic { .. } => basic::proves(delivery, credential),
            Self::Gitee { .. } => gitee::proves(delivery, credential, now),
        }
    }

    /// The header that holds the proof, and what stands before the proof itself.
    const fn proof_header(&self) -> (&'static str, &'static str) {
        match self {
            Self::HmacSha256 { header, prefix, .. } => (header, prefix),
            Self::Token { header, .. } | Self::Uuid { header, .. } => (header, ""),
            Self::StandardWebhooks { .. } => (standard_webhooks::SIGNATURE, ""),
            Self::Basic { .. } => (basic::HEADER, ""),
            Self::Gitee { .. } => (gitee::TOKEN, ""),
        }
    }
}

/// A UUID as it is compared: its braces do not count, nor does upper or lower case.
fn uuid(text: &[u8]) -> Vec<u8> {
    let bare = text.strip_prefix(b"{").and_then(|uuid| uuid.strip_suffix(b"}"));
    bare.unwrap_or(text).to_ascii_lowercase()
}

/// Compares secret material in a time that depends on neither value: their hashes, which are of one length.
fn same(one: &[u8], other: &[u8]) -> bool {
    Sha256::digest(one).as_slice().ct_eq(Sha256::digest(other).as_slice()).into()
}

#[cfg(test)]
mod tests;
