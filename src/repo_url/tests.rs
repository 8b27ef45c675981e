use proptest::prelude::*;

use super::*;
use crate::event::Repository;

fn url(text: &str) -> RepoUrl {
    RepoUrl::parse(text).unwrap_or_else(|| panic!("{text} names a repository"))
}

/// Every pair of `texts`, the first as a GitRepo has it and the second as a payload has it, is one repository.
#[track_caller]
fn all_are_one(texts: &[&str]) {
    for spec in texts {
        for payload in texts {
            let repository = Repository::Urls(vec![url(payload)]);
            assert!(repository.is(&url(spec)), "{payload} is not {spec}");
        }
    }
}

#[track_caller]
fn differ(payload: &str, spec: &str) {
    let repository = Repository::Urls(vec![url(payload)]);
    assert!(!repository.is(&url(spec)), "{payload} is {spec}");
}

#[test]
fn one_repository_has_many_urls() {
    all_are_one(&[
        "https://github.com/acme/shop",
        "https://github.com/acme/shop.git",
        "https://github.com/acme/Shop.GIT",
        "https://github.com/acme/shop/",
        "https://github.com/acme/shop.git/",
        "https://GitHub.com:443/Acme/Shop.git",
        "https://github.com./acme/shop",
        "http://github.com:80/acme/shop",
        "https://user:token@github.com/acme/shop",
        "https://www.github.com/acme/shop",
        "https://github.com/acme/%73hop%2Egit",
        "git://github.com/acme/shop.git",
        "ssh://git@github.com/acme/shop.git",
        "ssh://git@github.com:22/acme/shop.git",
        "ssh://git@ssh.github.com:443/acme/shop.git",
        "git+ssh://git@github.com/acme/shop",
        "git@github.com:acme/shop.git",
        "github.com:acme/shop",
        "git@github.com:/acme/shop.git",
        "git@GITHUB.COM.:Acme/Shop",
        "git@github.com:22:acme/shop.git",
        "git@ssh.github.com:443/acme/shop.git",
        "  https://github.com/acme/shop ",
    ]);
}

#[test]
fn the_public_hosts_have_aliases() {
    all_are_one(&[
        "https://gitlab.com/acme/group/shop",
        "ssh://git@altssh.gitlab.com:443/acme/group/shop.git",
        "https://www.gitlab.com/acme/group/shop",
    ]);
    all_are_one(&[
        "https://bitbucket.org/acme/shop",
        "ssh://git@altssh.bitbucket.org:443/acme/shop.git",
        "git@altssh.bitbucket.org:443/acme/shop.git",
        "https://www.bitbucket.org/acme/shop",
    ]);
    all_are_one(&["https://gitee.com/acme/shop", "https://www.gitee.com/acme/shop.git"]);
}

#[test]
fn azure_has_more_urls_than_anybody() {
    all_are_one(&[
        "https://dev.azure.com/acme/web%20site/_git/shop",
        "https://acme@dev.azure.com/acme/web%20site/_git/shop",
        "https://acme.visualstudio.com/web%20site/_git/shop",
        "https://ACME.visualstudio.com/DefaultCollection/Web%20Site/_git/Shop",
        "git@ssh.dev.azure.com:v3/acme/web%20site/shop",
        "ssh://git@ssh.dev.azure.com/v3/acme/web%20site/shop",
        "ssh://git@ssh.dev.azure.com:22/v3/acme/web%20site/shop",
        "acme@vs-ssh.visualstudio.com:v3/acme/web%20site/shop",
        "ssh://acme@vs-ssh.visualstudio.com:22/web%20site/_ssh/shop",
        "ssh://acme@vs-ssh.visualstudio.com:22/DefaultCollection/web%20site/_ssh/shop",
        "ssh://acme@acme.visualstudio.com:22/web%20site/_git/shop",
        "https://dev.azure.com/acme/web%20site/_git/_full/shop",
        "https://dev.azure.com/acme/web%20site/_git/_optimized/shop",
        "https://acme.visualstudio.com/DefaultCollection/web%20site/_git/_full/shop",
        "git@ssh.dev.azure.com:v3/acme/web%20site/_full/shop",
        "ssh://acme@vs-ssh.visualstudio.com:22/web%20site/_ssh/_optimized/shop",
    ]);
}

#[test]
fn azure_leaves_out_a_project_with_the_name_of_the_repository() {
    all_are_one(&[
        "https://dev.azure.com/acme/shop/_git/shop",
        "https://dev.azure.com/acme/_git/shop",
        "https://dev.azure.com/acme/Shop/_git/shop",
        "https://acme.visualstudio.com/_git/shop",
        "https://acme.visualstudio.com/shop/_git/shop",
        "https://acme.visualstudio.com/DefaultCollection/_git/shop",
        "https://acme.visualstudio.com/DefaultCollection/_git/_full/shop",
        "https://acme.visualstudio.com/DefaultCollection/shop/_git/shop",
        "git@ssh.dev.azure.com:v3/acme/shop/shop",
        "acme@vs-ssh.visualstudio.com:v3/acme/shop/shop",
        "ssh://acme@vs-ssh.visualstudio.com/_ssh/shop",
        "ssh://acme@vs-ssh.visualstudio.com/DefaultCollection/_ssh/shop",
    ]);
    differ("https://dev.azure.com/acme/_git/acme", "https://dev.azure.com/other/_git/acme");
    differ("https://dev.azure.com/acme/web/_git/shop", "https://dev.azure.com/acme/_git/shop");
}

#[test]
fn an_azure_devops_server_leaves_the_project_out_as_well() {
    all_are_one(&[
        "https://azure.acme.example/tfs/Sales/shop/_git/shop",
        "https://azure.acme.example/tfs/Sales/_git/shop",
        "https://azure.acme.example/tfs/Sales/shop/_git/_optimized/shop",
        "ssh://azure.acme.example:22/tfs/Sales/shop/_ssh/shop",
    ]);
    all_are_one(&[
        "https://azure.acme.example/Sales/shop/_git/shop",
        "https://azure.acme.example/Sales/_git/shop",
    ]);
    all_are_one(&[
        "https://azure.acme.example/tfs/shop/_git/shop",
        "https://azure.acme.example/tfs/shop/shop/_git/shop",
    ]);
    differ(
        "https://azure.acme.example/tfs/Sales/web/_git/shop",
        "https://azure.acme.example/tfs/Sales/_git/shop",
    );
}

#[test]
fn an_azure_devops_server_may_be_in_any_directory() {
    all_are_one(&[
        "https://azure.acme.example/devops/shop/_git/shop",
        "https://azure.acme.example/devops/shop/shop/_git/shop",
    ]);
    all_are_one(&[
        "https://azure.acme.example/a/b/Sales/_git/shop",
        "https://azure.acme.example/a/b/Sales/Shop/_git/shop",
    ]);
    differ(
        "https://azure.acme.example/devops/Sales/_git/shop",
        "https://azure.acme.example/devops/Sales/web/_git/shop",
    );
    differ(
        "https://azure.acme.example/devops/Sales/_git/shop",
        "https://azure.acme.example/Sales/_git/shop",
    );
}

#[test]
fn on_azure_dot_git_is_part_of_the_name() {
    for (one, other) in [
        (
            "https://dev.azure.com/acme/web/_git/shop.git",
            "https://dev.azure.com/acme/web/_git/shop",
        ),
        ("git@ssh.dev.azure.com:v3/acme/web/shop.git", "git@ssh.dev.azure.com:v3/acme/web/shop"),
        ("https://tfs.acme.example/tfs/c/p/_git/a.git", "https://tfs.acme.example/tfs/c/p/_git/a"),
    ] {
        differ(one, other);
        differ(other, one);
    }
    all_are_one(&[
        "https://dev.azure.com/acme/web/_git/shop.git",
        "git@ssh.dev.azure.com:v3/acme/web/shop.git",
    ]);
}

#[test]
fn slashes_that_separate_nothing_do_not_count() {
    all_are_one(&[
        "https://git.example//acme/shop.git",
        "https://git.example/acme//shop//",
        "git@git.example:/acme//shop",
        "https://git.example/acme%2f/shop",
    ]);
}

#[test]
fn codecommit_has_three_forms() {
    all_are_one(&[
        "https://git-codecommit.eu-central-1.amazonaws.com/v1/repos/shop",
        "ssh://APKAEXAMPLE@git-codecommit.eu-central-1.amazonaws.com/v1/repos/shop",
        "codecommit::eu-central-1://shop",
        "codecommit::eu-central-1://profile@shop",
        "https://git-codecommit-fips.eu-central-1.amazonaws.com/v1/repos/shop",
    ]);
    all_are_one(&[
        "https://git-codecommit.cn-north-1.amazonaws.com.cn/v1/repos/shop",
        "codecommit::cn-north-1://shop",
    ]);
    differ("codecommit::eu-central-1://shop", "codecommit::eu-west-1://shop");
    for text in ["codecommit://shop", "codecommit::eu-west-1://", "codecommit::x.example/://a"] {
        assert_eq!(RepoUrl::parse(text), None, "{text}");
    }
}

#[test]
fn ipv6_addresses_are_hosts() {
    all_are_one(&["https://[2001:DB8::1]/acme/shop", "git@[2001:db8::1]:acme/shop.git"]);
    assert_eq!(url("ssh://git@[::1]:2222/acme/shop").to_string(), "[::1]:2222/acme/shop");
}

#[test]
fn hosts_of_other_alphabets_are_compared_as_dns_has_them() {
    all_are_one(&["https://bücher.example/acme/shop", "git@xn--bcher-kva.example:acme/shop"]);
}

#[test]
fn only_the_same_host_and_path_are_the_same() {
    let ours = "https://github.com/acme/shop";
    for other in [
        "https://evilgithub.com/acme/shop",
        "https://github.com.evil.example/acme/shop",
        "https://x.github.com/acme/shop",
        "https://evil.example/github.com/acme/shop",
        "https://evil.example/https://github.com/acme/shop",
        "https://github.com@evil.example/acme/shop",
        "git@evil.example:github.com/acme/shop",
        "https://github.com/acme/shop2",
        "https://github.com/acme/sho",
        "https://github.com/acme/shop/.git",
        "https://github.com/acme/shop.git.git",
        "https://github.com/acme/x/shop",
        "https://github.com/acme",
        "https://github.com/xacme/shop",
        "https://github.com/acme/sh%256fp",
        "https:github.com/acme/shop",
        "https://github.com/acme/_full/shop",
    ] {
        differ(other, ours);
        differ(ours, other);
    }
}

#[test]
fn what_names_no_repository_on_a_host_is_none() {
    for text in [
        "",
        " ",
        "/",
        ":",
        "@",
        "acme/shop",
        "/srv/git/shop.git",
        "./a:b",
        "file:///srv/git/shop.git",
        "ftp://github.com/acme/shop",
        "https://",
        "https://github.com",
        "https://github.com/",
        "https:///acme/shop",
        "ssh://github.com",
        "git@github.com:",
        "git@github.com:/",
        ":acme/shop",
        "git@:acme/shop",
        "git@[::1:acme/shop",
        "user:password@github.com:acme/shop",
        "https://github.com/acme/shop?x=1",
        "https://github.com/acme/shop#x",
        "git@github.com:acme/shop?x",
        "git@github.com:acme/../shop",
        "https://github.com/evil/../acme/shop",
        "https://github.com/acme/./shop",
        "https://github.com/acme/shop/.",
        "https://github.com/acme/shop/x/..",
        "https://github.com/../acme/shop",
        "https://github.com/evil/%2e%2e/acme/shop",
        "https://github.com/evil/.%2E/acme/shop",
        "https://github.com/%2E/acme/shop",
        "https://github.com/evil%2f..%2facme/shop",
        "https://github.com/evil/..%2facme/shop",
        "ssh://git@github.com/evil/../acme/shop",
        "git://github.com/evil/../acme/shop",
        "git@github.com:../acme/shop",
        "git@github.com:evil/%2e%2e/acme/shop",
        "https://dev.azure.com/acme/evil/../_git/shop",
        "codecommit::eu-west-1://..",
        "https://github.com/acme/%ff",
        "https://github.com/acme/%0ashop",
        "https://github.com/ac\nme/shop",
        "https://github..com/acme/shop",
    ] {
        assert_eq!(RepoUrl::parse(text), None, "{text:?}");
    }
}

#[test]
fn it_prints_without_the_user() {
    assert_eq!(
        url("https://user:hunter2@Git.Acme.Example:8443/a/b.git").to_string(),
        "git.acme.example:8443/a/b"
    );
    assert_eq!(url("git@git.acme.example:a/b").to_string(), "git.acme.example/a/b");
}

#[test]
fn the_public_hosts_belong_to_their_service() {
    for (text, service) in [
        ("git@ssh.github.com:a/b", Some(Service::GitHub)),
        ("https://x.github.com/a/b", Some(Service::GitHub)),
        ("https://acme.ghe.com/a/b", Some(Service::GitHub)),
        ("https://gitlab.com/a/b", Some(Service::GitLab)),
        ("https://bitbucket.org/a/b", Some(Service::BitbucketCloud)),
        ("https://gitee.com/a/b", Some(Service::Gitee)),
        ("https://dev.azure.com/a/b", Some(Service::AzureDevOps)),
        ("https://acme.visualstudio.com/a", Some(Service::AzureDevOps)),
        ("git@vs-ssh.visualstudio.com:v3/a/b/c", Some(Service::AzureDevOps)),
        ("codecommit::eu-west-1://a", Some(Service::CodeCommit)),
        ("https://evilgithub.com/a/b", None),
        ("https://github.com.evil.example/a/b", None),
        ("https://vm.westeurope.cloudapp.azure.com/a/b", None),
        ("https://ec2-1-2-3-4.compute.amazonaws.com/a/b", None),
    ] {
        assert_eq!(url(text).service(), service, "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in ".*") {
        let _ = RepoUrl::parse(&text);
    }

    #[test]
    fn anything_that_looks_like_a_url_is_read_without_panic(
        text in "(https?|ssh|git|codecommit:)?(://|:)?[a-z@:.%/\\[\\]?#_ äΣ0-9]{0,40}",
    ) {
        if let Some(url) = RepoUrl::parse(&text) {
            prop_assert!(!url.host.is_empty() && !url.path.is_empty());
            prop_assert_eq!(lower_case(&url.path), url.path.as_str());
        }
    }
}
