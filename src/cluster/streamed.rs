//! JSON as it arrives: parsed on a thread of its own, the elements of a list handed on one by one and none of them kept.
//! `table` and `index/list` read with it.

use std::{fmt, io::Read, marker::PhantomData};

use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, SeqAccess, Visitor},
};
use tokio::sync::mpsc;

use super::{ApiError, unreachable_server, unreadable};

/// How many chunks of an answer wait to be parsed.
const CHUNKS_AHEAD: usize = 4;

/// Parses JSON on a thread of its own while it arrives, so that no more than a few chunks are in memory.
pub(super) async fn parse<S, T>(body: Body, seed: S) -> Result<T, ApiError>
where
    S: for<'de> DeserializeSeed<'de, Value = T> + Send + 'static,
    T: Send + 'static,
{
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let parsed = tokio::task::spawn_blocking(move || {
        let reader = Chunks { receiver, chunk: Bytes::new() };
        let mut json = serde_json::Deserializer::from_reader(reader);
        seed.deserialize(&mut json).map_err(|error| unreadable(&error))
    });
    let mut body = std::pin::pin!(body);
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|error| unreachable_server(&error))?.into_data() else {
            continue;
        };
        if sender.send(chunk).await.is_err() {
            break;
        }
    }
    drop(sender);
    parsed.await.map_err(|error| ApiError::Unreadable(error.to_string()))?
}

/// The chunks of a body as a blocking reader; ends when the sender is gone.
struct Chunks {
    receiver: mpsc::Receiver<Bytes>,
    chunk: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.chunk.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.chunk.len());
        let (target, _) = buffer.split_at_mut(length);
        self.chunk.copy_to_slice(target);
        Ok(length)
    }
}

/// Reads a list and hands each element to `take`; `null` is an empty list.
pub(super) struct Each<T, F> {
    take: F,
    element: PhantomData<fn() -> T>,
}

impl<T, F: FnMut(T)> Each<T, F> {
    pub(super) const fn new(take: F) -> Self {
        Self { take, element: PhantomData }
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> DeserializeSeed<'de> for Each<T, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Each<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or null")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element()? {
            (self.take)(element);
        }
        Ok(())
    }
}
