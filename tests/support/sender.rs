//! A sender that speaks HTTP by hand, so that it can be slow, cut a body into pieces, or hang up.

use reqwest::header::{HeaderMap, HeaderName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::function::{Answer, Function};

/// A connection with a request on the way; dropping it hangs up.
pub struct Sender(TcpStream);

impl Sender {
    /// Sends the head of a `POST /`: all but what says how long the body is, which `length` does.
    pub async fn post(function: &Function, headers: &[(&str, &str)], length: (&str, &str)) -> Self {
        let address = function.url.trim_start_matches("http://");
        let mut connection = TcpStream::connect(address).await.expect("it listens");
        connection.set_nodelay(true).expect("is TCP");
        let mut head = format!("POST / HTTP/1.1\r\nhost: {address}\r\n");
        for (name, value) in headers.iter().chain([&length]) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        connection.write_all(head.as_bytes()).await.expect("it reads");
        Self(connection)
    }

    /// Announces a body of so many bytes.
    pub async fn announcing(function: &Function, headers: &[(&str, &str)], length: usize) -> Self {
        Self::post(function, headers, ("content-length", &length.to_string())).await
    }

    /// Announces chunks.
    pub async fn chunked(function: &Function, headers: &[(&str, &str)]) -> Self {
        Self::post(function, headers, ("transfer-encoding", "chunked")).await
    }

    /// Sends more of the body; whether anybody still reads it shows in the answer.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref()).await;
    }

    /// Sends more of the body; tells whether it was taken from us.
    pub async fn is_read(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Whether the other end has hung up, or does.
    pub async fn is_hung_up_on(&mut self) -> bool {
        matches!(self.0.read(&mut [0]).await, Ok(0) | Err(_))
    }

    /// Sends one chunk; an empty one is the last.
    pub async fn chunk(&mut self, bytes: &[u8]) {
        let head = format!("{:x}\r\n", bytes.len());
        self.send([head.as_bytes(), bytes, b"\r\n"].concat()).await;
    }

    /// Reads the answer, which is there even where the rest of the body was not wanted any more.
    pub async fn answer(&mut self) -> Answer {
        let mut answer = Vec::new();
        let mut read = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&answer);
            if let Some((head, body)) = text.split_once("\r\n\r\n")
                && let Ok(body) = serde_json::from_str(body)
            {
                return Answer { status: status(head), headers: headers(head), body };
            }
            let length = self.0.read(&mut read).await.expect("an answer");
            assert!(length > 0, "it hung up: {text}");
            answer.extend_from_slice(&read[..length]);
        }
    }
}

fn status(head: &str) -> u16 {
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.expect("a status line")
}

fn headers(head: &str) -> HeaderMap {
    let pairs = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let header = |(name, value): (&str, &str)| {
        let name: HeaderName = name.parse().expect("a name");
        (name, value.parse().expect("a value"))
    };
    pairs.map(header).collect()
}
