//! What somebody can find out, and cost, who knows no secret: properties over generated clusters, in this process on
//! the embedded API server.

#[path = "strangers/worlds.rs"]
mod worlds;

use std::{
    io,
    sync::{Arc, Mutex},
};

use proptest::{
    prelude::*,
    test_runner::{Config as Cases, TestRunner},
};

use self::worlds::{Conditions, Follower, Own, Receiver, Runs, World, conditions, followers};
use crate::support::events::{Event, REPOSITORIES};

/// How many events of `events/` are sent in one world, and in how many generated worlds each of them is.
const EVENTS: usize = 12;
const WORLDS: u32 = 3;

fn check<T: std::fmt::Debug>(
    worlds: u32,
    strategy: &impl Strategy<Value = T>,
    property: impl AsyncFn(T) -> Result<(), TestCaseError>,
) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cases =
        Cases { cases: worlds, failure_persistence: None, max_shrink_iters: 8, ..Cases::default() };
    let tried = TestRunner::new(cases).run(strategy, |value| runtime.block_on(property(value)));
    if let Err(failure) = tried {
        panic!("{failure}");
    }
}

/// What requests a delivery caused, without what contract §7 lets a repository cost that is followed: once in
/// `LOOKUP_CACHE_TTL` its GitRepos by name, where there is no index, and their own secrets.
fn others(requests: &[String]) -> Vec<&String> {
    let is_of_follower = |uri: &str| uri.contains("/secrets/own-") || uri.contains("fieldSelector");
    let mut others: Vec<_> = requests.iter().filter(|uri| !is_of_follower(uri)).collect();
    // Several are asked for at once.
    others.sort_unstable();
    others
}

#[test]
fn two_clusters_that_differ_in_gitrepos_alone_answer_a_stranger_the_same() {
    let events: Vec<_> = Event::all().into_iter().filter(Event::is_http).collect();
    // Each provider's are next to each other: taken apart, each world has some of several.
    let worlds = events.len().div_ceil(EVENTS);
    for first in 0..worlds {
        let some: Vec<_> = events.iter().skip(first).step_by(worlds).collect();
        check(WORLDS, &(conditions(), followers(4)), async |(conditions, followers)| {
            are_the_same(&some, conditions, &followers).await
        });
    }
}

async fn are_the_same(
    events: &[&Event],
    conditions: Conditions,
    followers: &[Follower],
) -> Result<(), TestCaseError> {
    let full = World::new(conditions, followers).await;
    let empty = World::new(conditions, &[]).await;
    let (at_full, at_empty) =
        tokio::join!(full.receivers(events.len()), empty.receivers(events.len()));
    let receivers = at_full.into_iter().zip(at_empty);
    let secrets = followers.iter().filter(|follower| follower.own != Own::None).count();
    for (event, (at_full, at_empty)) in events.iter().zip(receivers) {
        let before = (full.requests().len(), empty.requests().len());
        let queued_before = (full.sink.events().len(), empty.sink.events().len());
        let seen = at_full.deliver(event, conditions.carries_proofs).await;
        let of_empty = at_empty.deliver(event, conditions.carries_proofs).await;
        prop_assert_eq!(&seen, &of_empty, "{}", event.name);
        let requests = full.requests().split_off(before.0);
        let of_empty = empty.requests().split_off(before.1);
        prop_assert_eq!(others(&requests), others(&of_empty), "{}", event.name);
        let queued = full.sink.events().len() - queued_before.0;
        let of_empty = empty.sink.events().len() - queued_before.1;
        prop_assert_eq!(queued, of_empty, "{}", event.name);
        // Another one finds what this one had read, for a while.
        let again = at_full.deliver(event, conditions.carries_proofs).await;
        prop_assert_eq!(&again, &seen, "{}", event.name);
        let mut all = full.requests().split_off(before.0);
        let again = all.split_off(requests.len());
        prop_assert!(others(&again).len() <= others(&requests).len(), "{:?}", again);
        let requests = [requests, again].concat();
        let count = |part: &str| requests.iter().filter(|uri| uri.contains(part)).count();
        let (own, by_name) = (count("/secrets/own-"), count("fieldSelector"));
        // One that is missing is read for each GitRepo that names it.
        prop_assert!(own <= secrets, "{} reads of {} own secrets", own, secrets);
        // Where the payload names no host, all that have the same path may be meant.
        let may_be_read = match event.name == "bitbucket-server-without-links" {
            true => REPOSITORIES.len() * followers.len(),
            false if conditions.runs != Runs::WithIndex => followers.len(),
            false => 0,
        };
        prop_assert!(by_name <= may_be_read, "{} {:?}", event.name, requests);
    }
    prop_assert_eq!(full.space.writes(), []);
    Ok(())
}

/// Counts what is logged.
#[derive(Clone, Default)]
struct Counted(Arc<Mutex<usize>>);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        *self.0.lock().unwrap() += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_a_stranger_costs_is_bounded_whatever_the_cluster_holds() {
    let event = Event::load("github-push");
    let strategy = (conditions(), followers(150));
    check(6, &strategy, async |(conditions, followers)| {
        let world = World::new(conditions, &followers).await;
        let receiver = Receiver::start(&world.config, world.has_index).await;
        let logged = Counted::default();
        let writer = logged.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || writer.clone())
            .finish();
        let _logging = tracing::subscriber::set_default(subscriber);
        let deliveries = 5;
        for _ in 0..deliveries {
            let (status, ..) = receiver.deliver(&event, conditions.carries_proofs).await;
            let is_queued = status == 202 && conditions.has_queue;
            prop_assert!(is_queued || [401, 503].contains(&status), "{}", status);
        }
        let requests = world.requests();
        let known = followers.iter().filter(|follower| {
            matches!(follower.own, Own::Present | Own::Keyless | Own::Forbidden)
        });
        // Of the global secret each delivery may cause a read; all else is shared.
        let own = requests.iter().filter(|uri| uri.contains("/secrets/own-")).count();
        prop_assert!(own <= 64, "{} reads of own secrets, {} are there", own, known.count());
        if conditions.runs == Runs::WithIndex {
            prop_assert!(requests.len() - own <= 8 * deliveries, "{:?}", requests);
        }
        let log = *logged.0.lock().unwrap();
        prop_assert!(log <= 10_000 * deliveries, "{} bytes", log);
        Ok(())
    });
}
