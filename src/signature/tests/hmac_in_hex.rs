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
    let changed = verify(provider("github"), &delivery(&headers, "Hello, World?"), &right, now());
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
    for (name, header, prefix, signed, unsigned) in
        [("github", HEADER, "sha256=", form, json), ("gogs", "x-gogs-signature", "", json, form)]
    {
        for (message, verifies) in [(signed, true), (unsigned, false)] {
            let value = format!("{prefix}{}", hmac_hex("s3cret", message));
            let form = "application/x-www-form-urlencoded";
            let delivery = delivery_of(form, &[(header, &value)], "payload=%7B%22yo%22%3Atrue%7D");
            let verified = verify(provider(name), &delivery, &secret(&[(name, "s3cret")]), now());
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
        let verified = verify(provider("github"), &delivery, &secret(&[("github", empty)]), now());
        assert!(matches!(verified, Err(Refusal::KeyUnusable(_))));
    }
}
