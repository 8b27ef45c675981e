//! [Events](https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/) on GitRepos, as
//! `kubectl describe gitrepo` shows them; `receiver` says which.

use std::sync::atomic::{AtomicU32, Ordering};

use http::Method;
use jiff::Timestamp;
use serde_json::json;

use super::{ApiError, Cluster, FIELD_MANAGER, paths::encoded, request};

/// What is to be said on a GitRepo.
#[derive(Debug)]
pub(crate) struct Notice {
    /// The GitRepo's namespace, name and uid.
    pub(crate) regarding: (String, String, String),
    /// Why, as a word that programs read.
    pub(crate) reason: &'static str,
    /// The same for people.
    pub(crate) note: String,
}

/// How long a note may be, in bytes; the API server refuses more than 1 KiB.
const LONGEST_NOTE: usize = 1000;

impl Cluster {
    /// Creates an Event, in one try.
    pub(crate) async fn create_notice(&self, notice: &Notice) -> Result<(), ApiError> {
        let (namespace, name, uid) = &notice.regarding;
        let now = Timestamp::now();
        let event = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": { "namespace": namespace, "name": unique(now) },
            "eventTime": format!("{now:.6}"),
            "type": "Warning",
            "reason": notice.reason,
            "action": "Announce",
            "note": shortened(&notice.note),
            "reportingController": FIELD_MANAGER,
            "reportingInstance": FIELD_MANAGER,
            "regarding": {
                "apiVersion": "fleet.cattle.io/v1alpha1", "kind": "GitRepo",
                "namespace": namespace, "name": name, "uid": uid,
            },
        });
        let path = format!(
            "/apis/events.k8s.io/v1/namespaces/{}/events?fieldManager={FIELD_MANAGER}",
            encoded(namespace)
        );
        let body = event.to_string().into_bytes();
        self.bytes(request(Method::POST, &path, "application/json", body)).await.map(drop)
    }
}

/// A name that no other Event of the namespace has.
fn unique(now: Timestamp) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{FIELD_MANAGER}.{:x}.{number:x}", now.as_nanosecond())
}

fn shortened(note: &str) -> &str {
    note.get(..note.floor_char_boundary(LONGEST_NOTE)).unwrap_or_default()
}
