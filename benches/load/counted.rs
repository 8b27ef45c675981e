//! A way to the API server that counts what goes over it; TLS goes through as it is.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use reqwest::Url;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::support::space::Space;

/// The way, and a kubeconfig that leads over it.
pub struct Counted {
    pub kubeconfig: PathBuf,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
}

impl Counted {
    /// Before the API server of a space.
    pub async fn before(space: &Space) -> Self {
        let mut kubeconfig: Value =
            serde_json::from_slice(&std::fs::read(&space.kubeconfig).unwrap()).unwrap();
        let server = &mut kubeconfig["clusters"][0]["cluster"]["server"];
        let port = server.as_str().unwrap().parse::<Url>().unwrap().port().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        *server = format!("https://{}", listener.local_addr().unwrap()).into();
        let path = space.kubeconfig.with_extension("counted.kubeconfig");
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        let counted = Self { kubeconfig: path, sent: Arc::default(), received: Arc::default() };
        let (sent, received) = (Arc::clone(&counted.sent), Arc::clone(&counted.received));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                for stream in [&near, &far] {
                    stream.set_nodelay(true).unwrap();
                }
                let (from_near, to_near) = near.into_split();
                let (from_far, to_far) = far.into_split();
                tokio::spawn(pass(from_near, to_far, Arc::clone(&sent)));
                tokio::spawn(pass(from_far, to_near, Arc::clone(&received)));
            }
        });
        counted
    }

    /// How many bytes were sent to the API server, and received from it.
    pub fn bytes(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    bytes: Arc<AtomicU64>,
) {
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        bytes.fetch_add(read as u64, Ordering::Relaxed);
        if to.write_all(&chunk[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
