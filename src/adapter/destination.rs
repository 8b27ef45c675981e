//! Where deliveries go: what one claims is read here, and goes to the GitRepos of a cluster or on to queues. `service`
//! gives them to it.

use std::sync::Arc;

#[cfg(feature = "aws")]
use crate::forward::Forwarder;
use crate::{
    aside::aside,
    cluster::Cluster,
    delivery::Delivery,
    event::Event,
    outcome::{Kind, Outcome},
    provider::{self, Provider},
    receiver::{Progress, Receiver},
    repo_url::HostAliases,
    secret::store::SecretStore,
    verdict::Sender,
};

/// Who takes deliveries; cheap to clone.
#[derive(Clone, Debug)]
pub enum Destination {
    /// They become patches of GitRepos.
    Cluster(Arc<Receiver>),
    /// They go to queues, out of which clusters take them.
    #[cfg(feature = "aws")]
    Queues(Arc<Forwarder>),
}

impl Destination {
    /// Takes one delivery of a provider.
    pub(super) async fn receive(
        &self,
        provider: &Provider,
        delivery: &Delivery,
        progress: &Progress,
    ) -> Outcome {
        let none = HostAliases::default();
        let aliases = self.receiver().map_or(&none, Receiver::aliases);
        match aside(delivery.raw().len(), || provider::read(provider, delivery, aliases)) {
            Ok(event) => {
                let sender = Sender::Signed { provider, delivery, now: progress.judged_at() };
                self.receive_event(&event, sender, progress).await
            }
            Err(malformed) => Outcome::new(Kind::Malformed).because(malformed.to_string()),
        }
    }

    /// Takes what a sender claims.
    pub(super) async fn receive_event(
        &self,
        event: &Event,
        sender: Sender<'_>,
        progress: &Progress,
    ) -> Outcome {
        match self {
            Self::Cluster(receiver) => receiver.receive(event, sender, progress).await,
            #[cfg(feature = "aws")]
            Self::Queues(forwarder) => forwarder.receive(event, sender, progress).await,
        }
    }

    /// What a delivery waits for, and for how long by now, for whoever answers before it is done.
    pub(super) fn waits_for(&self, progress: &Progress) -> Option<String> {
        let (step, time) = progress.step()?;
        let step = self.receiver()?.waits_for(step);
        Some(format!("{step}, for {:.1} s by now", time.as_secs_f64()))
    }

    /// The cluster, unless deliveries go on to queues.
    pub fn receiver(&self) -> Option<&Receiver> {
        match self {
            Self::Cluster(receiver) => Some(receiver),
            #[cfg(feature = "aws")]
            Self::Queues(_) => None,
        }
    }

    /// The connection to the API server, unless deliveries go on to queues.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.receiver().map(Receiver::cluster)
    }

    /// The secrets.
    pub fn secrets(&self) -> &SecretStore {
        match self {
            Self::Cluster(receiver) => receiver.secrets(),
            #[cfg(feature = "aws")]
            Self::Queues(forwarder) => forwarder.secrets(),
        }
    }
}

#[cfg(all(test, feature = "aws"))]
mod tests {
    use std::time::Duration;

    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use http::{HeaderMap, HeaderValue};
    use jiff::{SignedDuration, Timestamp};
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;
    use crate::{config::GlobalSecret, secret::source::SecretSource};

    const BODY: &str = r#"{"repository":"https://git.acme.example/shop","ref":"refs/heads/main","after":"d9535b1dd338c6750005a416707670ba03b2f9f0"}"#;
    const SIGNED_AT: i64 = 1_649_367_553;
    const SIGNATURE: &str = "v1,RExpx1Bp1rPPDvHqICOKhEyswAufzbfwfFTX1Jtmhek=";

    /// Forwards to no queue what the published key verifies.
    fn forwarder() -> Destination {
        let key = BASE64_STANDARD.encode("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
        let cluster = Cluster::answering(&json!({ "data": { "generic": key } }));
        let (namespace, name) = ("fleet".to_owned(), "webhook".to_owned());
        let global = GlobalSecret::Kubernetes { namespace, name, named: true };
        let source = SecretSource::new(Some(cluster), global, Duration::ZERO);
        let secrets = SecretStore::new(source, Duration::ZERO, Duration::ZERO);
        Destination::Queues(Arc::new(Forwarder::new(secrets, Vec::new())))
    }

    #[tokio::test]
    async fn what_is_forwarded_is_judged_by_no_time_that_its_sender_says() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("webhook-id", "m"),
            ("webhook-timestamp", "1649367553"),
            ("webhook-signature", SIGNATURE),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let delivery = Delivery::new(headers, BODY.into()).expect("is JSON");
        let provider = provider::sender_of(&delivery).expect("says who sends it");
        let signed_at = Timestamp::from_second(SIGNED_AT).expect("is a time");
        let deadline = Instant::now() + Duration::from_secs(4);
        for (judged_at, kind) in [
            (signed_at, Kind::Forwarded),
            (signed_at + SignedDuration::from_mins(6), Kind::Unauthorized),
        ] {
            // As an event that brings it back may say.
            let progress = Progress::redelivery(deadline, signed_at, judged_at, judged_at);
            let outcome = forwarder().receive(provider, &delivery, &progress).await;
            assert_eq!(outcome.kind, kind, "{outcome:?}");
        }
    }
}
