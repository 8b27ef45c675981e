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
    /// Before it is signed.
    body: fn(&mut Value),
    /// After it was signed.
    headers: fn(&mut Headers),
    secret: &'static [(&'static str, &'static str)],
    aliases: &'static str,
    repo: &'static str,
    status: u16,
    moves: bool,
    /// What the answer says of it, among other things.
    detail: &'static str,
}

const GITHUB: Case = Case {
    what: "as it is",
    event: "github-push",
    body: |_| {},
    headers: |_| {},
    secret: &[("github", "github-test-secret")],
    aliases: "",
    repo: "https://github.com/acme/shop",
    status: 200,
    moves: true,
    detail: "",
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

const BITBUCKET_HMAC: Case =
    Case { secret: &[("bitbucket-hmac", "bitbucket-hmac-test-secret")], ..BITBUCKET };

const BITBUCKET_SERVER_LINKED: Case = Case {
    event: "bitbucket-server-push",
    repo: "https://bitbucket.acme.example/scm/acme/shop.git",
    ..BITBUCKET_SERVER
};

const SIGNING_TOKEN: Case = Case {
    secret: &[("gitlab-signing-token", " whsec_Z2l0bGFiLXNpZ25pbmctdG9rZW4tdGVzdC1zZWNyZXQ= \n")],
    ..GITLAB
};

const FORM: &str = "application/x-www-form-urlencoded";
const GZIP: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03";

/// Headers as proxies leave them.
#[rustfmt::skip]
const HEADERS: &[Case] = &[
    GITHUB,
    Case { what: "event header twice", headers: |it| add(it, "x-github-event", "push"), ..GITHUB },
    Case { what: "event header joined", headers: |it| set(it, "x-gitlab-event", "Push Hook, Push Hook"), ..GITLAB },
    Case { what: "event header joined, and empty once", headers: |it| set(it, "x-gitea-event", ", push,push"), ..GITEA },
    Case { what: "event header contradicts", headers: |it| add(it, "x-github-event", "ping"), status: 400, moves: false, detail: "x-github-event: there with several values", ..GITHUB },
    Case { what: "event header lost", headers: |it| remove(it, "x-gitlab-event"), status: 400, moves: false, detail: "x-gitlab-event: missing", ..GITLAB },
    Case { what: "event header empty", headers: |it| set(it, "x-gitea-event", ""), status: 400, moves: false, detail: "x-gitea-event: missing", ..GITEA },
    Case { what: "event header unreadable", headers: |it| set(it, "x-gitlab-event", "Pu\u{e9}sh"), status: 400, moves: false, detail: "x-gitlab-event: unreadable", ..GITLAB },
    Case { what: "event key lost", headers: |it| remove(it, "x-event-key"), status: 400, moves: false, detail: "x-event-key: missing", ..BITBUCKET },
    Case { what: "event key lost", headers: |it| remove(it, "x-event-key"), status: 400, moves: false, detail: "x-event-key: missing", ..BITBUCKET_SERVER_LINKED },
    Case { what: "UUID of the hook lost", headers: |it| remove(it, "x-hook-uuid"), status: 400, moves: false, detail: "x-hook-uuid: missing", ..BITBUCKET_HMAC },
    Case { what: "all of its own headers lost", headers: |it| remove(it, "x-git"), status: 400, moves: false, detail: "payload: not the fields", ..GITLAB },
    Case { what: "a signature alone is left", headers: |it| remove(it, "x-github-"), status: 400, moves: false, detail: "x-github-event: missing", ..GITHUB },
    Case { what: "headers of a relay", headers: |it| { add(it, "webhook-id", "m1"); add(it, "webhook-signature", "v1,eA=="); add(it, "x-request-uuid", "r1") }, ..GITHUB },
    Case { what: "the proof twice", headers: |it| { let proof = get(it, "x-hub-signature-256"); add(it, "x-hub-signature-256", &proof) }, status: 401, moves: false, ..GITHUB },
    Case { what: "the digest in capitals", headers: |it| { let digest = get(it, "x-gitea-signature").to_uppercase(); set(it, "x-gitea-signature", &digest) }, ..GITEA },
    Case { what: "a scheme of another case", headers: |it| { let basic = get(it, "authorization").replace("Basic ", "basic  "); set(it, "authorization", &basic) }, ..AZURE },
    Case { what: "no content type", headers: |it| remove(it, "content-type"), ..GITHUB },
    Case { what: "an empty content type", headers: |it| set(it, "content-type", ""), ..GITHUB },
    Case { what: "content type twice", headers: |it| { let of = get(it, "content-type"); add(it, "content-type", &of) }, ..GITHUB },
    Case { what: "content type joined", headers: |it| set(it, "content-type", "application/json, application/json;charset=UTF-8"), ..GITHUB },
    Case { what: "content type contradicts", headers: |it| set(it, "content-type", "application/json, text/plain"), status: 415, moves: false, ..GITHUB },
    Case { what: "a form without a content type", headers: |it| remove(it, "content-type"), event: "github-push-form", ..GITHUB },
    Case { what: "a form with a charset", headers: |it| set(it, "content-type", "application/x-www-form-urlencoded;charset=UTF-8"), event: "gitea-push-form", ..GITEA },
    Case { what: "JSON that is called a form", headers: |it| set(it, "content-type", FORM), ..GITEA },
    Case { what: "no header of Azure's", headers: |it| remove(it, "x-vss-"), ..AZURE },
    Case { what: "no header of Azure's, another password", headers: |it| remove(it, "x-vss-"), secret: &[("azure-password", "x")], status: 401, moves: false, ..AZURE },
    Case { what: "no header of Azure's, and no proof", headers: |it| { remove(it, "x-vss-"); remove(it, "authorization") }, status: 400, moves: false, detail: "no header of a known provider", ..AZURE },
];

/// Secrets as people keep them.
#[rustfmt::skip]
const SECRETS: &[Case] = &[
    Case { what: "another user", secret: &[("azure-username", "x"), ("azure-password", "azure-password-test-secret")], status: 401, moves: false, ..AZURE },
    Case { what: "newlines behind user and password", secret: &[("azure-username", "fleet\n"), ("azure-password", "azure-password-test-secret\r\n")], ..AZURE },
    Case { what: "a newline behind the secret", secret: &[("github", "github-test-secret\n")], ..GITHUB },
    Case { what: "a newline of Windows behind the secret", secret: &[("gitea", "gitea-test-secret\r\n")], ..GITEA },
    Case { what: "blanks around the token", secret: &[("gitlab", " gitlab-test-secret \n")], ..GITLAB },
    Case { what: "blanks around the signing token", ..SIGNING_TOKEN },
    Case { what: "braces around the UUID", secret: &[("bitbucket", "{b17b0c8e-7e57-4bad-8eed-0123456789ab}")], ..BITBUCKET },
    Case { what: "the UUID in capitals", secret: &[("bitbucket", "B17B0C8E-7E57-4BAD-8EED-0123456789AB")], ..BITBUCKET },
    Case { what: "on the way to the signing token", secret: &[("gitlab-signing-token", "whsec_dGVzdA=="), ("gitlab.previous", "gitlab-test-secret")], ..GITLAB },
    Case { what: "no way back", secret: &[("gitlab-signing-token", "whsec_dGVzdA=="), ("gitlab", "gitlab-test-secret")], status: 401, moves: false, ..GITLAB },
    Case { what: "on the way to the HMAC", secret: &[("bitbucket-hmac", "x"), ("bitbucket.previous", "{B17B0C8E-7E57-4BAD-8EED-0123456789AB}")], ..BITBUCKET },
    Case { what: "under the key that Fleet asks for", secret: &[("gogs", "gitea-test-secret")], ..GITEA },
];

/// Repositories under the names that GitRepos have for them.
#[rustfmt::skip]
const NAMES: &[Case] = &[
    Case { what: "another port", repo: "http://gitea.acme.example:3000/acme/shop", ..GITEA },
    Case { what: "doubled slashes", repo: "https://gitea.acme.example//acme/shop.git", ..GITEA },
    Case { what: "a name within the cluster", aliases: "gitea.svc=gitea.acme.example", repo: "http://gitea.svc:3000/acme/shop", ..GITEA },
    Case { what: "a name that nobody gave it", repo: "http://gitea.svc:3000/acme/shop", moves: false, detail: "no GitRepo names gitea.acme.example/acme/shop", ..GITEA },
    Case { what: "a ROOT_URL that nobody changed", body: at_localhost, aliases: "localhost:3000=gitea.acme.example", repo: "https://gitea.acme.example/acme/shop", ..GITEA },
    Case { what: "a ROOT_URL with a path", body: |it| moved(it, "https://acme.example/git/acme/shop"), repo: "https://acme.example/git/acme/shop.git", ..GITEA },
    Case { what: "a ROOT_URL with a path, over ssh", body: |it| moved(it, "https://acme.example/git/acme/shop"), repo: "git@gitea.acme.example:acme/shop", ..GITEA },
    Case { what: "a mirror's short ref", body: |it| it["ref"] = "main".into(), ..GITEA },
    Case { what: "a relative URL root", body: |it| relative_root(it), repo: "https://acme.example:8443/gitlab/acme/shop", ..GITLAB },
    Case { what: "a relative URL root, over ssh on another port", body: |it| relative_root(it), repo: "ssh://git@acme.example:2222/acme/shop.git", ..GITLAB },
    Case { what: "the same path without the root", body: |it| relative_root(it), repo: "https://acme.example/acme/shop", moves: false, ..GITLAB },
    Case { what: "a server of its own", body: |it| enterprise(it), repo: "https://ghe.acme.example/acme/shop", ..GITHUB },
    Case { what: "GitBucket, which sends GitHub's headers", body: |it| moved(it, "https://acme.example/gitbucket/git/acme/shop"), repo: "https://acme.example/gitbucket/git/acme/shop.git", ..GITHUB },
    Case { what: "a project before the collection", body: |it| it["resource"]["repository"]["remoteUrl"] = "https://acme.visualstudio.com/shop/DefaultCollection/_git/web".into(), repo: "acme@vs-ssh.visualstudio.com:v3/acme/shop/web", ..AZURE },
    Case { what: "ssh over port 443", repo: "ssh://git@ssh.github.com:443/acme/shop.git", ..GITHUB },
    Case { what: "an ssh name of one's own", aliases: "github-work=github.com", repo: "git@github-work:acme/shop.git", ..GITHUB },
    Case { what: "a user and a token in the URL", repo: "https://x-access-token:t@github.com/Acme/Shop/", ..GITHUB },
    Case { what: "another repository whose name ends with .git", repo: "git@ssh.dev.azure.com:v3/acme/shop/shop.git", moves: false, ..AZURE },
    Case { what: "a name with a space", body: |it| it["resource"]["repository"]["remoteUrl"] = "https://acme@dev.azure.com/acme/My%20Shop/_git/My%20Shop".into(), repo: "https://dev.azure.com/acme/_git/my%20shop", ..AZURE },
    Case { what: "a collection of its own server", body: |it| it["resource"]["repository"]["remoteUrl"] = "http://tfs.acme.example:8080/tfs/Main/Shop/_git/web".into(), repo: "https://tfs.acme.example/tfs/main/shop/_git/web", ..AZURE },
    Case { what: "behind a context path", ..BITBUCKET_SERVER },
    Case { what: "a personal repository", body: |it| it["repository"]["project"]["key"] = "~JANE".into(), repo: "ssh://git@bitbucket.acme.example:7999/~jane/shop.git", ..BITBUCKET_SERVER },
    Case { what: "a link with a user", body: |it| it["repository"]["links"]["clone"] = json!([{ "name": "http", "href": "https://jane@bitbucket.acme.example/stash/scm/acme/shop.git" }]), repo: "git@bitbucket.acme.example:acme/shop.git", ..BITBUCKET_SERVER_LINKED },
    Case { what: "test of a connection, wrong secret", secret: &[("bitbucket-server", "x")], event: "bitbucket-server-ping", headers: |it| add(it, "x-hub-signature", "sha256=00"), status: 401, moves: false, ..BITBUCKET_SERVER },
];

fn at_localhost(push: &mut Value) {
    moved(push, "http://localhost:3000/acme/shop");
    push["repository"]["ssh_url"] = "git@localhost:acme/shop.git".into();
}

fn moved(push: &mut Value, to: &str) {
    push["repository"]["html_url"] = to.into();
    push["repository"]["clone_url"] = format!("{to}.git").into();
}

fn enterprise(push: &mut Value) {
    moved(push, "https://ghe.acme.example/acme/shop");
    push["repository"]["ssh_url"] = "git@ghe.acme.example:acme/shop.git".into();
    push["repository"]["git_url"] = "git://ghe.acme.example/acme/shop.git".into();
}

fn relative_root(push: &mut Value) {
    let (web, ssh) =
        ("https://acme.example:8443/gitlab/acme/shop", "git@acme.example:acme/shop.git");
    let http = format!("{web}.git");
    push["project"] = json!({ "web_url": web, "git_http_url": http, "git_ssh_url": ssh });
    push["repository"] = json!({ "homepage": web, "url": ssh });
}

fn get(headers: &Headers, name: &str) -> String {
    let found = headers.iter().find(|(other, _)| other == name);
    found.unwrap_or_else(|| panic!("{name} is there")).1.clone()
}

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

impl Case {
    /// Sends it; says what came out otherwise than it has to.
    async fn differs(&self) -> Option<String> {
        let space = Space::embedded().await;
        let secret = self.secret.iter().map(|(key, value)| ((*key).to_owned(), (*value).into()));
        space.global_secret(secret.collect::<Map<String, Value>>().into()).await;
        space.gitrepo("shop", json!({ "repo": self.repo, "branch": BRANCH })).await;
        let function = Function::start(&space, &[("HOST_ALIASES", self.aliases)]).await;
        let mut event = Event::load(self.event);
        if let Ok(mut json) = serde_json::from_slice::<Value>(&event.request().body) {
            (self.body)(&mut json);
            event = event.with_body(json.to_string());
        }
        let request = event.request_at(Timestamp::now());
        let mut headers = request.headers;
        headers.retain(|(name, _)| !matches!(name.as_str(), "host" | "content-length"));
        (self.headers)(&mut headers);
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = function.deliver(&headers, request.body).await;
        let moved = space.commit("shop").await;
        let expected = self.moves.then(|| COMMIT.to_owned());
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        let is_right =
            (answer.status, &moved) == (self.status, &expected) && detail.contains(self.detail);
        (!is_right)
            .then(|| format!("{}, {}: {} {}", self.event, self.what, answer.status, answer.body))
    }
}

async fn all_come_out_right(cases: &[Case]) {
    let mut wrong = Vec::new();
    for case in cases {
        wrong.extend(case.differs().await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_is_taken_as_proxies_leave_it_or_is_refused_in_words() {
    all_come_out_right(HEADERS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_is_verified_with_the_secret_as_people_keep_it() {
    all_come_out_right(SECRETS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_moves_the_gitrepo_that_has_another_name_for_the_repository() {
    all_come_out_right(NAMES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_body_is_refused_with_the_compression_named() {
    let space = Space::embedded().await;
    space.global_secret(json!({ "github": "github-test-secret" })).await;
    let function = Function::start(&space, &[]).await;
    let event = [("x-github-event", "push"), ("content-type", "application/json")];
    for (encoding, words) in [
        (Some("gzip"), "Content-Encoding: gzip"),
        (Some("br"), "Content-Encoding: br"),
        (Some("x-secret-thing"), "gzip, with no Content-Encoding"),
        (None, "gzip, with no Content-Encoding"),
    ] {
        let headers: Vec<_> = event
            .into_iter()
            .chain(encoding.map(|encoding| ("content-encoding", encoding)))
            .collect();
        let answer = function.deliver(&headers, GZIP.to_vec()).await;
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        assert_eq!((answer.status, answer.outcome()), (400, "malformed"), "{}", answer.body);
        assert!(detail.contains(words) && !detail.contains("x-secret-thing"), "{detail}");
    }
}
