//! Work over what is large, out of the way of the one thread that does everything else.

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
};

/// From how many bytes, or comparisons, on others are not made to wait: so many take a tenth of a millisecond or so.
const LARGE: usize = 128 * 1024;

#[cfg(test)]
thread_local! {
    /// The sizes of what was large on this thread, since the last test took them: no time shows who calls [`aside`].
    pub(crate) static LARGE_ONES: std::cell::RefCell<Vec<usize>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Does work over so many bytes, or of so many comparisons; where they are many, others are served meanwhile.
pub(crate) fn aside<T>(size: usize, work: impl FnOnce() -> T) -> T {
    #[cfg(test)]
    if size >= LARGE {
        LARGE_ONES.with_borrow_mut(|sizes| sizes.push(size));
    }
    let runtime = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    match runtime {
        // Of a runtime on the caller's own thread there is no other to go to.
        Ok(RuntimeFlavor::MultiThread) if size >= LARGE => block_in_place(work),
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_are_served_while_a_large_body_is_worked_on() {
        let (serve, served) = mpsc::channel();
        let large = tokio::spawn(async move {
            tokio::spawn(async move { serve.send(()) });
            aside(LARGE, || served.recv_timeout(Duration::from_secs(10)).is_ok())
        });
        assert!(large.await.expect("is done"));
    }

    #[tokio::test]
    async fn on_a_thread_of_ones_own_it_is_done_there() {
        assert_eq!(aside(LARGE, || 1), 1);
    }
}
