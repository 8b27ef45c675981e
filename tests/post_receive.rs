//! The `post-receive` hook that docs/providers.md offers to any other Git server: what it sends for a real push, over a
//! file, HTTP and SSH, is verified and read, and no pusher waits for a receiver that does not answer.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fleet_webhook::{
    delivery::Delivery, event::Event, keys::Secret, provider, repo_url::HostAliases, signature,
};
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;

const SECRET: &str = "whsec_Z2VuZXJpYy10ZXN0LXNlY3JldC1vZi0zMi1ieXRlcy0=";

/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs git, curl and openssl: tests/README.md"]
fn all_refs_of_a_push_are_told_in_one_request() {
    let (server, receiver) = (Server::new("all"), receiver(&[200]));
    server.install_hook(&receiver.url, SECRET);
    let commit = server.commit();
    server.git(&["tag", "--annotate", "--message=The first", "v1.0.0"]);
    server.git(&["push", "--quiet", "../server.git", "main", "main:old", "v1.0.0"]);
    let at = |git_ref: &str| (git_ref.to_owned(), Some(commit.clone()));
    let all = BTreeMap::from([at("refs/heads/main"), at("refs/heads/old"), at("refs/tags/v1.0.0")]);
    assert_eq!(told(&receiver.next()), all);

    server.git(&["push", "--quiet", "../server.git", ":old"]);
    let gone = BTreeMap::from([("refs/heads/old".to_owned(), None)]);
    assert_eq!(told(&receiver.next()), gone);
}

#[test]
#[ignore = "needs git, curl and openssl: tests/README.md"]
fn any_name_that_git_takes_is_told_as_json_demands() {
    let (server, receiver) = (Server::new("names"), receiver(&[200]));
    server.install_hook(&receiver.url, SECRET);
    let commit = server.commit();
    let names = ["a\"b", "it's", "$(touch)`x`", "straße/ß", "%s%n", "a&b;c|d", "{}", "-n"];
    let mut push = vec!["push".to_owned(), "--quiet".to_owned(), "../server.git".to_owned()];
    push.extend(names.iter().map(|name| format!("main:refs/heads/{name}")));
    server.git(&push.iter().map(String::as_str).collect::<Vec<_>>());
    let expected = names.iter().map(|name| (format!("refs/heads/{name}"), Some(commit.clone())));
    assert_eq!(told(&receiver.next()), expected.collect());

    // One that is no UTF-8 cannot be named in JSON, and takes none of the others with it.
    let latin = std::ffi::OsStr::from_bytes(b"main:refs/heads/caf\xe9");
    let mut git = server.command(&server.clone());
    let pushed = git.args(["push", "--quiet", "../server.git", "main:refs/heads/next"]).arg(latin);
    assert!(pushed.status().expect("runs").success());
    let next = BTreeMap::from([("refs/heads/next".to_owned(), Some(commit))]);
    assert_eq!(told(&receiver.next()), next);
}

#[test]
#[ignore = "needs git, curl and openssl: tests/README.md"]
fn a_pusher_waits_two_seconds_at_most_and_the_hook_tries_again_by_itself() {
    // The first request is never answered, the second is refused for now.
    let (server, receiver) = (Server::new("waits"), receiver(&[0, 503, 200]));
    server.install_hook(&receiver.url, SECRET);
    let commit = server.commit();
    let started = Instant::now();
    let pushed = server.try_git(&["push", "--quiet", "../server.git", "main"]);
    let took = started.elapsed();
    assert!(pushed.status.success());
    assert!(took < Duration::from_secs(8), "{took:?}, of which two are the hook's");
    assert!(said(&pushed).contains("no answer yet, goes on by itself"), "{}", said(&pushed));
    let main = BTreeMap::from([("refs/heads/main".to_owned(), Some(commit))]);
    for _ in 0..3 {
        assert_eq!(told(&receiver.next()), main);
    }
}

#[test]
#[ignore = "needs git, curl and openssl: tests/README.md"]
fn what_was_pushed_again_meanwhile_is_not_told_late() {
    // The first request is never answered, so that there is time for the second push.
    let (server, receiver) = (Server::new("again"), receiver(&[0, 200]));
    server.install_hook(&receiver.url, SECRET);
    let first = server.commit();
    server.git(&["push", "--quiet", "../server.git", "main", "main:kept"]);
    let second = server.commit();
    server.git(&["push", "--quiet", "../server.git", "main"]);
    let mut later =
        [receiver.next(), receiver.next(), receiver.next()].map(|request| told(&request));
    later.sort_by_key(BTreeMap::len);
    let kept = ("refs/heads/kept".to_owned(), Some(first.clone()));
    let main = |commit: &str| ("refs/heads/main".to_owned(), Some(commit.to_owned()));
    assert!(later.contains(&BTreeMap::from([main(&second)])), "{later:?}");
    assert!(later.contains(&BTreeMap::from([main(&first), kept.clone()])), "{later:?}");
    assert!(later.contains(&BTreeMap::from([kept])), "{later:?}");
}

#[test]
#[ignore = "needs git, curl and openssl: tests/README.md"]
fn what_is_wrong_with_the_key_is_said_in_one_line() {
    for (secret, complaint) in [
        (None, "cannot read"),
        (Some(""), "does not hold whsec_ and the base64 of a key"),
        (Some("whsec_"), "does not hold whsec_ and the base64 of a key"),
        (Some("whsec_%%%%"), "does not hold whsec_ and the base64 of a key"),
        (Some("correct horse battery staple"), "does not hold whsec_ and the base64 of a key"),
    ] {
        let server = Server::new("key");
        server.install_hook("http://127.0.0.1:9/", secret.unwrap_or_default());
        if secret.is_none() {
            fs::remove_file(server.0.join("secret")).expect("can be removed");
        }
        server.commit();
        let pushed = server.try_git(&["push", "--quiet", "../server.git", "main"]);
        assert!(pushed.status.success());
        let said = said(&pushed);
        assert_eq!(said.lines().count(), 1, "{secret:?}: {said}");
        assert!(said.contains(complaint), "{secret:?}: {said}");
    }
}

#[test]
#[ignore = "needs git with http-backend, curl and openssl: tests/README.md"]
fn a_push_over_http_is_told() {
    let (server, receiver) = (Server::new("http"), receiver(&[0, 200]));
    server.install_hook(&receiver.url, SECRET);
    server.git_in("server.git", &["config", "http.receivepack", "true"]);
    let url = format!("{}/server.git", serve_git_over_http(&server.0));
    push_over(&server, &receiver, &url);
}

#[test]
#[ignore = "needs git, curl, openssl and sshd (Debian's openssh-server): tests/README.md"]
fn a_push_over_ssh_is_told() {
    let (server, receiver) = (Server::new("ssh"), receiver(&[0, 200]));
    server.install_hook(&receiver.url, SECRET);
    let (_sshd, port) = serve_ssh(&server.0);
    let url = format!("ssh://127.0.0.1:{port}{}/server.git", server.0.display());
    push_over(&server, &receiver, &url);
}

/// Pushes where the first request is not answered: the transport must not wait for what goes on.
fn push_over(server: &Server, receiver: &Requests, url: &str) {
    let commit = server.commit();
    let started = Instant::now();
    server.git(&["push", "--quiet", url, "main"]);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(9), "{took:?}, of which two are the hook's");
    let main = BTreeMap::from([("refs/heads/main".to_owned(), Some(commit))]);
    for _ in 0..2 {
        assert_eq!(told(&receiver.next()), main);
    }
}

/// A folder with a bare repository, a clone and a key; it is gone with the test.
struct Server(PathBuf);

impl Server {
    fn new(name: &str) -> Self {
        let name = format!("fleet-webhook-post-receive-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("can be made");
        let server = Self(folder);
        server.git_in("", &["init", "--quiet", "--bare", "server.git"]);
        server.git_in("", &["init", "--quiet", "--initial-branch=main", "clone"]);
        server
    }

    fn clone(&self) -> PathBuf {
        self.0.join("clone")
    }

    /// The hook as it is, but for what its first lines are there to be changed for.
    fn install_hook(&self, url: &str, secret: &str) {
        let secret_file = self.0.join("secret");
        fs::write(&secret_file, format!("{secret}\n")).expect("can be written");
        let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/post-receive");
        let hook = fs::read_to_string(hook).expect("is a file");
        let changed = hook
            .replace("https://fleet-webhook.example.com/", url)
            .replace("/etc/fleet-webhook/secret", secret_file.to_str().expect("is text"));
        let installed = self.0.join("server.git/hooks/post-receive");
        fs::write(&installed, changed).expect("can be written");
        fs::set_permissions(installed, fs::Permissions::from_mode(0o755)).expect("can be changed");
    }

    /// Makes a commit in the clone; gives its id.
    fn commit(&self) -> String {
        self.git(&["commit", "--quiet", "--allow-empty", "--message=Sell more"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn git(&self, arguments: &[&str]) -> String {
        self.git_in("clone", arguments)
    }

    fn git_in(&self, folder: &str, arguments: &[&str]) -> String {
        let output = self.command(&self.0.join(folder)).args(arguments).output().expect("runs");
        assert!(output.status.success(), "git {arguments:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn try_git(&self, arguments: &[&str]) -> Output {
        self.command(&self.clone()).args(arguments).output().expect("runs")
    }

    fn command(&self, folder: &Path) -> Command {
        let ssh = format!(
            "ssh -F /dev/null -i {}/client -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            self.0.display()
        );
        let mut git = Command::new("git");
        git.current_dir(folder)
            .args(["-c", "user.name=Jane Doe", "-c", "user.email=jane@acme.example"])
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_SSH_COMMAND", ssh);
        git
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A receiver of webhooks, and what it received.
struct Requests {
    url: String,
    received: Receiver<Delivery>,
}

impl Requests {
    fn next(&self) -> Delivery {
        self.received.recv_timeout(PATIENCE).expect("something is told")
    }
}

/// Takes requests, and answers them with these statuses, the last one for ever; 0 is no answer at all.
fn receiver(statuses: &'static [u16]) -> Requests {
    let listener = TcpListener::bind("127.0.0.1:0").expect("has a free port");
    let url = format!("http://{}/", listener.local_addr().expect("is bound"));
    let (sender, received) = channel();
    thread::spawn(move || {
        let mut unanswered = Vec::new();
        for (number, connection) in listener.incoming().enumerate() {
            let mut connection = connection.expect("somebody connects");
            let (_, headers, body) = read_request(&mut connection);
            let delivery = Delivery::new(headers, Bytes::from(body)).expect("is JSON");
            let _ = sender.send(delivery);
            match statuses.get(number).or(statuses.last()) {
                Some(0) | None => unanswered.push(connection),
                Some(status) => {
                    let answer = format!(
                        "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
                    );
                    let _ = connection.write_all(answer.as_bytes());
                }
            }
        }
    });
    Requests { url, received }
}

/// The first line, the headers and the body of a request with a length.
fn read_request(connection: &mut TcpStream) -> (String, HeaderMap, Vec<u8>) {
    let mut request = Vec::new();
    loop {
        let mut read = [0; 4096];
        let length = connection.read(&mut read).expect("can be read");
        request.extend(read.iter().take(length));
        let end = request.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let Some((head, body)) = end.and_then(|end| request.split_at_checked(end)) else {
            continue;
        };
        let body = body.get(4..).unwrap_or_default();
        let head = String::from_utf8_lossy(head);
        let headers = headers(&head);
        if headers.get("expect").is_some() && body.is_empty() {
            let _ = connection.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let announced = headers.get("content-length").and_then(|value| value.to_str().ok());
        let announced: usize = announced.and_then(|value| value.parse().ok()).unwrap_or_default();
        if body.len() >= announced {
            let first = head.lines().next().unwrap_or_default().to_owned();
            return (first, headers, body.to_vec());
        }
    }
}

fn headers(head: &str) -> HeaderMap {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let parsed = lines.map(|(name, value)| {
        let name: HeaderName = name.parse().expect("is a header's name");
        (name, value.parse().expect("is a header's value"))
    });
    parsed.collect()
}

/// The refs of a verified delivery, and where they are now.
fn told(delivery: &Delivery) -> BTreeMap<String, Option<String>> {
    let provider = provider::sender_of(delivery).expect("is of a known provider");
    assert_eq!(provider.name, "generic");
    let keys = [("generic".to_owned(), SECRET.as_bytes().to_vec())].into_iter().collect();
    let secret = Secret { current: keys, previous: None };
    signature::verify(provider.schemes, delivery, &secret, Timestamp::now()).expect("is verified");
    let event = provider::read(provider, delivery, &HostAliases::default());
    let Ok(Event::Push(push)) = event else { panic!("is no push: {event:?}") };
    assert_eq!(push.repository.to_string(), "git.example.com/acme/shop");
    let updates = push.refs.named().iter();
    updates
        .map(|update| (update.git_ref.to_string(), update.after.commit().map(ToString::to_string)))
        .collect()
}

/// Serves the repositories of a folder by `git http-backend`; gives the URL.
fn serve_git_over_http(folder: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("has a free port");
    let url = format!("http://{}", listener.local_addr().expect("is bound"));
    let folder = folder.to_owned();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, folder) = (connection.expect("somebody connects"), folder.clone());
            thread::spawn(move || answer_by_cgi(&mut connection, &folder));
        }
    });
    url
}

fn answer_by_cgi(connection: &mut TcpStream, folder: &Path) {
    let (first, headers, body) = read_request(connection);
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let header = |name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let mut backend = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REMOTE_USER", "jane")
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("runs");
    backend.stdin.take().expect("is piped").write_all(&body).expect("is read");
    let output = backend.wait_with_output().expect("ends").stdout;
    let is_refusal = output.starts_with(b"Status: ");
    let status = if is_refusal { "500 see the headers" } else { "200 OK" };
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n");
    let _ = connection.write_all(&[head.as_bytes(), &output].concat());
}

/// An SSH server; it is killed when dropped.
struct Sshd(Child);

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves SSH on a free port to the key `client` in the folder.
fn serve_ssh(folder: &Path) -> (Sshd, u16) {
    for name in ["host", "client"] {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(folder.join(name))
            .status();
        assert!(made.expect("runs").success());
    }
    fs::copy(folder.join("client.pub"), folder.join("authorized")).expect("can be copied");
    let free = TcpListener::bind("127.0.0.1:0").expect("has a free port");
    let port = free.local_addr().expect("is bound").port();
    drop(free);
    let config = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized\nStrictModes no\n\
         PidFile none\nUsePAM no\nPermitRootLogin yes\n",
        folder.display()
    );
    fs::write(folder.join("sshd_config"), config).expect("can be written");
    // It has to be called by its whole path.
    let _ = fs::create_dir("/run/sshd");
    let sshd = Command::new("/usr/sbin/sshd")
        .args(["-D", "-f"])
        .arg(folder.join("sshd_config"))
        .spawn()
        .expect("there is an sshd");
    let sshd = Sshd(sshd);
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "it does not listen");
        thread::sleep(Duration::from_millis(20));
    }
    (sshd, port)
}
