//! Our own events as people have them: headers as proxies leave them, secrets as people keep them, repositories under the
//! names that GitRepos have for them. `reported` has deliveries that people met.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::support::{
    events::{BRANCH, COMMIT, Event},
    function::Function,
    space::Space,
};

type Headers = Vec<(String, String)>;

/// What is otherwise than in the event and its README.
struct Case {
    what: &'static str,
    event: &'static str,
    headers: fn(&mut Headers),
    secret: &'static [(&'static str, &'static str)],
    aliases: &'static str,
    repo: &'static str,
    status: u16,
    moves: bool,
}

const GITHUB: Case = Case {
    what: "as it is",
    event: "github-push",
    headers: |_| {},
    secret: &[("github", "github-test-secret")],
    aliases: "",
    repo: "https://github.com/acme/shop",
    status: 200,
    moves: true,
};

const GITLAB: Case = Case {
    event: "gitlab-push",
    secret: &[("gitlab", "gitlab-test-secret")],
    repo: "https://gitlab.com/acme/shop.git",
    ..GITHUB
};

const AZURE: Case = Case {
    event: "azure-devops-push",
    secret: &[("azure-username", "fleet"), ("azure-password", "azure-password-test-secret")],
    repo: "git@ssh.dev.azure.com:v3/acme/shop/shop",
    ..GITHUB
};

const GITEA: Case = Case {
    event: "gitea-push",
    secret: &[("gitea", "gitea-test-secret")],
    repo: "https://gitea.acme.example/acme/shop",
    ..GITHUB
};

const BITBUCKET: Case = Case {
    event: "bitbucket-cloud-push",
    secret: &[("bitbucket", "b17b0c8e-7e57-4bad-8eed-0123456789ab")],
    repo: "git@bitbucket.org:acme/shop.git",
    ..GITHUB
};

const BITBUCKET_SERVER: Case = Case {
    event: "bitbucket-server-without-links",
    secret: &[("bitbucket-server", "bitbucket-server-test-secret")],
    repo: "https://bitbucket.acme.example/stash/scm/acme/shop.git",
    ..GITHUB
};

#[rustfmt::skip]
const CASES: &[Case] = &[
    GITHUB,
    Case { what: "event header twice", headers: |it| add(it, "x-github-event", "push"), ..GITHUB },
    Case { what: "event header joined", headers: |it| set(it, "x-gitlab-event", "Push Hook, Push Hook"), ..GITLAB },
    Case { what: "event header contradicts", headers: |it| add(it, "x-github-event", "ping"), status: 400, moves: false, ..GITHUB },
    Case { what: "event header lost", headers: |it| remove(it, "x-gitlab-event"), status: 400, moves: false, ..GITLAB },
    Case { what: "event key lost", headers: |it| remove(it, "x-event-key"), status: 400, moves: false, ..BITBUCKET },
    Case { what: "no content type", headers: |it| remove(it, "content-type"), ..GITHUB },
    Case { what: "no header of Azure's", headers: |it| remove(it, "x-vss-"), ..AZURE },
    Case { what: "no header of Azure's, another password", headers: |it| remove(it, "x-vss-"), secret: &[("azure-password", "x")], status: 401, moves: false, ..AZURE },
    Case { what: "another user", secret: &[("azure-username", "x"), ("azure-password", "azure-password-test-secret")], status: 401, moves: false, ..AZURE },
    Case { what: "a newline behind the secret", secret: &[("github", "github-test-secret\n")], ..GITHUB },
    Case { what: "blanks around the token", secret: &[("gitlab", " gitlab-test-secret \n")], ..GITLAB },
    Case { what: "braces around the UUID", secret: &[("bitbucket", "{b17b0c8e-7e57-4bad-8eed-0123456789ab}")], ..BITBUCKET },
    Case { what: "on the way to the signing token", secret: &[("gitlab-signing-token", "whsec_dGVzdA=="), ("gitlab.previous", "gitlab-test-secret")], ..GITLAB },
    Case { what: "no way back", secret: &[("gitlab-signing-token", "whsec_dGVzdA=="), ("gitlab", "gitlab-test-secret")], status: 401, moves: false, ..GITLAB },
    Case { what: "another port", repo: "http://gitea.acme.example:3000/acme/shop", ..GITEA },
    Case { what: "doubled slashes", repo: "https://gitea.acme.example//acme/shop.git", ..GITEA },
    Case { what: "a name within the cluster", aliases: "gitea.svc=gitea.acme.example", repo: "http://gitea.svc:3000/acme/shop", ..GITEA },
    Case { what: "a name that nobody gave it", repo: "http://gitea.svc:3000/acme/shop", moves: false, ..GITEA },
    Case { what: "another repository whose name ends with .git", repo: "git@ssh.dev.azure.com:v3/acme/shop/shop.git", moves: false, ..AZURE },
    Case { what: "behind a context path", ..BITBUCKET_SERVER },
    Case { what: "test of a connection, wrong secret", secret: &[("bitbucket-server", "x")], event: "bitbucket-server-ping", headers: |it| add(it, "x-hub-signature", "sha256=00"), status: 401, moves: false, ..BITBUCKET_SERVER },
];

fn set(headers: &mut Headers, name: &str, value: &str) {
    remove(headers, name);
    add(headers, name, value);
}

fn add(headers: &mut Headers, name: &str, value: &str) {
    headers.push((name.to_owned(), value.to_owned()));
}

fn remove(headers: &mut Headers, prefix: &str) {
    headers.retain(|(name, _)| !name.starts_with(prefix));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sender_is_taken_as_people_have_it() {
    let mut wrong = Vec::new();
    for case in CASES {
        let space = Space::embedded().await;
        let secret = case.secret.iter().map(|(key, value)| ((*key).to_owned(), (*value).into()));
        space.global_secret(secret.collect::<Map<String, Value>>().into()).await;
        space.gitrepo("shop", json!({ "repo": case.repo, "branch": BRANCH })).await;
        let function = Function::start(&space, &[("HOST_ALIASES", case.aliases)]).await;
        let request = Event::load(case.event).request_at(Timestamp::now());
        let mut headers = request.headers;
        headers.retain(|(name, _)| !matches!(name.as_str(), "host" | "content-length"));
        (case.headers)(&mut headers);
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = function.deliver(&headers, request.body).await;
        let moved = space.commit("shop").await;
        let expected = case.moves.then(|| COMMIT.to_owned());
        if (answer.status, &moved) != (case.status, &expected) {
            wrong.push(format!("{}, {}: {} {}", case.event, case.what, answer.status, answer.body));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
