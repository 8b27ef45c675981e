//! HTTPS before an HTTP server, with a certificate that an authority of its own has signed.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::Value;

use super::tools::tool;

static FRONTS: AtomicUsize = AtomicUsize::new(0);

/// It ends when it is dropped, and with the test binary, whose end of its stdin is closed then.
pub struct Https {
    pub url: String,
    /// The authority's certificate, as PEM in a file.
    pub authority: PathBuf,
    process: Child,
}

impl Https {
    /// In front of what is at that URL, on a free port of 127.0.0.1.
    pub fn before(upstream: &str) -> Self {
        let number = FRONTS.fetch_add(1, Ordering::Relaxed);
        let name = format!("fleet-webhook-{}-{number}.pem", std::process::id());
        let authority = std::env::temp_dir().join(name);
        let mut process = Command::new(tool("venv/bin/python"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/https.py"))
            .args(["--upstream", upstream, "--ca"])
            .arg(&authority)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let said: Value = serde_json::from_str(&line).expect("JSON");
        Self { url: said["url"].as_str().expect("a URL").to_owned(), authority, process }
    }

    /// The path of the authority's certificate.
    pub fn authority(&self) -> &str {
        self.authority.to_str().expect("is text")
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("https://")
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.authority);
    }
}
