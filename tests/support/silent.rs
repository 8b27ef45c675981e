//! What is between the program and its API server, connection by connection: it may swallow all that is said on those
//! that are open, as a firewall does that has forgotten them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::space::Space;

pub struct Silent {
    /// The kubeconfig of whoever is to come by here.
    pub kubeconfig: String,
    /// How many of its connections, in the order in which they were made, say nothing any more.
    swallowed: Arc<AtomicUsize>,
    opened: Arc<AtomicUsize>,
}

impl Silent {
    /// In front of the space's API server, on a free port. Of TLS it knows nothing.
    pub async fn start(space: &Space) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("is bound");
        let kubeconfig = std::fs::read(&space.kubeconfig).expect("a kubeconfig");
        let mut kubeconfig: Value = serde_json::from_slice(&kubeconfig).expect("is JSON");
        let server = kubeconfig["clusters"][0]["cluster"]["server"].take();
        let (scheme, server) = server.as_str().expect("a URL").split_once("://").expect("a URL");
        let server = server.to_owned();
        kubeconfig["clusters"][0]["cluster"]["server"] = json!(format!("{scheme}://{address}"));
        let path = format!("{}.silent", space.kubeconfig.display());
        std::fs::write(&path, kubeconfig.to_string()).expect("is written");
        let (swallowed, opened) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let silent = Self {
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
        silent
    }

    /// From now on nothing comes through on the connections that are open; nobody is told.
    pub fn swallow(&self) {
        self.swallowed.store(self.opened.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
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
