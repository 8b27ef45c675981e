//! Connections to the API server that are worth nothing any more, and reads that have to be tried again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    api_server::Fault,
    function::Function,
    github::{NEW, NEWER, SECRET},
    space::Space,
};

/// What is between the function and its API server, and may swallow all that is said on the connections that are open.
struct Between {
    kubeconfig: String,
    /// How many of its connections, in the order in which they were made, say nothing any more.
    swallowed: Arc<AtomicUsize>,
    opened: Arc<AtomicUsize>,
}

impl Between {
    async fn start(space: &Space) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("is bound");
        let kubeconfig = std::fs::read(&space.kubeconfig).expect("a kubeconfig");
        let mut kubeconfig: Value = serde_json::from_slice(&kubeconfig).expect("is JSON");
        let server = kubeconfig["clusters"][0]["cluster"]["server"].take();
        let server = server.as_str().expect("a URL").replace("http://", "");
        kubeconfig["clusters"][0]["cluster"]["server"] = json!(format!("http://{address}"));
        let path = format!("{}.between", space.kubeconfig.display());
        std::fs::write(&path, kubeconfig.to_string()).expect("is written");
        let (swallowed, opened) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let between = Self {
            kubeconfig: path,
            swallowed: Arc::clone(&swallowed),
            opened: Arc::clone(&opened),
        };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = opened.fetch_add(1, Ordering::SeqCst);
                let swallowed = Arc::clone(&swallowed);
                let server = TcpStream::connect(server.as_str()).await.expect("is there");
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass(from_client, to_server, number, Arc::clone(&swallowed)));
                tokio::spawn(pass(from_server, to_client, number, swallowed));
            }
        });
        between
    }

    /// From now on nothing comes through on the connections that are open; nobody is told.
    fn swallow(&self) {
        self.swallowed.store(self.opened.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    number: usize,
    swallowed: Arc<AtomicUsize>,
) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if number >= swallowed.load(Ordering::SeqCst)
            && to.write_all(&buffer[..length]).await.is_err()
        {
            return;
        }
    }
    // Silence, not an end.
    if number < swallowed.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
}

async fn prepared() -> Space {
    let space = Space::embedded().await;
    let spec = json!({ "repo": space.github_url(), "branch": "main", "pollingInterval": "1h" });
    space.gitrepo("shop", spec).await;
    space.github_secret().await;
    space
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_died_unheard_cost_no_delivery() {
    let space = prepared().await;
    let between = Between::start(&space).await;
    let variables = [("KUBECONFIG", &*between.kubeconfig), ("SECRET_CACHE_TTL", "0s")];
    let function = Function::start(&space, &variables).await;
    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!(answer.outcome(), "accepted", "{}", function.log());

    between.swallow();
    let began = Instant::now();
    let answer = function.push(&space, SECRET, "refs/heads/main", NEWER).await;

    assert_eq!(answer.outcome(), "accepted", "{}", function.log());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEWER));
    // The one that had to wait found new connections for those after it.
    let began = Instant::now();
    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!(answer.outcome(), "accepted", "{}", function.log());
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_server_is_asked_again_when_it_says() {
    for (path, status) in [("/secrets/", 429), ("/gitrepos?includeObject", 429), ("/secrets/", 503)]
    {
        let space = prepared().await;
        let function = Function::start(&space, &[("SECRET_CACHE_TTL", "0s")]).await;
        space.embedded_server().unwrap().ask_to_wait(1);
        space.embedded_server().unwrap().disturb_watches(|faults, _| faults.frozen = true);
        space.fail(Fault::always(Method::GET, path, status).once());

        let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

        assert_eq!(answer.outcome(), "accepted", "{path} {status} {}", function.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_credential_is_read_again_once_and_the_log_says_what_the_server_said() {
    let space = prepared().await;
    let path = format!("{}.rotated", space.kubeconfig.display());
    let kubeconfig = std::fs::read_to_string(&space.kubeconfig).unwrap();
    std::fs::write(&path, &kubeconfig).unwrap();
    let variables = [("KUBECONFIG", &*path), ("SECRET_CACHE_TTL", "0s")];
    let function = Function::start(&space, &variables).await;
    tokio::time::sleep(Duration::from_millis(10_100)).await;
    let before = space.requests().len();
    space.fail(Fault::always(Method::GET, "/secrets/", 401).once());

    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

    assert_eq!(answer.outcome(), "accepted", "{}", function.log());
    let secrets: Vec<_> = space.requests().split_off(before);
    let secrets = secrets.iter().filter(|request| request.uri.contains("/secrets/")).count();
    assert_eq!(secrets, 2, "{}", function.log());
}
