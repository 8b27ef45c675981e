//! Identity as a property: the same repository in all its forms is one, and two different ones never are.

use proptest::prelude::*;

use super::*;
use crate::event::Repository;

/// A repository, apart from how anybody writes it; all names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Hosted { host: &'static Host, path: Vec<String> },
    Azure { organization: String, project: String, repository: String },
    AzureServer { directory: &'static str, collection: String, project: String, repository: String },
    CodeCommit { region: &'static str, name: String },
}

/// A host, with what else it is called.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    name: &'static str,
    web_alias: Option<&'static str>,
    ssh_on_443: Option<&'static str>,
}

const fn public(name: &'static str, web: &'static str, ssh: Option<&'static str>) -> Host {
    Host { name, web_alias: Some(web), ssh_on_443: ssh }
}

const fn own(name: &'static str) -> Host {
    Host { name, web_alias: None, ssh_on_443: None }
}

static HOSTS: [Host; 10] = [
    public("github.com", "www.github.com", Some("ssh.github.com")),
    public("gitlab.com", "www.gitlab.com", Some("altssh.gitlab.com")),
    public("bitbucket.org", "www.bitbucket.org", Some("altssh.bitbucket.org")),
    public("gitee.com", "www.gitee.com", None),
    own("git.example"),
    own("www.git.example"),
    own("azure.example"),
    own("evilgithub.com"),
    own("github.com.example"),
    own("ssh.git.example"),
];

/// How somebody spells it: which letters are capital and which are escaped, bit by bit.
#[derive(Clone, Copy, Debug)]
struct Spelling {
    capitals: u64,
    escapes: u64,
}

impl Spelling {
    fn host(self, text: &str) -> String {
        let capital = |(at, letter): (usize, char)| self.capital(at, letter);
        text.chars().enumerate().map(capital).collect()
    }

    fn path(self, text: &str) -> String {
        let letters = text.chars().enumerate().map(|(at, letter)| {
            let letter = self.capital(at, letter);
            if letter != '/' && self.escapes >> (at % 64) & 1 == 1 {
                format!("%{:02x}", u32::from(letter))
            } else {
                letter.to_string()
            }
        });
        letters.collect()
    }

    fn capital(self, at: usize, letter: char) -> char {
        if self.capitals >> (at % 64) & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
    }
}

impl Place {
    /// Every form that contract §4 takes, with the default port where it is the web's.
    fn forms(&self, spelling: Spelling) -> Vec<String> {
        match self {
            Self::Hosted { host, path } => hosted(host, &path.join("/"), spelling),
            Self::Azure { organization, project, repository } => {
                azure(organization, project, repository, spelling)
            }
            Self::AzureServer { directory, collection, project, repository } => {
                azure_server(directory, [collection, project, repository], spelling)
            }
            Self::CodeCommit { region, name } => codecommit(region, name, spelling),
        }
    }
}

/// Another place that differs in little.
fn neighbour(place: &Place, how: u8) -> Place {
    let mut next = place.clone();
    match (&mut next, how) {
        (Place::Hosted { host, .. }, 0) => {
            let mut others = HOSTS.iter().cycle().skip_while(|other| other.name != host.name);
            *host = others.nth(1).expect("goes on for ever");
        }
        (Place::Hosted { path, .. }, 1) => path.push("git".to_owned()),
        (Place::Hosted { path, .. }, _) => path.reverse(),
        (Place::Azure { project, repository, .. }, 0)
        | (Place::AzureServer { project, repository, .. }, 0) => {
            std::mem::swap(project, repository)
        }
        (Place::Azure { project, repository, .. }, 1)
        | (Place::AzureServer { project, repository, .. }, 1) => project.clone_from(repository),
        (Place::Azure { organization, project, repository }, _) => {
            let (project, repository) = (project.clone(), repository.clone());
            let collection = organization.clone();
            next = Place::AzureServer { directory: "tfs/", collection, project, repository };
        }
        (Place::AzureServer { collection, project, .. }, _) => std::mem::swap(collection, project),
        (Place::CodeCommit { region, .. }, 0) => *region = "eu-south-1",
        (Place::CodeCommit { name, .. }, _) => name.push('x'),
    }
    next
}

fn hosted(host: &Host, path: &str, spelling: Spelling) -> Vec<String> {
    let name = spelling.host(host.name);
    let [plain, git] = [path.to_owned(), format!("{path}.git")].map(|path| spelling.path(&path));
    let mut forms = vec![
        format!("https://{name}/{plain}"),
        format!("https://u:p@{name}:443/{git}/"),
        format!("http://{name}:80/{git}"),
        format!("https://{name}./{plain}/"),
        format!("ssh://git@{name}/{git}"),
        format!("ssh://git@{name}:22/{plain}"),
        format!("ssh://{name}:2222/{git}"),
        format!("git+ssh://git@{name}/{git}"),
        format!("https://{name}:8443/{git}"),
        format!("https://{name}//{git}//"),
        format!("git@{name}:/{}", plain.replace('/', "//")),
        format!("git://{name}:9418/{git}"),
        format!("git@{name}:{git}"),
        format!("{name}:/{plain}"),
        format!("git@{name}:2222:{git}"),
    ];
    forms.extend(host.web_alias.map(|alias| format!("https://{}/{git}", spelling.host(alias))));
    if let Some(alias) = host.ssh_on_443 {
        let alias = spelling.host(alias);
        forms.push(format!("ssh://git@{alias}:443/{git}"));
        forms.push(format!("git@{alias}:443/{plain}"));
    }
    forms
}

fn azure(organization: &str, project: &str, repository: &str, spelling: Spelling) -> Vec<String> {
    let [o, p, r] = [organization, project, repository].map(|name| spelling.path(name));
    let (dev, old) = (spelling.host("dev.azure.com"), spelling.host(organization));
    let mut forms = vec![
        format!("https://{dev}/{o}/{p}/_git/{r}"),
        format!("https://{organization}@{dev}/{o}/{p}/_git/{r}"),
        format!("https://{dev}/{o}/{p}/_git/_full/{r}"),
        format!("https://{old}.visualstudio.com/{p}/_git/{r}"),
        format!("https://{old}.visualstudio.com/DefaultCollection/{p}/_git/_optimized/{r}"),
        format!("https://{old}.visualstudio.com/{p}/DefaultCollection/_git/{r}"),
        format!("git@ssh.dev.azure.com:v3/{o}/{p}/{r}"),
        format!("ssh://git@ssh.dev.azure.com:22/v3/{o}/{p}/{r}"),
        format!("{old}@vs-ssh.visualstudio.com:v3/{o}/{p}/{r}"),
        format!("ssh://{old}@vs-ssh.visualstudio.com:22/DefaultCollection/{p}/_ssh/{r}"),
    ];
    if project == repository {
        forms.extend([
            format!("https://{dev}/{o}/_git/{r}"),
            format!("https://{old}.visualstudio.com/_git/{r}"),
            format!("https://{old}.visualstudio.com/DefaultCollection/_git/{r}"),
            format!("ssh://{old}@vs-ssh.visualstudio.com/_ssh/{r}"),
        ]);
    }
    forms
}

fn azure_server(directory: &str, names: [&str; 3], spelling: Spelling) -> Vec<String> {
    let [c, p, r] = names.map(|name| spelling.path(name));
    let d = spelling.path(directory);
    let mut forms = vec![
        format!("https://azure.example/{d}{c}/{p}/_git/{r}"),
        format!("http://azure.example:8080/{d}{c}/{p}/_git/{r}"),
        format!("https://azure.example/{d}{c}/{p}/_git/_full/{r}"),
        format!("ssh://azure.example:22/{d}{c}/{p}/_ssh/{r}"),
    ];
    let [_, project, repository] = names;
    if project == repository {
        forms.push(format!("https://azure.example/{d}{c}/_git/{r}"));
    }
    forms
}

fn codecommit(region: &str, name: &str, spelling: Spelling) -> Vec<String> {
    let country = if region.starts_with("cn-") { ".cn" } else { "" };
    let at = |service: &str| spelling.host(&format!("{service}.{region}.amazonaws.com{country}"));
    let path = spelling.path(&format!("v1/repos/{name}"));
    let name = spelling.path(name);
    vec![
        format!("https://{}/{path}", at("git-codecommit")),
        format!("https://{}/{path}", at("git-codecommit-fips")),
        format!("ssh://APKAEXAMPLE@{}/{path}", at("git-codecommit")),
        format!("codecommit::{region}://{name}"),
        format!("codecommit::{region}://profile@{name}"),
    ]
}

/// A name, often one that means something elsewhere in a URL; few, so that two places have them in common.
fn name() -> impl Strategy<Value = String> {
    let telling =
        ["v3", "443", "22", "scm", "git", "repos", "shop", "acme", "dev.azure.com", "x.gitx"];
    prop_oneof![
        prop::sample::select(telling.to_vec()).prop_map(str::to_owned),
        "[a-b][a-b0-1.~ -]{0,2}[a-b]",
    ]
}

/// A repository's name on Azure DevOps, where `.git` is no ending.
fn azure_name() -> impl Strategy<Value = String> {
    prop_oneof![name(), prop::sample::select(vec!["shop.git", "acme.git"]).prop_map(str::to_owned)]
}

fn organization() -> impl Strategy<Value = String> {
    "(v3|dev|acme|[a-b][a-b0-9-]{0,2}[a-b])"
}

fn place() -> impl Strategy<Value = Place> {
    let region =
        prop::sample::select(vec!["eu-west-1", "eu-west-2", "us-gov-west-1", "cn-north-1"]);
    prop_oneof![
        3 => (0..HOSTS.len(), prop::collection::vec(name(), 1..4))
            .prop_filter_map("there is such a host", |(at, path)| Some(Place::Hosted { host: HOSTS.get(at)?, path })),
        2 => (organization(), name(), azure_name())
            .prop_map(|(organization, project, repository)| Place::Azure { organization, project, repository }),
        2 => (prop::sample::select(vec!["", "tfs/", "devops/"]), name(), name(), azure_name())
            .prop_map(|(directory, collection, project, repository)| {
                Place::AzureServer { directory, collection, project, repository }
            }),
        1 => (region, name()).prop_map(|(region, name)| Place::CodeCommit { region, name }),
    ]
}

fn spelling() -> impl Strategy<Value = Spelling> {
    let bits = || prop_oneof![Just(0), any::<u64>()];
    (bits(), bits()).prop_map(|(capitals, escapes)| Spelling { capitals, escapes })
}

fn url(text: &str) -> RepoUrl {
    RepoUrl::parse(text).unwrap_or_else(|| panic!("{text} names a repository"))
}

proptest! {
    #[test]
    fn a_repository_is_one_in_all_its_forms(place in place(), one in spelling(), other in spelling()) {
        let state = RandomState::new();
        for payload in place.forms(one) {
            let repository = Repository::Urls(vec![url(&payload)]);
            for spec in place.forms(other) {
                prop_assert!(repository.is(&url(&spec)), "{} is not {}", payload, spec);
                prop_assert!(repository.keys(&state).contains(&url(&spec).key(&state)));
            }
        }
    }

    #[test]
    fn two_repositories_are_never_one(
        a in place(), b in place(), how in prop::option::of(0..3_u8),
        one in spelling(), other in spelling(),
    ) {
        let b = how.map_or(b, |how| neighbour(&a, how));
        prop_assume!(a != b);
        // A server has one virtual directory, or none.
        if let (Place::AzureServer { directory, .. }, Place::AzureServer { directory: other, .. }) = (&a, &b) {
            prop_assume!(directory == other);
        }
        for payload in a.forms(one) {
            let repository = Repository::Urls(vec![url(&payload)]);
            for spec in b.forms(other) {
                prop_assert!(!repository.is(&url(&spec)), "{} is {}", payload, spec);
            }
        }
    }

    #[test]
    fn two_ports_of_the_web_are_two_repositories_where_both_urls_name_one(
        a in prop::sample::select(vec![None, Some(80), Some(443), Some(3000), Some(8443)]),
        b in prop::sample::select(vec![None, Some(80), Some(443), Some(3000), Some(8443)]),
        schemes in ("https?", "https?"),
    ) {
        let at = |scheme: &str, port: Option<u16>| {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            url(&format!("{scheme}://git.example{port}/acme/shop"))
        };
        let default = |scheme: &str| if scheme == "http" { 80 } else { 443 };
        let own = |scheme: &str, port: Option<u16>| port.filter(|port| *port != default(scheme));
        let repository = Repository::Urls(vec![at(&schemes.0, a)]);
        let are_two =
            matches!((own(&schemes.0, a), own(&schemes.1, b)), (Some(a), Some(b)) if a != b);
        prop_assert_eq!(repository.is(&at(&schemes.1, b)), !are_two);
        prop_assert!(repository.is(&url("ssh://git@git.example:7999/acme/shop.git")));
    }
}
