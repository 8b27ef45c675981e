//! The open connections to the API server, and when they are given up for new ones: after silence, after 401, and after
//! a pause in which the process may have been frozen.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::FutureExt as _;
#[cfg(feature = "aws")]
use http::header::AUTHORIZATION;
use http::{Request, Response, request::Parts};
use kube::{Client, Config, client::Body};
use tokio::{task::spawn_blocking, time::Instant};

#[cfg(feature = "aws")]
use super::remote::Remote;
use super::{ApiError, client::client, error::unreachable_server, kubeconfig};
#[cfg(feature = "aws")]
use crate::aws::eks::TokenSource;
use crate::remembered::{FAILURE_TTL, Remembered};

/// After what pause the connections that are open count as dead: Lambda freezes the process, and what is on the way
/// forgets a connection that is idle.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How old the way to the cluster has to be for a 401, or a connection that fails, to make us look for it again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// For how long it is remembered that there is no way, where somebody has to put something right.
const MISTAKE_TTL: Duration = Duration::from_secs(5);

/// Where the way to the API server is written.
#[derive(Debug)]
pub(super) enum Origin {
    /// The service account of the pod that this is.
    Pod,
    /// The files of `KUBECONFIG`; without paths the one in the home directory.
    Files(Option<String>),
    /// AWS has it.
    #[cfg(feature = "aws")]
    Remote(Remote),
}

/// The connections to one API server.
pub(super) enum Connection {
    /// A client that is what it is.
    Given(Client),
    /// Connections of our own.
    Kept(Box<Kept>),
}

/// Connections of our own, and the way to make others.
pub(super) struct Kept {
    origin: Origin,
    found: Remembered<Result<Arc<Found>, ApiError>>,
    pool: Remembered<Result<Pool, ApiError>>,
    used: Mutex<SystemTime>,
}

/// The way to the API server, as it was found.
struct Found {
    config: Config,
    #[cfg(feature = "aws")]
    tokens: Option<TokenSource>,
}

/// Some open connections.
#[derive(Clone)]
pub(super) struct Pool {
    client: Client,
    #[cfg(feature = "aws")]
    tokens: Option<TokenSource>,
}

impl Connection {
    /// Will connect by what is written in `origin`.
    pub(super) fn to(origin: Origin) -> Self {
        Self::Kept(Box::new(Kept {
            origin,
            found: Remembered::default(),
            pool: Remembered::default(),
            used: Mutex::new(SystemTime::now()),
        }))
    }

    /// The connections of now, or new ones.
    ///
    /// # Errors
    /// [`ApiError::Misconfigured`] or [`ApiError::Unreachable`]: there is no way to the cluster.
    pub(super) async fn pool(&self) -> Result<Pool, ApiError> {
        match self {
            Self::Given(client) => Ok(Pool::of(client.clone())),
            Self::Kept(kept) => kept.pool().await,
        }
    }

    /// The API server's URL, if it is known, or who knows it; for the log.
    pub(super) fn url(&self) -> String {
        let Self::Kept(kept) = self else { return "the API server".to_owned() };
        match kept.found.last() {
            Some((Ok(found), _)) => found.config.cluster_url.to_string(),
            _ => kept.origin.to_string(),
        }
    }

    /// Gives up the connections that were there when a request `began` which nobody answered.
    pub(super) fn doubt(&self, began: Instant) {
        if let Self::Kept(kept) = self {
            kept.pool.forget(began.elapsed());
        }
    }

    /// Gives up connections, credentials and the way, unless they are new. Tells whether a request that `began` then and
    /// was refused finds others by now: where many are refused at once, one of them gives up what all of them had.
    pub(super) fn look_again(&self, began: Instant) -> bool {
        let Self::Kept(kept) = self else { return false };
        match kept.found.last() {
            Some((_, age)) if age >= LOOK_AGAIN_AFTER.max(began.elapsed()) => {
                kept.found.forget(age);
                kept.pool.forget(Duration::ZERO);
                true
            }
            Some((_, age)) => age < began.elapsed(),
            None => true,
        }
    }
}

/// Names where requests go, for the log: host and port, or who knows them.
impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Kept(kept) = self else { return f.write_str("the API server") };
        match kept.found.last() {
            Some((Ok(found), _)) => match found.config.cluster_url.authority() {
                Some(authority) => write!(f, "the API server at {}", authority.as_str()),
                None => f.write_str("the API server"),
            },
            _ => write!(f, "{}", kept.origin),
        }
    }
}

impl Kept {
    async fn pool(&self) -> Result<Pool, ApiError> {
        if self.pause() >= LONGEST_PAUSE {
            self.pool.forget(Duration::ZERO);
        }
        let good = |pool: &Result<Pool, ApiError>, age| match pool {
            Ok(_) => true,
            Err(ApiError::Misconfigured(_)) => age < MISTAKE_TTL,
            Err(_) => age < FAILURE_TTL,
        };
        // Boxed: the types of AWS's futures are too deep to look through.
        self.pool.get(good, self.open().boxed()).await
    }

    async fn open(&self) -> Result<Pool, ApiError> {
        let find = async { self.origin.find().await.map(Arc::new) };
        let found = self.found.get(|found, _| found.is_ok(), find).await?;
        let config = found.config.clone();
        // A credential plugin of a kubeconfig runs meanwhile, and may print what makes a header panic.
        let client = spawn_blocking(|| client(config)).await;
        let client = client.unwrap_or_else(|_| Err("its credentials make no header".to_owned()));
        Ok(Pool {
            client: client.map_err(ApiError::Misconfigured)?,
            #[cfg(feature = "aws")]
            tokens: found.tokens.clone(),
        })
    }

    /// How long nothing was asked, by the wall clock; from now on something is.
    fn pause(&self) -> Duration {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = used.elapsed().unwrap_or(Duration::MAX);
        *used = SystemTime::now();
        pause
    }
}

impl Pool {
    const fn of(client: Client) -> Self {
        Self {
            client,
            #[cfg(feature = "aws")]
            tokens: None,
        }
    }

    /// Sends a request; gives the answer's head and its body yet to be read.
    pub(super) async fn send(
        &self,
        #[cfg_attr(not(feature = "aws"), expect(unused_mut))] mut parts: Parts,
        body: Bytes,
    ) -> Result<Response<Body>, ApiError> {
        #[cfg(feature = "aws")]
        if let Some(tokens) = &self.tokens {
            let bearer = tokens.bearer(SystemTime::now()).await;
            let bearer = bearer
                .map_err(|error| ApiError::Unreachable(format!("no AWS credentials: {error:#}")))?;
            parts.headers.insert(AUTHORIZATION, bearer);
        }
        let sent = self.client.send(Request::from_parts(parts, Body::from(body))).await;
        sent.map_err(|error| unreachable_server(&error))
    }
}

impl Origin {
    async fn find(&self) -> Result<Found, ApiError> {
        let config = match self {
            Self::Pod => Config::incluster()
                .map_err(|error| ApiError::Misconfigured(format!("{self}: {error}")))?,
            Self::Files(paths) => kubeconfig::from_files(paths.as_deref())
                .map_err(|error| ApiError::Misconfigured(error.into_problem()))?,
            #[cfg(feature = "aws")]
            Self::Remote(remote) => {
                let (config, tokens) = remote.find().await?;
                return Ok(Found { config, tokens });
            }
        };
        Ok(Found {
            config,
            #[cfg(feature = "aws")]
            tokens: None,
        })
    }
}

/// Names it, for the log.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod => f.write_str("the pod's service account"),
            Self::Files(Some(paths)) => write!(f, "KUBECONFIG {paths}"),
            Self::Files(None) => f.write_str("~/.kube/config"),
            #[cfg(feature = "aws")]
            Self::Remote(remote) => remote.fmt(f),
        }
    }
}
