//! The `post-receive` hook that docs/providers.md offers to any other Git server: what it sends for a real push is verified
//! and read. Skipped where git, curl or openssl are not to be had.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use fleet_webhook::{
    delivery::Delivery, event::Event, provider, repo_url::HostAliases, secret::Secret, signature,
};
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;

const SECRET: &str = "whsec_Z2VuZXJpYy10ZXN0LXNlY3JldC1vZi0zMi1ieXRlcy0=";

#[test]
fn a_push_is_told_of_ref_by_ref() {
    for tool in ["git", "curl", "openssl"] {
        let mut version = Command::new(tool);
        if version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            eprintln!("skipped: there is no {tool}");
            return;
        }
    }
    let folder = Folder::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("has a free port");
    let url = format!("http://{}/", listener.local_addr().expect("is bound"));
    git(&folder.0, &["init", "--quiet", "--bare", "server.git"]);
    install_hook(&folder.0, &url);
    git(&folder.0, &["init", "--quiet", "--initial-branch=main", "clone"]);
    let clone = folder.0.join("clone");
    git(&clone, &["commit", "--quiet", "--allow-empty", "--message=Sell more"]);
    git(&clone, &["tag", "--annotate", "--message=The first", "v1.0.0"]);
    let commit = git(&clone, &["rev-parse", "HEAD"]);

    let received = receive(&listener, 3);
    git(&clone, &["push", "--quiet", "../server.git", "main", "main:old", "v1.0.0"]);
    let mut said: Vec<_> = received.join().expect("receives").iter().map(read).collect();
    said.sort();
    let at = |git_ref: &str| (git_ref.to_owned(), Some(commit.clone()));
    assert_eq!(said, [at("refs/heads/main"), at("refs/heads/old"), at("refs/tags/v1.0.0")]);

    let received = receive(&listener, 1);
    git(&clone, &["push", "--quiet", "../server.git", ":old"]);
    let said: Vec<_> = received.join().expect("receives").iter().map(read).collect();
    assert_eq!(said, [("refs/heads/old".to_owned(), None)]);
}

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("fleet-webhook-post-receive-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("can be made");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The hook as it is, but for what its first lines are there to be changed for.
fn install_hook(folder: &Path, url: &str) {
    let secret_file = folder.join("secret");
    fs::write(&secret_file, format!("{SECRET}\n")).expect("can be written");
    let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/post-receive");
    let hook = fs::read_to_string(hook).expect("is a file");
    assert!(hook.lines().count() < 30, "it is short enough to be read before it is trusted");
    let changed = hook
        .replace("https://fleet-webhook.example.com/", url)
        .replace("/etc/fleet-webhook/secret", secret_file.to_str().expect("is text"));
    let installed = folder.join("server.git/hooks/post-receive");
    fs::write(&installed, changed).expect("can be written");
    fs::set_permissions(installed, fs::Permissions::from_mode(0o755)).expect("can be changed");
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=Jane Doe", "-c", "user.email=jane@acme.example"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "git {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Takes so many requests, one after the other, and answers 200.
fn receive(listener: &TcpListener, count: usize) -> JoinHandle<Vec<Delivery>> {
    let listener = listener.try_clone().expect("can be shared");
    thread::spawn(move || (0..count).map(|_| receive_one(&listener)).collect())
}

fn receive_one(listener: &TcpListener) -> Delivery {
    let (mut connection, _) = listener.accept().expect("somebody connects");
    let mut request = Vec::new();
    let (headers, body) = loop {
        let mut read = [0; 1024];
        let length = connection.read(&mut read).expect("can be read");
        request.extend(read.iter().take(length));
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let headers = headers(head);
        let length = headers.get("content-length").and_then(|value| value.to_str().ok());
        if length == Some(body.len().to_string().as_str()) {
            break (headers, body.to_owned());
        }
    };
    connection.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").expect("can be written");
    Delivery::new(headers, Bytes::from(body)).expect("is JSON")
}

fn headers(head: &str) -> HeaderMap {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let parsed = lines.map(|(name, value)| {
        let name: HeaderName = name.parse().expect("is a header's name");
        (name, value.parse().expect("is a header's value"))
    });
    parsed.collect()
}

/// The ref of a verified delivery, and where it is now.
fn read(delivery: &Delivery) -> (String, Option<String>) {
    let provider = provider::sender_of(delivery).expect("is of a known provider");
    assert_eq!(provider.name, "generic");
    let keys = [("generic".to_owned(), SECRET.as_bytes().to_vec())].into_iter().collect();
    let secret = Secret { current: keys, previous: None };
    signature::verify(provider.schemes, delivery, &secret, Timestamp::now()).expect("is verified");
    let Ok(Event::Push(push)) = provider::read(provider, delivery, &HostAliases::default()) else {
        panic!("is a push")
    };
    assert_eq!(push.repository.to_string(), "git.example.com/acme/shop");
    let [update] = push.refs.named.as_slice() else { panic!("tells of one ref") };
    (update.git_ref.to_string(), update.after.commit().map(ToString::to_string))
}
