//! Work over what is large, out of the way of the one thread that does everything else.

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
};

/// From how many bytes, or comparisons, on others are not made to wait: so many take a tenth of a millisecond or so.
const LARGE: usize = 128 * 1024;

/// Does work over so many bytes, or of so many comparisons; where they are many, others are served meanwhile.
pub(crate) fn aside<T>(size: usize, work: impl FnOnce() -> T) -> T {
    let runtime = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    match runtime {
        // Of a runtime on the caller's own thread there is no other to go to.
        Ok(RuntimeFlavor::MultiThread) if size >= LARGE => block_in_place(work),
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_are_served_while_a_large_body_is_worked_on() {
        let (working, served) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(false)));
        let large = tokio::spawn({
            let working = Arc::clone(&working);
            async move {
                aside(LARGE, || {
                    working.wait();
                })
            }
        });
        let other = tokio::spawn({
            let served = Arc::clone(&served);
            async move { served.store(true, Ordering::SeqCst) }
        });
        other.await.expect("is served");
        assert!(served.load(Ordering::SeqCst) && !large.is_finished());
        working.wait();
        large.await.expect("is done");
    }

    #[tokio::test]
    async fn on_a_thread_of_ones_own_it_is_done_there() {
        assert_eq!(aside(LARGE, || 1), 1);
    }
}
