//! Whose repositories a provider may speak of, and by which names.

use super::*;

fn github_push(urls: &str) -> Event {
    let body =
        format!(r#"{{"ref":"refs/heads/main","after":"{}","repository":{urls}}}"#, testing::COMMIT);
    github("push", body).expect("is a push")
}

#[test]
fn a_delivery_speaks_only_for_hosts_of_its_provider_and_of_nobody() {
    for (name, own, others) in [
        (
            "github",
            &["https://github.com/a/b", "https://acme.ghe.com/a/b", "https://git.example/a/b"][..],
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
    assert_eq!(github("ping", body), Ok(Event::Ping(None)));
}

#[test]
fn a_server_is_meant_by_each_name_that_its_operator_gives_it_and_borrows_none() {
    let aliases: HostAliases =
        "gitea.svc=gitea.example,mirror.example=github.com".parse().expect("are aliases");
    let named = |sender: &str, kind: (&'static str, &'static str), url: &str| {
        let body = format!(
            r#"{{"ref":"refs/heads/main","after":"{}","repository":{{"clone_url":"{url}"}}}}"#,
            testing::COMMIT
        );
        testing::in_words(&read(provider(sender), &delivery(kind, body), &aliases))
    };
    let gitea = |url| named("gitea", ("x-gitea-event", "push"), url);
    let github = |url| named("github", ("x-github-event", "push"), url);
    let at = "refs/heads/main at 1f0c3a1";
    assert_eq!(
        gitea("https://gitea.example:8443/a/b"),
        format!("push of gitea.example:8443/a/b and gitea.svc/a/b: {at}")
    );
    assert_eq!(gitea("https://mirror.example/a/b"), format!("push of : {at}"));
    assert_eq!(
        github("https://mirror.example/a/b"),
        format!("push of github.com/a/b and mirror.example/a/b: {at}")
    );
}

#[test]
fn who_may_not_speak_of_a_public_host_may_not_of_a_port_that_stands_for_it() {
    for port in ["8001", "80"] {
        let aliases = format!("proxy.example:{port}=github.com").parse().expect("are aliases");
        let specs = ["http", "ssh"].map(|scheme| format!("{scheme}://proxy.example:{port}/a/b"));
        let follows = |sender: &str, kind: (&'static str, &'static str), url: &str| {
            let body = format!(
                r#"{{"ref":"refs/heads/main","after":"{}","repository":{{"clone_url":"{url}"}}}}"#,
                testing::COMMIT
            );
            let read = read(provider(sender), &delivery(kind, body), &aliases);
            let Ok(Event::Push(Push { repository, .. })) = read else { panic!("{read:?}") };
            specs.iter().any(|spec| repository.is(&RepoUrl::parse(spec).expect("a repository")))
        };
        let github = ("x-github-event", "push");
        assert!(follows("github", github, "https://github.com/a/b"), "{port}");
        for url in [
            format!("http://proxy.example:{port}/a/b"),
            format!("ssh://git@proxy.example:{port}/a/b"),
            "https://proxy.example/a/b".to_owned(),
            "git@proxy.example:a/b".to_owned(),
            "ssh://git@proxy.example:2222/a/b".to_owned(),
        ] {
            assert!(!follows("gitea", ("x-gitea-event", "push"), &url), "{port} {url}");
        }
    }
}
