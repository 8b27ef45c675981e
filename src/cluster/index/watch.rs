//! One watch: a list to begin with, then every change, and at each moment whether what is held can be relied on.
//!
//! Not kube's watcher: it keeps to itself what tells a live watch from a dead one (bookmarks, reconnects), and where
//! the API server streams no lists it reads every object from etcd, or holds all of them at once. This one lists from
//! the API server's cache and keeps of each object a record, while the answer arrives.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Method, StatusCode, header::ACCEPT_ENCODING};
use kube::client::Body;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    Scope,
    changes::{Change, Changes},
    list::ListSeed,
};
use crate::cluster::{
    ApiError, Cluster,
    paths::{encoded, gitrepos_path},
    request,
    streamed::parse,
};

/// After how long the API server ends a watch; so soon that a connection which died unheard is noticed.
const WATCH_TIME: Duration = Duration::from_secs(15);

/// How much later than that it may end before the connection counts as dead.
const WATCH_TIME_MARGIN: Duration = Duration::from_secs(3);

/// How long the list may take, to its last byte.
const LIST_TIME_LIMIT: Duration = Duration::from_mins(1);

/// How long the answer to a list may take to begin, at first: on a connection that died unheard it never does, and a large
/// list of a busy API server does so late. It is twice as long after each that nobody answers, and a minute at most.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);

/// How long opening a watch may take; while the index is in use, it stays so for no longer than that.
const OPEN_TIME_LIMIT: Duration = Duration::from_secs(1);

/// For how long the first watch after a break is asked for: it proves that all that was missed has come by ending in
/// good order behind it. Silence proves nothing, and bookmarks come when they come.
const PROOF_TIME: Duration = Duration::from_secs(1);

/// How long to wait before a broken watch is opened again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Keeps one scope of the index.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) cluster: Cluster,
    pub(super) namespace: Option<String>,
    pub(super) scope: Arc<Scope>,
}

/// How long the next attempt waits.
#[derive(Debug)]
struct Waits {
    /// Before it is made.
    pause: Duration,
    /// For a list to be answered.
    patience: Duration,
}

impl Waits {
    const FIRST: Self = Self { pause: FIRST_PAUSE, patience: FIRST_PATIENCE };

    fn note_failure(&mut self) {
        self.pause = LONGEST_PAUSE.min(self.pause * 2);
    }

    fn note_silence(&mut self) {
        self.patience = LIST_TIME_LIMIT.min(self.patience * 2);
    }
}

/// Why a watch is over before its time.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the API server no longer has the changes since the last one seen")]
    Expired,
    #[error("the connection is silent")]
    Silent,
    #[error("the API server ended the watch as soon as it was opened")]
    Refused,
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl Broken {
    /// What to do about it, where the error itself does not say it, and it does not pass by itself.
    const fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Api(ApiError::Forbidden(_)) => {
                Some("the index needs the rights to list and watch gitrepos: knative/rbac")
            }
            Self::Silent
            | Self::Api(
                ApiError::Unreachable(_) | ApiError::TimedOut(..) | ApiError::Passing(..),
            ) => Some(
                "until then each delivery takes a scan of GitRepos; if it stays so, see whether the API server is up, and \
                 what is between: a NetworkPolicy, a firewall, a proxy",
            ),
            Self::Expired | Self::Refused | Self::Api(_) => None,
        }
    }
}

impl Watch {
    /// Lists, watches, and begins again, for as long as the program runs.
    pub(super) async fn run(self) {
        let mut version = None;
        let mut waits = Waits::FIRST;
        let mut said = false;
        loop {
            let resumed = version.is_some();
            let Err(broken) = self.follow(&mut version, &mut waits).await else { continue };
            self.go_stale(&broken, &mut said);
            let mut wait = waits.pause;
            waits.note_failure();
            match broken {
                Broken::Expired => {
                    version = None;
                    if resumed {
                        wait = Duration::ZERO;
                    }
                }
                Broken::Api(error) => wait = wait.max(error.retry_after().unwrap_or_default()),
                Broken::Silent | Broken::Refused => {}
            }
            sleep(wait).await;
        }
    }

    /// Watches from `version` on until the API server ends the watch in good order; lists first where there is none.
    async fn follow(&self, version: &mut Option<String>, waits: &mut Waits) -> Result<(), Broken> {
        let since = match version {
            Some(since) => since.clone(),
            None => {
                let listed = self.list(waits.patience).await;
                if let Err(ApiError::TimedOut(..)) = listed {
                    waits.note_silence();
                }
                let (records, listed) = listed?;
                self.scope.replace(records);
                version.insert(listed).clone()
            }
        };
        let is_proof = !self.scope.is_live();
        let time = if is_proof { PROOF_TIME } else { WATCH_TIME };
        let body = self.open(&since, time).await?;
        let opened = Instant::now();
        self.scope.confirm();
        let mut changes = Changes::new(body);
        let end = opened + time + WATCH_TIME_MARGIN;
        loop {
            match timeout_at(end, changes.next()).await {
                Ok(Some(change)) => *version = Some(self.take(change?)?),
                Ok(None) if opened.elapsed() < OPEN_TIME_LIMIT.min(time / 2) => {
                    return Err(Broken::Refused);
                }
                Ok(None) => break,
                Err(_) => return Err(Broken::Silent),
            }
        }
        if is_proof {
            self.go_live();
            *waits = Waits::FIRST;
        }
        Ok(())
    }

    async fn list(&self, begins_within: Duration) -> Result<(super::Records, String), ApiError> {
        let path = format!("{}?resourceVersion=0", gitrepos_path(self.namespace.as_deref()));
        let seed = ListSeed { hasher: self.scope.hasher.clone() };
        let request = request(Method::GET, &path, "application/json", Vec::new());
        let list = async {
            let answer = self.cluster.within(begins_within, self.cluster.send(request)).await?;
            parse(answer.into_body(), seed).await
        };
        self.cluster.within(LIST_TIME_LIMIT, list).await
    }

    async fn open(&self, since: &str, time: Duration) -> Result<Body, Broken> {
        let path = format!(
            "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}",
            gitrepos_path(self.namespace.as_deref()),
            time.as_secs(),
            encoded(since),
        );
        let mut request = request(Method::GET, &path, "application/json", Vec::new());
        // From Kubernetes 1.37 on each event is compressed by itself, of which our client reads the first one only
        // (kube-rs#2079).
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        match self.cluster.within(OPEN_TIME_LIMIT, self.cluster.send(request)).await {
            Ok(response) => Ok(response.into_body()),
            Err(ApiError::Unexpected(StatusCode::GONE)) => Err(Broken::Expired),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a change; gives the version after it.
    fn take(&self, change: Change) -> Result<String, Broken> {
        match change {
            Change::Applied(listed) => {
                let version = listed.resource_version();
                self.scope.apply(listed);
                Ok(version)
            }
            Change::Deleted(listed) => {
                let version = listed.resource_version();
                self.scope.delete(listed);
                Ok(version)
            }
            Change::Bookmark(version) => {
                self.scope.confirm();
                Ok(version)
            }
            Change::Failed(StatusCode::GONE) => Err(Broken::Expired),
            Change::Failed(status) => Err(ApiError::Passing(status, None).into()),
        }
    }

    /// Lets deliveries be looked up here.
    fn go_live(&self) {
        if let Some(gitrepos) = self.scope.go_live() {
            tracing::info!(namespace = self.namespace(), gitrepos, "the index is in use");
        }
    }

    /// Lets every delivery be looked up at the API server; says so once, and `said` remembers it.
    fn go_stale(&self, why: &Broken, said: &mut bool) {
        let denied = match why {
            Broken::Api(error) if error.is_denied() => Some(error),
            _ => None,
        };
        let was_live = self.scope.go_stale(denied);
        if *said && !was_live {
            return tracing::debug!(namespace = self.namespace(), error = %why, "the index is still not in use");
        }
        *said = true;
        tracing::warn!(namespace = self.namespace(), error = %why, advice = why.advice(), "the index is not in use until its watch is back");
    }

    fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("all")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{
            Mutex,
            atomic::{AtomicU32, Ordering},
        },
    };

    use bytes::Bytes;
    use futures::stream;
    use http::{Request, Response};
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use kube::Client;
    use tower::service_fn;

    use super::*;

    #[tokio::test]
    async fn a_watch_asks_for_an_answer_that_is_not_compressed() {
        let asked = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&asked);
        let service = service_fn(move |request: Request<Body>| {
            *seen.lock().expect("is free") = Some(request.into_parts().0);
            async { Ok::<_, std::io::Error>(Response::new(Body::empty())) }
        });
        let cluster = Cluster::new(Client::new(service, "default"), Arc::default());
        let watch = Watch { cluster, namespace: None, scope: Arc::default() };

        watch.open("7", WATCH_TIME).await.expect("is open");

        let asked = asked.lock().expect("is free").take().expect("a request");
        assert!(asked.uri.query().is_some_and(|query| query.contains("watch=true")), "{asked:?}");
        assert_eq!(
            asked.headers.get(ACCEPT_ENCODING).map(HeaderValue::as_bytes),
            Some(&b"identity"[..])
        );
    }

    /// An API server without a GitRepo, whose first watch ends in good order and whose second says nothing.
    fn dying() -> Cluster {
        let watches = Arc::new(AtomicU32::new(0));
        let service = service_fn(move |request: Request<Body>| {
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let (text, wait) = match is_watch.then(|| watches.fetch_add(1, Ordering::Relaxed)) {
                None => (r#"{"metadata":{"resourceVersion":"7"},"items":[]}"#, Duration::ZERO),
                Some(0) => ("", PROOF_TIME),
                Some(_) => ("", Duration::MAX),
            };
            let frames = stream::once(async move {
                sleep(wait).await;
                Ok::<_, io::Error>(Frame::data(Bytes::from(text)))
            });
            async { Ok::<_, io::Error>(Response::new(StreamBody::new(Box::pin(frames)))) }
        });
        Cluster::new(Client::new(service, "default"), Arc::default())
    }

    /// How long it takes to a live index where the first lists are not answered, and the next one after a while.
    async fn live_after(unanswered: u32, answered_after: Duration) -> Duration {
        let lists = Arc::new(AtomicU32::new(0));
        let service = service_fn(move |request: Request<Body>| {
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let text =
                if is_watch { "" } else { r#"{"metadata":{"resourceVersion":"7"},"items":[]}"# };
            let wait = match !is_watch && lists.fetch_add(1, Ordering::Relaxed) < unanswered {
                true => Duration::MAX,
                false if is_watch => Duration::ZERO,
                false => answered_after,
            };
            async move {
                sleep(wait).await;
                let end = stream::once(async move {
                    sleep(if is_watch { PROOF_TIME } else { Duration::ZERO }).await;
                    Ok::<_, io::Error>(Frame::data(Bytes::from(text)))
                });
                Ok::<_, io::Error>(Response::new(StreamBody::new(Box::pin(end))))
            }
        });
        let cluster = Cluster::new(Client::new(service, "default"), Arc::default());
        let scope = Arc::new(Scope::default());
        let watch = Watch { cluster, namespace: None, scope: Arc::clone(&scope) };
        let (watching, began) = (tokio::spawn(watch.run()), Instant::now());
        while !scope.is_live() {
            sleep(Duration::from_millis(100)).await;
        }
        watching.abort();
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_nobody_answers_is_sent_again_before_long() {
        let quick = live_after(1, Duration::ZERO).await;
        assert!(quick < Duration::from_secs(8), "{quick:?}");
    }

    #[test]
    fn what_fails_at_once_does_not_lengthen_the_wait_for_an_answer() {
        let mut waits = Waits::FIRST;
        (0..9).for_each(|_| waits.note_failure());
        assert_eq!((waits.pause, waits.patience), (LONGEST_PAUSE, FIRST_PATIENCE));
        (0..9).for_each(|_| waits.note_silence());
        assert_eq!(waits.patience, LIST_TIME_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_takes_the_api_server_long_is_waited_for() {
        let slow = live_after(0, Duration::from_secs(40)).await;
        assert!(slow < Duration::from_mins(3), "{slow:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_died_unheard_is_noticed_when_its_watch_should_have_ended() {
        let scope = Arc::new(Scope::default());
        let watch = Watch { cluster: dying(), namespace: None, scope: Arc::clone(&scope) };
        let watching = tokio::spawn(watch.run());

        sleep(PROOF_TIME + WATCH_TIME).await;
        assert!(scope.is_live());
        sleep(WATCH_TIME_MARGIN + Duration::from_secs(1)).await;
        assert!(!scope.is_live());
        watching.abort();
    }
}
