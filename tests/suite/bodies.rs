//! Bodies that are too large, of the wrong type, changed on the way, or that never end.

use std::time::{Duration, Instant};

use crate::{
    on_both,
    support::{
        function::Function,
        github::{NEW, SECRET, headers, signed},
        sender::Sender,
        space::Space,
    },
};

on_both!(
    a_body_in_chunks_is_taken_up_to_the_limit_and_refused_over_it,
    that_a_body_is_too_large_counts_before_its_type,
    a_sender_of_too_much_reads_why_though_it_sends_on,
    a_body_with_one_byte_changed_in_place_is_refused,
    a_body_that_stops_in_the_middle_is_incomplete_at_the_deadline,
);

async fn prepared(space: &Space, variables: &[(&str, &str)]) -> Function {
    space.shop().await;
    Function::start(space, variables).await
}

async fn untouched(space: &Space) {
    assert_eq!(space.writes(), []);
    assert_eq!(space.commit("shop").await, None);
}

async fn a_body_in_chunks_is_taken_up_to_the_limit_and_refused_over_it(space: &Space) {
    let (body, proof) = signed(space, SECRET, NEW);
    let limit = body.len().to_string();
    let function = prepared(space, &[("MAX_BODY_BYTES", &limit)]).await;
    let in_chunks = async |body: &str| {
        let mut sender = Sender::chunked(&function, &headers(&proof)).await;
        for chunk in body.as_bytes().chunks(100) {
            sender.chunk(chunk).await;
        }
        sender.chunk(b"").await;
        sender.answer().await
    };

    let over = in_chunks(&format!("{body} ")).await;
    untouched(space).await;
    let within = in_chunks(&body).await;

    assert_eq!((over.status, over.outcome()), (413, "too_large"));
    assert_eq!((within.status, within.outcome()), (200, "accepted"));
}

async fn that_a_body_is_too_large_counts_before_its_type(space: &Space) {
    let function = prepared(space, &[("MAX_BODY_BYTES", "1000")]).await;
    for provider in ["x-github-event", "x-nobody-event"] {
        let headers = [("content-type", "text/plain"), (provider, "push")];
        let answer = function.deliver(&headers, "x".repeat(1001)).await;
        assert_eq!((answer.status, answer.outcome()), (413, "too_large"), "{provider}");
        let answer = function.deliver(&headers, "x".repeat(1000)).await;
        let outcome = "unsupported_media_type";
        assert_eq!((answer.status, answer.outcome()), (415, outcome), "{provider}");
    }
    untouched(space).await;
}

/// A proxy sends on while it is refused; hung up on, it would see a broken pipe and answer 502.
async fn a_sender_of_too_much_reads_why_though_it_sends_on(space: &Space) {
    let function = prepared(space, &[("MAX_BODY_BYTES", "1000")]).await;
    let headers = [("content-type", "application/json"), ("x-github-event", "push")];
    for length in [100_000, 20_000_000] {
        let mut sender = Sender::announcing(&function, &headers, length).await;
        for _ in 0..10 {
            assert!(sender.is_read(" ".repeat(length / 10)).await, "{length}");
        }
        let answer = sender.answer().await;
        assert_eq!((answer.status, answer.outcome()), (413, "too_large"), "{length}");
        assert_eq!(answer.body["detail"], "larger than MAX_BODY_BYTES");
    }
    untouched(space).await;
}

async fn a_body_with_one_byte_changed_in_place_is_refused(space: &Space) {
    let function = prepared(space, &[]).await;
    let (body, proof) = signed(space, SECRET, NEW);
    let commit = body.find(NEW).expect("it is in there");
    for place in [0, commit, commit + 39, body.len() / 2, body.len() - 1] {
        let mut changed = body.clone().into_bytes();
        // A digit stays a digit, so that what is changed is a push nevertheless.
        changed[place] ^= 1;
        let answer = function.deliver(&headers(&proof), changed).await;
        let refused =
            matches!((answer.status, answer.outcome()), (401, "unauthorized") | (400, "malformed"));
        assert!(refused, "byte {place}: {answer:?}");
        if (commit..commit + 40).contains(&place) {
            assert_eq!(answer.status, 401, "byte {place}");
        }
    }
    untouched(space).await;
}

async fn a_body_that_stops_in_the_middle_is_incomplete_at_the_deadline(space: &Space) {
    let function = prepared(space, &[("DEADLINE", "1s")]).await;
    let (body, proof) = signed(space, SECRET, NEW);
    let (half, _) = body.split_at(body.len() / 2);
    let started = Instant::now();

    let mut announced = Sender::announcing(&function, &headers(&proof), body.len()).await;
    announced.send(half).await;
    let mut chunked = Sender::chunked(&function, &headers(&proof)).await;
    chunked.chunk(half.as_bytes()).await;

    for mut sender in [announced, chunked] {
        let answer = sender.answer().await;
        assert_eq!((answer.status, answer.outcome()), (408, "incomplete"));
        let took = started.elapsed();
        assert!(took > Duration::from_millis(900) && took < Duration::from_secs(3), "{took:?}");
    }
    assert_eq!(function.deliveries_logged(2).await.len(), 2);
    untouched(space).await;
}
