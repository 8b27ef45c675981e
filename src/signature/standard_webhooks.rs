//! [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md):
//! id, time and body signed together, for five minutes; GitLab's signing token and the generic provider.

use base64::Engine;
use hmac::Mac;
use jiff::Timestamp;

use super::{BASE64, hmac_sha256};
use crate::delivery::Delivery;

pub(super) const SIGNATURE: &str = "webhook-signature";
const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const TOLERANCE_SECONDS: u64 = 300;

/// Says whether one of the delivery's `v1` signatures is by `secret` (`whsec_` and base64) and of these minutes.
pub(super) fn proves(delivery: &Delivery, secret: &[u8], now: Timestamp) -> bool {
    let (Some(key), Some(id), Some(timestamp), Some(signatures)) = (
        signing_key(secret),
        delivery.header(ID),
        delivery.header(TIMESTAMP),
        delivery.header(SIGNATURE),
    ) else {
        return false;
    };
    let is_of_these_minutes = timestamp
        .parse::<i64>()
        .is_ok_and(|seconds| now.as_second().abs_diff(seconds) <= TOLERANCE_SECONDS);
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", delivery.raw()];
    // Made once, however many signatures are offered.
    let Some(mac) = hmac_sha256::mac(&key, &signed) else { return false };
    let is_right = |entry: &str| {
        let signature = entry.strip_prefix("v1,").map(|text| BASE64.decode(text));
        matches!(signature, Some(Ok(bytes)) if mac.clone().verify_slice(&bytes).is_ok())
    };
    is_of_these_minutes && signatures.split(' ').any(is_right)
}

/// The key in a secret's value; `None` if it is not `whsec_` and the base64 of something.
pub(super) fn signing_key(secret: &[u8]) -> Option<Vec<u8>> {
    let key = BASE64.decode(secret.strip_prefix(b"whsec_")?).ok()?;
    (!key.is_empty()).then_some(key)
}
