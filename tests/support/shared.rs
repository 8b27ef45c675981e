//! The folder with what others published: real deliveries and known answers, outside of the repository.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test uses a part of it")]

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// File, and what it says in words.
#[rustfmt::skip]
pub const DELIVERIES: &[(&str, &str)] = &[
    ("azure-devops/git-push", "push of dev.azure.com/alexander0053/_git/alex-test: refs/heads/master at 298a79aa1552799a70718a0ee914d153d5a1a76b"),
    ("bitbucket-cloud/push-branch", "push of bitbucket.org/brydzewski/foo: refs/heads/master at 141977fedf5cf35aa290ac87d4b5177ac4cd9de1"),
    ("bitbucket-cloud/push-branch-create", "push of bitbucket.org/brydzewski/foo: refs/heads/develop at 141977fedf5cf35aa290ac87d4b5177ac4cd9de1"),
    ("bitbucket-cloud/push-branch-delete", "push of bitbucket.org/brydzewski/foo: refs/heads/develop gone"),
    ("bitbucket-cloud/push-empty-changes", "push of bitbucket.org/cloudbeers/temp: "),
    ("bitbucket-cloud/push-force-truncated", "push of bitbucket.org/amuniz/test-repos: refs/heads/feature/issue-819 at 5ecffa3874e96920f24a2b3c0d0038e47d5cd1a4"),
    ("bitbucket-cloud/push-multi-change", "push of bitbucket.org/cloudbeers/temp: refs/heads/main at 325d37697849f4b1fe42cb19c20134af08e03a82, refs/heads/manchu at e22fcb49645b4586a845938afac5eb3ac1950586, refs/tags/v0.1 at 1986c228494671574242f99b62d1a00a4bfb69a5"),
    ("bitbucket-cloud/push-signed", "push of bitbucket.org/nfalco79/test-repos: refs/heads/feature/webhook at d7f300a32270053bdfd97a6d64113f58202c33e7"),
    ("bitbucket-cloud/push-tag-annotated", "push of bitbucket.org/amuniz/test-repos: refs/tags/test-tag at 7ef5981d59145c3ed300b1ab77b93907d33abe59"),
    ("bitbucket-cloud/push-tag-create", "push of bitbucket.org/brydzewski/foo: refs/tags/feature/x at 141977fedf5cf35aa290ac87d4b5177ac4cd9de1"),
    ("bitbucket-cloud/push-tag-delete", "push of bitbucket.org/brydzewski/foo: refs/tags/feature/x gone"),
    ("bitbucket-cloud/repo-updated-rename", "ignored"),
    ("bitbucket-server/branch-create-no-links", "push of PRJ/my-repo somewhere: refs/heads/develop at 208b0a5c05eddadad01f2aed8802fe0c3b3eaf5e"),
    ("bitbucket-server/branch-delete-no-links", "push of PRJ/my-repo somewhere: refs/heads/develop gone"),
    ("bitbucket-server/branch-delete-unsigned-compact", "push of localhost:7990/bitbucket/scm/amuniz/test-repos and localhost:7999/amuniz/test-repos: refs/heads/feature/BB-1 gone"),
    ("bitbucket-server/mirror-synchronized", "push of localhost:7990/scm/amuniz/test-repos and localhost:7999/amuniz/test-repos: refs/heads/main at 9fdd7b96d3f5c276d0b9e0bf38c879eb112d889a"),
    ("bitbucket-server/mirror-synchronized-ref-limit-exceeded", "push of localhost:7990/scm/amuniz/test-repos and localhost:7999/amuniz/test-repos: unknown refs"),
    ("bitbucket-server/ping", "ping"),
    ("bitbucket-server/plugin-post-webhook-branch-delete", "ignored"),
    ("bitbucket-server/refs-changed-empty", "push of localhost:7990/scm/amuniz/test-repos and localhost:7999/amuniz/test-repos: "),
    ("bitbucket-server/refs-changed-links", "push of bitbucketserver/scm/myproject/test-repo and bitbucketserver:7999/myproject/test-repo: refs/heads/master at 22671f0349857934857983457983475ec39f196b"),
    ("bitbucket-server/refs-changed-no-links", "push of PRJ/my-repo somewhere: refs/heads/master at 823b2230a56056231c9425d63758fa87078a66b4"),
    ("bitbucket-server/refs-changed-signed", "push of server.bitbucket.local/scm/~gopher/webhook-test and server.bitbucket.local:7999/~gopher/webhook-test: refs/heads/feature/wip gone"),
    ("bitbucket-server/repo-modified-rename", "ignored"),
    ("bitbucket-server/tag-create-annotated", "push of localhost:7990/bitbucket/scm/amuniz/test-repos and localhost:7999/amuniz/test-repos: refs/tags/annotated-tag at fb522a6f08c7c7df337312e4e65ec1b57710672e"),
    ("bitbucket-server/tag-create-links", "push of localhost:7990/bitbucket/scm/amuniz/test-repos and localhost:7999/amuniz/test-repos: refs/tags/simple-tag at fb522a6f08c7c7df337312e4e65ec1b57710672e"),
    ("bitbucket-server/tag-create-no-links", "push of PRJ/my-repo somewhere: refs/tags/v1.1.0 at 823b2230a56056231c9425d63758fa87078a66b4"),
    ("bitbucket-server/tag-delete-links", "push of localhost:7990/bitbucket/scm/amuniz/test-repos and localhost:7999/amuniz/test-repos: refs/tags/simple-tag gone"),
    ("bitbucket-server/tag-delete-no-links", "push of PRJ/my-repo somewhere: refs/tags/v1.1.0 gone"),
    ("forgejo/create-tag", "ignored"),
    ("forgejo/push-branch", "push of forgejo.golang.org/gordon/hello-world: refs/heads/main at ef98532add3b2feb7a137426bba1248724367df5"),
    ("forgejo/push-branch-create", "push of codeberg.org/meisam/woodpecktester: refs/heads/fdsafdsa at 28c3613ae62640216bea5e7dc71aa65356e4298b"),
    ("gitea/create-branch", "ignored"),
    ("gitea/create-tag", "ignored"),
    ("gitea/delete-branch", "ignored"),
    ("gitea/delete-tag", "ignored"),
    ("gitea/push-branch", "push of localhost/gogits/hello-world and try.gitea.io/gogits/hello-world: refs/heads/master at 4522cbcefc20728a5b72b3a86af35e608622c514"),
    ("gitea/push-branch-create", "push of codeberg.org/meisam/woodpecktester: refs/heads/fdsafdsa at 28c3613ae62640216bea5e7dc71aa65356e4298b"),
    ("gitee/branch-create", "push of gitee.com/kit101/drone-yml-test: refs/heads/feat-2-1 at 6168d9dae737b47f00c59fafca10c913a6850c3a"),
    ("gitee/branch-delete", "push of gitee.com/kit101/drone-yml-test: refs/heads/feat-3 gone"),
    ("gitee/push-branch", "push of gitee.com/kit101/drone-yml-test: refs/heads/feat-2-1 at 9921e45e570db8e57e544650baf837932fb2100f"),
    ("gitee/tag-create", "push of gitee.com/kit101/drone-yml-test: refs/tags/1.3 at aa9d11518a64dcd0d591a2a4eb35dfb4d91d49d5"),
    ("gitee/tag-delete", "push of gitee.com/kit101/drone-yml-test: refs/tags/1.3 gone"),
    ("github/create-branch", "ignored"),
    ("github/create-tag", "ignored"),
    ("github/delete-branch", "ignored"),
    ("github/delete-tag", "ignored"),
    ("github/package-ghcr", "ignored"),
    ("github/ping", "ping of github.com/octocoders/hello-world"),
    ("github/ping-organization", "ping"),
    ("github/push-branch", "push of github.com/codertocat/hello-world: refs/heads/master at 199eddf46df50de8d02e99bf1c5fdb4101338224"),
    ("github/push-branch-create", "push of github.com/bradrydzewski/drone-test-go: refs/heads/feature-branch at d2b75aa7797ec26b088fa2dd527e9d2c052fcedd"),
    ("github/push-branch-delete", "push of github.com/bradrydzewski/drone-test-go: refs/heads/feature-branch gone"),
    ("github/push-force", "push of github.com/6543/oxiduct: refs/heads/main at f7220f1f753260bf6f1c533357c70213e9fd4abe"),
    ("github/push-tag-create", "push of github.com/bradrydzewski/drone-test-go: refs/tags/v0.0.1 at d2b75aa7797ec26b088fa2dd527e9d2c052fcedd"),
    ("github/push-tag-delete", "push of github.com/bradrydzewski/drone-test-go: refs/tags/v0.0.1 gone"),
    ("github/push-tag-delete-octokit", "push of github.com/codertocat/hello-world: refs/tags/simple-tag gone"),
    ("github/push-tag-update", "push of github.com/chmouel/scratchmyback: refs/tags/0.2 at 02740beb3614221ed2eabbebec5f9a013c51e587"),
    ("github/push-with-organization-and-installation", "push of github.com/codertocat/hello-world: refs/tags/simple-tag gone"),
    ("github/repository-default-branch-edited", "ignored"),
    ("github/repository-renamed", "ignored"),
    ("github/repository-transferred", "ignored"),
    ("gitlab/push-branch", "push of gitlab.com/gitlab-org/hello-world: refs/heads/master at 2adc9465c4edfc33834e173fe89436a7cb899a1d"),
    ("gitlab/push-branch-create", "push of gitlab.com/gitlab-org/hello-world: refs/heads/feature at c4c79227ed610f1151f05bbc5be33b4f340d39c8"),
    ("gitlab/push-branch-delete", "push of gitlab.com/gitlab-org/hello-world: refs/heads/feature gone"),
    ("gitlab/push-merge", "push of gitlab.com/gitlab-org/hello-world: refs/heads/master at 78a76ee6b4992a6baf64c59fc4c44c7323d60438"),
    ("gitlab/system-project-rename", "ignored"),
    ("gitlab/system-project-transfer", "ignored"),
    ("gitlab/system-push", "push of example.com/mike/diaspora: refs/heads/master at da1560886d4f094c3e6c9ef40349f7d38b5d27d7"),
    ("gitlab/system-repository-update", "push of example.com/jsmith/example: refs/heads/master at 4045ea7a3df38697b3730a20fb73c8bed8a3e69e"),
    ("gitlab/system-tag-push", "push of example.com/jsmith/example: refs/tags/v1.0.0 at 5937ac0a7beb003549fc5fd26fc247adbce4a52e"),
    ("gitlab/tag-create", "push of gitlab.com/gitlab-org/hello-world: refs/tags/v1.0.0 at 2adc9465c4edfc33834e173fe89436a7cb899a1d"),
    ("gitlab/tag-create-annotated", "push of 10.40.8.5/test/woodpecker and 10.40.8.5:3200/test/woodpecker: refs/tags/v22 at 16862e368d8ab812e48833b741dad720d6e2cb7f"),
    ("gitlab/tag-delete", "push of gitlab.com/gitlab-org/hello-world: refs/tags/v1.0.0 gone"),
    ("gogs/create-branch", "ignored"),
    ("gogs/create-tag", "push of localhost/gogits/hello-world and try.gogs.io/gogits/hello-world: refs/tags/v1.0.0 at 599d25c67b05717269f50ac082b34f176d085179"),
    ("gogs/delete-branch", "ignored"),
    ("gogs/delete-tag", "ignored"),
    ("gogs/push-branch", "push of localhost/gogits/hello-world and try.gogs.io/gogits/hello-world: refs/heads/master at 4522cbcefc20728a5b72b3a86af35e608622c514"),
];

/// A real delivery.
pub struct Published {
    /// Its file without ending, `<provider>/<event>`.
    pub file: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What it is signed with, where that was published too.
    pub secret: Option<String>,
}

/// `$FLEET_WEBHOOK_SHARED`, else `../shared`.
///
/// # Panics
/// Where there is none: a test that needs it is `#[ignore]`d, and runs where somebody asks for it.
pub fn folder() -> PathBuf {
    let named = env::var_os("FLEET_WEBHOOK_SHARED").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    assert!(
        folder.is_dir(),
        "there is no {}: FLEET_WEBHOOK_SHARED names another place",
        folder.display()
    );
    folder
}

/// The real deliveries in it that have headers, in the order of their names.
pub fn deliveries(folder: &Path) -> Vec<Published> {
    let mut deliveries = Vec::new();
    for provider in names(&folder.join("payloads")) {
        let here = folder.join("payloads").join(&provider);
        if !here.is_dir() {
            continue;
        }
        for event in names(&here).iter().filter_map(|name| name.strip_suffix(".headers.json")) {
            deliveries.push(published(&here, &provider, event));
        }
    }
    assert!(!deliveries.is_empty(), "{} has no payloads", folder.display());
    deliveries
}

/// All payloads in it, `<provider>/<event>`, in the order of their names.
pub fn files(folder: &Path) -> Vec<String> {
    let folder = folder.join("payloads");
    let providers = names(&folder).into_iter().filter(|provider| folder.join(provider).is_dir());
    let events = |provider: String| {
        let files = names(&folder.join(&provider)).into_iter();
        let payloads = files.filter(|file| !file.ends_with(".headers.json"));
        let events = payloads.filter_map(|file| file.strip_suffix(".json").map(str::to_owned));
        events.map(move |event| format!("{provider}/{event}")).collect::<Vec<_>>()
    };
    let mut files: Vec<_> = providers.flat_map(events).collect();
    files.sort();
    files
}

/// The keys of the secret under which a published one belongs; Azure's is `user:password`.
pub fn keys(provider: &str, value: &str) -> Vec<(String, String)> {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    match provider {
        "bitbucket-cloud" => vec![pair("bitbucket-hmac", value)],
        "azure-devops" => {
            let (user, password) = value.split_once(':').expect("is user and password");
            vec![pair("azure-username", user), pair("azure-password", password)]
        }
        name => vec![pair(name, value)],
    }
}

fn published(folder: &Path, provider: &str, event: &str) -> Published {
    let about = fs::read(folder.join(format!("{event}.headers.json"))).expect("is a file");
    let about: Value = serde_json::from_slice(&about).expect("is JSON");
    let headers = about.get("headers").and_then(Value::as_object).expect("has headers");
    let text = |value: &Value| value.as_str().expect("is text").to_owned();
    Published {
        file: format!("{provider}/{event}"),
        headers: headers.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        body: fs::read(folder.join(format!("{event}.json"))).expect("is a file"),
        secret: about.get("secret").and_then(Value::as_str).map(str::to_owned),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("is a folder").flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
