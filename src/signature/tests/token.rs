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
fn blanks_at_the_ends_do_not_count_since_http_drops_them() {
    for stored in ["s3cret", " s3cret", "s3cret \n", "\ts3cret\r\n"] {
        for sent in ["s3cret", "s3cret ", " s3cret"] {
            assert!(gitlab(sent, stored).is_ok(), "{sent:?} {stored:?}");
        }
    }
    assert!(gitlab("s3 cret", "s3cret").is_err());
    assert!(matches!(gitlab("", " \n"), Err(Refusal::KeyUnusable(_))));
}

#[test]
fn bitbucket_cloud_knows_its_hooks_by_uuid_as_fleet_does_with_braces_or_without() {
    let uuid = "6b1dcd21-0d1d-4b7e-9a0d-5f0d8c7b3c11";
    let braced = format!("{{{uuid}}}");
    let row = provider("bitbucket-cloud");
    for sent in [uuid, &braced] {
        let delivery = delivery(&[("x-hook-uuid", sent)], "{}");
        let verified =
            |stored: &str| verify(row, &delivery, &secret(&[("bitbucket", stored)]), now());
        for stored in [uuid, &braced, &format!(" {braced}\n")] {
            assert!(verified(stored).is_ok(), "{sent} {stored}");
        }
        for other in ["another", &format!("{{{uuid}")] {
            assert_eq!(verified(other), Err(Refusal::Unverified), "{sent} {other}");
        }
        assert!(matches!(verified("{}"), Err(Refusal::KeyUnusable(_))));
    }
}
