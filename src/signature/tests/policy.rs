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
    assert_eq!(refusal.to_string(), "it has no key azure-password");
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
fn hooks_move_to_the_stronger_proof_one_by_one() {
    let moving = secret(&[("gitlab-signing-token", "whsec_dGVzdA=="), ("gitlab.previous", "old")]);
    assert!(gitlab("old", &moving).is_ok());
    assert!(gitlab("other", &moving).is_err());
    let uuid = delivery(&[("x-hook-uuid", "{uuid}")], "{}");
    let moving = secret(&[("bitbucket-hmac", "new"), ("bitbucket.previous", "{uuid}")]);
    assert!(verify(provider("bitbucket-cloud"), &uuid, &moving, now()).is_ok());
    let signed = delivery(&[("x-forgejo-signature", hmac_hex("old", "{}").as_str())], "{}");
    let moving = secret(&[("forgejo", "new"), ("gogs.previous", "old")]);
    assert!(verify(provider("forgejo"), &signed, &moving, now()).is_ok());
    // The other way there is no going: what is stronger than the key in force has no previous value.
    let signed = delivery(&[("x-gitea-signature", hmac_hex("old", "{}").as_str())], "{}");
    let back = secret(&[("gogs", "new"), ("gitea.previous", "old")]);
    assert!(verify(provider("gitea"), &signed, &back, now()).is_err());
}

#[test]
fn a_value_counts_as_it_is_and_without_one_trailing_newline() {
    for (stored, signed_with, verifies) in [
        ("s3cret", "s3cret", true),
        ("s3cret\n", "s3cret", true),
        ("s3cret\n", "s3cret\n", true),
        ("s3cret\r\n", "s3cret", true),
        ("s3cret\n\n", "s3cret", false),
        ("s3cret", "s3cret\n", false),
        (" s3cret", "s3cret", false),
    ] {
        let signature = format!("sha256={}", hmac_hex(signed_with, "{}"));
        let delivery = delivery(&[("x-hub-signature-256", signature.as_str())], "{}");
        let verified = verify(provider("github"), &delivery, &secret(&[("github", stored)]), now());
        assert_eq!(verified.is_ok(), verifies, "{stored:?} {signed_with:?}");
    }
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
        let carried = carries_proof(provider(name).schemes, delivery.headers());
        assert_eq!(carried, carries, "{name} {headers:?}");
    }
}

#[test]
fn hidden_material_is_compared_whole() {
    assert!(same(b"a", b"a") && same(b"", b""));
    assert!(!same(b"a", b"b") && !same(b"a", b"aa") && !same(b"a", b""));
}
