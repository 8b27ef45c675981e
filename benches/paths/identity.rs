//! Which repository a URL names, in the forms that GitRepos and payloads have, beside the `url` crate's own reading.

use divan::{Bencher, black_box};
use fleet_webhook::{event::Repository, repo_url::RepoUrl};
use url::Url;

const URLS: [&str; 5] = [
    "https://github.com/acme/shop",
    "git@github.com:acme/shop.git",
    "ssh://git@bitbucket.acme.example:7999/acme/shop.git",
    "https://bitbucket.acme.example/scm/ACME/shop.git",
    "git@ssh.dev.azure.com:v3/acme/shop/shop",
];

#[divan::bench(args = URLS)]
fn identity(url: &str) -> Option<RepoUrl> {
    RepoUrl::parse(black_box(url))
}

#[divan::bench]
fn url_alone() -> Option<Url> {
    Url::parse(black_box("https://github.com/acme/shop")).ok()
}

#[divan::bench]
fn is_the_same(bencher: Bencher<'_, '_>) {
    let pushed = ["https://github.com/acme/shop.git", "git@github.com:acme/shop.git"];
    let pushed = Repository::from_urls(pushed).unwrap();
    let spec = RepoUrl::parse("https://github.com/acme/shop").unwrap();
    bencher.bench_local(|| black_box(&pushed).is(black_box(&spec)));
}
