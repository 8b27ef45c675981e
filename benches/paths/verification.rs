//! The proof of a delivery, beside the one HMAC over the same bytes that it cannot do without.

use divan::{Bencher, counter::BytesCount};
use fleet_webhook::{
    keys::Secret,
    provider,
    signature::{self, Refusal},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

use crate::deliveries::{KIB, MIB, of_size};

const SIZES: [usize; 3] = [KIB, 100 * KIB, 25 * MIB];
const KEY: &str = "not what it was signed with";

#[divan::bench(args = SIZES)]
fn verify(bencher: Bencher<'_, '_>, bytes: usize) {
    let delivery = of_size("github-push", bytes);
    let schemes = provider::sender_of(&delivery).unwrap().schemes;
    let keys = [("github".to_owned(), KEY.as_bytes().to_vec())];
    let secret = Secret { current: keys.into_iter().collect(), previous: None };
    let now = Timestamp::UNIX_EPOCH;
    assert_eq!(signature::verify(schemes, &delivery, &secret, now), Err(Refusal::Unverified));
    bencher
        .counter(BytesCount::new(delivery.raw().len()))
        .bench_local(|| signature::verify(schemes, divan::black_box(&delivery), &secret, now));
}

#[divan::bench(args = SIZES)]
fn hmac_sha2(bencher: Bencher<'_, '_>, bytes: usize) {
    let delivery = of_size("github-push", bytes);
    bencher.counter(BytesCount::new(delivery.raw().len())).bench_local(|| {
        let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
        mac.update(divan::black_box(delivery.raw()));
        mac.finalize().into_bytes()
    });
}
