//! What has to hold for any bytes, whoever makes them up: cargo-fuzz (`fuzz_targets`), or `tests/fuzz_seeds.rs` on stable.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::panic,
    reason = "each target uses one of them"
)]

use std::hash::RandomState;

use bytes::Bytes;
use fleet_webhook::{
    delivery::Delivery,
    event::{Event, Repository},
    keys::Secret,
    provider::{self, PROVIDERS},
    repo_url::{HostAliases, RepoUrl},
    retry::Message,
    signature,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

const SIGNING_KEY: &str = "whsec_YSBrZXkgdGhhdCBub2JvZHkgd2hvIG1ha2VzIHVwIGRlbGl2ZXJpZXMga25vd3M=";

/// Header lines, an empty line, the body. Nothing panics, nothing crosses its provider's border, and nothing verifies:
/// whoever made it up has no secret.
pub fn delivery(input: &[u8]) {
    let end = input.windows(2).position(|bytes| bytes == b"\n\n").unwrap_or(input.len());
    let (head, body) = input.split_at(end);
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    let body = body.strip_prefix(b"\n\n").unwrap_or(body);
    if let Ok(delivery) = Delivery::new(headers, Bytes::copy_from_slice(body)) {
        judge(&delivery);
    }
}

fn judge(delivery: &Delivery) {
    let Some(provider) = provider::sender_of(delivery) else { return };
    let _ = provider.delivery_id(delivery);
    let key = "a key that nobody who makes up deliveries knows";
    let keys = [
        "github",
        "gitlab",
        "bitbucket",
        "bitbucket-hmac",
        "bitbucket-server",
        "gogs",
        "gitea",
        "forgejo",
        "gitee",
        "azure-username",
        "azure-password",
    ];
    let keys = keys.map(|name| (name, key)).into_iter();
    // The same, as Standard Webhooks has it.
    let signing = ["gitlab-signing-token", "generic"].map(|name| (name, SIGNING_KEY));
    let pairs = keys.chain(signing).map(|(name, key)| (name.to_owned(), key.into()));
    let secret = Secret { current: pairs.clone().collect(), previous: None };
    // Where there is the stronger key, the weaker proof is not looked at.
    let weak =
        pairs.filter(|(name, _)| !["gitlab-signing-token", "bitbucket-hmac"].contains(&&**name));
    let weak = Secret { current: weak.collect(), previous: None };
    for secret in [&secret, &weak] {
        let verified = signature::verify(provider.schemes, delivery, secret, signed_at(delivery));
        assert!(verified.is_err(), "{} verified it", provider.name);
    }
    let named = match provider::read(provider, delivery, &HostAliases::default()) {
        Ok(Event::Push(push)) => push.repository,
        Ok(Event::Ping(Some(repository))) => repository,
        _ => return,
    };
    if let Repository::Urls(urls) = named {
        let borrowed = urls.iter().find(|url| !provider.hosts.may_name(url));
        assert!(borrowed.is_none(), "{} named {borrowed:?}", provider.name);
    }
}

/// When it says that it was signed, so that none is refused for its age alone.
fn signed_at(delivery: &Delivery) -> Timestamp {
    let said = |name| delivery.header(name).and_then(|time| time.parse().ok());
    let seconds = said("webhook-timestamp").and_then(|time| Timestamp::from_second(time).ok());
    let gitee = || Timestamp::from_millisecond(said("x-gitee-timestamp")?).ok();
    seconds.or_else(gitee).unwrap_or_default()
}

/// Two lines. A repository is itself, what is one has a key in common, and it is one only where host and name agree.
pub fn repo_url(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (one, other) = text.split_once('\n').unwrap_or((text, text));
    let (Some(one), Some(other)) = (RepoUrl::parse(one), RepoUrl::parse(other)) else { return };
    let repository = Repository::Urls(vec![one.clone()]);
    assert!(repository.is(&one), "{one} is not itself");
    if repository.is(&other) {
        let state = RandomState::new();
        assert!(repository.keys(&state).contains(&other.key(&state)), "{one} and {other}");
        let name = |url: &RepoUrl| url.to_string().rsplit('/').next().map(str::to_owned);
        assert_eq!((one.host(), name(&one)), (other.host(), name(&other)));
        assert!(Repository::Urls(vec![other.clone()]).is(&one), "{other} is {one} one way");
    }
    for provider in PROVIDERS {
        assert!(
            one.host() != other.host()
                || provider.hosts.may_name(&one) == provider.hosts.may_name(&other)
        );
    }
}

/// A message is read or refused, and the delivery in it is judged as any other.
pub fn message(input: &[u8]) {
    if let Ok(message) = Message::unpack_within(1 << 20, input) {
        judge(&message.delivery);
    }
}
