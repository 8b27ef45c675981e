//! What a delivery costs that no secret verifies, its log line included.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::de::IgnoredAny;
use sha2::Sha256;
use tokio::time::sleep;

use crate::{
    SECRET,
    figures::{Body, Forged},
    gitrepos::name,
    pushes::{Connection, push, request},
    size::commit,
    support::process::{cpu, own_cpu},
    support::{function::Function, space::Space},
};

const KIB: usize = 1024;

/// Bodies, and how many deliveries of each are measured.
const SIZES: [(usize, u32); 6] = [
    (KIB, 2_000),
    (10 * KIB, 1_000),
    (100 * KIB, 400),
    (KIB * KIB, 60),
    (5 * KIB * KIB, 16),
    (25 * KIB * KIB - 4 * KIB, 6),
];

const FLOOD_CONNECTIONS: usize = 16;
const FLOOD_TIME: Duration = Duration::from_secs(5);
const CONNECTIONS: u32 = 1_000;

pub async fn measure(space: &Space, function: &Function) -> Forged {
    let mut bodies = Vec::new();
    for (bytes, number) in SIZES {
        bodies.push(one_after_the_other(function, bytes, number).await);
    }
    let cpu_with_connection = each_with_its_connection(function).await;
    let (rate, cpu_in_a_flood) = flood(function).await;
    let ours = space.writes().len();
    sleep(Duration::from_millis(200)).await;
    assert_eq!(space.writes().len(), ours, "a forged delivery writes nothing");
    Forged { rate, cpu_in_a_flood, cpu_with_connection, bodies }
}

/// For a repository that a GitRepo follows: it is looked up as any other.
fn forged(bytes: usize) -> (String, Vec<u8>) {
    let body = push(&format!("acme/{}", name(7)), &commit(), bytes);
    let request = request(&body, "not the secret");
    (body, request)
}

async fn one_after_the_other(function: &Function, bytes: usize, number: u32) -> Body {
    let (body, request) = forged(bytes);
    let mut connection = Connection::open(&function.url).await;
    assert_eq!(connection.send(&request).await.0, 401);
    let before = cpu(function.id());
    for _ in 0..number {
        connection.send(&request).await;
    }
    let on_cpu = cpu(function.id()).saturating_sub(before);
    Body { bytes: body.len(), cpu: on_cpu / number, floor: floor(body.as_bytes(), number) }
}

fn floor(body: &[u8], number: u32) -> Duration {
    let before = own_cpu();
    for _ in 0..number {
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(black_box(body));
        black_box(mac.finalize());
        black_box(serde_json::from_slice::<IgnoredAny>(black_box(body)).is_ok());
    }
    own_cpu().saturating_sub(before) / number
}

async fn each_with_its_connection(function: &Function) -> Duration {
    let (_, request) = forged(KIB);
    let before = cpu(function.id());
    for _ in 0..CONNECTIONS {
        Connection::open(&function.url).await.send(&request).await;
    }
    cpu(function.id()).saturating_sub(before) / CONNECTIONS
}

async fn flood(function: &Function) -> (f64, Duration) {
    let (_, request) = forged(KIB);
    let (request, sent) = (Arc::new(request), Arc::new(AtomicU64::new(0)));
    let (before, started) = (cpu(function.id()), Instant::now());
    let senders = (0..FLOOD_CONNECTIONS).map(|_| {
        let (url, request, sent) = (function.url.clone(), Arc::clone(&request), Arc::clone(&sent));
        tokio::spawn(async move {
            let mut connection = Connection::open(&url).await;
            while started.elapsed() < FLOOD_TIME {
                assert_eq!(connection.send(&request).await.0, 401);
                sent.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for sender in join_all(senders).await {
        sender.unwrap();
    }
    let (took, sent) = (started.elapsed(), sent.load(Ordering::Relaxed));
    let on_cpu = cpu(function.id()).saturating_sub(before);
    let each = Duration::from_secs_f64(on_cpu.as_secs_f64() / sent as f64);
    (sent as f64 / took.as_secs_f64(), each)
}
