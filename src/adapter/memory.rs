//! A limit on what all deliveries under way hold, so that no flood ends the process: `body` takes room for what
//! arrives, `http` for what is made of it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What of each body counts as small, in bytes. Most pushes are, and large ones take no room from them.
const SMALL: usize = 64 * 1024;

/// How many bytes all small bodies may hold as they arrive; as many again for what is made of them.
const SMALL_BODIES: usize = 32 * 1024 * 1024;

/// How many bodies of the largest size are held at once as they arrive; of smaller ones accordingly more.
const LARGEST_BODIES: usize = 2;

/// What is made of a body, beside its own bytes: the JSON of a form, the refs, a message for the retry queue.
const MADE_OF_IT: usize = 3;

/// What a header takes beside its name and value, in bytes.
const HEADER: usize = 64;

/// The room that deliveries have; cheap to clone. Who finds none waits for it.
#[derive(Clone, Debug)]
pub struct Memory {
    arriving: Rooms<Arriving>,
    working: Rooms<Arc<Semaphore>>,
    largest_work: usize,
}

/// That of small bodies (and of the beginning of each), and that of larger ones.
#[derive(Clone, Debug)]
struct Rooms<R> {
    small: R,
    large: R,
}

/// Room for what arrives bit by bit. Where those that have some of it wait for each other one may go beyond it, so that
/// there is always one that can end.
#[derive(Clone, Debug)]
struct Arriving {
    /// A permit is a byte.
    bytes: Arc<Semaphore>,
    beyond: Arc<Semaphore>,
}

impl Memory {
    /// Has room for some bodies of `max_body_bytes`: about 190 MiB in all for the 25 MiB of the default.
    pub fn for_bodies_of(max_body_bytes: usize) -> Self {
        let bytes = |number: usize| number.clamp(SMALL, Semaphore::MAX_PERMITS);
        let arriving = |number| Arriving { bytes: semaphore(number), beyond: semaphore(1) };
        // One more goes beyond.
        let large = bytes(max_body_bytes.saturating_mul(LARGEST_BODIES - 1));
        let largest_work = bytes(max_body_bytes.saturating_mul(MADE_OF_IT));
        Self {
            arriving: Rooms { small: arriving(SMALL_BODIES), large: arriving(large) },
            working: Rooms { small: semaphore(SMALL_BODIES), large: semaphore(largest_work) },
            largest_work,
        }
    }

    /// The room of one delivery, which takes none yet.
    pub(super) fn room(&self) -> Room<'_> {
        Room { memory: self, arrived: 0, taken: Taken::default() }
    }
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits))
}

/// The room that one delivery takes; grows while it arrives.
#[derive(Debug)]
pub(super) struct Room<'m> {
    memory: &'m Memory,
    arrived: usize,
    taken: Taken,
}

/// What a delivery has taken; given back when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Taken {
    small: Share,
    large: Share,
    _working: Option<OwnedSemaphorePermit>,
}

/// What a delivery has of the room for what arrives.
#[derive(Debug, Default)]
struct Share {
    bytes: Option<OwnedSemaphorePermit>,
    beyond: Option<OwnedSemaphorePermit>,
}

impl Room<'_> {
    /// Takes room for the headers of a request.
    pub(super) async fn take_headers(&mut self, headers: &http::HeaderMap) {
        let sizes = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER);
        self.take(sizes.sum()).await;
    }

    /// Takes room for `bytes` that have arrived.
    ///
    /// They count, not what was announced: a client that sends slowly takes no room from others.
    pub(super) async fn take(&mut self, bytes: usize) {
        let small = SMALL.saturating_sub(self.arrived).min(bytes);
        self.arrived = self.arrived.saturating_add(bytes);
        self.taken.small.grow(&self.memory.arriving.small, small).await;
        self.taken.large.grow(&self.memory.arriving.large, bytes - small).await;
    }

    /// Takes room for what is made of all that has arrived.
    pub(super) async fn work(self) -> Taken {
        let (rooms, bytes) = (&self.memory.working, self.arrived.saturating_mul(MADE_OF_IT));
        let working = match self.arrived <= SMALL {
            true => take(&rooms.small, bytes).await,
            // More than there is would be waited for in vain; only headers beside the largest body are that.
            false => take(&rooms.large, bytes.min(self.memory.largest_work)).await,
        };
        Taken { _working: working, ..self.taken }
    }
}

impl Share {
    async fn grow(&mut self, room: &Arriving, bytes: usize) {
        if self.beyond.is_some() {
            return;
        }
        tokio::select! {
            biased;
            more = take(&room.bytes, bytes) => match &mut self.bytes {
                None => self.bytes = more,
                Some(bytes) => more.into_iter().for_each(|more| bytes.merge(more)),
            },
            beyond = take(&room.beyond, 1) => self.beyond = beyond,
        }
    }
}

async fn take(room: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let number = u32::try_from(bytes).ok().filter(|number| *number > 0)?;
    Some(Arc::clone(room).acquire_many_owned(number).await.expect("is never closed"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const MAX: usize = 1024 * 1024;

    async fn is_there<T>(room: impl Future<Output = T>) -> Option<T> {
        timeout(Duration::from_millis(10), room).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_wait_for_each_other_and_keep_no_small_one_out() {
        let memory = Memory::for_bodies_of(MAX);
        let mut rooms: Vec<_> = (0..3).map(|_| memory.room()).collect();
        let mut whole = 0;
        for room in &mut rooms {
            whole += usize::from(is_there(room.take(MAX)).await.is_some());
        }
        assert_eq!(whole, 2, "and a third one that waits");
        let mut small = memory.room();
        assert!(is_there(small.take(SMALL)).await.is_some());
        assert!(is_there(small.work()).await.is_some());

        rooms.truncate(1);
        assert!(is_there(memory.room().take(MAX)).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_the_largest_is_worked_on_at_a_time_and_gives_its_room_back() {
        let memory = Memory::for_bodies_of(MAX);
        let (mut first, mut second) = (memory.room(), memory.room());
        for room in [&mut first, &mut second] {
            assert!(is_there(room.take(MAX)).await.is_some());
        }
        let first = is_there(first.work()).await.expect("is the first");
        let mut second = Box::pin(second.work());
        assert!(is_there(&mut second).await.is_none());
        drop(first);
        assert!(is_there(second).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_arrive_together_do_not_wait_for_each_other_for_ever() {
        let memory = Memory::for_bodies_of(MAX);
        for (size, number) in [(MAX, 8), (SMALL, 4 * SMALL_BODIES / SMALL)] {
            let arrivals = (0..number).map(async |_| {
                let mut room = memory.room();
                for _ in 0..4 {
                    room.take(size / 4).await;
                    tokio::task::yield_now().await;
                }
                drop(room.work().await);
            });
            assert!(is_there(futures::future::join_all(arrivals)).await.is_some(), "{size}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_bytes_of_a_body_count_too() {
        let memory = Memory::for_bodies_of(MAX);
        // One of them goes beyond.
        let mut rooms: Vec<_> = (0..SMALL_BODIES / SMALL + 2).map(|_| memory.room()).collect();
        let last = rooms.pop();
        for room in &mut rooms {
            assert!(is_there(room.take(SMALL)).await.is_some());
        }
        assert!(is_there(last.expect("is one").take(1)).await.is_none());
    }
}
