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
