//! An API server outside that only a proxy reaches.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    function::Function,
    github::{NEW, NEWER, SECRET},
    space::Space,
};

/// A proxy that takes `CONNECT` alone, as those of companies do for HTTPS.
struct Proxy {
    url: String,
    /// What it was asked to connect to.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("is bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(client, Arc::clone(&noted)));
            }
        });
        Self { url, asked }
    }
}

async fn connect(client: TcpStream, asked: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let mut client = BufReader::new(client);
    let mut first = String::new();
    client.read_line(&mut first).await.ok()?;
    let mut line = String::new();
    while client.read_line(&mut line).await.ok()? > 2 {
        line.clear();
    }
    let target = first.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    asked.lock().unwrap().push(target.clone());
    let mut server = TcpStream::connect(target).await.ok()?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}

async fn prepared() -> Space {
    let space = Space::real().await;
    space.gitrepo("shop", json!({ "repo": space.github_url(), "branch": "main" })).await;
    space.global_secret(json!({ "github": SECRET })).await;
    space
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real API server: tests/README.md"]
async fn an_api_server_outside_is_reached_by_the_proxy_that_is_set_and_without_it_where_it_is_excepted()
 {
    let (space, proxy) = (prepared().await, Proxy::start().await);
    let address = space.url.trim_start_matches("https://").to_owned();

    // An empty part of the list is passed over.
    let variables = [("HTTPS_PROXY", &*proxy.url), ("NO_PROXY", ",.elsewhere.example,")];
    let function = Function::start(&space, &variables).await;
    let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!(answer.outcome(), "accepted", "{}", function.log());
    let asked = proxy.asked.lock().unwrap().clone();
    assert!(!asked.is_empty() && asked.iter().all(|it| *it == address), "{asked:?} {address}");

    let variables = [("HTTPS_PROXY", &*proxy.url), ("NO_PROXY", ",127.0.0.1")];
    let function = Function::start(&space, &variables).await;
    let answer = function.push(&space, SECRET, "refs/heads/main", NEWER).await;
    assert_eq!(answer.outcome(), "accepted", "{}", function.log());
    assert_eq!(*proxy.asked.lock().unwrap(), asked);
}
