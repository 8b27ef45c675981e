//! The vector is that of the [reference library](https://github.com/standard-webhooks/standard-webhooks/blob/main/libraries/rust/src/lib.rs).

use super::*;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const SIGNED_AT: i64 = 1_649_367_553;
const SIGNATURE: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";
const BODY: &str = r#"{"email":"test@example.com","username":"test_user"}"#;

fn signed(signature: &str, timestamp: &str) -> Delivery {
    let headers = [
        ("webhook-id", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk"),
        ("webhook-timestamp", timestamp),
        ("webhook-signature", signature),
    ];
    delivery(&headers, BODY)
}

fn judged(signature: &str, value: &str, late: i64) -> Result<Verified, Refusal> {
    let now = Timestamp::from_second(SIGNED_AT + late).expect("is a time");
    let secret = secret(&[("gitlab-signing-token", value)]);
    verify(provider("gitlab"), &signed(signature, &SIGNED_AT.to_string()), &secret, now)
}

#[test]
fn the_published_signature_verifies() {
    assert_eq!(judged(SIGNATURE, SECRET, 0), Ok(Verified(())));
}

#[test]
fn it_verifies_for_five_minutes_either_way() {
    for (late, verifies) in [(300, true), (-300, true), (301, false), (-301, false)] {
        assert_eq!(judged(SIGNATURE, SECRET, late).is_ok(), verifies, "{late} s");
    }
}

#[test]
fn one_right_signature_of_several_is_enough() {
    let others = "v1,tFtCZ5RDCPxzWQRWXWPgrCgE2frDBe9gjpbWQxnVfsQ=";
    assert!(judged(&format!("{others} {SIGNATURE} v1a,xyz"), SECRET, 0).is_ok());
    assert!(judged(&format!("{others} {others}"), SECRET, 0).is_err());
}

#[test]
fn a_spoilt_signature_verifies_nothing() {
    let bare = SIGNATURE.trim_start_matches("v1,");
    for signature in
        ["", "v1,", "v1", bare, &format!("v1a,{bare}"), &format!("v2,{bare}"), "v1,%%%"]
    {
        assert_eq!(judged(signature, SECRET, 0), Err(Refusal::Unverified), "{signature}");
    }
}

#[test]
fn a_spoilt_timestamp_verifies_nothing() {
    let at = Timestamp::from_second(SIGNED_AT).expect("is a time");
    let secret = secret(&[("gitlab-signing-token", SECRET)]);
    for timestamp in
        ["", "x", "1649367553.0", "1649367554", "-9223372036854775808", "99999999999999999999"]
    {
        let delivery = signed(SIGNATURE, timestamp);
        let verified = verify(provider("gitlab"), &delivery, &secret, at);
        assert_eq!(verified, Err(Refusal::Unverified), "{timestamp}");
    }
}

#[test]
fn a_secret_that_is_no_signing_key_verifies_nothing() {
    for value in ["", "whsec_", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_%%%", "whsec_Ā"] {
        let judged = judged(SIGNATURE, value, 0);
        assert!(matches!(judged, Err(Refusal::KeyUnusable(_))), "{value}");
    }
}

#[test]
fn a_missing_or_repeated_header_verifies_nothing() {
    let at = Timestamp::from_second(SIGNED_AT).expect("is a time");
    let secret = secret(&[("gitlab-signing-token", SECRET)]);
    let timestamp = SIGNED_AT.to_string();
    let all = [
        ("webhook-id", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk"),
        ("webhook-timestamp", timestamp.as_str()),
        ("webhook-signature", SIGNATURE),
    ];
    for (name, _) in all {
        let less: Vec<_> = all.into_iter().filter(|(other, _)| *other != name).collect();
        let more: Vec<_> =
            all.into_iter().chain(all.into_iter().filter(|(other, _)| *other == name)).collect();
        for headers in [less, more] {
            let verified = verify(provider("gitlab"), &delivery(&headers, BODY), &secret, at);
            assert_eq!(verified, Err(Refusal::Unverified), "{name}");
        }
    }
}
