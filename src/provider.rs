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
#[cfg(test)]
mod tests;

use http::HeaderMap;
use serde::Deserialize;

pub use crate::payload::Malformed;
use crate::{
    delivery::Delivery,
    event::{Event, Push, Repository},
    payload,
    repo_url::{HostAliases, RepoUrl, Service},
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
    /// Knows a delivery that has no marker by what else is in it, after every provider's markers.
    pub known_unmarked: Option<fn(&Delivery) -> bool>,
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

/// Ids of deliveries that are longer are not repeated in logs and answers.
const DELIVERY_ID_LIMIT: usize = 128;

/// The provider that sent a delivery: by its headers, or else by what is in it. Whoever asks keeps the answer.
pub fn sender_of(delivery: &Delivery) -> Option<&'static Provider> {
    detect(delivery.headers()).or_else(|| known_unmarked(delivery))
}

/// The provider whose header a delivery should carry, as the rest of it says.
pub fn known_unmarked(delivery: &Delivery) -> Option<&'static Provider> {
    let is_sender =
        |provider: &&Provider| provider.known_unmarked.is_some_and(|known| known(delivery));
    PROVIDERS.iter().copied().find(is_sender)
}

/// The provider whose header a request carries, the first in the table if there are several.
pub fn detect(headers: &HeaderMap) -> Option<&'static Provider> {
    // By letters: each marker would have to be made a name first, which takes several times as long.
    let carried = |marker: &&str| headers.keys().any(|name| name.as_str() == *marker);
    PROVIDERS.iter().copied().find(|provider| provider.markers.iter().any(carried))
}

/// Reads what a delivery claims, without what its provider may not speak about. Nothing of it is verified.
///
/// # Errors
/// [`Malformed`] where headers or body are not what the provider sends.
pub fn read(
    provider: &Provider,
    delivery: &Delivery,
    aliases: &HostAliases,
) -> Result<Event, Malformed> {
    let kind = provider.event_header.map(|header| kind(header, delivery)).transpose()?;
    let no_payload = || Malformed("the form has no field `payload`".to_owned());
    let read = delivery.json().ok_or_else(no_payload).and_then(|json| (provider.parse)(kind, json));
    let named = |repository| own(provider.hosts, aliases, repository);
    Ok(match read.map_err(|malformed| compressed(delivery).unwrap_or(malformed))? {
        Event::Push(Push { repository, refs }) => {
            Event::Push(Push { repository: named(repository), refs })
        }
        Event::Ping(repository) => {
            Event::Ping(repository.map(named).filter(|repository| !repository.is_nowhere()))
        }
        Event::Ignored(why) => Event::Ignored(why),
    })
}

/// What the header says that names the kind of event. Proxies repeat it, in lines of its own or joined by commas; a push
/// must not pass for something else because of that, so anything but one value is malformed.
fn kind<'d>(header: &str, delivery: &'d Delivery) -> Result<&'d str, Malformed> {
    let wrong = |how: &str| Malformed(format!("header {header}: {how}, and it names the event"));
    let mut kind = None;
    for line in delivery.headers().get_all(header) {
        let line = line.to_str().map_err(|_| wrong("unreadable"))?;
        for value in line.split(',').map(str::trim).filter(|value| !value.is_empty()) {
            if kind.is_some_and(|kind| kind != value) {
                return Err(wrong("there with several values"));
            }
            kind = Some(value);
        }
    }
    kind.ok_or_else(|| wrong("missing"))
}

/// Says that a body which nobody can read is compressed: no provider does that, some relays and proxies do, and what is
/// signed is what was before.
fn compressed(delivery: &Delivery) -> Option<Malformed> {
    const GZIP: &[u8] = b"\x1f\x8b";
    let encoding = delivery.header("content-encoding").unwrap_or_default();
    let is = |name: &&str| encoding.eq_ignore_ascii_case(name);
    let known = ["gzip", "x-gzip", "br", "deflate", "compress", "zstd"].into_iter().find(is);
    let how = match known {
        Some(name) => format!("Content-Encoding: {name}"),
        None if delivery.raw().starts_with(GZIP) => "gzip, with no Content-Encoding".to_owned(),
        None => return None,
    };
    Some(Malformed(format!(
        "the body is compressed ({how}), and is taken only as the provider sent it: switch compression of requests off \
         at the relay or proxy in between"
    )))
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

/// Takes out the URLs that the provider may not speak about, under any of their names, and adds the names to the rest.
/// Nothing follows a push that names nothing else, but its proof is looked at as any other's.
fn own(hosts: Hosts, aliases: &HostAliases, repository: Repository) -> Repository {
    let Repository::Urls(urls) = repository else { return repository };
    let names = urls.iter().map(|url| aliases.names_of(url));
    let names = names.filter(|names| {
        let is_borrowed = |url: &RepoUrl| url.service().is_some() && !hosts.may_name(url);
        names.first().is_some_and(|first| hosts.may_name(first)) && !names.iter().any(is_borrowed)
    });
    let mut urls: Vec<RepoUrl> = Vec::new();
    for url in names.flatten() {
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    Repository::Urls(urls)
}
