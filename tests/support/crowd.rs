//! Senders that keep the places they take, and others who have a delivery.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use reqwest::Client;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep},
};

use super::{
    function::Function,
    github::{SECRET, headers, signed},
    space::Space,
};

/// For how long providers wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long each waits before it begins again: 2,000 of them send 22 KB a second then.
const PAUSE: Duration = Duration::from_secs(4);

/// Connections that send the head of a delivery and no whole body, again and again, until this is dropped.
pub struct Crowd(Arc<AtomicBool>);

impl Crowd {
    /// So many, each of which sends of its body one of these in turn.
    pub fn of(number: usize, bodies: &[&'static str], function: &Function) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        for body in bodies.iter().cycle().take(number) {
            let address = function.url.trim_start_matches("http://").to_owned();
            tokio::spawn(never_sends_all(address, body, Arc::clone(&over)));
        }
        Self(over)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn never_sends_all(address: String, body: &str, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        let Ok(mut connection) = TcpStream::connect(&address).await else { continue };
        let sent = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{body}");
        if connection.write_all(sent.as_bytes()).await.is_ok() {
            let _ = connection.read_to_end(&mut Vec::new()).await;
        }
        sleep(PAUSE).await;
    }
}

/// What others got who pushed meanwhile, a push each 200 ms: the status, or what kept them from it, and after how long.
pub async fn others(number: u32, function: &Function, space: &Space) -> Vec<(String, Duration)> {
    let pushes = (0..number).map(|number| async move {
        sleep(Duration::from_millis(200) * number).await;
        let began = Instant::now();
        (push(function, space, number).await, began.elapsed())
    });
    join_all(pushes).await
}

/// Whether what they got is that their push was taken: what goes on after the answer is 202.
pub fn is_taken(answer: &str) -> bool {
    ["200 OK", "202 Accepted"].contains(&answer)
}

async fn push(function: &Function, space: &Space, number: u32) -> String {
    let (body, proof) = signed(space, SECRET, &format!("{number:040x}"));
    let client = Client::builder().timeout(PATIENCE).build().expect("a client");
    let mut request = client.post(format!("{}/", function.url)).body(body);
    for (name, value) in headers(&proof) {
        request = request.header(name, value);
    }
    match request.send().await {
        Ok(answer) => answer.status().to_string(),
        Err(error) => format!("{error:?}"),
    }
}
