//! Known answers that others published, the hostile cases of each scheme, and the policy of contract §3.

use std::{collections::BTreeMap, time::Duration};

use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use proptest::prelude::*;

use super::*;
use crate::provider::PROVIDERS;

const NOW: i64 = 1_776_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("is a time")
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

mod hmac_in_hex {
    use super::*;

    const HEADER: &str = "x-hub-signature-256";
    const BODY: &str = "Hello, World!";
    const SECRET: &str = "It's a Secret to Everybody";
    const DIGEST: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn github(value: &str) -> Result<Verified, Refusal> {
        let secret = secret(&[("github", SECRET)]);
        verify(provider("github"), &delivery(&[(HEADER, value)], BODY), &secret, now())
    }

    #[test]
    fn githubs_published_signature_verifies() {
        assert_eq!(github(&format!("sha256={DIGEST}")), Ok(Verified(())));
    }

    #[test]
    fn hex_is_taken_in_either_case() {
        assert!(github(&format!("sha256={}", DIGEST.to_uppercase())).is_ok());
    }

    #[test]
    fn a_spoilt_header_verifies_nothing() {
        for value in [
            "",
            "sha256=",
            "abc",
            DIGEST,
            &format!("sha512={DIGEST}"),
            &format!("SHA256={DIGEST}"),
            &format!("sha256={DIGEST}00"),
            &format!("sha256={}", DIGEST.replace('7', "z")),
            &format!("sha256={}", DIGEST.trim_end_matches('7')),
            &format!("sha256={}", DIGEST.trim_end_matches("17")),
            &format!("sha256={}8", DIGEST.trim_end_matches('7')),
            &format!("sha256= {DIGEST}"),
        ] {
            assert_eq!(github(value), Err(Refusal::Unverified), "{value}");
        }
    }

    #[test]
    fn a_missing_header_verifies_nothing() {
        let sha1 = [("x-hub-signature", "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59")];
        let secret = secret(&[("github", SECRET)]);
        for headers in [&[][..], &sha1] {
            let verified = verify(provider("github"), &delivery(headers, BODY), &secret, now());
            assert_eq!(verified, Err(Refusal::Unverified));
        }
    }

    #[test]
    fn a_header_sent_twice_verifies_nothing() {
        let value = format!("sha256={DIGEST}");
        let twice = delivery(&[(HEADER, &value), (HEADER, &value)], BODY);
        let verified = verify(provider("github"), &twice, &secret(&[("github", SECRET)]), now());
        assert_eq!(verified, Err(Refusal::Unverified));
    }

    #[test]
    fn another_body_or_secret_verifies_nothing() {
        let value = format!("sha256={DIGEST}");
        let headers = [(HEADER, value.as_str())];
        let right = secret(&[("github", SECRET)]);
        let changed =
            verify(provider("github"), &delivery(&headers, "Hello, World?"), &right, now());
        assert_eq!(changed, Err(Refusal::Unverified));
        let wrong = secret(&[("github", "It's a secret to Everybody")]);
        let other = verify(provider("github"), &delivery(&headers, BODY), &wrong, now());
        assert_eq!(other, Err(Refusal::Unverified));
    }

    #[test]
    fn bitbuckets_published_signature_verifies() {
        let value = "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9";
        let delivery = delivery(&[("x-hub-signature", value)], "Hello World!");
        for (name, key) in
            [("bitbucket-cloud", "bitbucket-hmac"), ("bitbucket-server", "bitbucket-server")]
        {
            let verified = verify(provider(name), &delivery, &secret(&[(key, SECRET)]), now());
            assert!(verified.is_ok(), "{name}");
        }
    }

    /// [RFC 4231](https://www.rfc-editor.org/rfc/rfc4231#section-4), cases 1, 2 and 6.
    #[test]
    fn the_macs_of_rfc_4231_are_ours() {
        let long_key = [0xaa; 131];
        for (key, message, digest) in [
            (
                &[0x0b; 20][..],
                "Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &long_key,
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            use hmac::Mac;
            let mac = hmac_sha256::mac(key, &[message.as_bytes()]).expect("has a key");
            assert_eq!(hex::encode(mac.finalize().into_bytes()), digest);
        }
    }

    #[test]
    fn github_signs_a_form_and_gogs_the_json_in_it() {
        let (form, json) = ("payload=%7B%22yo%22%3Atrue%7D", "{\"yo\":true}");
        for (name, header, prefix, signed, unsigned) in [
            ("github", HEADER, "sha256=", form, json),
            ("gogs", "x-gogs-signature", "", json, form),
        ] {
            for (message, verifies) in [(signed, true), (unsigned, false)] {
                let value = format!("{prefix}{}", hmac_hex("s3cret", message));
                let form = "application/x-www-form-urlencoded";
                let delivery =
                    delivery_of(form, &[(header, &value)], "payload=%7B%22yo%22%3Atrue%7D");
                let verified =
                    verify(provider(name), &delivery, &secret(&[(name, "s3cret")]), now());
                assert_eq!(verified.is_ok(), verifies, "{name} over {message}");
            }
        }
    }

    #[test]
    fn nobody_signs_with_an_empty_secret() {
        assert!(hmac_sha256::mac(b"", &[b"{}"]).is_none());
        // HMAC-SHA256 of `{}` with an empty key.
        let value = "sha256=22f8eea909400af98adf3681a9f31923ef6b7fcba4abb553d92823a3e9d5c25e";
        let delivery = delivery(&[(HEADER, value)], "{}");
        for empty in ["", "\n"] {
            let verified =
                verify(provider("github"), &delivery, &secret(&[("github", empty)]), now());
            assert!(matches!(verified, Err(Refusal::KeyUnusable(_))));
        }
    }
}

mod token {
    use super::*;

    fn gitlab(token: &str, value: &str) -> Result<Verified, Refusal> {
        let delivery = delivery(&[("x-gitlab-token", token)], "{}");
        verify(provider("gitlab"), &delivery, &secret(&[("gitlab", value)]), now())
    }

    #[test]
    fn the_secret_itself_verifies() {
        assert!(gitlab("s3cret", "s3cret").is_ok());
        assert!(gitlab("s3cret", "s3cret\n").is_ok());
        assert!(gitlab("schlüssel", "schlüssel").is_ok());
    }

    #[test]
    fn anything_else_does_not() {
        for token in ["", "S3CRET", "s3cre", "s3cret2", "s3cret\u{20}x"] {
            assert_eq!(gitlab(token, "s3cret"), Err(Refusal::Unverified), "{token}");
        }
        assert!(matches!(gitlab("", ""), Err(Refusal::KeyUnusable(_))));
    }

    #[test]
    fn bitbucket_cloud_knows_its_hooks_by_uuid_as_fleet_does() {
        let uuid = "6b1dcd21-0d1d-4b7e-9a0d-5f0d8c7b3c11";
        let delivery = delivery(&[("x-hook-uuid", uuid)], "{}");
        let row = provider("bitbucket-cloud");
        assert!(verify(row, &delivery, &secret(&[("bitbucket", uuid)]), now()).is_ok());
        let other = verify(row, &delivery, &secret(&[("bitbucket", "another")]), now());
        assert_eq!(other, Err(Refusal::Unverified));
    }
}

/// The vector is that of the [reference library](https://github.com/standard-webhooks/standard-webhooks/blob/main/libraries/rust/src/lib.rs).
mod standard {
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
            let more: Vec<_> = all
                .into_iter()
                .chain(all.into_iter().filter(|(other, _)| *other == name))
                .collect();
            for headers in [less, more] {
                let verified = verify(provider("gitlab"), &delivery(&headers, BODY), &secret, at);
                assert_eq!(verified, Err(Refusal::Unverified), "{name}");
            }
        }
    }
}

mod basic_authentication {
    use super::*;

    fn sent(credentials: &str) -> Delivery {
        use base64::{Engine, engine::general_purpose::STANDARD};
        delivery(&[("authorization", &format!("Basic {}", STANDARD.encode(credentials)))], "{}")
    }

    fn judged(credentials: &str, secret: &Secret) -> Result<Verified, Refusal> {
        verify(provider("azure-devops"), &sent(credentials), secret, now())
    }

    fn azure() -> Secret {
        secret(&[("azure-username", "fleet"), ("azure-password", "pass:word")])
    }

    #[test]
    fn user_and_password_verify() {
        assert!(judged("fleet:pass:word", &azure()).is_ok());
        // RFC 7617's own example.
        let aladdin = secret(&[("azure-username", "Aladdin"), ("azure-password", "open sesame")]);
        let headers = [("authorization", "basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")];
        assert!(
            verify(provider("azure-devops"), &delivery(&headers, "{}"), &aladdin, now()).is_ok()
        );
    }

    #[test]
    fn anything_else_does_not() {
        for other in ["", ":", "fleet", "fleet:", ":pass:word", "fleet:pass", "Fleet:pass:word"] {
            assert_eq!(judged(other, &azure()), Err(Refusal::Unverified), "{other}");
        }
        for value in ["", "Basic", "Basic ", "Basic %%%", "Bearer Zmxl", "ZmxlZXQ6cGFzczp3b3Jk"] {
            let delivery = delivery(&[("authorization", value)], "{}");
            let verified = verify(provider("azure-devops"), &delivery, &azure(), now());
            assert_eq!(verified, Err(Refusal::Unverified), "{value}");
        }
    }

    #[test]
    fn both_halves_are_needed() {
        let half = secret(&[("azure-password", "pass")]);
        assert!(matches!(judged(":pass", &half), Err(Refusal::KeyMissing(_))));
        let empty = secret(&[("azure-username", ""), ("azure-password", "pass")]);
        assert!(matches!(judged(":pass", &empty), Err(Refusal::KeyUnusable(_))));
        let empty = secret(&[("azure-username", "fleet"), ("azure-password", "")]);
        assert!(matches!(judged("fleet:", &empty), Err(Refusal::KeyUnusable(_))));
    }

    #[test]
    fn a_half_without_previous_value_was_not_changed() {
        let rotated = secret(&[
            ("azure-username", "fleet"),
            ("azure-password", "new"),
            ("azure-password.previous", "old"),
        ]);
        for (credentials, verifies) in [("fleet:new", true), ("fleet:old", true), ("x:old", false)]
        {
            assert_eq!(judged(credentials, &rotated).is_ok(), verifies, "{credentials}");
        }
        let renamed = secret(&[
            ("azure-username", "new"),
            ("azure-password", "pass"),
            ("azure-username.previous", "old"),
        ]);
        assert!(judged("old:pass", &renamed).is_ok());
    }

    #[test]
    fn halves_of_two_versions_are_not_mixed() {
        let rotated = secret(&[
            ("azure-username", "new-user"),
            ("azure-password", "new-pass"),
            ("azure-username.previous", "old-user"),
            ("azure-password.previous", "old-pass"),
        ]);
        let later = now().checked_add(Duration::from_secs(60)).expect("is a time");
        let staged = Secret {
            current: keys(&[("azure-username", "new-user"), ("azure-password", "new-pass")]),
            previous: Some((
                keys(&[("azure-username", "old-user"), ("azure-password", "old-pass")]),
                later,
            )),
        };
        for secret in [rotated, staged] {
            assert!(judged("new-user:new-pass", &secret).is_ok());
            assert!(judged("old-user:old-pass", &secret).is_ok());
            assert!(judged("old-user:new-pass", &secret).is_err());
            assert!(judged("new-user:old-pass", &secret).is_err());
        }
    }

    #[test]
    fn a_version_with_one_half_verifies_nothing() {
        let later = now().checked_add(Duration::from_secs(60)).expect("is a time");
        let staged = Secret {
            current: keys(&[("azure-username", "user"), ("azure-password", "new")]),
            previous: Some((keys(&[("azure-password", "old")]), later)),
        };
        assert!(judged("user:old", &staged).is_err());
    }
}

/// The vector is that of [go-scm](https://github.com/drone/go-scm/blob/master/scm/driver/gitee/webhook_test.go).
mod gitees {
    use super::*;

    const SECRET: &str = "bBg5lrt03VixkX85CNqYIcecC0SIGASE";
    const TOKEN: &str = "Xvh4YPVe6l31XpDRL9J2yeaEXabsckIoUUschpXiVck=";
    const SIGNED_AT: i64 = 1_633_679_083_918;

    fn judged(headers: &[(&str, &str)], late: i64) -> Result<Verified, Refusal> {
        let now = Timestamp::from_millisecond(SIGNED_AT + late).expect("is a time");
        verify(provider("gitee"), &delivery(headers, "{}"), &secret(&[("gitee", SECRET)]), now)
    }

    fn signed(token: &str, late: i64) -> Result<Verified, Refusal> {
        let timestamp = SIGNED_AT.to_string();
        judged(&[("x-gitee-token", token), ("x-gitee-timestamp", &timestamp)], late)
    }

    #[test]
    fn the_published_signature_verifies() {
        assert!(signed(TOKEN, 0).is_ok());
        assert!(signed(&TOKEN.replace('=', "%3D").replace('/', "%2F"), 0).is_ok());
    }

    #[test]
    fn it_verifies_for_an_hour_either_way() {
        let hour = 60 * 60 * 1000;
        for (late, verifies) in [(hour, true), (-hour, true), (hour + 1, false), (-hour - 1, false)]
        {
            assert_eq!(signed(TOKEN, late).is_ok(), verifies, "{late} ms");
        }
    }

    #[test]
    fn the_secret_itself_verifies_with_a_timestamp_or_without() {
        assert!(judged(&[("x-gitee-token", SECRET)], 0).is_ok());
        assert!(signed(SECRET, 0).is_ok());
    }

    #[test]
    fn anything_else_does_not() {
        for token in ["", "another", "%", "Xvh4YPVe6l31XpDRL9J2yeaEXabsckIoUUschpXiVcg="] {
            assert_eq!(signed(token, 0), Err(Refusal::Unverified), "{token}");
        }
        assert_eq!(judged(&[("x-gitee-token", TOKEN)], 0), Err(Refusal::Unverified));
        let twice = [("x-gitee-token", SECRET), ("x-gitee-token", SECRET)];
        assert_eq!(judged(&twice, 0), Err(Refusal::Unverified));
        let spoilt = [("x-gitee-token", TOKEN), ("x-gitee-timestamp", "x")];
        assert_eq!(judged(&spoilt, 0), Err(Refusal::Unverified));
    }
}

mod policy {
    use super::*;

    fn token(value: &str) -> Delivery {
        delivery(&[("x-gitlab-token", value)], "{}")
    }

    fn gitlab(token_value: &str, secret: &Secret) -> Result<Verified, Refusal> {
        verify(provider("gitlab"), &token(token_value), secret, now())
    }

    #[test]
    fn a_secret_without_a_key_of_the_provider_says_so() {
        for pairs in [&[][..], &[("github", "s3cret")], &[("gitlab.previous", "s3cret")]] {
            let Err(refusal) = gitlab("s3cret", &secret(pairs)) else { panic!("is refused") };
            assert_eq!(refusal.to_string(), "it has no key gitlab-signing-token, or gitlab");
        }
        let both = verify(provider("azure-devops"), &token(""), &secret(&[]), now());
        let Err(refusal) = both else { panic!("is refused") };
        assert_eq!(refusal.to_string(), "it has no key azure-username and azure-password");
    }

    #[test]
    fn the_stronger_scheme_is_demanded_once_it_has_a_key() {
        for stronger in ["whsec_dGVzdA==", "no signing key", ""] {
            let both = secret(&[("gitlab", "s3cret"), ("gitlab-signing-token", stronger)]);
            assert!(gitlab("s3cret", &both).is_err(), "{stronger}");
        }
        let uuid = delivery(&[("x-hook-uuid", "uuid")], "{}");
        for stronger in ["s3cret", ""] {
            let both = secret(&[("bitbucket", "uuid"), ("bitbucket-hmac", stronger)]);
            let verified = verify(provider("bitbucket-cloud"), &uuid, &both, now());
            assert!(verified.is_err(), "{stronger}");
        }
    }

    #[test]
    fn what_grew_out_of_gogs_takes_the_nearest_key_that_there_is() {
        let signed = |header: &'static str, key: &str| {
            let signature = hmac_hex(key, "{}");
            delivery(&[(header, signature.as_str())], "{}")
        };
        for (name, header, present, demanded) in [
            ("forgejo", "x-forgejo-signature", &["forgejo", "gitea", "gogs"][..], "forgejo"),
            ("forgejo", "x-forgejo-signature", &["gitea", "gogs"], "gitea"),
            ("forgejo", "x-forgejo-signature", &["gogs"], "gogs"),
            ("gitea", "x-gitea-signature", &["forgejo", "gitea", "gogs"], "gitea"),
            ("gitea", "x-gitea-signature", &["forgejo", "gogs"], "gogs"),
            ("gogs", "x-gogs-signature", &["forgejo", "gitea", "gogs"], "gogs"),
        ] {
            let pairs: Vec<_> = present.iter().map(|key| (*key, *key)).collect();
            for key in present {
                let verified = verify(provider(name), &signed(header, key), &secret(&pairs), now());
                assert_eq!(verified.is_ok(), *key == demanded, "{name} {present:?} {key}");
            }
        }
    }

    #[test]
    fn the_previous_value_of_a_key_verifies_beside_it() {
        let rotated = secret(&[("gitlab", "new"), ("gitlab.previous", "old\n")]);
        for (value, verifies) in [("new", true), ("old", true), ("older", false), ("", false)] {
            assert_eq!(gitlab(value, &rotated).is_ok(), verifies, "{value}");
        }
        let empty = secret(&[("gitlab", "new"), ("gitlab.previous", "")]);
        assert!(gitlab("", &empty).is_err());
    }

    #[test]
    fn nothing_verifies_while_the_value_in_force_is_empty() {
        let later = now().checked_add(Duration::from_secs(60)).expect("is a time");
        let emptied = Secret {
            current: keys(&[("gitlab", ""), ("gitlab.previous", "old")]),
            previous: Some((keys(&[("gitlab", "old")]), later)),
        };
        let Err(refusal) = gitlab("old", &emptied) else { panic!("is refused") };
        assert_eq!(refusal.to_string(), "the value of its key gitlab is empty or malformed");
    }

    #[test]
    fn the_version_before_verifies_until_its_time() {
        for (seconds, verifies) in [(1, true), (0, false), (-1, false)] {
            let until = Timestamp::from_second(NOW + seconds).expect("is a time");
            let staged = Secret {
                current: keys(&[("gitlab", "new")]),
                previous: Some((keys(&[("gitlab", "old"), ("gitlab.previous", "oldest")]), until)),
            };
            assert!(gitlab("new", &staged).is_ok());
            assert_eq!(gitlab("old", &staged).is_ok(), verifies, "{seconds} s");
            assert!(gitlab("oldest", &staged).is_err());
        }
    }

    #[test]
    fn of_the_version_before_only_what_the_current_one_demands_counts() {
        let later = now().checked_add(Duration::from_secs(60)).expect("is a time");
        let before = Some((keys(&[("gitlab", "old")]), later));
        let stronger = Secret {
            current: keys(&[("gitlab-signing-token", "whsec_dGVzdA==")]),
            previous: before.clone(),
        };
        assert_eq!(gitlab("old", &stronger), Err(Refusal::Unverified));
        let gone = Secret { current: keys(&[("github", "x")]), previous: before };
        assert!(matches!(gitlab("old", &gone), Err(Refusal::KeyMissing(_))));
    }

    #[test]
    fn a_ping_carries_a_proof_if_a_header_of_a_scheme_is_not_empty() {
        for (name, headers, carries) in [
            ("github", &[][..], false),
            ("github", &[("x-hub-signature-256", "")], false),
            ("github", &[("x-hub-signature-256", "sha256=")], false),
            ("github", &[("x-hub-signature", "sha1=00")], false),
            ("github", &[("x-hub-signature-256", "wrong")], true),
            ("github", &[("x-hub-signature-256", ""), ("x-hub-signature-256", "x")], true),
            ("gogs", &[("x-gogs-signature", "")], false),
            ("gogs", &[("x-gogs-signature", "00")], true),
            ("gitlab", &[("x-gitlab-token", "x")], true),
            ("gitlab", &[("webhook-signature", "v1,x")], true),
        ] {
            let delivery = delivery(headers, "{}");
            let carried = carries_proof(provider(name), delivery.headers());
            assert_eq!(carried, carries, "{name} {headers:?}");
        }
    }

    #[test]
    fn hidden_material_is_compared_whole() {
        assert!(same(b"a", b"a") && same(b"", b""));
        assert!(!same(b"a", b"b") && !same(b"a", b"aa") && !same(b"a", b""));
    }
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
                        scheme.keys().into_iter().map(|key| (key, value)).collect();
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
