//! The vector is that of [go-scm](https://github.com/drone/go-scm/blob/master/scm/driver/gitee/webhook_test.go).

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
    for (late, verifies) in [(hour, true), (-hour, true), (hour + 1, false), (-hour - 1, false)] {
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
