//! [Gitee's proof](https://gitee.com/help/articles/4290): the secret, or its signature of a time.
//!
//! Gitee sends `X-Gitee-Timestamp` whichever of the two a hook is set to, so both are looked for. Neither covers
//! the body.

use base64::Engine;
use hmac::Mac;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use super::{BASE64, hmac_sha256, same};
use crate::delivery::Delivery;

pub(super) const TOKEN: &str = "x-gitee-token";
const TIMESTAMP: &str = "x-gitee-timestamp";
const TOLERANCE_MILLISECONDS: u64 = 60 * 60 * 1000;

/// Says whether the token is the secret, or the secret's signature of a time within the hour.
pub(super) fn proves(delivery: &Delivery, secret: &[u8], now: Timestamp) -> bool {
    let is_secret = delivery
        .header_value(TOKEN)
        .is_some_and(|token| same(token.as_bytes().trim_ascii(), secret.trim_ascii()));
    is_secret || is_signature(delivery, secret, now)
}

fn is_signature(delivery: &Delivery, secret: &[u8], now: Timestamp) -> bool {
    let (Some(token), Some(timestamp)) = (delivery.header(TOKEN), delivery.header(TIMESTAMP))
    else {
        return false;
    };
    let is_within_the_hour = timestamp.parse::<i64>().is_ok_and(|milliseconds| {
        now.as_millisecond().abs_diff(milliseconds) <= TOLERANCE_MILLISECONDS
    });
    // Where the documentation computes the signature it also encodes it for a URL.
    let token: Vec<u8> = percent_decode_str(token).collect();
    let Ok(signature) = BASE64.decode(token) else { return false };
    let mac = hmac_sha256::mac(secret, &[timestamp.as_bytes(), b"\n", secret]);
    is_within_the_hour && mac.is_some_and(|mac| mac.verify_slice(&signature).is_ok())
}
