//! What a delivery claims, beside reading the same JSON to nothing.

use divan::{Bencher, counter::BytesCount};
use fleet_webhook::{delivery::Delivery, provider, repo_url::HostAliases};
use serde::de::IgnoredAny;

use crate::deliveries::{MIB, MOST_COMMITS, PUSHES, of_commits, of_size};

#[divan::bench(args = PUSHES.map(|(event, _)| event))]
fn parse(bencher: Bencher<'_, '_>, event: &str) {
    read(bencher, &sized(event));
}

#[divan::bench(args = PUSHES.map(|(event, _)| event))]
fn parse_to_nothing(bencher: Bencher<'_, '_>, event: &str) {
    read_to_nothing(bencher, &sized(event));
}

#[divan::bench(args = [1, MOST_COMMITS])]
fn parse_commits(bencher: Bencher<'_, '_>, commits: usize) {
    read(bencher, &of_commits(commits));
}

#[divan::bench(args = [1, MOST_COMMITS])]
fn parse_commits_to_nothing(bencher: Bencher<'_, '_>, commits: usize) {
    read_to_nothing(bencher, &of_commits(commits));
}

#[divan::bench]
fn parse_25_mib(bencher: Bencher<'_, '_>) {
    read(bencher, &of_size("github-push", 25 * MIB));
}

#[divan::bench]
fn parse_25_mib_to_nothing(bencher: Bencher<'_, '_>) {
    read_to_nothing(bencher, &of_size("github-push", 25 * MIB));
}

fn sized(event: &str) -> Delivery {
    let (event, bytes) = PUSHES.into_iter().find(|(known, _)| *known == event).unwrap();
    of_size(event, bytes)
}

fn read(bencher: Bencher<'_, '_>, delivery: &Delivery) {
    let (provider, aliases) = (provider::sender_of(delivery).unwrap(), HostAliases::default());
    assert!(provider::read(provider, delivery, &aliases).is_ok());
    bencher
        .counter(BytesCount::new(delivery.raw().len()))
        .bench_local(|| provider::read(provider, divan::black_box(delivery), &aliases));
}

fn read_to_nothing(bencher: Bencher<'_, '_>, delivery: &Delivery) {
    bencher.counter(BytesCount::new(delivery.raw().len())).bench_local(|| {
        serde_json::from_slice::<IgnoredAny>(divan::black_box(delivery.raw())).is_ok()
    });
}
