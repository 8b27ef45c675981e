//! Identity on Bitbucket Server as a property: a repository is one behind any context path, by any links and none, in all
//! URLs that a GitRepo may have for it; and two never are.

use std::hash::RandomState;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const HOST: &str = "git.example";

/// A repository of a server, in lower case; the context path ends with its slash.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    context: &'static str,
    key: String,
    slug: String,
}

/// What a payload says of where the repository is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Both,
    Web,
    Ssh,
    Nothing,
}

const ALL: [Says; 4] = [Says::Both, Says::Web, Says::Ssh, Says::Nothing];

impl Place {
    fn payload(&self, says: Says) -> Repository {
        let Self { context, key, slug } = self;
        let web = json!({ "name": "http", "href": format!("https://jane@{HOST}/{context}scm/{key}/{slug}.git") });
        let ssh =
            json!({ "name": "ssh", "href": format!("ssh://git@{HOST}:7999/{key}/{slug}.git") });
        let links = match says {
            Says::Both => json!({ "clone": [ssh, web] }),
            Says::Web => json!({ "clone": [web] }),
            Says::Ssh => json!({ "clone": [ssh] }),
            Says::Nothing => Value::Null,
        };
        let project = json!({ "key": key.to_uppercase() });
        let repository = json!({ "slug": slug, "project": project, "links": links });
        let payload = json!({ "repository": repository, "changes": [] }).to_string();
        match (PROVIDER.parse)(Some("repo:refs_changed"), payload.as_bytes()) {
            Ok(Event::Push(push)) => push.repository,
            other => panic!("{other:?} is no push"),
        }
    }

    fn of_the_web(&self) -> Vec<String> {
        let Self { context, key, slug } = self;
        let upper = key.to_uppercase();
        vec![
            format!("https://{HOST}/{context}scm/{key}/{slug}"),
            format!("https://{HOST}/{context}scm/{upper}/{slug}.git"),
            format!("http://u:p@{HOST}:7990/{context}/scm/{key}/{slug}.git/"),
            format!("https://GIT.example:443/{context}scm/{}/{slug}", key.replace('~', "%7E")),
        ]
    }

    fn of_ssh(&self) -> Vec<String> {
        let Self { key, slug, .. } = self;
        let upper = key.to_uppercase();
        vec![
            format!("ssh://git@{HOST}:7999/{key}/{slug}.git"),
            format!("ssh://{HOST}:7999/{upper}/{slug}"),
            format!("git@{HOST}:7999:{key}/{slug}.git"),
        ]
    }

    fn everywhere(&self) -> impl Iterator<Item = String> {
        self.of_the_web().into_iter().chain(self.of_ssh())
    }
}

fn place() -> impl Strategy<Value = Place> {
    let context = prop::sample::select(vec!["", "stash/", "bitbucket/", "scm/", "a/scm/b/"]);
    let key = prop_oneof![
        prop::sample::select(vec!["scm", "git", "acme"]).prop_map(str::to_owned),
        "~?[a-b][a-b0-1_]{0,2}",
    ];
    let slug = prop_oneof![
        prop::sample::select(vec!["scm", "shop", "acme", "x.gitx"]).prop_map(str::to_owned),
        "[a-b][a-b0-1._-]{0,2}[a-b]",
    ];
    (context, key, slug).prop_map(|(context, key, slug)| Place { context, key, slug })
}

/// Another place that differs in little.
fn neighbour(place: &Place, how: u8) -> Place {
    let Place { context, key, slug } = place.clone();
    match how {
        0 => Place { context, key: slug, slug: key.replace('~', "x") },
        1 => Place { context, key, slug: slug + "x" },
        _ => Place { context: "scm/acme/", key: "scm".to_owned(), slug },
    }
}

fn url(text: &str) -> RepoUrl {
    RepoUrl::parse(text).unwrap_or_else(|| panic!("{text} names a repository"))
}

proptest! {
    #[test]
    fn a_repository_is_one_in_all_its_forms(place in place()) {
        let state = RandomState::new();
        for says in ALL {
            let repository = place.payload(says);
            for spec in place.everywhere() {
                prop_assert!(repository.is(&url(&spec)), "{says:?} is not {spec}");
                prop_assert!(repository.keys(&state).contains(&url(&spec).key(&state)), "{says:?} {spec}");
            }
        }
    }

    #[test]
    fn two_repositories_are_never_one(
        one in place(), other in place(), how in prop::option::of(0..3_u8),
    ) {
        let other = how.map_or(other, |how| neighbour(&one, how));
        prop_assume!((&one.key, &one.slug) != (&other.key, &other.slug));
        for says in ALL {
            let repository = one.payload(says);
            for spec in other.everywhere() {
                prop_assert!(!repository.is(&url(&spec)), "{says:?} {one:?} is {spec}");
            }
        }
    }

    #[test]
    fn two_context_paths_of_one_host_are_two_servers_where_the_payload_names_one(
        one in place(), context in prop::sample::select(vec!["", "stash/", "bitbucket/"]),
    ) {
        prop_assume!(one.context != context);
        let other = Place { context, ..one.clone() };
        for says in [Says::Both, Says::Web] {
            for spec in other.of_the_web() {
                prop_assert!(!one.payload(says).is(&url(&spec)), "{says:?} {one:?} is {spec}");
            }
        }
    }

    #[test]
    fn another_host_is_another_repository_where_the_payload_names_one(place in place()) {
        for says in [Says::Both, Says::Web, Says::Ssh] {
            for spec in place.everywhere() {
                let elsewhere = url(&spec.to_lowercase().replace(HOST, "other.example"));
                prop_assert!(!place.payload(says).is(&elsewhere), "{says:?} is {spec}");
            }
        }
    }
}
