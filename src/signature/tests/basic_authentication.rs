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
    assert!(verify(provider("azure-devops"), &delivery(&headers, "{}"), &aladdin, now()).is_ok());
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
fn a_password_is_needed_and_a_user_name_is_not() {
    for alone in [
        &[("azure-password", "pass")][..],
        &[("azure-username", ""), ("azure-password", "pass")],
        &[("azure-username", "\n"), ("azure-password", "pass\n")],
    ] {
        assert!(judged(":pass", &secret(alone)).is_ok(), "{alone:?}");
        assert_eq!(judged("fleet:pass", &secret(alone)), Err(Refusal::Unverified), "{alone:?}");
        assert_eq!(judged("pass", &secret(alone)), Err(Refusal::Unverified), "{alone:?}");
    }
    let name = secret(&[("azure-username", "fleet")]);
    assert!(matches!(judged("fleet:", &name), Err(Refusal::KeyMissing(_))));
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
    for (credentials, verifies) in [("fleet:new", true), ("fleet:old", true), ("x:old", false)] {
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
