//! A limit on what all deliveries under way hold, so that no flood ends the process: `body` takes room for what
//! arrives, `http` for what is made of it.

use std::{mem, sync::Arc};

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
    arriving: Rooms,
    working: Rooms,
}

/// Those of small bodies (and of the beginning of each), and those of larger ones; a permit is a byte.
#[derive(Clone, Debug)]
struct Rooms {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    large_size: usize,
}

impl Memory {
    /// Has room for some bodies of `max_body_bytes`: about 190 MiB in all for the 25 MiB of the default.
    pub fn for_bodies_of(max_body_bytes: usize) -> Self {
        let rooms = |bodies: usize| Rooms::new(max_body_bytes.saturating_mul(bodies));
        Self { arriving: rooms(LARGEST_BODIES), working: rooms(MADE_OF_IT) }
    }

    /// The room of one delivery, which takes none yet.
    pub(super) const fn room(&self) -> Room<'_> {
        Room { memory: self, arrived: 0, taken: Taken([None, None, None]) }
    }
}

impl Rooms {
    fn new(large: usize) -> Self {
        let large_size = large.clamp(SMALL, Semaphore::MAX_PERMITS);
        let semaphore = |size| Arc::new(Semaphore::new(size));
        Self { small: semaphore(SMALL_BODIES), large: semaphore(large_size), large_size }
    }
}

/// The room that one delivery takes; grows while it arrives.
#[derive(Debug)]
pub(super) struct Room<'m> {
    memory: &'m Memory,
    arrived: usize,
    taken: Taken,
}

/// What a delivery has taken; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Taken([Option<OwnedSemaphorePermit>; 3]);

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
        let Taken([in_small, in_large, _]) = &mut self.taken;
        grow(in_small, &self.memory.arriving.small, small).await;
        grow(in_large, &self.memory.arriving.large, bytes - small).await;
    }

    /// Takes room for what is made of all that has arrived.
    pub(super) async fn work(mut self) -> Taken {
        let (rooms, bytes) = (&self.memory.working, self.arrived.saturating_mul(MADE_OF_IT));
        let Taken([.., in_working]) = &mut self.taken;
        match self.arrived <= SMALL {
            true => grow(in_working, &rooms.small, bytes).await,
            // More than there is would be waited for in vain; only headers beside the largest body are that.
            false => grow(in_working, &rooms.large, bytes.min(rooms.large_size)).await,
        }
        mem::replace(&mut self.taken, Taken([None, None, None]))
    }
}

async fn grow(taken: &mut Option<OwnedSemaphorePermit>, room: &Arc<Semaphore>, bytes: usize) {
    let Some(number) = u32::try_from(bytes).ok().filter(|number| *number > 0) else { return };
    let more = Arc::clone(room).acquire_many_owned(number).await;
    let more = more.expect("is never closed");
    match taken {
        Some(taken) => taken.merge(more),
        None => *taken = Some(more),
    }
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
        first.take(MAX).await;
        second.take(MAX).await;
        let first = is_there(first.work()).await.expect("is the first");
        let mut second = Box::pin(second.work());
        assert!(is_there(&mut second).await.is_none());
        drop(first);
        assert!(is_there(second).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_bytes_of_a_body_count_too() {
        let memory = Memory::for_bodies_of(MAX);
        let mut rooms: Vec<_> = (0..=SMALL_BODIES / SMALL).map(|_| memory.room()).collect();
        let last = rooms.pop();
        for room in &mut rooms {
            assert!(is_there(room.take(SMALL)).await.is_some());
        }
        assert!(is_there(last.expect("is one").take(1)).await.is_none());
    }
}
