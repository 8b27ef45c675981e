//! Known answers that others published, the hostile cases of each scheme, and the policy of contract §3.

mod basic_authentication;
mod gitees;
mod hmac_in_hex;
mod policy;
mod standard;
mod token;

use std::{collections::BTreeMap, time::Duration};

use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use proptest::prelude::*;

use super::*;
use crate::provider::{PROVIDERS, Provider};

const NOW: i64 = 1_776_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("is a time")
}

fn verify(
    provider: &Provider,
    delivery: &Delivery,
    secret: &Secret,
    now: Timestamp,
) -> Result<Verified, Refusal> {
    super::verify(provider.schemes, delivery, secret, now)
}

fn provider(name: &str) -> &'static Provider {
    PROVIDERS.iter().find(|provider| provider.name == name).expect("is in the table")
}

fn keys(pairs: &[(&str, &str)]) -> Keys {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
}

fn secret(pairs: &[(&str, &str)]) -> Secret {
    Secret { current: keys(pairs), previous: None }
}

fn delivery_of(content_type: &'static str, headers: &[(&str, &str)], body: &str) -> Delivery {
    let mut map = HeaderMap::new();
    map.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in headers {
        let name: HeaderName = name.parse().expect("is a header's name");
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("is a header's value"));
    }
    Delivery::new(map, Bytes::copy_from_slice(body.as_bytes())).expect("has a known content type")
}

fn delivery(headers: &[(&str, &str)], body: &str) -> Delivery {
    delivery_of("application/json", headers, body)
}

fn hmac_hex(key: &str, message: &str) -> String {
    use hmac::Mac;
    let mac = hmac_sha256::mac(key.as_bytes(), &[message.as_bytes()]).expect("has a key");
    hex::encode(mac.finalize().into_bytes())
}

/// Text like a proof's, and what has the very form of one.
fn any_proof() -> impl Strategy<Value = String> {
    let prefix = || prop::sample::select(vec!["", "sha256=", "v1,", "Basic "]);
    prop_oneof![
        "(sha256=|v1,|Basic |)[0-9a-zA-Z+/=:, ]{0,80}",
        (prefix(), any::<[u8; 32]>())
            .prop_map(|(prefix, mac)| prefix.to_owned() + &hex::encode(mac)),
        (prefix(), any::<[u8; 32]>())
            .prop_map(|(prefix, mac)| prefix.to_owned() + &BASE64.encode(mac)),
        (prefix(), "[a-z]{0,5}:[a-z]{0,5}")
            .prop_map(|(prefix, pair)| prefix.to_owned() + &BASE64.encode(pair)),
    ]
}

proptest! {
    #[test]
    fn whatever_a_stranger_sends_verifies_as_nobodys(
        proofs in prop::collection::vec(any_proof(), 20),
        body in ".*",
        is_signed in any::<bool>(),
    ) {
        let (now_in_seconds, now_in_milliseconds) = (NOW.to_string(), (NOW * 1000).to_string());
        let schemes = || PROVIDERS.iter().flat_map(|provider| provider.schemes);
        let by_a_stranger = hmac_hex("the stranger's own secret", &body);
        let proofs: BTreeMap<&str, String> = schemes()
            .zip(&proofs)
            .map(|(scheme, proof)| {
                let (header, prefix) = scheme.proof_header();
                (header, if is_signed { format!("{prefix}{by_a_stranger}") } else { proof.clone() })
            })
            .collect();
        prop_assert!(schemes().all(|scheme| proofs.contains_key(scheme.proof_header().0)));
        let times = [
            ("webhook-id", "x"),
            ("webhook-timestamp", now_in_seconds.as_str()),
            ("x-gitee-timestamp", now_in_milliseconds.as_str()),
        ];
        let headers: Vec<_> =
            proofs.iter().map(|(header, proof)| (*header, proof.as_str())).chain(times).collect();
        let delivery = delivery(&headers, &body);
        for provider in PROVIDERS {
            for scheme in provider.schemes {
                for value in
                    ["", "whsec_", "whsec_dGhlIHNlY3JldCBvZiBzb21lYm9keSBlbHNl", "a secret of somebody else"]
                {
                    let pairs: Vec<_> =
                        vec![(scheme.key(), value)];
                    let verified = verify(provider, &delivery, &secret(&pairs), now());
                    // Not for want of a key: the proof itself is looked at.
                    let looked_at =
                        matches!(verified, Err(Refusal::Unverified | Refusal::KeyUnusable(_)));
                    prop_assert!(looked_at, "{} {:?}: {:?}", provider.name, pairs, verified);
                }
            }
        }
    }
}
