//! JSON as it arrives: parsed on a thread of its own unless it is short, the elements of a list handed on one by one and
//! none of them kept.
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

/// Up to how many bytes JSON is short: it is parsed where it is, in less time than a thread takes to begin.
const SHORT: usize = 64 * 1024;

/// Parses JSON, on a thread of its own while it arrives if it is long, so that no more than a few chunks are in memory.
pub(super) async fn parse<S, T>(mut body: Body, seed: S) -> Result<T, ApiError>
where
    S: for<'de> DeserializeSeed<'de, Value = T> + Send + 'static,
    T: Send + 'static,
{
    let mut beginning = Vec::new();
    while beginning.len() < SHORT {
        let Some(chunk) = next(&mut body).await? else {
            let mut json = serde_json::Deserializer::from_slice(&beginning);
            return seed.deserialize(&mut json).map_err(|error| unreadable(&error));
        };
        beginning.extend_from_slice(&chunk);
    }
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let parsed = tokio::task::spawn_blocking(move || {
        let reader = Chunks { receiver, chunk: beginning.into() };
        let mut json = serde_json::Deserializer::from_reader(reader);
        seed.deserialize(&mut json).map_err(|error| unreadable(&error))
    });
    while let Some(chunk) = next(&mut body).await? {
        if sender.send(chunk).await.is_err() {
            break;
        }
    }
    drop(sender);
    parsed.await.map_err(|error| ApiError::Unreadable(error.to_string()))?
}

/// The next bytes of a body; `None` at its end.
async fn next(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    while let Some(frame) = body.frame().await {
        if let Ok(chunk) = frame.map_err(|error| unreachable_server(&error))?.into_data() {
            return Ok(Some(chunk));
        }
    }
    Ok(None)
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    async fn read(json: Vec<u8>) -> Result<usize, ApiError> {
        let (take, taken) = mpsc::channel();
        let each = Each::new(move |element: u64| take.send(element).expect("is counted"));
        parse(Body::from(json), each).await?;
        Ok(taken.iter().count())
    }

    #[tokio::test]
    async fn a_list_is_read_to_its_end_and_a_cut_one_is_none_however_long_it_is() {
        for number in [0, 1, 100, SHORT] {
            let list = serde_json::to_vec(&vec![7_u64; number]).expect("JSON");
            let (_, cut) = list.split_last().expect("is not empty");
            let cut = read(cut.to_vec()).await;
            assert!(matches!(cut, Err(ApiError::Unreadable(_))), "{number}: {cut:?}");
            assert_eq!(read(list).await.expect("is a list"), number);
        }
    }
}
