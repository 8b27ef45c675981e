//! Puts the parts together as the configuration says; `main` hands the result to a driver.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

#[cfg(all(feature = "aws", feature = "knative"))]
use crate::adapter::pull::{Holds, Pull};
use crate::{
    adapter::{
        destination::Destination,
        memory::Memory,
        readiness::Readiness,
        service::{Clock, Service},
    },
    cluster::{Cluster, connect::connect, lookup::Lookup},
    config::{Config, GlobalSecret, Platform, UnsignedDeliveries},
    receiver::{Receiver, patch::Patcher},
    retry::{RetryQueue, Untrusted},
    secret::{source::SecretSource, store::SecretStore},
    telemetry::Metrics,
};
#[cfg(feature = "aws")]
use crate::{aws::sqs::Queue, forward::Forwarder};
#[cfg(feature = "knative")]
use crate::{cluster::index::Index, receiver::notices::Notices};

/// The parts, ready for a driver.
#[derive(Debug)]
pub struct Assembly {
    /// Takes requests.
    pub service: Service,
    /// Keeps GitRepos at hand; not on Lambda, which is frozen between events.
    #[cfg(feature = "knative")]
    pub index: Option<Arc<Index>>,
    /// From where deliveries are taken as well.
    #[cfg(all(feature = "aws", feature = "knative"))]
    pub pulls: Vec<Pull>,
    /// The API server or the queues, for the log.
    pub cluster: String,
    /// Where the global secret is looked for, for the log.
    pub secret: GlobalSecret,
    /// What becomes of deliveries where there is none.
    pub unsigned: UnsignedDeliveries,
}

impl Assembly {
    /// Makes connections, but sends nothing yet, unless an index is to be kept.
    ///
    /// # Errors
    /// There is no way to the cluster, or none to trust the sink.
    pub async fn new(config: &Config) -> anyhow::Result<Self> {
        let metrics = Arc::new(match &config.embedded_metrics {
            Some(function) => Metrics::embedded(function.clone()),
            None => Metrics::new(),
        });
        let backend = match config.forward_queue_urls.is_empty() {
            true => Backend::cluster(config, &metrics, config.platform == Platform::Http).await?,
            false => Backend::queues(config).await?,
        };
        let retry = retry_queue(config).await?.map(Arc::new);
        let mut readiness = Readiness::new(retry.is_some());
        if config.delivery_queue_url.is_some() {
            readiness = readiness.awaiting_queue();
        }
        let service = Service {
            destination: backend.destination,
            metrics,
            readiness: Arc::new(readiness),
            retry,
            tasks: TaskTracker::new(),
            memory: Memory::for_bodies_of(config.max_body_bytes),
            max_body_bytes: config.max_body_bytes,
            deadline: config.deadline,
            clock: Clock::default(),
        };
        Ok(Self {
            service,
            #[cfg(feature = "knative")]
            index: backend.index,
            #[cfg(all(feature = "aws", feature = "knative"))]
            pulls: pulls(config).await,
            cluster: backend.name,
            secret: config.global_secret.clone(),
            unsigned: config.unsigned,
        })
    }

    /// Makes connections for one question alone; sends nothing yet.
    ///
    /// # Errors
    /// There is no way to the cluster, or deliveries go on to queues.
    pub async fn for_a_question(config: &Config) -> anyhow::Result<Destination> {
        if !config.forward_queue_urls.is_empty() {
            anyhow::bail!("FORWARD_QUEUE_URLS is set: which GitRepos follow, the clusters know");
        }
        Ok(Backend::cluster(config, &Arc::new(Metrics::new()), false).await?.destination)
    }

    /// Takes deliveries out of queues too, if there are any to take them from.
    #[cfg(feature = "knative")]
    pub fn start_pulling(&self) {
        #[cfg(feature = "aws")]
        for pull in &self.pulls {
            self.service.tasks.spawn(pull.clone().run(self.service.clone()));
        }
    }

    /// Logs which cluster, where the global secret is looked for, and whether it is there; and how to make it where it will
    /// be missed.
    pub fn announce(&self) -> impl Future<Output = ()> + use<> {
        let destination = self.service.destination.clone();
        let (cluster, secret) = (self.cluster.clone(), self.secret.clone());
        let unsigned = self.unsigned;
        async move {
            let found = destination.secrets().global_is_there().await;
            let present = match &found {
                Ok(true) => "yes".to_owned(),
                Ok(false) => "no".to_owned(),
                Err(error) => error.to_string(),
            };
            let version = env!("CARGO_PKG_VERSION");
            let settings = Config::settings();
            tracing::info!(
                version,
                cluster,
                secret = %secret,
                secret.present = present,
                settings,
                "starting"
            );
            if matches!(found, Ok(false)) {
                warn_of_missing(&secret, unsigned);
            }
        }
    }
}

/// Warns of a global secret that is not there, where deliveries come to nothing without it.
fn warn_of_missing(secret: &GlobalSecret, unsigned: UnsignedDeliveries) {
    let what = match (secret.is_named(), unsigned) {
        (true, _) => "unavailable (503)",
        (false, UnsignedDeliveries::Reject) => "refused (401)",
        (false, UnsignedDeliveries::Accept) => return,
    };
    let made_by = secret.made_by();
    tracing::warn!(
        %secret,
        advice = made_by,
        "there is no webhook secret: deliveries for GitRepos without one of their own are {what} until somebody makes it"
    );
}

/// Who takes deliveries, and what the log calls the place where they go.
struct Backend {
    destination: Destination,
    #[cfg(feature = "knative")]
    index: Option<Arc<Index>>,
    name: String,
}

impl Backend {
    /// The GitRepos of a cluster, which an index keeps at hand if it is to.
    #[cfg_attr(not(feature = "knative"), expect(unused_variables, reason = "there is no index"))]
    async fn cluster(
        config: &Config,
        metrics: &Arc<Metrics>,
        keeps_index: bool,
    ) -> anyhow::Result<Self> {
        let (cluster, name) = connect(config.cluster.clone(), Arc::clone(metrics)).await?;
        let lookup_ttl = config.lookup_cache_ttl;
        let lookup = Lookup::new(cluster.clone(), config.gitrepo_namespaces.clone(), lookup_ttl);
        #[cfg(feature = "knative")]
        let index =
            keeps_index.then(|| Arc::new(Index::start(&cluster, &config.gitrepo_namespaces)));
        #[cfg(feature = "knative")]
        let lookup = match &index {
            Some(index) => lookup.with_index(Arc::clone(index)),
            None => lookup,
        };
        let patcher = Patcher::new(cluster.clone(), config.polling_interval.clone());
        let secrets = secret_store(config, Some(cluster.clone()));
        let aliases = config.host_aliases.clone();
        #[cfg(feature = "knative")]
        let notices =
            (keeps_index && config.gitrepo_events).then(|| Notices::start(cluster.clone()));
        let receiver = Receiver::new(cluster, secrets, lookup, patcher, config.unsigned, aliases);
        #[cfg(feature = "knative")]
        let receiver = match notices {
            Some(notices) => receiver.telling_owners(notices),
            None => receiver,
        };
        Ok(Self {
            destination: Destination::Cluster(Arc::new(receiver)),
            #[cfg(feature = "knative")]
            index,
            name,
        })
    }

    #[cfg(feature = "aws")]
    async fn queues(config: &Config) -> anyhow::Result<Self> {
        let aws = crate::aws::config().await;
        let urls = &config.forward_queue_urls;
        let queues = urls.iter().map(|url| Queue::new(aws, url.clone())).collect();
        let forwarder = Forwarder::new(secret_store(config, None), queues);
        Ok(Self {
            destination: Destination::Queues(Arc::new(forwarder)),
            #[cfg(feature = "knative")]
            index: None,
            name: format!("none: deliveries go to {}", urls.join(", ")),
        })
    }

    #[cfg(not(feature = "aws"))]
    async fn queues(config: &Config) -> anyhow::Result<Self> {
        match config.forward_queue_urls.first() {
            Some(never) => match *never {},
            None => anyhow::bail!("there are no queues to forward to"),
        }
    }
}

fn secret_store(config: &Config, cluster: Option<Cluster>) -> SecretStore {
    let source = SecretSource::new(cluster, config.global_secret.clone(), config.rotation_window);
    SecretStore::new(source, config.secret_cache_ttl, config.lookup_cache_ttl)
}

#[cfg(all(feature = "aws", feature = "knative"))]
async fn pulls(config: &Config) -> Vec<Pull> {
    let queues = [
        (&config.delivery_queue_url, Holds::Deliveries),
        // On Lambda an event source mapping brings what waits there.
        (&config.retry_queue_url, Holds::Retries),
    ];
    let mut pulls = Vec::new();
    for (url, holds) in queues {
        let Some(url) = url.as_ref().filter(|_| config.platform == Platform::Http) else {
            continue;
        };
        pulls.push(Pull::new(Queue::new(crate::aws::config().await, url.clone()), holds));
    }
    pulls
}

#[cfg_attr(
    not(feature = "aws"),
    expect(clippy::unused_async, reason = "AWS is asked for its region")
)]
async fn retry_queue(config: &Config) -> Result<Option<RetryQueue>, Untrusted> {
    #[cfg(feature = "aws")]
    if let Some(url) = &config.retry_queue_url {
        let queue = Queue::new(crate::aws::config().await, url.clone());
        return Ok(Some(RetryQueue::sqs(queue, config.max_body_bytes)));
    }
    let Some(url) = &config.sink else { return Ok(None) };
    let ca_certs = config.sink_ca_certs.as_deref();
    RetryQueue::sink(url.clone(), ca_certs, config.max_body_bytes).map(Some)
}
