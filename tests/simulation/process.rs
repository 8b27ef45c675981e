//! A process as the network sees it: it ends, is frozen between events if it is a function, and has connections that
//! something on the way may have forgotten.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub struct Process {
    pub place: usize,
    /// Tells it from the one that had its place before.
    pub life: usize,
    /// From then on nothing comes in or goes out, wherever in its work it is.
    pub killed: CancellationToken,
    /// A service always is. Lambda gives a function one event at a time, and freezes it between them.
    awake: watch::Sender<bool>,
    /// When something was asked last.
    used: Mutex<Instant>,
    /// Whether the connections that are open were forgotten on the way.
    forgotten: AtomicBool,
}

impl Process {
    pub fn new(place: usize, life: usize, is_function: bool) -> Self {
        Self {
            place,
            life,
            killed: CancellationToken::new(),
            awake: watch::Sender::new(!is_function),
            used: Mutex::new(Instant::now()),
            forgotten: AtomicBool::new(false),
        }
    }

    /// Does something else in it, until it is killed.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.killed.clone().run_until_cancelled_owned(work));
    }

    /// Thaws it for one event, unless it has one.
    pub fn thaw(&self) -> bool {
        !self.awake.send_replace(true)
    }

    pub fn freeze(&self) {
        self.awake.send_replace(false);
    }

    pub fn is_frozen(&self) -> bool {
        !*self.awake.borrow()
    }

    pub async fn is_thawed(&self) {
        let _ = self.awake.subscribe().wait_for(|awake| *awake).await;
    }

    /// Whether a request that is sent now goes out on a connection that was forgotten.
    pub fn is_forgotten(&self, after: Option<Duration>) -> bool {
        let used = std::mem::replace(&mut *self.used.lock().unwrap(), Instant::now());
        if after.is_some_and(|after| used.elapsed() >= after) {
            self.forgotten.store(true, Ordering::Relaxed);
        }
        self.forgotten.load(Ordering::Relaxed)
    }

    /// Whoever was not answered takes new ones.
    pub fn connect_anew(&self) {
        self.forgotten.store(false, Ordering::Relaxed);
    }
}
