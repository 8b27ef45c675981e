//! Puts the parts together as the configuration says; `main` hands the result to a driver.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

#[cfg(feature = "knative")]
use crate::cluster::index::Index;
use crate::{
    adapter::{memory::Memory, readiness::Readiness, service::Service},
    cluster::{connect::connect, lookup::Lookup},
    config::{Config, Platform},
    receiver::{Receiver, patch::Patcher},
    retry::{RetryQueue, Untrusted},
    secret::{source::SecretSource, store::SecretStore},
    telemetry::Metrics,
};

/// The parts, ready for a driver.
#[derive(Debug)]
pub struct Assembly {
    /// Takes requests.
    pub service: Service,
    /// Keeps GitRepos at hand; not on Lambda, which is frozen between events.
    #[cfg(feature = "knative")]
    pub index: Option<Arc<Index>>,
    /// The API server, for the log.
    pub cluster: String,
    /// Where the global secret is looked for, for the log.
    pub secret: String,
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
        let (cluster, url) = connect(config.cluster.clone(), Arc::clone(&metrics)).await?;
        let global = config.global_secret.clone();
        let secret = global.to_string();
        let source = SecretSource::new(cluster.clone(), global, config.rotation_window);
        let (cache_ttl, lookup_ttl) = (config.secret_cache_ttl, config.lookup_cache_ttl);
        let secrets = SecretStore::new(source, cache_ttl, lookup_ttl);
        let lookup = Lookup::new(cluster.clone(), config.gitrepo_namespaces.clone(), lookup_ttl);
        #[cfg(feature = "knative")]
        let index = (config.platform == Platform::Http)
            .then(|| Arc::new(Index::start(&cluster, &config.gitrepo_namespaces)));
        #[cfg(feature = "knative")]
        let lookup = match &index {
            Some(index) => lookup.with_index(Arc::clone(index)),
            None => lookup,
        };
        let patcher = Patcher::new(cluster.clone(), config.polling_interval.clone());
        let retry = retry_queue(config).await?.map(Arc::new);
        let service = Service {
            receiver: Arc::new(Receiver::new(
                cluster,
                secrets,
                lookup,
                patcher,
                config.unsigned,
                config.host_aliases.clone(),
            )),
            metrics,
            readiness: Arc::new(Readiness::new(retry.is_some())),
            retry,
            tasks: TaskTracker::new(),
            memory: Memory::for_bodies_of(config.max_body_bytes),
            max_body_bytes: config.max_body_bytes,
            deadline: config.deadline,
        };
        Ok(Self {
            service,
            #[cfg(feature = "knative")]
            index,
            cluster: url,
            secret,
        })
    }

    /// Logs which cluster, where the global secret is looked for, and whether it is there.
    pub fn announce(&self) -> impl Future<Output = ()> + use<> {
        let receiver = Arc::clone(&self.service.receiver);
        let (cluster, secret) = (self.cluster.clone(), self.secret.clone());
        async move {
            let present = match receiver.secrets().global_is_there().await {
                Ok(true) => "yes".to_owned(),
                Ok(false) => "no".to_owned(),
                Err(error) => error.to_string(),
            };
            let version = env!("CARGO_PKG_VERSION");
            let settings = Config::settings();
            tracing::info!(
                version,
                cluster,
                secret,
                secret.present = present,
                settings,
                "starting"
            );
        }
    }
}

#[cfg_attr(
    not(feature = "aws"),
    expect(clippy::unused_async, reason = "AWS is asked for its region")
)]
async fn retry_queue(config: &Config) -> Result<Option<RetryQueue>, Untrusted> {
    #[cfg(feature = "aws")]
    if let Some(url) = &config.retry_queue_url {
        return Ok(Some(RetryQueue::sqs(url.clone(), config.max_body_bytes).await));
    }
    let Some(url) = &config.sink else { return Ok(None) };
    let ca_certs = config.sink_ca_certs.as_deref();
    RetryQueue::sink(url.clone(), ca_certs, config.max_body_bytes).map(Some)
}
