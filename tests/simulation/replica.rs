//! One running process: the real receiver with its caches, and what its driver does with a delivery until it is answered.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use fleet_webhook::{
    cluster::{Cluster, index::Index, lookup::Lookup},
    config::{GlobalSecret, UnsignedDeliveries},
    delivery::Delivery,
    outcome::Kind,
    provider,
    receiver::{Progress, Receiver, patch::Patcher},
    secret::{source::SecretSource, store::SecretStore},
    telemetry::Metrics,
    verdict::Sender,
};
use jiff::{SignedDuration, Timestamp};
use tokio::{
    task::AbortHandle,
    time::{Instant, timeout_at},
};

use crate::{
    network::client,
    world::{FLEET, World},
};

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_millis(4500);

/// A process, until it is killed.
pub struct Replica {
    /// Tells it from the one that had its place before.
    pub life: usize,
    receiver: Arc<Receiver>,
    /// On Lambda there is none, and nothing goes on after the answer.
    index: Option<Arc<Index>>,
    clock: SignedDuration,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// How a delivery was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Outcome(Kind),
    /// It goes on, and this came of it.
    InProgress(Kind),
    /// The process is gone.
    None,
}

impl Replica {
    /// Starts one in a place, with a clock that is wrong by `clock`.
    pub fn start(
        world: &Arc<World>,
        place: usize,
        life: usize,
        on_lambda: bool,
        clock: SignedDuration,
    ) -> Self {
        let cluster = Cluster::new(client(world, place), Arc::new(Metrics::new()));
        let global = GlobalSecret::Kubernetes {
            namespace: FLEET.to_owned(),
            name: "gitjob-webhook".to_owned(),
            named: false,
        };
        let source = SecretSource::new(Some(cluster.clone()), global, Duration::ZERO);
        let secrets = SecretStore::new(source, Duration::from_secs(60), Duration::from_secs(10));
        let namespaces = world.namespaces();
        let index = (!on_lambda).then(|| Arc::new(Index::start(&cluster, &namespaces)));
        let mut lookup = Lookup::new(cluster.clone(), namespaces, Duration::from_secs(10));
        if let Some(index) = &index {
            lookup = lookup.with_index(Arc::clone(index));
        }
        let patcher = Patcher::new(cluster.clone(), Some("1h".to_owned()));
        let receiver = Receiver::new(
            cluster,
            secrets,
            lookup,
            patcher,
            UnsignedDeliveries::Reject,
            fleet_webhook::repo_url::HostAliases::default(),
        );
        let receiver = Arc::new(receiver);
        let tasks = Mutex::new(Vec::new());
        if let Some(index) = &index {
            let (receiver, index) = (Arc::clone(&receiver), Arc::clone(index));
            let take_back = async move { receiver.take_left_intervals_back(&index).await };
            tasks.lock().unwrap().push(tokio::spawn(take_back).abort_handle());
        }
        Self { life, receiver, index, clock, tasks }
    }

    /// What its clock says.
    pub fn now(&self, world: &World) -> Timestamp {
        world.true_time() + self.clock
    }

    /// Receives a delivery; one that waited in a queue was `received` before.
    pub async fn receive(
        &self,
        world: &World,
        delivery: Delivery,
        received: Option<Timestamp>,
    ) -> Answer {
        let (deadline, now) = (Instant::now() + DEADLINE, self.now(world));
        let progress = match received {
            None => Progress::new(deadline),
            Some(received) => Progress::redelivery(deadline, received, now),
        };
        let mut progress = progress.by_the_clock(now);
        if self.index.is_none() || received.is_some() {
            progress = progress.ending_at_deadline();
        }
        let (progress, receiver) = (Arc::new(progress), Arc::clone(&self.receiver));
        let shared = Arc::clone(&progress);
        let provider = provider::sender_of(&delivery).expect("says who sends it");
        let work = async move {
            let event = provider::read(provider, &delivery, receiver.aliases());
            let now = shared.judged_at();
            let sender = Sender::Signed { provider, delivery: &delivery, now };
            receiver.receive(&event.expect("is well formed"), sender, &shared).await.kind
        };
        let mut work = tokio::spawn(work);
        self.tasks.lock().unwrap().push(work.abort_handle());
        match timeout_at(deadline, &mut work).await {
            Ok(Ok(kind)) => Answer::Outcome(kind),
            Ok(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Ok(Err(_killed)) => Answer::None,
            Err(_elapsed) if progress.ends_at_deadline() || progress.abandon() => {
                work.abort();
                Answer::Outcome(Kind::Unavailable)
            }
            Err(_elapsed) => {
                let troubled = progress.is_troubled();
                match work.await {
                    Ok(_) if troubled => Answer::Outcome(Kind::Unavailable),
                    Ok(kind) => Answer::InProgress(kind),
                    Err(_killed) => Answer::None,
                }
            }
        }
    }

    /// Ends it wherever it is.
    pub fn kill(self: &Arc<Self>) {
        for task in self.tasks.lock().unwrap().drain(..) {
            task.abort();
        }
    }
}
