//! The providers: one record each, in the order in which their headers are looked for.
//!
//! A provider differs from the others in data (headers, proofs, hosts) and in one function (`parse`), so adding one
//! is a file under `provider/` and a row in [`PROVIDERS`].

mod azure_devops;
mod bitbucket_cloud;
mod bitbucket_server;
pub mod codecommit;
mod forgejo;
mod generic;
mod gitea;
mod gitee;
mod github;
mod gitlab;
mod gogs;
#[cfg(test)]
mod testing;

use http::HeaderMap;
use serde::Deserialize;

use crate::{
    delivery::Delivery,
    event::{Claim, Event, Push, Repository},
    payload,
    repo_url::{RepoUrl, Service},
    signature::Scheme,
};

/// Every provider that sends HTTP requests, in the order in which their headers are looked for.
///
/// Order is meaning, since the first row with a marker decides: Forgejo sends Gitea's headers too, both send those
/// of Gogs, all three send GitHub's, Bitbucket Cloud sends that of Bitbucket Server, and GitLab those of a signature
/// that anybody may send.
pub static PROVIDERS: &[&Provider] = &[
    &forgejo::PROVIDER,
    &gitea::PROVIDER,
    &gogs::PROVIDER,
    &gitee::PROVIDER,
    &gitlab::PROVIDER,
    &bitbucket_cloud::PROVIDER,
    &bitbucket_server::PROVIDER,
    &azure_devops::PROVIDER,
    &github::PROVIDER,
    &generic::PROVIDER,
];

/// A Git hosting service whose deliveries are understood.
#[derive(Debug)]
pub struct Provider {
    /// Its name in answers, logs and metrics, in kebab case.
    pub name: &'static str,
    /// Headers in lower case of which each alone marks a delivery as this provider's.
    pub markers: &'static [&'static str],
    /// The header that names the kind of event, in lower case.
    pub event_header: Option<&'static str>,
    /// Where the delivery's id is.
    pub delivery_id: IdIn,
    /// How a delivery proves who sent it, the strongest first: the first whose key the secret has is demanded.
    pub schemes: &'static [Scheme],
    /// Which hosts it may speak about.
    pub hosts: Hosts,
    /// Reads the JSON of a delivery; the first argument is the value of `event_header`.
    pub parse: fn(Option<&str>, &[u8]) -> Result<Event, Malformed>,
}

/// The hosts whose repositories a provider's deliveries may name (contract §3, "No borrowed identity").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Those of this public service alone.
    Only(Service),
    /// Those of this public service, and those that belong to no public service.
    OwnAnd(Service),
    /// Those that belong to no public service.
    SelfHosted,
    /// All of them.
    Any,
}

/// Where a provider puts the id of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdIn {
    /// In these headers, in lower case; the first that is there counts.
    Headers(&'static [&'static str]),
    /// In `id` of the body.
    Body,
}

/// The body is not the JSON that the provider promises; says where, never what it held.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("payload: {0}")]
pub struct Malformed(pub String);

/// Ids of deliveries that are longer are not repeated in logs and answers.
const DELIVERY_ID_LIMIT: usize = 128;

/// The provider whose header a request carries, the first in the table if there are several.
pub fn detect(headers: &HeaderMap) -> Option<&'static Provider> {
    let is_sender =
        |provider: &&Provider| provider.markers.iter().any(|marker| headers.contains_key(*marker));
    PROVIDERS.iter().copied().find(|provider| is_sender(provider))
}

/// Reads what a delivery claims, without what its provider may not speak about.
///
/// # Errors
/// [`Malformed`] where the body is not what the provider sends.
pub fn read(provider: &Provider, delivery: &Delivery) -> Result<Claim<Event>, Malformed> {
    let Some(json) = delivery.json() else {
        return Err(Malformed("the form has no field `payload`".to_owned()));
    };
    let kind = provider.event_header.and_then(|header| delivery.header(header));
    let event = (provider.parse)(kind, json)?;
    Ok(Claim::new(without_borrowed_identity(provider.hosts, event)))
}

impl Provider {
    /// The id by which the provider knows this delivery, for logs and answers.
    pub fn delivery_id<'d>(&self, delivery: &'d Delivery) -> Option<&'d str> {
        let id = match self.delivery_id {
            IdIn::Headers(names) => names.iter().find_map(|name| delivery.header(name)),
            IdIn::Body => payload::object::<Identified<'d>>(delivery.json()?).ok()?.id,
        }?;
        let is_printed = !id.is_empty() && id.len() <= DELIVERY_ID_LIMIT && id.is_ascii();
        is_printed.then_some(id)
    }
}

/// A body with the id of its delivery; borrowed, so one with escapes is none.
#[derive(Deserialize)]
struct Identified<'j> {
    id: Option<&'j str>,
}

impl Hosts {
    /// Says whether a delivery of this provider counts for a repository at that URL.
    pub fn may_name(self, url: &RepoUrl) -> bool {
        match (self, url.service()) {
            (Self::Any, _) | (Self::SelfHosted | Self::OwnAnd(_), None) => true,
            (Self::Only(own) | Self::OwnAnd(own), Some(service)) => own == service,
            (Self::Only(_), None) | (Self::SelfHosted, Some(_)) => false,
        }
    }
}

/// Takes out the URLs that the provider may not speak about. Nothing follows a push that names nothing else, but its
/// proof is looked at as any other's.
fn without_borrowed_identity(hosts: Hosts, event: Event) -> Event {
    match event {
        Event::Push(Push { repository, refs }) => {
            Event::Push(Push { repository: own(hosts, repository), refs })
        }
        Event::Ping(repository) => Event::Ping(
            repository.map(|named| own(hosts, named)).filter(|named| !named.is_nowhere()),
        ),
        Event::Ignored(why) => Event::Ignored(why),
    }
}

fn own(hosts: Hosts, mut repository: Repository) -> Repository {
    if let Repository::Urls(urls) = &mut repository {
        urls.retain(|url| hosts.may_name(url));
    }
    repository
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderName, HeaderValue, header::CONTENT_TYPE};
    use proptest::prelude::*;

    use super::*;

    fn provider(name: &str) -> &'static Provider {
        PROVIDERS.iter().find(|provider| provider.name == name).expect("is in the table")
    }

    fn headers(names: &[&'static str]) -> HeaderMap {
        let pair =
            |name: &&'static str| (HeaderName::from_static(name), HeaderValue::from_static("push"));
        names.iter().map(pair).collect()
    }

    fn delivery(kind: (&'static str, &'static str), body: String) -> Delivery {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(kind.0, HeaderValue::from_static(kind.1));
        Delivery::new(headers, Bytes::from(body)).expect("is JSON")
    }

    fn github_push(urls: &str) -> Event {
        let body = format!(
            r#"{{"ref":"refs/heads/main","after":"{}","repository":{urls}}}"#,
            testing::COMMIT
        );
        let claim = read(provider("github"), &delivery(("x-github-event", "push"), body));
        claim.expect("is a push").unverified().clone()
    }

    #[test]
    fn names_and_markers_are_in_lower_case_and_of_one_row_each() {
        let mut names: Vec<_> = PROVIDERS.iter().map(|provider| provider.name).collect();
        let mut markers: Vec<_> = PROVIDERS.iter().flat_map(|provider| provider.markers).collect();
        names.sort_unstable();
        markers.sort_unstable();
        for (count, all) in
            [(names.len(), names), (markers.len(), markers.into_iter().copied().collect())]
        {
            let mut all: Vec<&str> = all;
            assert!(all.iter().all(|text| text.to_lowercase() == *text), "{all:?}");
            all.dedup();
            assert_eq!(all.len(), count, "{all:?}");
        }
    }

    #[test]
    fn the_header_decides_who_sent_it_and_the_first_row_if_there_are_several() {
        for (names, sender) in [
            (&["x-github-event", "x-hub-signature-256"][..], Some("github")),
            (&["x-github-event", "x-gogs-event"], Some("gogs")),
            (&["x-github-event", "x-gogs-event", "x-gitea-event"], Some("gitea")),
            (
                &["x-github-event", "x-gogs-event", "x-gitea-event", "x-forgejo-event"],
                Some("forgejo"),
            ),
            (&["x-gitee-event"], Some("gitee")),
            (&["x-gitlab-event", "webhook-id", "webhook-signature"], Some("gitlab")),
            (&["x-event-key", "x-hook-uuid"], Some("bitbucket-cloud")),
            (&["x-event-key", "x-request-id"], Some("bitbucket-server")),
            (&["x-vss-activityid"], Some("azure-devops")),
            (&["x-vss-subscriptionid", "x-github-event"], Some("azure-devops")),
            (&["webhook-id"], Some("generic")),
            (&["webhook-signature", "x-github-event"], Some("github")),
            (&["x-github-event", "x-gitlab-event"], Some("gitlab")),
            (&["x-request-id"], None),
            (&[], None),
        ] {
            let detected = detect(&headers(names)).map(|provider| provider.name);
            assert_eq!(detected, sender, "{names:?}");
        }
    }

    #[test]
    fn a_delivery_speaks_only_for_hosts_of_its_provider_and_of_nobody() {
        for (name, own, others) in [
            (
                "github",
                &["https://github.com/a/b", "https://acme.ghe.com/a/b", "https://git.example/a/b"]
                    [..],
                &[
                    "https://gitlab.com/a/b",
                    "https://bitbucket.org/a/b",
                    "https://dev.azure.com/a/_git/b",
                ][..],
            ),
            (
                "gitlab",
                &["https://gitlab.com/a/b", "https://git.example/a/b"],
                &["https://github.com/a/b", "git@ssh.github.com:a/b", "https://gitee.com/a/b"],
            ),
            (
                "bitbucket-cloud",
                &["https://bitbucket.org/a/b"],
                &["https://git.example/a/b", "https://github.com/a/b"],
            ),
            (
                "bitbucket-server",
                &["https://git.example/scm/a/b"],
                &["https://bitbucket.org/a/b", "codecommit::eu-west-1://b"],
            ),
            (
                "azure-devops",
                &[
                    "https://dev.azure.com/a/_git/b",
                    "git@vs-ssh.visualstudio.com:v3/a/b/c",
                    "https://git.example/a/_git/b",
                ],
                &["https://github.com/a/b", "https://gitee.com/a/b"],
            ),
            (
                "gitee",
                &["https://gitee.com/a/b", "https://git.example/a/b"],
                &["https://gitlab.com/a/b"],
            ),
            (
                "generic",
                &[
                    "https://github.com/a/b",
                    "https://gitlab.com/a/b",
                    "codecommit::eu-west-1://b",
                    "https://git.example/b",
                ],
                &[],
            ),
            (
                "gogs",
                &["https://git.example/a/b", "https://evilgithub.com/a/b"],
                &[
                    "https://github.com/a/b",
                    "https://acme.visualstudio.com/_git/b",
                    "https://x.gitlab.com/a",
                ],
            ),
        ] {
            let hosts = provider(name).hosts;
            let url = |text: &str| RepoUrl::parse(text).expect("names a repository");
            for text in own {
                assert!(hosts.may_name(&url(text)), "{name} {text}");
            }
            for text in others {
                assert!(!hosts.may_name(&url(text)), "{name} {text}");
            }
        }
    }

    #[test]
    fn a_borrowed_url_is_taken_out_of_a_push() {
        let event = github_push(
            r#"{"clone_url":"https://github.com/acme/shop","ssh_url":"git@gitlab.com:acme/shop"}"#,
        );
        let event = testing::in_words(&Ok(event));
        assert_eq!(event, "push of github.com/acme/shop: refs/heads/main at 1f0c3a1");
    }

    #[test]
    fn a_push_with_nothing_but_borrowed_urls_is_of_no_repository() {
        let event = github_push(r#"{"clone_url":"https://gitlab.com/acme/shop"}"#);
        assert!(matches!(event, Event::Push(push) if push.repository.is_nowhere()));
    }

    #[test]
    fn a_ping_for_a_borrowed_url_names_no_repository() {
        let body = r#"{"repository":{"clone_url":"https://gitlab.com/acme/shop"}}"#.to_owned();
        let claim = read(provider("github"), &delivery(("x-github-event", "ping"), body));
        assert_eq!(claim.expect("is a ping").unverified(), &Event::Ping(None));
    }

    #[test]
    fn a_form_without_payload_is_malformed() {
        let mut headers = HeaderMap::new();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        let delivery = Delivery::new(headers, Bytes::from_static(b"a=b")).expect("is a form");
        assert!(read(provider("github"), &delivery).is_err());
    }

    #[test]
    fn what_is_malformed_is_not_repeated() {
        for body in [
            r#"{"ref":{"hunter2":1}}"#,
            r#"["hunter2"]"#,
            r#"{"ref":hunter2}"#,
            r#"{"ref":"hunter2"#,
        ] {
            for provider in PROVIDERS {
                for kind in ["push", "Push Hook", "repo:push", "repo:refs_changed", "hunter2"] {
                    let Err(malformed) = (provider.parse)(Some(kind), body.as_bytes()) else {
                        continue;
                    };
                    assert!(
                        !format!("{malformed} {malformed:?}").contains("hunter2"),
                        "{malformed}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_longer_list_than_anybody_sends_is_malformed() {
        for (name, kind, head, tail, limit) in [
            (
                "bitbucket-cloud",
                "repo:push",
                r#"{"repository":{"full_name":"a/b"},"push":{"changes":["#,
                "]}}",
                10_000,
            ),
            (
                "bitbucket-server",
                "repo:refs_changed",
                r#"{"repository":{},"changes":["#,
                "]}",
                10_000,
            ),
            (
                "bitbucket-server",
                "repo:refs_changed",
                r#"{"changes":[],"repository":{"links":{"clone":["#,
                "]}}}",
                16,
            ),
            (
                "gitlab",
                "System Hook",
                r#"{"event_name":"repository_update","changes":["#,
                "]}",
                10_000,
            ),
            (
                "azure-devops",
                "",
                r#"{"eventType":"git.push","resource":{"refUpdates":["#,
                "]}}",
                10_000,
            ),
        ] {
            let is_too_long = |length: usize| {
                let body = format!("{head}{}{tail}", vec!["{}"; length].join(","));
                let event = (provider(name).parse)(Some(kind), body.as_bytes());
                event.is_err_and(|malformed| malformed.0.starts_with("not the fields or types"))
            };
            assert!(!is_too_long(limit), "{name} {limit}");
            assert!(is_too_long(limit + 1), "{name} {limit}");
        }
    }

    #[test]
    fn a_delivery_is_known_by_its_first_id_unless_that_is_endless() {
        let with = |headers: &[(&'static str, String)]| {
            let mut delivery =
                delivery(("x-gitlab-event", "Push Hook"), String::new()).headers().clone();
            for (name, value) in headers {
                delivery.insert(*name, value.parse().expect("is a header's value"));
            }
            Delivery::new(delivery, Bytes::new()).expect("is JSON")
        };
        let gitlab = provider("gitlab");
        let one = with(&[("webhook-id", "b".to_owned()), ("idempotency-key", "a".to_owned())]);
        assert_eq!(gitlab.delivery_id(&one), Some("a"));
        assert_eq!(gitlab.delivery_id(&with(&[("webhook-id", "b".to_owned())])), Some("b"));
        assert_eq!(gitlab.delivery_id(&with(&[("webhook-id", "b".repeat(129))])), None);
        assert_eq!(gitlab.delivery_id(&with(&[])), None);
    }

    #[test]
    fn a_delivery_of_azure_is_known_by_the_id_in_its_body() {
        let long = format!(r#"{{"id":"{}"}}"#, "b".repeat(129));
        for (body, id) in [
            (r#"{"id":"03c164c2-8912-4d5e-8009-3707d5f83734","x":[]}"#, true),
            (r#"{"id":null}"#, false),
            (r#"{"id":""}"#, false),
            (r#"{"id":1}"#, false),
            (r#"{"id":"é"}"#, false),
            (r#"{"id":"\u001b[31m"}"#, false),
            (&long, false),
            (r#"["03c164c2"]"#, false),
            ("", false),
        ] {
            let delivery = delivery(("x-vss-activityid", "x"), body.to_owned());
            let known = provider("azure-devops").delivery_id(&delivery);
            assert_eq!(known, id.then_some("03c164c2-8912-4d5e-8009-3707d5f83734"), "{body}");
        }
    }

    /// JSON that uses the words of the payloads, so that it gets past the first field.
    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::{Map, Value, json};
        let word = prop::sample::select(vec![
            "ref",
            "after",
            "deleted",
            "head_commit",
            "id",
            "repository",
            "project",
            "clone_url",
            "ssh_url",
            "git_http_url",
            "checkout_sha",
            "changes",
            "push",
            "new",
            "old",
            "type",
            "name",
            "target",
            "hash",
            "full_name",
            "links",
            "clone",
            "href",
            "slug",
            "key",
            "toHash",
            "toCommit",
            "refLimitExceeded",
            "event_name",
            "ref_type",
            "sha",
            "eventType",
            "resource",
            "refUpdates",
            "newObjectId",
            "remoteUrl",
            "detail",
            "event",
            "region",
            "repositoryName",
            "referenceFullName",
            "commitId",
            "source",
        ]);
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
            prop::sample::select(vec![
                "refs/heads/main",
                "refs/tags/v1",
                "main",
                testing::COMMIT,
                testing::ZEROS,
                "branch",
                "tag",
                "https://github.com/acme/shop",
                "acme/shop",
                "ADD",
                "DELETE",
                "repository_update",
                "git.push",
                "referenceUpdated",
                "aws.codecommit",
            ])
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((word.clone(), inner), 0..6).prop_map(|pairs| {
                    Value::from(
                        pairs
                            .into_iter()
                            .map(|(key, value)| (key.to_owned(), value))
                            .collect::<Map<_, _>>(),
                    )
                }),
            ]
        })
    }

    const KINDS: [&str; 11] = [
        "push",
        "ping",
        "create",
        "delete",
        "Push Hook",
        "Tag Push Hook",
        "System Hook",
        "repo:push",
        "repo:refs_changed",
        "mirror:repo_synchronized",
        "diagnostics:ping",
    ];

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(body: Vec<u8>) {
            for provider in PROVIDERS {
                for kind in KINDS {
                    let _ = (provider.parse)(Some(kind), &body);
                }
                let is_object = body.trim_ascii_start().first() == Some(&b'{');
                prop_assert!(is_object || (provider.parse)(None, &body).is_err());
            }
        }

        #[test]
        fn any_json_is_read_without_panic_and_only_an_object_is_taken(json in any_json()) {
            for provider in PROVIDERS {
                for kind in KINDS {
                    let event = (provider.parse)(Some(kind), json.to_string().as_bytes());
                    prop_assert!(event.is_err() || json.is_object(), "{} {}", provider.name, kind);
                }
            }
        }
    }
}
