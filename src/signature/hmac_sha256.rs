//! HMAC-SHA256 over the body in a header, as hex digits; also the MAC itself for its neighbours.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Signed;
use crate::delivery::Delivery;

/// Says whether the header holds the signature of the body by `key`.
pub(super) fn proves(
    delivery: &Delivery,
    header: &str,
    prefix: &str,
    over: Signed,
    key: &[u8],
) -> bool {
    let signed = match over {
        Signed::RawBody => Some(delivery.raw()),
        Signed::Json => delivery.json(),
    };
    let digits = delivery.header(header).and_then(|value| value.strip_prefix(prefix));
    let (Some(signed), Some(Ok(signature))) = (signed, digits.map(hex::decode)) else {
        return false;
    };
    mac(key, &[signed]).is_some_and(|mac| mac.verify_slice(&signature).is_ok())
}

/// The MAC of the parts, one after the other; compare it with `verify_slice`, which takes constant time.
///
/// `None` for an empty key, with which nobody may sign: RustCrypto's HMAC takes it.
pub(super) fn mac(key: &[u8], parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    if key.is_empty() {
        return None;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    for part in parts {
        mac.update(part);
    }
    Some(mac)
}
